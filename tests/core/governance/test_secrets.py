"""Secrets: every way to state a password or a key, every placeholder, and texts about passwords that hold none."""

from __future__ import annotations

import base64
import random
import string
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nethical_assets.core.governance.placeholders import is_placeholder
from nethical_assets.core.governance.rules import Ruleset, load_ruleset
from nethical_assets.core.governance.screener import Screener

ROOT = Path(__file__).resolve().parents[3]
SCREENER = Screener(load_ruleset(ROOT / "config" / "screening"))

Finding = tuple[str, str]


def findings(texts: Sequence[str]) -> list[list[Finding]]:
    found: list[list[Finding]] = [[] for _ in texts]
    for record in SCREENER.screen(list(texts)).to_records():
        if record["rule"].startswith("secrets."):
            row = record["row"]
            found[row].append((record["kind"], texts[row][record["start"] : record["end"]]))
    return found


def missed(kind: str, cases: Sequence[tuple[str, str]], *, wider: int = 3) -> list[str]:
    """The texts of ``(text, value)`` in which no finding of ``kind`` covers the value, and little more."""
    return [
        text
        for (text, value), found in zip(cases, findings([text for text, _ in cases]), strict=True)
        if not any(name == kind and value in span and len(span) <= len(value) + wider for name, span in found)
    ]


VALUES_LIKE_PLACEHOLDERS = (
    *(
        "your$Ecret99",
        "example-Q8zk2pW9x",
        "changeme!Zq81kk",
        "env.Zq81kk92",
        "$ZQ81KK92",
        "[Zq81kk92]",
        "<3lovesAnna99",
    ),
    *(
        "my$ecretDog",
        "{Zq81kk92}",
        "(Zq81kk92)",
        "<Zq81kk92>",
        "Tr0ub(dor99",
        "xxxZq81kkxxx",
        "none99Zq",
        "true-Zq81kk",
    ),
    *("todo!Zq81", "password!Zq81kk", "secret_Zq81kk92", "${ZQ}Zq81kk92", "%Zq81kk92%", "os.Zq81kk92x", "P@ssw0rd"),
    *(
        "process.env.Zq81kk92x",
        "redacted-Zq81kk92",
        "null_Zq81kk92",
        "Password2024!",
        "[REDACTED]Zq81kk92",
        "Zqkk(ab)99",
    ),
)
PLACEHOLDERS = (
    *("your-password-here", "YOUR_PASSWORD", "changeme", "change-me", "<your-password>", "<DB_PASSWORD>", "[REDACTED]"),
    *(
        "[PASSWORD]",
        "[PASSWORD 3f2a91c07d5e]",
        "{password}",
        "{{ secrets.DB_PASSWORD }}",
        "${DB_PASSWORD}",
        "$DB_PASSWORD",
    ),
    *("${{ secrets.DB_PASSWORD }}", "${DB_PASSWORD:-}", "$(cat /run/secrets/db)", "%DB_PASSWORD%", "%(password)s"),
    *(
        "os.environ[",
        "process.env.DB_PASSWORD",
        "env.DB_PASSWORD",
        "self.password",
        "getpass.getpass()",
        "form.data.pw",
    ),
    *(
        "********",
        "xxxxxxxx",
        "XXXX-XXXX-XXXX",
        "........",
        "required|min:8",
        "example-password-1",
        "insert_token_here",
    ),
    *(
        "/run/secrets/db2",
        "https://example.org/reset?id=12345",
        "!vault",
        "***REMOVED***",
        "<32-char-hex>",
        "your_key_12345",
    ),
)


@pytest.mark.parametrize("form", ["password=%s", "password: %s", "password: '%s'", '{"password": "%s"}'])
def test_a_value_that_holds_a_placeholder_is_a_value(form: str) -> None:
    assert missed("PASSWORD", [(form % value, value) for value in VALUES_LIKE_PLACEHOLDERS]) == []


def test_a_url_and_a_key_may_hold_a_placeholder_too() -> None:
    addresses = [(f"https://anna:{value}@host", value) for value in ("your$Ecret99", "example-Q8zk2pW9x", "$ZQ81KK92")]
    assert missed("URL_PASSWORD", addresses) == []
    key = "aB3dE5fG7hI9jK1lM3nO5p"
    keys = [(f"api_key={prefix}{key}", prefix + key) for prefix in ("example-", "your", "env.", "my_", "test-")]
    assert missed("SECRET", keys) == []


@pytest.mark.parametrize("form", ["password=%s", "password: %s", "DB_PASSWORD=%s", "<password>%s</password>"])
def test_a_placeholder_is_none(form: str) -> None:
    texts = [form % value for value in PLACEHOLDERS]
    assert [text for text, found in zip(texts, findings(texts), strict=True) if found] == []


@given(st.from_regex(r"[a-zA-Z]{2,8}[0-9][a-zA-Z][0-9]{1,3}[a-zA-Z]{1,4}", fullmatch=True))
def test_no_word_before_or_after_makes_a_mixture_of_letters_and_digits_a_placeholder(mixture: str) -> None:
    for form in ("%s", "your-%s", "%s_example", "<%s>", "[%s]", "{%s}", "${X}%s", "env.%s", "$%s", "a.%s.password"):
        assert not is_placeholder(form % mixture)


STATED = (
    *("password: ['%s']", 'password = ("%s")'),
    *("password=%s", "password: %s", "password = %s", "password   =   %s", "password => %s", "password -> %s"),
    *("password := %s", "password <- '%s'", "password: |\n  %s", "password: >-\n    %s", "password:\n    %s", "pw=%s"),
    *("[password] => %s", 'password "%s"', "password\t%s", 'config["password"] = "%s"', "user_pw: %s", "pwd: %s"),
    *("os.environ['DB_PASSWORD']='%s'", "- name: DB_PASSWORD\n  value: %s", '{"name":"DB_PASSWORD","value":"%s"}'),
    *('<input name="password" value="%s">', '<input type="password" name="password" id="pw" value="%s">'),
    *('<add key="Password" value="%s" />', "password=b'%s'", "password=r'%s'", "--password=%s", "tool --password %s"),
    *("--password '%s'", "<password>%s</password>", "<db:password>%s</db:password>", "<td>Password</td><td>%s</td>"),
    *('<string name="password">%s</string>', "<key>Password</key>\n<string>%s</string>", "**Password:** %s"),
    *("<b>Password:</b> %s", "the password is %s", "the password for the wifi is %s", "password for anna: %s"),
    *(
        "password (admin): %s",
        "my password was %s",
        "password set to %s",
        "http password: %s",
        "spring.mail.password=%s",
    ),
    *("Server=db;User Id=sa;Password=%s;", "Server=db;UID=sa;PWD=%s;", "machine x login anna password %s"),
    *("user=anna&password=%s&host=b", "define('DB_PASSWORD', '%s');", 'setItem("password", "%s")', "| password | %s |"),
    *("os.getenv('DB_PASSWORD', '%s')", "process.env.DB_PASSWORD || '%s'", "DB_PASSWORD=${DB_PASSWORD:-%s}"),
    *('{\\"password\\": \\"%s\\"}', "%%7B%%22password%%22%%3A%%22%s%%22%%7D", "PGPASSWORD=%s psql", "passcode: %s"),
    *("CREATE USER a IDENTIFIED BY '%s'", "sshpass -p %s ssh a@b", "curl -u anna:%s https://x", "mysql -uroot -p%s db"),
    *("USER anna\r\nPASS %s", "$password = '%s';", "export DB_PASSWORD=%s", "dbPass=%s", "password1=%s"),
)
LANGUAGES = (
    *("contraseña", "clave", "mot de passe", "Passwort", "Kennwort", "senha", "пароль", "ПАРОЛЬ", "密码", "密碼"),
    *(
        "パスワード",
        "비밀번호",
        "hasło",
        "wachtwoord",
        "lösenord",
        "passord",
        "adgangskode",
        "salasana",
        "şifre",
        "heslo",
    ),
    *("jelszó", "parola", "κωδικός", "סיסמה", "كلمة المرور", "mật khẩu", "kata sandi"),
)
IN_OTHER_WORDS = (
    "La contraseña es %s",
    "Das Passwort ist %s",
    "密码是%s",
    "パスワードは%s",
    "Mot de passe : %s",
)


@pytest.mark.parametrize("value", ["Tr0ub4dor&3x", "hunter2Zq", "letmeinZq9"])
def test_a_password_is_found_however_it_is_stated(value: str) -> None:
    assert missed("PASSWORD", [(form % value, value) for form in STATED]) == []


def test_a_password_is_found_in_other_languages() -> None:
    value = "Tr0ub4dor&3x"
    forms = [f"{word}{sign}%s" for word in LANGUAGES for sign in ("=", ": ")]
    assert missed("PASSWORD", [(form % value, value) for form in (*forms, *IN_OTHER_WORDS)]) == []


@pytest.mark.parametrize("value", ["letmeinZq", "qwertyuiop", "ILoveAnna", "83157729"])
def test_letters_or_digits_alone_count_where_they_are_assigned(value: str) -> None:
    forms = ("password=%s", "DB_PASSWORD=%s", '"password": "%s"', "password = '%s'", "<password>%s</password>")
    more = ("config['password'] = '%s'", "db_password: %s", "--password=%s", "password: %s", "password: >-\n  %s")
    assert missed("PASSWORD", [(form % value, value) for form in (*forms, *more)]) == []


def test_a_phrase_may_be_a_password() -> None:
    phrases = (
        "correct horse battery staple",
        "correct-horse-battery-staple",
        "Tr0u, b4dor; 3x",
        "correct.horse.battery",
    )
    assert missed("PASSWORD", [(f'passphrase: "{phrase}"', phrase) for phrase in phrases]) == []
    assert missed("PASSWORD", [('password = "it\'s4Tr0u&dor"', "it's4Tr0u&dor")]) == []


def test_the_next_field_is_no_part_of_a_password() -> None:
    rest = "&redirect=https://example.org/" + "a" * 60 + "&b=c"
    assert findings([f"?a=b&password=Zq81kk92!{rest}"]) == [[("PASSWORD", "Zq81kk92!")]]


KAGGLE = "7f532f3ab3cc2d0b698d5c7e41ba4ea5"
KAGGLE_FORMS = (
    *('{"username":"anna","key":"%s"}', "{'username':'anna','key':'%s'}", '{"key": "%s", "username": "anna"}'),
    *('{\\"username\\":\\"anna\\",\\"key\\":\\"%s\\"}', '{\n  "username": "anna",\n  "key": "%s"\n}', "KAGGLE_KEY=%s"),
    *("kaggle config set -n key -v %s", "kaggle config set --name key --value %s", "export KAGGLE_KEY='%s'"),
    *(
        "os.environ['KAGGLE_KEY'] = '%s'",
        "KAGGLE_KEY: %s",
        "- name: KAGGLE_KEY\n  value: %s",
        "username: anna\nkey: %s",
    ),
    *("ENV KAGGLE_USERNAME=anna KAGGLE_KEY=%s", "kaggle key is %s", "kaggleKey: '%s'"),
)


def test_a_kaggle_key_is_reported_without_what_stands_beside_it() -> None:
    assert missed("SECRET", [(form % KAGGLE, KAGGLE) for form in KAGGLE_FORMS], wider=0) == []
    assert findings([f"cache key: {KAGGLE}", f"md5 {KAGGLE}"]) == [[], []]


KEY_FORMS = (
    *(
        "api key: %s",
        "API Key = %s",
        "--api-key %s",
        "--api-key=%s",
        "<apiKey>%s</apiKey>",
        "x-api-key: %s",
        "token: %s",
    ),
    *("access token: %s", "client secret: %s", "[api_key] => %s", "api_key -> %s", "config['api_key'] = '%s'"),
    *("- name: API_KEY\n  value: %s", '<add key="ApiKey" value="%s"/>', "api_key: |\n  %s", "the api key is %s"),
    *("//npm.example.org/:_authToken=%s", "SharedAccessKey=%s", "api_key\t%s", "**API key:** %s", "| token | %s |"),
    *("os.getenv('API_KEY', '%s')", "secretAccessKey: %s", "<td>API key</td><td>%s</td>", "API_KEY=${API_KEY:-%s}"),
)


def test_a_key_is_found_however_it_is_stated() -> None:
    key = "aB3dE5fG7hI9jK1lM3nO5p"
    assert missed("SECRET", [(form % key, key) for form in KEY_FORMS]) == []
    headers = ("Authorization: Bearer %s", "Authorization: token %s", "'Authorization', 'Bearer %s'", "bearer %s")
    assert missed("BEARER_TOKEN", [(form % key, key) for form in headers]) == []


def test_user_and_password_in_base64_are_found() -> None:
    encoded = base64.b64encode(b"anna:Tr0ub4dor&3x").decode()
    forms = (
        "Authorization: Basic %s",
        '{"auths": {"x.io": {"auth": "%s"}}}',
        "_auth=%s",
        "'Authorization': 'Basic %s'",
    )
    assert missed("PASSWORD", [(form % encoded, encoded) for form in forms]) == []
    nothing = base64.b64encode(b"user:password").decode()
    assert findings([f"Authorization: Basic {nothing}", "auth=understanding"]) == [[], []]


@pytest.mark.parametrize(
    "text",
    [
        '"private_key": "-----BEGIN PRIV¦ATE KEY-----\\nMIIEvQIB\\nhkiG9w0B\\n-----END PRIV¦ATE KEY-----\\n"',
        "---- BEGIN SSH2 ENCRYPTED PRIV¦ATE KEY ----\nComment: x\nMIIEvQIB\n---- END SSH2 ENCRYPTED PRIV¦ATE KEY ----",
        "> -----BEGIN PGP PRIV¦ATE KEY BLOCK-----\n> Version\n>\n> MIIEvQIB=\n> -----END PGP PRIV¦ATE KEY BLOCK-----",
        "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\nPriv¦ate-Lines: 1\nMIIEvQIB\nPriv¦ate-MAC: 00",
    ],
)
def test_private_keys_are_found_whole_in_every_armour(text: str) -> None:
    text = text.replace("¦", "")
    assert missed("PRIVATE_KEY", [(text, "MIIEvQIB")], wider=len(text)) == []


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("postgres://app:Zq@81kk92@db/x", "Zq@81kk92"),
        ("postgres://app:Zq%4081kk92@db/x", "Zq%4081kk92"),
        ("redis://:Zq81kk92@cache:6379/0", "Zq81kk92"),
        ("jdbc:oracle:thin:scott/t1ger9x@//db:1521/x", "t1ger9x"),
    ],
)
def test_the_password_of_an_address_is_found(text: str, value: str) -> None:
    assert missed("URL_PASSWORD", [(text, value)], wider=0) == []


_LETTERS = string.ascii_letters + string.digits
_URL_LETTERS = _LETTERS + "-_"


def _base62(number: int) -> str:
    digits = string.digits + string.ascii_uppercase + string.ascii_lowercase
    text = ""
    while number:
        number, rest = divmod(number, 62)
        text = digits[rest] + text
    return text.rjust(6, "0")


def _with_checksum(prefix: str, body: str) -> str:
    return prefix + body + _base62(zlib.crc32(body.encode()))


Make = Callable[[Callable[[int, str], str]], str]
SHAPES: dict[str, tuple[str, Make]] = {
    "aws": ("AWS_KEY", lambda r: "AKIA" + r(16, string.ascii_uppercase + "234567")),
    "google": ("GOOGLE_KEY", lambda r: "AIza" + r(35, _URL_LETTERS)),
    "google client": ("GOOGLE_KEY", lambda r: "GOCSPX-" + r(28, _URL_LETTERS)),
    "github": ("GITHUB_TOKEN", lambda r: _with_checksum("gho_", r(30, _LETTERS))),
    "github fine": ("GITHUB_TOKEN", lambda r: "github_pat_" + r(22, _LETTERS) + "_" + r(59, _LETTERS)),
    "gitlab": ("GITLAB_TOKEN", lambda r: "glpat-" + r(20, _URL_LETTERS)),
    "slack": (
        "SLACK_TOKEN",
        lambda r: "xoxb-" + r(12, string.digits) + "-" + r(12, string.digits) + "-" + r(24, _LETTERS),
    ),
    "stripe": ("STRIPE_KEY", lambda r: "sk_" + "live_" + r(24, _LETTERS)),
    "openai": ("AI_PROVIDER_KEY", lambda r: "sk-" + "proj-" + r(120, _URL_LETTERS)),
    "hugging face": ("AI_PROVIDER_KEY", lambda r: "hf_" + r(34, string.ascii_letters)),
    "npm": ("PACKAGE_TOKEN", lambda r: _with_checksum("npm_", r(30, _LETTERS))),
    "sendgrid": ("SENDGRID_KEY", lambda r: "SG." + r(22, _URL_LETTERS) + "." + r(43, _URL_LETTERS)),
    "telegram": ("TELEGRAM_TOKEN", lambda r: r(9, "123456789") + ":AA" + r(33, _URL_LETTERS)),
}
BESIDE = (
    "",
    '"',
    "'",
    "(",
    "[",
    "<",
    "|",
    ";",
    ",",
    ":",
    "=",
    "/",
    "\t",
    "\\n",
    "{",
    "中",
    "key ",
    "x_",
    "@",
    "&",
    "`",
    ">",
)
BEHIND = (
    "",
    '"',
    "'",
    ")",
    "]",
    ">",
    "|",
    ";",
    ",",
    ":x",
    "\n",
    "\\n",
    "}",
    "中",
    " word",
    "@x",
    "&x=1",
    "`",
    ". And",
    "/x",
)


@pytest.mark.parametrize("name", SHAPES)
def test_keys_of_a_providers_shape_are_found_beside_every_sign(name: str) -> None:
    kind, make = SHAPES[name]
    generator = random.Random(name)
    cases = []
    for before in BESIDE:
        for after in BEHIND:
            value = make(lambda length, letters: "".join(generator.choices(letters, k=length)))
            cases.append((f"{before}{value}{after}", value))
    assert missed(kind, cases, wider=4) == []


@pytest.mark.parametrize(
    "text",
    [
        "AKIA" + "Q3RSTUVWXY2Z4567A",
        "AKIA" + "Q3RSTUVWXY2Z456",
        "xAKIA" + "Q3RSTUVWXY2Z4567",
        "ASIAPACIFICECONOMICS",
        "AIza" + "SyA1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6",
        "AIza" + "SyA1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7",
        "ghp_" + "0123456789abcdefghijABCDEFGHIJ3mpbCY",
        "glpat-aB3dE5fG7hI9jK1lM3n",
        "hf_" + "aBcDeFgHiJkLmNoP9RsTuVwXyZaBcDeFgHi",
        "SG." + "aB3dE5fG7hI9jK1lM3nO5." + "aB3dE5fG7hI9jK1lM3nO5pQ7rS9tU1vW3xY5zA7bC9d",
        "123456789:AB" + "aB3dE5fG7hI9jK1lM3nO5pQ7rS9tU1vW3",
        "xoxo-hugs-and-kisses-darling-2024",
        "sk-learn-v2-package-for-3d-clustering",
        "task-aB3dE5fG7hI9jK1lM3nO5pQ7",
        "550e8400-e29b-41d4-a716-446655440000",
    ],
)
def test_near_misses_of_a_shape_are_none(text: str) -> None:
    assert findings([text, f"use {text}", f"({text})"]) == [[], [], []]


ABOUT_PASSWORDS = (
    "user passes; we pass `mask=None` on",
    "raise ValueError(\"Cannot pass 'force_download=True' when offline\")",
    "password_data->keyring, password_data",
    '$PASSWORD = $CPAN::Config->{password} || "";',
    "password = base64.standard_b64decode(passphrase)",
    "(rules, next_token) = self.route53resolver_backend.list_resolver_rules(",
    'print(f"password={password!r}")',
    "if ($tok =~ /^(login|password|account)$/) {",
    "def password(self):\n    '''Return the password user.'''",
    'code = "if False:pass\\n" + code + "pass"',
    "r'(?P<password>[^\\s/]*))?@)?'",
    "Authorization: AWS4-HMAC-SHA256 Credential=mock",
    "Send both the USER and PASS commands.",
    "#define initCustomSecret initCustomSecret_avx2",
    "<p>The password.</p><p>Several placeholders</p>",
    "passwd\t1:4.13+dfsg1-1+deb12u1",
    "url.render_as_string(hide_password=False)",
    "self._passphrase_userdata = userdata\n",
    "password: required",
    "password: required|min:8",
    "'password' => 'required|string|min:8|confirmed'",
    "Password: must have 8 characters",
    "forgot password? click",
    "Forgot your password? Click here to reset it.",
    "PWD=/usr/local/bin",
    "PWD=/home/1a/v2.1",
    "OLDPWD=/srv/app1/src2",
    "password: ********",
    "password = <your password>",
    "password: your-password-here",
    "password: string",
    "password: string;",
    "password: z.string().min(8).max(64),",
    "password: Joi.string().min(8).required(),",
    "password: yup.string().required('No password provided.'),",
    "password = models.CharField(max_length=128)",
    "password: Mapped[str] = mapped_column(String(255))",
    "password VARCHAR(255) NOT NULL,",
    "| password | varchar(255) | NO | | NULL | |",
    "password: { type: String, required: true, minlength: 8 }",
    "password: ['', [Validators.required, Validators.minLength(8)]],",
    "password = request.form['password']",
    'password = request.POST.get("password")',
    'password = input("Enter your password: ")',
    'password = getpass.getpass("Password: ")',
    "password: req.body.password,",
    "password = hashlib.sha256(password.encode()).hexdigest()",
    "const hashedPassword = await bcrypt.hash(password, 10);",
    "user.password = bcrypt.hashSync(req.body.password, 8)",
    "if password != confirm_password:",
    'if (password.length < 8) { return "Password too short"; }',
    "assert user.password == hashed_password",
    "String password = scanner.nextLine();",
    "private String password;",
    'let password = document.getElementById("password").value;',
    'var password = $("#password").val();',
    "$password = $_POST['password'];",
    "$password = password_hash($_POST['password'], PASSWORD_DEFAULT);",
    '$stmt = $pdo->prepare("SELECT * FROM users WHERE password = :password");',
    "UPDATE users SET password = ? WHERE id = ?",
    "UPDATE users SET password = %s WHERE id = %s",
    'password = os.environ["DB_PASSWORD"]',
    "password: ${{ secrets.DB_PASSWORD }}",
    'password: "{{ vault_db_password }}"',
    "password: !vault |",
    "password: !secret wifi_password",
    "password=$DB_PASSWORD",
    "password=${DB_PASSWORD}",
    "password=%DB_PASSWORD%",
    'password="$(cat /run/secrets/db_password)"',
    "DB_PASSWORD_FILE=/run/secrets/db_password",
    "POSTGRES_PASSWORD_FILE: /run/secrets/postgres-passwd1",
    "password: process.env.DB_PASSWORD,",
    "password: env.DB_PASSWORD",
    'password = settings.DATABASES["default"]["PASSWORD"]',
    "password: config.get('db.password'),",
    "password=None, token=None",
    'def login(self, username, password="", timeout=30):',
    "def __init__(self, username: str, password: str, *, port: int = 5432):",
    "login(username=username, password=password)",
    "connect(host=host, user=user, password=passwd, db=db)",
    "The password field is required.",
    "The password is case-sensitive.",
    "The password is user-defined and base64-encoded.",
    "The password is SHA-256 hashed before it is stored.",
    "Your password is incorrect(401).",
    "Password is 8-20 characters.",
    "Your password has expired. Please choose a new one.",
    "My password is not working since Monday, what do I do?",
    "What is a password manager and how does it work?",
    "Password: (8-20 characters)",
    "Password (minimum 8 characters):",
    "Passwords: 1000000 leaked",
    "Leaked passwords: 12345678 and counting",
    "Password strength: weak",
    "Password changed: 2024-01-02T10:00:00Z",
    '"password": "The password must be at least 8 characters."',
    '"password": "Passwort"',
    '"password": "Password"',
    '"password": "Mot de passe"',
    '"password.confirmed": "The password confirmation does not match."',
    '"passwordHint": "At least 8 characters, 1 number"',
    '<label for="password">Password</label>',
    '<label for="password">Password*</label>',
    '<input type="password" name="password" placeholder="Enter password" />',
    '<input type="password" name="password" id="password1" required>',
    '<a href="/password/reset">Forgot your password?</a>',
    "<h2>Reset password</h2><p>Step-1: click</p>",
    '<string name="password">Password</string>',
    '<string name="prompt_password">Password (optional)</string>',
    "<password>${db.password}</password>",
    '<property name="password" value="${jdbc.password}"/>',
    '<property name="password" value="changeme"/>',
    "- name: DB_PASSWORD\n  valueFrom:\n    secretKeyRef:\n      name: db-secret-1",
    '- name: DB_PASSWORD\n  value: "$(DB_PASSWORD_FROM_SECRET)"',
    'fields = ["username", "password", "email2", "last_login_2"]',
    "username\tpassword\t2fa_enabled\taddress1",
    "INSERT INTO users (username, password, created_at2) VALUES (?, ?, ?)",
    "sudo passwd root2",
    "passwd: password updated successfully",
    "passwd: all authentication tokens updated2",
    "NOPASSWD: /usr/bin/apt-get2",
    "%sudo ALL=(ALL:ALL) NOPASSWD:ALL",
    "-p, --password PASSWORD   password for the database",
    "--password-file /etc/secret1",
    "--password-stdin",
    "usage: tool [--password PASSWORD] [--port 5432]",
    "docker login --username anna --password-stdin registry2.example.org",
    "I lost the password to the router; model TL-WR841N",
    "Wi-Fi password: see the sticker on the router",
    "wifi password - ask at desk 12",
    "Enter the password for the account, then press Enter.",
    "How do I reset the password on my iPhone 12?",
    'password: ""',
    "password=''",
    "password: null",
    "password: undefined",
    "password: false",
    '"password": true,',
    "password: ***REMOVED***",
    "password: [REDACTED]",
    "password: [FILTERED]",
    'Parameters: {"user"=>{"email"=>"x", "password"=>"[FILTERED]"}}',
    "password=[PASSWORD]",
    "password=[PASSWORD 3f2a91c07d5e]",
    "password: <redacted>",
    "password: <secret>",
    "password: xxxxxxxx",
    "password: XXXX-XXXX-XXXX",
    "password: test",
    "password=password&user=user",
    'password: "password"',
    "password: 'changeme'",
    'password: "CHANGE_ME"',
    'password: "<DB_PASSWORD>"',
    'password: "insert-your-password"',
    'password: "replace-with-your-password-1"',
    "password: example-password",
    "Palabras clave: COVID-19, salud",
    "Parola chiave: COVID-19",
    "Mots clefs: SARS-CoV-2",
    "passenger: seat12A",
    "passage: John-3:16",
    "passport: C01234567",
    "compass: N45W123",
    "passed: 12of15tests",
    "PASS src/login.test2.js",
    "tests pass: 1234567",
    "pass=1234567 fail=3",
    "bypass: valve-12B",
    "The token is invalid.",
    "token: string",
    "Token indices sequence length is longer than 512",
    "token bert-base-uncased-v2",
    "API key documentation-version-2 is here",
    "secret sauce recipe number-12345-of-cookbook",
    "csrf_token = get_csrf_token(request)",
    'token = request.headers["X-Auth-Token-2"]',
    "apiKey: process.env.REACT_APP_API_KEY_2",
    "api_key: ${API_KEY}",
    'api_key = "YOUR_API_KEY_HERE_12345"',
    "Authorization: Bearer <token>",
    "Authorization: Bearer $TOKEN",
    "Authorization: Bearer {access_token}",
    "Authorization: Bearer YOUR_ACCESS_TOKEN_HERE_1",
    'headers = {"Authorization": f"Bearer {token}"}',
    "a basic understanding of chemistry",
    "Authorization: Basic <credentials>",
    "the bearer of this identification card 2024",
    "the bearer identification-card-number-2024",
    "https://user:password@host/path",
    "https://<user>:<password>@host",
    "https://example.com:8080/a@b",
    "https://cdn.example.com:443/npm/pkg@1.2.3",
    "git@github.com:org/repo.git",
    "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQC7 anna@host",
    "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
    "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----",
    "machine github.com login anna password <token>",
    "curl -u user:password https://example.org",
    'curl -u "$USER:$PASS" https://example.org',
    "mysql -u root -p mydatabase1",
    "mysql -u root -P3306 -p",
    "CREATE USER anna IDENTIFIED BY '<password>';",
    "xoxo-hugs-and-kisses-darling",
    "sk-learn-v2-package-for-3d-clustering",
    "md5 key: 7f532f3ab3cc2d0b698d5c7e41ba4ea5",
    "cache key: 7f532f3ab3cc2d0b698d5c7e41ba4ea5",
    "password_hash_algorithm: argon2id-v19",
    "password policy: min8chars",
    "Password rules: 12-64 chars, 1 digit",
    "Password expires: 90days",
    "Password: Wi-Fi",
    "Password: Forgotten?",
    "Password: Incorrect",
    "Username: anna\nPassword: ________",
    "Step 3: password: enter it again",
    "Q: password? A: ask Bob12",
    "password\nrequirements2",
    "Password:\n\nForgot-password-2?",
    "if (user && await user.comparePassword(password2)) {",
    "const { username, password: userPassword } = req.body;",
    "password: userInput.value,",
    'password := os.Getenv("DB_PASSWORD")',
    'password := viper.GetString("db.password")',
    "val password: String? = null",
    "password: Option<String>,",
    "pub password: SecretString,",
    "password: &str,",
    "password: String::new(),",
    '@Value("${db.password}") private String password;',
    "spring.datasource.password=${DB_PASSWORD:}",
    "spring.datasource.password=${DB_PASSWORD:-}",
    "password: {{ .Values.db.password | quote }}",
    "password = var.db_password",
    "password = data.aws_secretsmanager_secret_version.db.secret_string",
    "password = random_password.db.result",
    'passwordField.setText("Login2")',
    "passwordInput: '#password-input-2'",
    '"password": "$2b$"',
    "the passwords are stored as salted bcrypt2 hashes",
    "password - the password of the user (8+ chars)",
    ":param password: the user's password, at least 8chars",
    "@param password user password (min8)",
    "password (str): The password. Default: None",
    '"password": {"type": "string", "minLength": 8}',
    '"password_confirmation": "passwords-must-match"',
    'msgid "password"',
    'error: password authentication failed for user "postgres2"',
    'FATAL: password authentication failed for user "app1"',
    "WARNING: Using a password on the command line interface can be insecure.",
    "sudo: a password is required",
    "Permission denied (publickey,password).",
    "anna's password: ",
    "[sudo] password for anna2:",
    "Enter password for user admin-01:",
    "passphrase for key '/home/1a/.ssh/id_ed25519':",
    "Enter passphrase for key '/home/1a/.ssh/id_rsa2':",
)


def test_texts_about_passwords_that_hold_none_have_no_finding() -> None:
    """Forum posts, documentation, forms, code and configuration."""
    found = findings(ABOUT_PASSWORDS)
    assert {text: what for text, what in zip(ABOUT_PASSWORDS, found, strict=True) if what} == {}


def test_gates_save_work_and_lose_nothing() -> None:
    ruleset = load_ruleset(ROOT / "config" / "screening")
    assert any(rule.gate for rule in ruleset.rules)
    assert any(rule.pack_gate for rule in ruleset.rules)
    without = tuple(replace(rule, gate=None, pack_gate=None) for rule in ruleset.rules)
    examples = [text for rule in ruleset.rules for text in (*rule.must_match, *rule.must_not_match)]
    generator = random.Random(7)
    made = [make(lambda n, letters: "".join(generator.choices(letters, k=n))) for _, make in SHAPES.values()]
    stated = [form % "Tr0ub4dor&3x" for form in (*STATED, *IN_OTHER_WORDS, *(f"{word}: %s" for word in LANGUAGES))]
    keys = [form % "aB3dE5fG7hI9jK1lM3nO5p" for form in KEY_FORMS] + [form % KAGGLE for form in KAGGLE_FORMS]
    texts = [*examples, *made, *stated, *keys, *ABOUT_PASSWORDS]
    ungated = Screener(Ruleset(without, ruleset.coverage, ruleset.digest))
    assert SCREENER.screen(texts).to_records() == ungated.screen(texts).to_records()
