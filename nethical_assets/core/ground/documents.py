"""Frozen dataclasses as JSON documents and back: what is stored is what the type declares, no more and no less.

What belongs here: the two directions, for any dataclass. What does not: where documents are kept (``storage``),
or what a single type means. Types are read from their annotations, so a module that declares one imports at run time
what its annotations name.
"""

from __future__ import annotations

import json
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from nethical_assets.core.ground.errors import IntegrityError

Kind = TypeVar("Kind")

_LONGEST_NAME = 80
_ADAPTERS: dict[type, TypeAdapter[Any]] = {}


def to_document(value: Any) -> dict[str, Any]:
    """A dataclass as a JSON object: tuples are lists, nested dataclasses are objects, every field is there.

    Numbers stay as they are, also NaN and infinity, which ``digests.pretty_json`` refuses to write.

    Raises:
        TypeError: a field holds what its annotation does not allow, so that it could not be read back.
            The line names the type, never a value.
    """
    kind = type(value)
    try:
        document: dict[str, Any] = _adapter(kind).dump_python(value, mode="json", warnings="error")
    except PydanticSerializationError:
        raise TypeError(f"{kind.__name__}: a field does not hold what it declares") from None
    return document


def from_document(kind: type[Kind], document: object, where: str) -> Kind:
    """The dataclass of type ``kind`` that ``document`` describes; the inverse of :func:`to_document`.

    Nothing is converted: a text is no number, 1.0 is no integer, a key that ``kind`` does not have is refused. A field
    with a default may be missing, because older versions did not write it.

    Args:
        document: as ``json`` reads it.
        where: what the reader knows it by, such as a file; the error starts with it.

    Raises:
        IntegrityError: keys are unknown or missing, or a value has another type. The line names the place in the
            document, never the value.
    """
    try:
        written = json.dumps(document, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        raise IntegrityError(f"{where}: not a JSON document; restore it from a backup") from None
    try:
        return _adapter(kind).validate_json(written, strict=True, extra="forbid")
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        place = ".".join(str(part) for part in faults[0]["loc"])[:_LONGEST_NAME] or "document"
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise IntegrityError(
            f"{where}: not a {kind.__name__} as this version writes it: {place}: {faults[0]['msg']}{more}; restore it "
            "from a backup or make it again"
        ) from None


def _adapter(kind: type[Kind]) -> TypeAdapter[Kind]:
    """Made once a type: building one costs milliseconds, using it microseconds."""
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]
