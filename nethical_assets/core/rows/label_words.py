"""The words that labels are usually written in.

What belongs here: which words say "positive" or "negative", and how label values are shown. What does not: finding a
label column (``core.datasets.discovery``) or applying a declaration (``labels``). These words and single digits are the
only values of a dataset that a message may hold: anything else may be what people wrote.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

HARM = (
    "malicious|attack|anomaly|breach|breached|spam|toxic|fraud|phishing|jailbreak|injection|intrusion|threat|unsafe|"
    "harmful|ethical|unethical|flagged"
)
_POSITIVE = re.compile(rf"1|true|yes|y|t|positive|bad|abnormal|anomalous|suspicious|{HARM}", re.IGNORECASE)
_NEGATIVE = re.compile(
    "0|-1|false|no|n|f|negative|benign|normal|none|ham|safe|harmless|legitimate|legit|good|ethical|clean|ok",
    re.IGNORECASE,
)
_DIGIT = re.compile(r"-?[0-9]")
_SHOWN = 8


def says_positive(value: str) -> bool:
    """Whether a label value is a word for the positive class and none for the negative one."""
    return _POSITIVE.fullmatch(value) is not None and not says_negative(value)


def says_negative(value: str) -> bool:
    """Whether a label value is a word for the negative class."""
    return _NEGATIVE.fullmatch(value) is not None


def shown_values(values: Sequence[str]) -> str:
    """How messages show the values of a column: the usual words and single digits, and how many others there are.

    >>> shown_values(["0", "1", "spam", "anna@example.org"])
    "'0', '1', 'spam' and 1 other value"
    >>> shown_values(["anna@example.org", "call Bert"])
    '2 values'
    >>> shown_values([])
    'no values'
    """
    if len(values) > _SHOWN:
        return f"{len(values)} values"
    known = [value for value in values if _usual(value)]
    others = len(values) - len(known)
    counted = f"{others} {'other ' if known else ''}value{'' if others == 1 else 's'}"
    if not known:
        return counted if others else "no values"
    return ", ".join(map(repr, known)) + (f" and {counted}" if others else "")


def _usual(value: str) -> bool:
    return says_positive(value) or says_negative(value) or _DIGIT.fullmatch(value) is not None
