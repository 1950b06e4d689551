"""What libraries find wrong with a document, in the words of this product.

What belongs here: one line about the first problem. What does not: models, or reading documents.
"""

from __future__ import annotations

import json
import re
from typing import Any, get_args

from pydantic import BaseModel, ValidationError


def describe_malformed(error: Exception) -> str:
    """What is wrong with a document in which code that reads it did not find what it expected, without the words of the
    library that raised ``error``."""
    if isinstance(error, KeyError):
        return f"{error.args[0]!r} is missing"
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON ({error.msg}, line {error.lineno}, column {error.colno})"
    if isinstance(error, UnicodeError):
        return "not UTF-8 text"
    return "a value is not of the kind that belongs there"


def describe_validation_error(error: ValidationError, document: Any, model: type[BaseModel] | None = None) -> str:
    """The first problem of a validation as one line: the key's path, the value, and what is allowed.

    ``model`` is what was validated; with it, the message about an unknown key lists the allowed ones.
    """
    first = error.errors(include_url=False)[0]
    location = list(first["loc"])
    name = _nearest_name(document, location)
    key = ".".join(str(part) for part in location) or "the document"
    reason = re.sub(r"^Value error, ", "", first["msg"])
    if first["type"] == "extra_forbidden":
        allowed = "" if model is None else f"; allowed are {', '.join(_allowed_keys(model, location[:-1]))}"
        reason = f"unknown key{allowed}"
    value = first.get("input")
    shown = "" if isinstance(value, dict | list | tuple) or first["type"] == "missing" else f" = {value!r}"
    return f"{key}{name}{shown}: {reason}"


def _allowed_keys(model: Any, location: list[Any]) -> list[str]:
    """The keys that the table at ``location`` inside ``model`` may have."""
    for part in location:
        if isinstance(part, str):
            model = model.model_fields[part].annotation
        nested = [kind for kind in (model, *get_args(model)) if isinstance(kind, type) and issubclass(kind, BaseModel)]
        model = nested[0] if nested else model
    return sorted(model.model_fields)


def _nearest_name(document: Any, location: list[Any]) -> str:
    """`` (NAME)`` of the innermost named table on the way to ``location``, or nothing."""
    found = ""
    for part in location:
        try:
            document = document[part]
        except (KeyError, IndexError, TypeError):
            break
        if isinstance(document, dict) and isinstance(document.get("name"), str):
            found = f" ({document['name']})"
    return found
