"""How names that come from files are shown in messages.

What belongs here: listing column names. What does not: anything about their content. A file without a header line has
its first row where names are expected, so a name is shown only when it looks like one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_LIMIT = 12
_NAME = re.compile(r"[A-Za-z_][\w .:/()\[\]#%&+-]{0,39}")


def shown_columns(names: Iterable[str], limit: int = _LIMIT) -> str:
    """The names as one list, at most ``limit`` of them; only how many there are where one of them looks like data.

    >>> shown_columns(["text", "label"])
    'text, label'
    >>> shown_columns(["John Smith, 5 High St", "john@example.org"])
    '2 columns whose names look like data (is there a header line?)'
    """
    found = [re.sub(r"\s+", " ", str(name)) for name in names]
    if not found:
        return "none"
    if not all(_NAME.fullmatch(name) or name.isdigit() for name in found):
        return f"{len(found)} columns whose names look like data (is there a header line?)"
    more = f" and {len(found) - limit} more" if len(found) > limit else ""
    return ", ".join(found[:limit]) + more
