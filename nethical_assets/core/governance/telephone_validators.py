"""The validator of telephone numbers: how they are grouped, where they are valid, and what is none.

What belongs here: the shapes of telephone numbers and of what only looks like one, dates and rows of numbers among
them. What does not: what the words before a number announce (``announcements``), other contact details.
"""

from __future__ import annotations

import re

from nethical_assets.core.governance.announcements import (
    PHONE_OR_OTHER,
    announced,
    follows_phone_word,
    is_called_otherwise,
)
from nethical_assets.core.governance.identifier_validators import digits_of

_EXTENSION = re.compile(
    r"(?i)[ ,;]{0,2}(?:\(?(?:extension|extn|ext|durchwahl|poste|x|#)[.:]? ?\d{1,6}\)?)\Z",
)
_MAY_HAVE_EXTENSION = re.compile(r"[A-Za-z#]")
_GLUED_BEFORE = re.compile(r"(?:[0-9][.-]|[0-9A-Za-z$%@])\Z|[$\u00a3\u20a0] ?\Z")
_DECIMAL_BEFORE = re.compile(r"(?:[^0-9A-Za-z.]|\A)\.\Z")
_GLUED_AFTER = re.compile(
    r"[0-9A-Za-z%@]|[.-]\d| ?[$\u00a3\u20a0](?![0-9])| (?:rows|records|bytes|items|entries|zl|pln)\b", re.IGNORECASE
)
_HEXADECIMAL_BEFORE = re.compile(r"(?i)[0-9a-f]{4}-\Z")
_HEXADECIMAL_AFTER = re.compile(r"(?i)-[0-9a-f]{4}")
_WHOLE_FLOAT_AFTER = re.compile(r"\.0(?![0-9.])")
_BARE_BEFORE = re.compile(r"[0-9][,:/=]\Z")
_BARE_AFTER = re.compile(r"[,:/=]\d")
_PHONE_LABEL_AFTER = re.compile(
    r"(?i)[ \t,;:(-]{0,3}(?:(?:as |for )(?:a |the )?callback|"
    r"office|mobile|mob|fax|home|work|cell|direct|desk|tel|phone|handy|landline)\b"
)
_BESIDE_EMAIL_AFTER = re.compile(r"[\"']? ?[,;|\t] ?[\"']?[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9]")
_BESIDE_EMAIL_BEFORE = re.compile(r"@[A-Za-z0-9.-]{3,63}[\"']? ?[,;|\t] ?[\"']?\Z")
_CELL_BEFORE = re.compile(r"(?:\A|[,;|\t\n]) ?[\"']?\Z")
_FORM_BEFORE = re.compile(r"[A-Za-z_\]]=\Z")
_DATE_OR_RANGE = re.compile(
    r"(?:19|20)\d\d[-/. ](?:0?[1-9]|1[0-2])[-/. ](?:0?[1-9]|[12]\d|3[01])(?:\D.*)?"
    r"|(?:0?[1-9]|[12]\d|3[01])(?P<sign>[-/. ])(?:0?[1-9]|[12]\d|3[01])(?P=sign)(?:19|20)?\d\d(?: \d\d?)?"
    r"|(?:0?[1-9]|1[0-2])[-/.](?:19|20)\d\d(?: \d{1,2})?|(?:19|20)\d\d[-/.](?:0?[1-9]|1[0-2])"
    r"|(?:1[0-9]|20)\d\d ?[-/] ?(?:1[0-9]|20)\d\d|\d{1,9}\.\d+|\d{1,3}(?:\.\d{1,3}){3}|(?:\d{1,3} )*\d{1,3} 000"
)
_HOLDS_DATE = re.compile(
    r"(?<![0-9])(?:(?:0?[1-9]|[12]\d|3[01])([-/.])(?:0?[1-9]|[12]\d|3[01])\1(?:19|20)\d\d"
    r"|(?:19|20)\d\d([-/.])(?:0?[1-9]|1[0-2])\2(?:0?[1-9]|[12]\d|3[01])|(?:0[1-9]|1[0-2])[/.](?:19|20)\d\d)(?![0-9])"
)
_DOTTED = re.compile(r"\d{3,4}\.\d{4}|0[1-9]\d{1,4}\.\d{5,8}")
_MOBILE_DOTTED = re.compile(r"0[1-9]\.\d{8}")
_SPACED = re.compile(r"(?:\d\d ){2,4}\d\d")
_DECIMAL = re.compile(r"\A(?=[^.]* )[^.]*\.[^.]*\Z|\A[^.]*\.[^.]* [^.]*\Z")
_CENTS = re.compile(r"\.\d{1,2}\Z")
_NORTH_AMERICAN = re.compile(r"(?:\+?1[ .-]{0,2})?(?:\([2-9]\d\d\)[ ./-]?|(?<!\d)[2-9]\d\d[ ./-])\d{3}[ .-]\d{4}")
_NATIONAL = re.compile(
    r"(?:\(0\d{0,5}\)[ ./-]{0,3}|0\d{1,5}[ ./-]{1,3})\d{2,8}(?:[ ./-]\d{2,5}){0,4}(?:-\d{1,4})?|0\d{8,10}"
    r"|0 ?\d{2,4} ?/ ?\d(?: \d\d){2,4}"
)
_EIGHT = re.compile(r"8[ -]{0,2}(?:\([3-9]\d\d\)[ -]{0,2}|[3-9]\d\d[ -]{1,2})\d{3}[ -]?\d{2}[ -]?\d{2}")
_BRACKETED = re.compile(r"(?:8 ?)?\(\d{2,4}\) ?(?:9 )?\d{3,5}(?:[ -]\d{2,4}){1,2}")
_COMPANY_NUMBER = re.compile(r"\d{2}\.\d{3}\.\d{3}/\d{4}-\d{2}")
_ROW_BEFORE = re.compile(r"(?:[0-9]+ )+\Z")
_OF_A_YEAR = re.compile(r"/(?:19|20)[0-9]{2}\Z")
_NUMBER_LABEL = re.compile(r"(?i)(?:\A|[^a-z ] ?)n[ro]\.?:? ?\Z")
_FOURS_BEFORE = re.compile(r"(?:\b[0-9]{4} ){2,}\Z")
_TRUNK_REGIONS = (
    *("GB", "DE", "FR", "IT", "CH", "AT", "NL", "BE", "AU", "NZ", "ZA", "IN", "JP", "SE", "FI", "IE", "PL"),
    *("IL", "TR", "KR", "TW", "UA", "RO", "HR", "RS", "BG", "SK", "SI", "PK", "PH", "ID", "MY", "TH", "VN", "EG", "NG"),
)
_BRACKETED_REGIONS = ("BR", "RU", "AR", "MX", "UA", "KZ", "PL")
_EIGHT_REGIONS = ("RU", "KZ")
_MAXIMUM_DIGITS = 15
_SHORTEST_NATIONAL = 9
_LARGEST_DRAWN = 50
_COUNTED_UP = "01234567890123456789"
_DATE_BEFORE = re.compile(r"[0-9][/:]\Z")
_TIME_AFTER = re.compile(r"[/:][0-9]")
_CODE_POINTS = re.compile(r"(?:00[0-9]{2}[ ,-]?)+")


def phone(value: str, before: str, after: str) -> bool:
    """A telephone number of 6 to 15 digits (ITU-T E.164), with or without an extension.

    International numbers must be possible ones of their country (phonenumbers); North American grouping stands on its
    own; a number with a trunk zero or eight, or with its area in brackets, must be valid in a larger region; anything
    else needs a word such as ``phone`` or ``call`` nearer than one that announces another kind of number, or an e-mail
    address in the next cell. A number that stands on its own is silenced by such a word right before it only.
    """
    number = _EXTENSION.sub("", value) if _MAY_HAVE_EXTENSION.search(value) else value
    digits = digits_of(number)
    international = number.lstrip("( ").startswith(("+", "00"))
    if (
        not 6 <= len(digits) <= 20
        or len(set(digits)) < 3
        or _is_part_of_something(number, before, after, international=international)
    ):
        return False
    if international and (_possible_internationally(number) or "+" in number):
        return _possible_internationally(number) and ("+" in number or not _is_numbered(number, before, after))
    return _is_shaped_like_phone(number) and _is_believed(number, digits, before, after)


def _is_believed(number: str, digits: str, before: str, after: str) -> bool:
    telling = True if _PHONE_LABEL_AFTER.match(after) else announced(before, PHONE_OR_OTHER)
    if _COMPANY_NUMBER.fullmatch(number) is not None:
        return False
    if telling:
        directly = follows_phone_word(before)
        if not directly and _is_amid_fours(number, before, after):
            return False
        return (6 if directly else 7) <= len(digits) <= _MAXIMUM_DIGITS and not _is_date_or_range(number, directly)
    if telling is False and _is_another_number(number, before):
        return False
    return not _is_date_or_range(number, directly=False) and (
        _stands_for_itself(number, digits, before, after) or _is_beside_email(number, digits, before, after)
    )


def _is_numbered(number: str, before: str, after: str) -> bool:
    """Whether a number that begins with two zeros is that of an order or an article, and no international one."""
    if _is_amid_fours(number, before, after) or _OF_A_YEAR.search(number) is not None:
        return announced(before, PHONE_OR_OTHER) is not True
    if announced(before, PHONE_OR_OTHER) is not False or _NUMBER_LABEL.search(before) is not None:
        return False
    return _is_another_number(number, before)


def _is_amid_fours(number: str, before: str, after: str) -> bool:
    """Whether ``number`` is some of many groups of four digits, as those of parcels and cards."""
    if number.startswith("+") or re.fullmatch(r"[0-9 ]+", number) is None:
        return False
    behind = re.match(r"(?: [0-9]{4}){1,4}", after)
    return _FOURS_BEFORE.search(before) is not None or (
        behind is not None and re.fullmatch(r"[0-9]{4}(?: [0-9]{4})+", number) is not None
    )


def _is_another_number(number: str, before: str) -> bool:
    """Whether what stands before ``number``, or before the digits that it goes on, calls it something else."""
    row = _ROW_BEFORE.search(before) if re.fullmatch(r"[0-9 ]+", number) else None
    return number.isdigit() or is_called_otherwise(before[: row.start()] if row else before, PHONE_OR_OTHER)


def _stands_for_itself(number: str, digits: str, before: str, after: str) -> bool:
    if digits in _COUNTED_UP or _is_in_row_of_numbers(number, before, after):
        return False
    if _NORTH_AMERICAN.fullmatch(number) is not None:
        return True
    if len(digits) < _SHORTEST_NATIONAL or _DATE_BEFORE.search(before) or _TIME_AFTER.match(after):
        return False
    if _NATIONAL.fullmatch(number) is not None and _valid_somewhere(digits, _TRUNK_REGIONS):
        return not _are_drawn(number)
    if _EIGHT.fullmatch(number) is not None:
        return _valid_somewhere(digits, _EIGHT_REGIONS)
    return _BRACKETED.fullmatch(number) is not None and _valid_somewhere(digits, _BRACKETED_REGIONS)


def _is_plain(number: str) -> bool:
    return any(shape.fullmatch(number) is not None for shape in (_NORTH_AMERICAN, _NATIONAL, _EIGHT))


def _is_beside_email(number: str, digits: str, before: str, after: str) -> bool:
    """Whether a grouped number is a whole cell and the next or the last cell is an e-mail address."""
    if number.isdigit() or not 7 <= len(digits) <= _MAXIMUM_DIGITS or _CELL_BEFORE.search(before) is None:
        return False
    return _BESIDE_EMAIL_AFTER.match(after) is not None or (
        _BESIDE_EMAIL_BEFORE.search(before) is not None and re.match(r"[\"']? ?(?:\Z|[,;|\t\n])", after) is not None
    )


def _are_drawn(number: str) -> bool:
    """Whether ``number`` is a row of numbers of two digits, as drawn in a lottery, or two dates."""
    groups = re.findall(r"\d+", number)
    if len(groups) < 5 or any(len(group) != 2 for group in groups):
        return False
    values = [int(group) for group in groups]
    return len(groups) > 5 or (values == sorted(set(values)) and values[-1] <= _LARGEST_DRAWN)


def _is_in_row_of_numbers(number: str, before: str, after: str) -> bool:
    """Whether only blanks divide the groups, and more numbers stand beside them: a row of a table.

    Numbers of one grouping side by side are no row of a table, nor is one with a trunk zero among numbers without.
    """
    if re.fullmatch(r"[0-9 ]+", number) is None:
        return False
    left = re.search(r"(?:[0-9]+ )+\Z", before)
    right = re.match(r"(?: [0-9]+)+", after)
    if left is None and re.match(r" -?[0-9]", after) is None:
        return False
    beside = [*(left[0].split() if left else ()), *(right[0].split() if right else ())]
    lengths = [len(group) for group in number.split()]
    if beside and [len(group) for group in beside] == lengths * (len(beside) // len(lengths)):
        return False
    nearest = [*(left[0].split()[-1:] if left else ()), *(right[0].split()[:1] if right else ())]
    zero_alone = number.startswith("0") and not any(group.startswith("0") or len(group) > 3 for group in nearest)
    return not zero_alone or len(digits_of(number)) <= _SHORTEST_NATIONAL or re.match(r" -", after) is not None


def _is_shaped_like_phone(number: str) -> bool:
    groups = re.findall(r"\d+", number)
    return (
        2 * sum(len(group) == 1 for group in groups) <= len(groups)
        and (_DECIMAL.search(number) is None or (_is_plain(number) and _CENTS.search(number) is None))
        and _CODE_POINTS.fullmatch(number) is None
        and _HOLDS_DATE.search(number) is None
    )


def _is_date_or_range(number: str, directly: bool) -> bool:
    """Whether ``number`` is a date, a range or a decimal; right behind a word such as ``phone`` some look like one."""
    if _DATE_OR_RANGE.fullmatch(number) is None:
        return False
    if directly and _MOBILE_DOTTED.fullmatch(number) is not None:
        return False
    if _DOTTED.fullmatch(number) is not None:
        return not (directly or number.startswith("0"))
    return not (directly and _SPACED.fullmatch(number) is not None)


def _is_part_of_something(number: str, before: str, after: str, *, international: bool) -> bool:
    if number.isdigit():
        if _WHOLE_FLOAT_AFTER.match(after):
            after = after[2:]
        if _BARE_BEFORE.search(before) is not None or _BARE_AFTER.match(after) is not None:
            return True
    if _GLUED_BEFORE.search(before[-3:]) is not None or _GLUED_AFTER.match(after) is not None:
        return True
    if _HEXADECIMAL_BEFORE.search(before[-5:]) is not None and _HEXADECIMAL_AFTER.match(after) is not None:
        return True
    if "+" in number.lstrip("( +") and _FORM_BEFORE.search(before) is None:
        return True
    if number.startswith("00") and (_DATE_BEFORE.search(before) is not None or _CODE_POINTS.fullmatch(number)):
        return True
    return _DECIMAL_BEFORE.search(before[-3:]) is not None and not (international or _is_plain(number))


def _possible_internationally(number: str) -> bool:
    digits = digits_of(number.replace("(0)", ""))
    international = digits if "+" in number else digits.removeprefix("00")
    if _is_possible("+" + international):
        return True
    without_trunk = (
        international[:length] + international[length + 1 :] for length in (1, 2, 3) if international[length] == "0"
    )
    return any(_is_possible("+" + candidate) for candidate in without_trunk)


def _is_possible(international: str) -> bool:
    import phonenumbers

    try:
        return phonenumbers.is_possible_number(phonenumbers.parse(international, None))
    except phonenumbers.NumberParseException:
        return False


def _valid_somewhere(digits: str, regions: tuple[str, ...]) -> bool:
    import phonenumbers

    for region in regions:
        try:
            if phonenumbers.is_valid_number_for_region(phonenumbers.parse(digits, region), region):
                return True
        except phonenumbers.NumberParseException:
            continue
    return False
