"""Objects of a JSON document that name a field twice.

What belongs here: telling that, and which field it is. What does not: reading documents (``payloads``). RFC 8259 leaves
open which of two values holds, and decoders keep the last without a word: a record that says two things is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)


class _RepeatedError(Exception):
    """Its argument is the name."""


def repeated_name(body: bytes, document: Any) -> str | None:
    """A name that an object of ``body`` has twice, None where there is none; ``document`` is what was decoded of it.

    Every member of an object has a colon. Where there are no more of them than members were decoded, none was dropped;
    that is so for nearly all documents, and counted in microseconds. What colons in texts leave open is counted without
    the texts.
    """
    colons = body.count(b":")
    if colons == _members_at_the_top(document) or colons == _members(document):
        return None
    if _STRING.sub(b"", body).count(b":") == _members(document):
        return None
    try:
        json.loads(body, object_pairs_hook=_unrepeated, parse_int=str)
    except _RepeatedError as error:
        return str(error.args[0])
    except (ValueError, RecursionError):
        pass
    return ""


def _unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name, value in pairs:
        if name in members:
            raise _RepeatedError(name)
        members[name] = value
    return members


def _members_at_the_top(document: Any) -> int:
    """Members of an object, of the objects in it, and of those in its lists."""
    if not isinstance(document, Mapping):
        return 0
    count = len(document)
    for value in document.values():
        if type(value) is dict:
            count += len(value)
        elif type(value) is list and value and type(value[0]) is dict:
            count += sum(len(one) for one in value if type(one) is dict)
    return count


def _members(document: Any) -> int:
    """All members of all objects."""
    count, waiting = 0, [document]
    while waiting:
        held = waiting.pop()
        if type(held) is dict:
            count += len(held)
            held = held.values()
        elif type(held) is not list:
            continue
        waiting += [one for one in held if type(one) is dict or type(one) is list]
    return count
