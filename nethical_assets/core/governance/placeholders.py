"""What stands where a secret would stand: placeholders, references to a secret kept elsewhere, words about it.

What belongs here: the decision whether a value is one of these as a whole. What does not: where a value was found and
whether it looks like a secret (``credential_validators``).
"""

from __future__ import annotations

import re

from nethical_assets.core.governance.words import vocabulary

_WORD = re.compile(r"[^\W_]+")
_CAMEL = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\WA-Za-z_]+")
_DIVIDERS = frozenset("-_ .,/:;'()|=?\\<>[]{}\"")
_ROW_OF_SIGNS = re.compile(r"(?i)(?:[x*#?.\u2022\u25cf_0-]+[-_. ]?)+")


_NAMES = vocabulary(
    "password passwords passwd passphrase passcode pass pwd pw secret secrets token tokens key keys apikey credential",
    "credentials creds bearer pin hash digest jwt",
    "passwort kennwort contrasena clave senha wachtwoord haslo parola passord losenord salasana sifre heslo jelszo",
    "lozinka passe geslo",
    "\u5bc6\u7801 \u5bc6\u78bc \u53e3\u4ee4 \u30cf\u30b9\u30ef\u30fc\u30c8 \uc554\ud638 \ube44\ubc00\ubc88\ud638",
    "napo\u043bb \u041fapo\u043bb \u041fAPO\u043bB".lower(),
)
"""Words that name a secret, folded as screened texts are."""

_MARKERS = vocabulary(
    "your yours example examples sample dummy placeholder redacted changeme change changeit insert enter here replace",
    "fake removed masked hidden omitted todo tbd fixme put paste type goes mock unchanged undefined retype repeat",
    "provide provided specify choose create confirm forgot forgotten filtered sanitized scrubbed protected",
)
"""Words that say that something is to be put in or was taken out."""

_MEASURES = vocabulary(
    "sha md base utf aes rsa bit bits byte bytes character characters char chars digit digits letter letters min max",
    "minimum maximum length long day days week weeks least most size between",
)
SMALL_WORDS = vocabulary(
    "no on off not is are was be been being must should shall may can will cannot has have had do does did at and or",
    "the a an of for to from with without in by as if it its this that these those only please all my our some any us",
    "me them everyone nobody about once again later soon now today always never often same we you they he she i see",
    "below above",
)
"""Words that hold a sentence together: a value of several words with one of them is a message."""

_DESCRIPTIONS = vocabulary(
    "required require requires optional nullable sometimes string str text email uuid regex alpha alphanumeric",
    "numeric ascii encrypted encoded hashed salted plain plaintext cleartext clear raw confirmed confirmation invalid",
    "incorrect wrong missing empty blank none null nil nan true false yes default unset set valid new old current",
    "previous reset show hide generate generated random value values field fields input label name names var variable",
    "env environment config settings param parameter params arg args argv argument option options userid user users",
    "username admin root db database api app application client server access account service login auth",
    "authentication authorization personal private public test testing tests prod dev staging one two three first",
    "last id url uri file path data body form request response result prompt getpass reader readline line row item",
    "entry content answer object boolean bool int integer float double number buffer array list dict map tuple any",
    "unknown void never mapped model schema column varchar nvarchar char secure weak strong medium good bad expired",
    "expires expire accepted rejected correct verified disabled enabled locked changed updated mismatch match matches",
    "same different case sensitive insensitive strength policy policies rule rules manager managers protection factor",
    "less free based sent received stored saved safe kept lost stolen leaked reused supported unsupported available",
    "unavailable allowed forbidden denied failed success successful successfully error warning note contact support",
    "help click link page screen button store storage vault provider encoder decoder validator validation hint",
    "attempt attempts limit history age time important unique identical visible invisible written using used use uses",
    "need needs needed want go went b64decode b64encode b32decode b32encode b16decode b16encode base16 base32 utf16",
    "utf32 md5 sha1 sha256 sha512 base64 utf8 uint8 bcrypt argon2 scrypt pbkdf2 varchar2 oauth2 oauth s3 x509",
)
"""Words of descriptions, messages, forms and code, and kinds of values."""

_TELLING = _NAMES | _MARKERS | _MEASURES | _DESCRIPTIONS
_VOCABULARY = _TELLING | SMALL_WORDS
_SEVERAL_WORDS = 3
_LONGEST_NUMBER = 2
_LONGEST_NUMBER_AMONG_MARKERS = 4
_COUNTING = "1234567890"

_TEMPLATE = re.compile(
    r"\$\{[^{}]*\}|\$\([^()]*\)|\$\[[^\[\]]*\]|\{\{.*?\}\}|\{%.*?%\}|<%.*?%>|#\{[^{}]*\}|%\{[^{}]*\}|@\{[^{}]*\}"
    r"|%[A-Za-z][A-Za-z_]*%|%env\([^()]*\)%|\{[A-Za-z_.]+(?:![rsa])?(?::[^{}]*)?\}|%\([A-Za-z_]+\)s|%[sdr](?![A-Za-z0-9])"
)
_DEFAULT = re.compile(r"\A\$\{\w+:?[-=](?P<value>[^{}]+)\}\Z|\bdefault\s*\(\s*[\"'](?P<other>[^\"']+)[\"']")
_UNCLOSED_TEMPLATE = re.compile(r"(?:\$\{|\$\(|\$\[|\{\{|\{%|<%|#\{|%\{|@\{)[\w.$:-]*")
_PSEUDONYM = re.compile(r"\[[A-Z][A-Z_]*(?: [0-9a-f]{12})?\]")
_BRACKETS = {"<": ">", "[": "]", "{": "}", "(": ")"}
_LINK = re.compile(r"\[[^\]]*\]\(.*")
_LOCATION = re.compile(
    r"(?i)(?:[a-z][a-z0-9+.-]*://|www\.|vault:|arn:aws|secretsmanager:|~/|\.{1,2}/|[a-z]:\\"
    r"|/(?:usr|etc|run|var|home|opt|tmp|root|mnt|media|data|srv|app|apps|workspace|secrets?|api|auth|users?|bin|dev|proc"
    r"|lib|private|accounts?|login|v\d)/).*"
)
_DIRECTORY = re.compile(r"(?:/[\w.@+-]*)+|~(?:/.*)?|[A-Za-z]:\\.*")
_DOCUMENT = re.compile(r"(?i)(?:cve-\d{4}-\d{4,}|(?:rfc|iso)[- ]?\d{3,6})(?:[-:]\d+)?")
_YAML_TAG = re.compile(r"(?i)!(?:vault|secret|ref|sub|env|getatt|include|reference|input|var|encrypted|binary)")

_PATH = re.compile(
    r"[!&*-]*(?P<path>[$@:]{0,2}[A-Za-z_]\w*(?:(?:\??\.|!\.|->|::)[A-Za-z_]\w*)*)(?P<rest>.*)", re.DOTALL
)
_MEMBER = re.compile(r"[$@%]?[A-Za-z_][\w:]*->[\[{$(]")
_NAME_OF_FUNCTION = re.compile(r"[a-z_]+[a-z0-9]*(?:[_.]+[a-z0-9]+)+")
_PATH_SIGNS = re.compile(r"\??\.|!\.|->|::")
_HEADS = vocabulary(
    "os sys process self this args config conf settings env options params request req getenv system environment",
    "import props ctx context app cfg opts vars var local data secrets vault module session state event kwargs",
)
_END_OF_CODE = re.compile(r"[)\]};,.!?]*")


def words_of(value: str) -> list[str]:
    """The words of ``value`` in lower case: divided by signs, and by capitals where a word has letters only."""
    parts = (_CAMEL.findall(word) if word.isalpha() else [word] for word in _WORD.findall(value))
    return [part.lower() for run in parts for part in run]


def holds_known_word(value: str) -> bool:
    """Whether ``value`` has a word of messages, forms or code, or ends like the name of a secret (``dbpass``).

    Of several words one must name a secret, say that it is to be put in, or hold a sentence together.
    """
    words = words_of(value)
    several = len(_WORD.findall(value)) >= _SEVERAL_WORDS
    return not (_NAMES | _MARKERS | SMALL_WORDS if several else _TELLING).isdisjoint(words) or any(
        word.endswith(("password", "passwd", "pass", "pwd", "secret", "token", "passphrase")) for word in words
    )


def is_placeholder(value: str, after: str = "", *, quoted: bool = False) -> bool:
    """Whether ``value``, which ``after`` follows, stands for a secret instead of being one.

    A placeholder is a whole value: words such as ``your``, ``password`` or ``required`` divided by signs
    (``your-password-here``), also in brackets (``<token>``, ``[REDACTED]``); a row of signs; a variable whose name is
    letters (``$DB_PASSWORD``, ``${TOKEN}``, ``{{ secrets.X }}``); outside quotation marks (``quoted``) a piece of code
    (``os.environ[``, ``form.password``, ``input(``); a path or an address. Whatever else is in it makes it a value.
    """
    value = _with_closing_bracket(value, after)
    return (
        _is_row_of_signs(value)
        or _is_template(value)
        or _is_bracketed(value)
        or _are_placeholder_words(value, quoted=quoted)
        or _is_variable(value)
        or (not quoted and _is_code(value, after))
        or any(pattern.fullmatch(value) for pattern in (_PSEUDONYM, _LINK, _LOCATION, _DOCUMENT, _YAML_TAG))
    )


def is_directory(value: str) -> bool:
    """Whether ``value`` is the path of a directory, which is what ``PWD`` holds in a shell."""
    return _DIRECTORY.fullmatch(value) is not None


def _with_closing_bracket(value: str, after: str) -> str:
    """``value`` up to the bracket that closes its first one, if a blank or a quotation mark cut it before."""
    opening = re.match(r"[<\[({]+|[$#%@][{(\[]{1,2}", value)
    if opening is None:
        return value
    closing = "".join(_BRACKETS.get(sign, "") for sign in reversed(opening[0]))
    if closing in value:
        return value
    rest, found, _ = after.partition(closing)
    return value + rest + closing if found and "\n" not in rest else value


def _is_row_of_signs(value: str) -> bool:
    return not _WORD.search(value) or _ROW_OF_SIGNS.fullmatch(value) is not None


def _is_template(value: str) -> bool:
    default = _DEFAULT.search(value)
    if default is not None:
        return is_placeholder(default["value"] or default["other"], quoted=True)
    if _UNCLOSED_TEMPLATE.fullmatch(value):
        return True
    rest, count = _TEMPLATE.subn("", value)
    return count > 0 and (not _WORD.search(rest) or _are_placeholder_words(rest, quoted=True))


def _is_bracketed(value: str) -> bool:
    """Whether ``value`` is ``<your token 1>`` or the like: names in brackets, no mixture of letters and digits."""
    inner = value
    while len(inner) > 1 and _BRACKETS.get(inner[0]) == inner[-1]:
        inner = inner[1:-1]
    return inner is not value and _are_plain_words(inner, digits=3)


def _are_plain_words(value: str, *, digits: int) -> bool:
    """Whether ``value`` is words of letters, known ones with digits, and numbers, with nothing but dividers between."""
    words = _WORD.findall(value)
    return all(sign in _DIVIDERS or sign.isalnum() for sign in value) and all(
        word.isalpha() or word.lower() in _VOCABULARY or _is_small_number(word, digits) for word in words
    )


def _are_placeholder_words(value: str, *, quoted: bool) -> bool:
    trimmed = value.strip("*_~`").rstrip(".,;:!?")
    if not all(sign in _DIVIDERS or sign.isalnum() for sign in trimmed):
        return False
    words = words_of(trimmed)
    marked = not _MARKERS.isdisjoint(words) or not _MEASURES.isdisjoint(words)
    digits = _LONGEST_NUMBER_AMONG_MARKERS if marked else _LONGEST_NUMBER
    if not _are_plain_words(trimmed, digits=digits):
        return False
    if all(word in _VOCABULARY or word.isdigit() for word in words):
        return True
    told = _WORD.findall(trimmed.lower()) if quoted else words
    return not (_MARKERS | _NAMES).isdisjoint(told) or (" " in trimmed and not SMALL_WORDS.isdisjoint(told))


def _is_small_number(word: str, digits: int) -> bool:
    """Whether ``word`` is a number of at most ``digits`` digits, or counts up from one as placeholders do."""
    return word.isdigit() and (len(word) <= digits or (digits > _LONGEST_NUMBER and _COUNTING.startswith(word)))


def _is_name(component: str, *, digits: bool = False) -> bool:
    """Whether ``component`` looks like the name of a variable: words of letters, a number at most at the end.

    With ``digits`` a word may end with one digit.
    """
    words = [word for word in component.split("_") if word]
    return all(
        word.isalpha()
        or word.lower() in _VOCABULARY
        or (word.isdigit() and len(word) <= _LONGEST_NUMBER)
        or (digits and word[:-1].isalpha() and word[-1].isdigit())
        for word in words
    )


def _is_variable(value: str) -> bool:
    """``$DB_PASSWORD``, ``$env:TOKEN``, ``@password``, ``:password``: a sign and the name of a variable."""
    name = re.fullmatch(r"(?:\$(?:env:)?|&)(?P<name>[A-Za-z_]\w*)[)\]};,.]*", value)
    if name is not None:
        return _is_name(name["name"])
    bound = re.fullmatch(r"[@:](?P<name>[A-Za-z_]+)[);,]*", value)
    return bound is not None and holds_known_word(bound["name"])


def _is_code(value: str, after: str) -> bool:
    """A path (``form.password``), a call (``input(``) or an index (``row[0]``) of names."""
    match = _PATH.fullmatch(value)
    if match is None:
        return False
    if _MEMBER.match(value) is not None or (after[:1] == "(" and _NAME_OF_FUNCTION.fullmatch(value) is not None):
        return True
    components = _PATH_SIGNS.split(match["path"].lstrip("$@:"))
    known = components[0].lower() in _HEADS
    if not all(_is_name(component, digits=known) for component in components):
        return False
    rest = match["rest"]
    if rest[:1] in ("(", "["):
        return _closes(rest, after)
    return _END_OF_CODE.fullmatch(rest) is not None and (len(components) > 1 or match["path"][0] in "$@")


def _closes(rest: str, after: str) -> bool:
    """Whether the bracket that ``rest`` begins with is closed before its line ends, and no word follows it."""
    if len(rest) == 1:
        return True
    depth = 0
    whole = rest + after
    for position, sign in enumerate(whole):
        depth += (sign in "([") - (sign in ")]")
        if depth == 0:
            return not whole[position + 1 : position + 2].isalnum()
        if sign == "\n":
            return False
    return False
