"""How names that come from files are shown in messages.

What belongs here: listing column names. What does not: anything about their content. A file without a header line has
its first row where names are expected, so a name is shown only when it looks like one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_LIMIT = 12
_NAME = re.compile(r"[^\W\d][\w .:/()\[\]#%&+-]{0,39}")
_ADDRESS = re.compile(r"\w@\w+\.\w")
_IDENTIFIER = re.compile(r"\d{9,}|\d{3}-\d{2}-\d{4}|(?:\d[ -]?){13,}")
_SHOWN_CHARACTERS = 80
_LONGEST_NAME = 200
_MOST_DIGITS = 5
_MOST_DIGITS_OF_A_NAME = 8
_MOST_WORDS = 6


def shown_columns(names: Iterable[str], limit: int = _LIMIT) -> str:
    """The names as one list, at most ``limit`` of them; only how many there are where one of them looks like data.

    >>> shown_columns(["text", "label"])
    'text, label'
    >>> shown_columns(["John Smith, 5 High St", "john@example.org"])
    '2 columns whose names look like data (is there a header line?)'
    >>> shown_columns(["4111111111111111"])
    '1 columns whose names look like data (is there a header line?)'
    """
    found = [re.sub(r"\s+", " ", str(name)) for name in names]
    if not found:
        return "none"
    if not all(map(looks_like_name, found)):
        return f"{len(found)} columns whose names look like data (is there a header line?)"
    more = f" and {len(found) - limit} more" if len(found) > limit else ""
    return ", ".join(found[:limit]) + more


def columns_there(names: Iterable[str]) -> str:
    """A clause that says which columns there are.

    >>> columns_there(["text", "label"]), columns_there(["anna@example.org"])
    ('the columns are text, label', 'it has 1 columns whose names look like data (is there a header line?)')
    """
    found = list(names)
    shown = shown_columns(found)
    return f"the columns are {shown}" if not found or all(map(looks_like_name, found)) else f"it has {shown}"


def looks_like_name(name: str) -> bool:
    """Whether a header cell can be shown: a few words or a small number, and not what may be somebody's data.

    >>> [looks_like_name(name) for name in ("Severity Level", "12", "call 212-555-0134", "a@example.org", "")]
    [True, True, False, False, False]
    """
    if sum(sign.isdigit() for sign in name) > _MOST_DIGITS or len(name.split()) > _MOST_WORDS:
        return False
    return name.isdigit() or _NAME.fullmatch(name) is not None


def shown_column(name: str, position: int) -> str:
    """One column in messages: its name in quotes where it looks like one, or its position (from 1).

    >>> shown_column("target", 2), shown_column("anna@example.org", 3)
    ("'target'", 'column 3')
    """
    return repr(name) if looks_like_name(name) else f"column {position}"


def shown_file(name: str) -> str:
    """The name of a file of others in quotes, cut where it is long, or that it looks like somebody's data.

    >>> shown_file("a/train-2024-01-02.csv"), shown_file("anna@example.org.csv"), shown_file("4111 1111 1111 1111.csv")
    ("'a/train-2024-01-02.csv'", '(its name looks like data)', '(its name looks like data)')
    """
    if _ADDRESS.search(name) or _IDENTIFIER.search(name):
        return "(its name looks like data)"
    return repr(name if len(name) <= _SHOWN_CHARACTERS else f"{name[:_SHOWN_CHARACTERS]}...")


def looks_like_data(name: str) -> bool:
    """Whether a header cell is most likely a value: an e-mail address, a long number, a sentence.

    >>> [looks_like_data(name) for name in ("What is your age?", "a@example.org", "4111 1111 1111 1111")]
    [False, True, True]
    """
    digits = sum(sign.isdigit() for sign in name)
    return _ADDRESS.search(name) is not None or digits > _MOST_DIGITS_OF_A_NAME or len(name) > _LONGEST_NAME
