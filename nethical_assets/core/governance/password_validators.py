"""Whether a value that stands after the word password is one: how it is stated, and what it looks like.

What belongs here: validators of stated passwords. What does not: keys and tokens, which have a shape of their own
(``credential_validators``), and what a placeholder is (``placeholders``).
"""

from __future__ import annotations

import base64
import binascii
import enum
import re
from dataclasses import dataclass

from nethical_assets.core.governance.credential_validators import entropy
from nethical_assets.core.governance.placeholders import (
    SMALL_WORDS,
    holds_known_word,
    is_directory,
    is_placeholder,
    words_of,
)
from nethical_assets.core.governance.words import vocabulary

_SHORTEST = 6
_LEAST_ENTROPY = 2.0

_QUOTES = "\"'`\u00ab\u300c\u300e"
_STATEMENT = re.compile(
    r"(?P<name>[\w.-]*\w)(?P<closing>[\"'`\\\]}*]*)(?:\s\([^()\n]{0,30}\)|\s\[[^\[\]\n]{0,30}\])?"
    r"(?P<space>\s*)(?P<sign>={1,3}>?|:{1,2}=?|-{1,2}>|<-|\u2192|\u21d2|\|{1,2}|\?\?|,|)\s*"
    r"(?P<block>[|>][+-]?\d?\s*\n\s*)?(?:</?[A-Za-z][^<>]*>\s*)*(?:\*\*\s)?(?:\$\{\w+:?[-=])?"
    r"(?:[\[(]?[A-Za-z@]{0,2}[\"'`\\\u00ab\u300c\u300e]+)?\*{0,2}\Z"
)
_NAMED_VALUE = re.compile(r"(?P<name>[\w.-]*\w)[\"'\\]*[\s,;]+(?:[A-Za-z-]+=[\"'][^\"'<>]*[\"']\s*)*[\"'\\]*value\Z")
_ELEMENT = re.compile(r"<(?P<name>[\w:.-]+)[^<>]*>\s*\Z")
_CELL = re.compile(r"(?P<name>[\w.-]*\w)</\w+>\s*<\w+[^<>]*>\s*\Z")
_ARGUMENT = re.compile(r"(?i)(?:\A|\s)--?[a-z-]*\s+[\"'`]?\Z|\b(?:login|user)\s")
_WEAK_SIGNS = ("|", "||", ",", "??")
_MEMBER_OF_OBJECT = re.compile(r"(?:self|this)\.")
_ARROWS = ("=>", "-->", "<-", "\u2192", "\u21d2")
_LINE_START = re.compile(r"[\s>*-]*(?:export\s+|set\s+|env\s+)?[\"']?\Z", re.IGNORECASE)
_COMPOUND = re.compile(r"[A-Za-z0-9][_.-][A-Za-z0-9]|[a-z][A-Z]")

_NAME_OF_PASSWORD = re.compile(r"(?i)passw(?:or)?ds?|passwort|pwd|passphrase|passcode|pass")
_ABOUT_A_PASSWORD = vocabulary(
    "file path dir url uri link length len min max policy reset field type strength expiry expires expiration age",
    "prompt label hint required enabled attempt attempts regex pattern encoder manager authentication less column",
    "name count rotation changed updated last created date days timeout algorithm encryption provider store validator",
    "rule rules score entropy format message error help page screen class selector xpath command cmd script rate",
    "ratio percent version id input box ref element control textbox locator node view",
)
_OTHER_WORDS = re.compile(r"(?i)(?:palabras?|mots?|parol[ae])\s+(?:clave|clef?s?|chiave)\W*\Z")
_NAME_OF_NUMBERS = re.compile(r"(?i).*(?:passw(?:or)?d|passwort|pwd|passcode|passphrase)(?!s)\w*")
_DIRECTORY_NAME = re.compile(r"(?i)(?:old)?pwd")

_OR_DEFAULT = re.compile(r"(?:\|\||\?\?)\s*\Z")
_SAYS_IS = re.compile(
    r"(?i)(?:\b(?:is|was|es|est|ist|e|jest|je|er|to)|[\u662f\u4e3a\u70ba\u306f\uc740\ub294]):?\s*[\"'`]?\Z"
)
_AT_THE_END = re.compile(r"(?:\\[nrt]|[.,;:!?\"')}\]])+\Z")
_WORD_LIKE = re.compile(r"[^\W\d_]+(?:[-'./:_+~,][^\W\d_]+)*")
_STRONG_SIGN = re.compile(r"[^\w\s\-'./,:()+*~|%]")
_COLUMN_LIKE = re.compile(r"[a-z]+\d{0,3}|\w+(?:[_.-]\w+)+|\d+[a-z]+(?:_[a-z]+)*")
_UNUSUAL_CASE = re.compile(r"[a-z][A-Z]|[A-Z]{2}[a-z]")
_WORDS_OF_A_PASSPHRASE = 3


_ENDS = "\"'`,;<\u00bb\u300d\u300f"
_NEXT_FIELD = re.compile(r"&[\w.\[\]%-]+=")


class _Form(enum.IntEnum):
    """How plainly a value is given, least first."""

    PROSE = 0
    COLON = 1
    ASSIGNED = 2


@dataclass(frozen=True)
class _Given:
    """How a value is given: what it is called, how plainly, whether in quotation marks, whether its name begins a line.

    ``closed``: nothing of the same line or expression follows it.
    """

    name: str
    form: _Form
    quoted: bool = False
    closed: bool = False
    at_start: bool = False


def password(value: str, before: str, after: str) -> bool:
    """A stated password: no placeholder, and what its surroundings ask for.

    With a digit or a sign beside letters it counts after any sign, in running text (``password is``, a blank, a bar)
    only if it is no word joined to another. Letters only, or digits only, count where they are assigned as programs do:
    ``=``, quotation marks, a flag, an element, a name such as ``db_password``, a line of its own.
    """
    trimmed = _AT_THE_END.sub("", value)
    if len(trimmed) < _SHORTEST or entropy(trimmed) < _LEAST_ENTROPY or _runs_on(value, after):
        return False
    given = _given(before, after)
    if _is_something_else(value, given, before):
        return False
    if any(is_placeholder(text, after, quoted=given.quoted) for text in (value, trimmed)):
        return False
    bare = trimmed.strip("*_~(")
    if _WORD_LIKE.fullmatch(bare):
        return _is_word_a_password(bare, given)
    if bare.isdecimal():
        return given.form >= _Form.COLON and _NAME_OF_NUMBERS.fullmatch(given.name) is not None
    return re.search(r"[^\W\d_]", bare) is not None and _is_mixture_a_password(bare, given, before)


def _given(before: str, after: str) -> _Given:
    closed = after == "" or after[0] in "\r\n\"'`<"
    cell = _CELL.search(before)
    if cell is not None:
        return _Given(cell["name"], _Form.PROSE, closed=closed)
    element, statement = _ELEMENT.search(before), _STATEMENT.search(before)
    if element is not None and (statement is None or statement["sign"] == ""):
        return _Given(element["name"], _Form.ASSIGNED, closed=closed)
    if statement is None:
        return _Given("", _Form.PROSE, closed=closed)
    quoted = before[-1:] in _QUOTES
    named = _NAMED_VALUE.search(before[: statement.end("name")])
    if named is not None:
        return _Given(named["name"], _Form.ASSIGNED, quoted, closed)
    at_start = _LINE_START.fullmatch(before[: statement.start()].rpartition("\n")[2]) is not None
    return _Given(statement["name"], _form(statement, before, after, closed=closed), quoted, closed, at_start)


def _form(statement: re.Match[str], before: str, after: str, *, closed: bool) -> _Form:
    sign = statement["sign"]
    if sign == "":
        return _Form.ASSIGNED if _ARGUMENT.search(before) else _Form.PROSE
    if sign in _WEAK_SIGNS or sign == "->":
        return _Form.ASSIGNED if sign == "->" and not before.endswith("->") else _Form.PROSE
    if sign == "==" or _MEMBER_OF_OBJECT.match(statement["name"]):
        return _Form.COLON
    tight = sign.startswith("=") and statement["space"] == "" and before.endswith("=") and after[:1] not in (",", ")")
    if before[-1:] in _QUOTES or tight or statement["block"] or sign in _ARROWS:
        return _Form.ASSIGNED
    as_a_setting = _COMPOUND.search(statement["name"]) is not None or sign.startswith("=")
    return _Form.ASSIGNED if as_a_setting and closed else _Form.COLON


def _is_something_else(value: str, given: _Given, before: str) -> bool:
    """Whether the name is of something about passwords (``password_file``, ``NOPASSWD``) or of a directory."""
    named = _NAME_OF_PASSWORD.search(given.name)
    rest = words_of(given.name[named.end() :].replace("_", " ")) if named is not None else []
    return (
        given.name.lower().startswith("nopassw")
        or (given.name.startswith("-") and value.startswith("-"))
        or not _ABOUT_A_PASSWORD.isdisjoint(rest)
        or _OTHER_WORDS.search(before) is not None
        or (_DIRECTORY_NAME.fullmatch(given.name) is not None and is_directory(value))
    )


def _is_mixture_a_password(value: str, given: _Given, before: str) -> bool:
    """Whether letters with digits or signs are a password and no name of a column or a thing."""
    if " " in value or given.form is not _Form.PROSE:
        return " " not in value or given.quoted
    if before[-1:] in ("|", "?") or before.endswith("->") or (_OR_DEFAULT.search(before) and not given.quoted):
        return False
    if re.search(r"\t[\"'`]?\Z", before):
        return all(re.search(letters, value) for letters in ("[a-z]", "[A-Z]", "[0-9]"))
    if _STRONG_SIGN.search(value) is not None:
        return True
    return re.search(r"\d", value) is not None and (
        _COLUMN_LIKE.fullmatch(value) is None or _SAYS_IS.search(before) is not None
    )


def _is_word_a_password(value: str, given: _Given) -> bool:
    """Whether letters only, perhaps joined by signs, are a password and no word of prose, form or code."""
    parts = re.findall(r"[^\W\d_]+", value)
    if not SMALL_WORDS.isdisjoint(part.lower() for part in parts) or holds_known_word(value):
        return False
    unusual = len(parts) == 1 and _UNUSUAL_CASE.search(value) is not None
    if given.form is _Form.PROSE:
        return given.quoted and unusual
    return (
        given.form is _Form.ASSIGNED
        or (len(parts) >= _WORDS_OF_A_PASSPHRASE and "-" in value)
        or (given.closed and (unusual or _is_line_of_its_own(value, given)))
    )


def _is_line_of_its_own(value: str, given: _Given) -> bool:
    if _MEMBER_OF_OBJECT.match(given.name) or _NAME_OF_NUMBERS.fullmatch(given.name) is None:
        return False
    return given.at_start and value.isalpha() and value.islower()


def _runs_on(value: str, after: str) -> bool:
    """Whether ``value`` goes on into the next field of a query (``X&host=b``), or was cut inside a word of signs."""
    if re.search(r"&\w+(?:=|\Z)", value + after[:1]) is not None and re.search(r"&\w+=", value + after) is not None:
        return True
    return after != "" and not after[0].isspace() and after[0] not in _ENDS and not _NEXT_FIELD.match(after)


def bare_password(value: str, before: str, after: str) -> bool:
    """What stands behind the word itself and is neither a word nor a name such as OAuth2Client.

    It has letters and either digits in two places or digits and signs.
    """
    groups = re.findall("[0-9]+", value)
    beyond_words = len(groups) > 1 or (bool(groups) and not value.isalnum())
    return re.search("[A-Za-z]", value) is not None and beyond_words and not is_placeholder(value, after, quoted=False)


def basic_credentials(value: str, before: str, after: str) -> bool:
    """The user and password of HTTP Basic authentication (RFC 7617): base64 of ``user:password``."""
    try:
        decoded = base64.b64decode(value + "=" * (-len(value) % 4), validate=True).decode()
    except (ValueError, binascii.Error):
        return False
    user, colon, secret = decoded.partition(":")
    return (
        bool(colon)
        and decoded.isprintable()
        and " " not in user
        and len(secret) >= 3
        and not is_placeholder(secret, quoted=True)
    )
