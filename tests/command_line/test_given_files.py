"""Every path that a command takes: what cannot be used there is one line and exit 2, whichever option takes it.

The options are found in the program itself, so that one that is added is tried too.
"""

from __future__ import annotations

import inspect
import os
import subprocess
import typing
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import typer
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from nethical_assets.command_line import app as cli
from nethical_assets.core.audit.keys import write_private_key
from nethical_assets.core.tlog.note import VerifierKey
from nethical_assets.home.options import CycleOptions
from nethical_assets.home.settings import load_settings
from nethical_assets.home.stores import open_model_keys
from nethical_assets.home.workspace import Workspace
from tests.command_line.programs import Run, in_this_process

SECRET = "anna.berg@example.org"
PNG = b"\x89PNG\r\n\x1a\n" + SECRET.encode() + bytes(range(256)) * 8
LIBRARY_WORDS = ("Error", "Errno", "Exception", "Traceback", "codec", "pydantic", "0x")
WRITTEN = {"output", "new_key_file", "folder", "keep", "out"}
"""What a command makes when it is not there."""

Command = tuple[str, ...]


def commands(app: typer.Typer, above: Command = ()) -> Iterator[tuple[Command, Callable[..., object]]]:
    """Every command of the program with the function that answers it."""
    for one in app.registered_commands:
        assert one.callback is not None
        yield (*above, one.name or one.callback.__name__.replace("_", "-")), one.callback
    for group in app.registered_groups:
        assert group.typer_instance is not None and group.name is not None
        yield from commands(group.typer_instance, (*above, group.name))


def options(callback: Callable[..., object]) -> Iterator[tuple[inspect.Parameter, str | None, bool]]:
    """The parameters of a command: each with its option, None for an argument, and whether it takes a path."""
    hints = typing.get_type_hints(callback, include_extras=True)
    for parameter in inspect.signature(callback).parameters.values():
        kind, *extras = typing.get_args(hints[parameter.name])
        is_path = kind is Path or Path in typing.get_args(kind)
        if any(isinstance(extra, typer.models.ArgumentInfo) for extra in extras):
            yield parameter, None, is_path
            continue
        declared = next(extra.param_decls or () for extra in extras if isinstance(extra, typer.models.OptionInfo))
        named = [name for name in declared if name.startswith("--")]
        yield parameter, named[0] if named else f"--{parameter.name.replace('_', '-')}", is_path


TAKEN = [
    (command, parameter.name)
    for command, callback in commands(cli.app)
    for parameter, _, is_path in options(callback)
    if is_path
]
READ = [one for one in TAKEN if one[1] not in WRITTEN and (one[0][-2:], one[1]) != (("keys", "new"), "file")]
_OF_A_MODEL = {(("score",), "output"), (("traffic",), "keep"), (("label-queue",), "out")}
"""Without a model, which costs seconds, none of these is made at all."""
MADE = [one for one in TAKEN if one not in READ and one not in _OF_A_MODEL]


def _loop(path: Path) -> None:
    path.symlink_to(path.name)


WRONG: dict[str, tuple[str, Callable[[Path], object] | None]] = {
    "missing": ("none.csv", None),
    "below a file": ("good.csv/none.csv", None),
    "a folder": ("folder.csv", Path.mkdir),
    "empty": ("empty.csv", Path.touch),
    "binary": ("picture.csv", lambda path: path.write_bytes(PNG)),
    "text": ("text.csv", lambda path: path.write_text(f'"{SECRET}\n')),
    "a device": ("/dev/null", None),
    "a device without end": ("/dev/zero", None),
    "a pipe": ("pipe.csv", os.mkfifo),
    "a loop of links": ("loop.csv", _loop),
    "a link to nothing": ("link.csv", lambda path: path.symlink_to("nothing.csv")),
    "line break in its name": ("a\nb.csv", lambda path: path.write_bytes(PNG)),
    "line break in the name of nothing": ("c\nd.csv", None),
    "a name that is too long": (f"{'n' * 300}.csv", None),
    "bytes in its name": (os.fsdecode(b"\xff\xfe.csv"), None),
    "not to be read": ("closed.csv", lambda path: (path.write_bytes(PNG), path.chmod(0))),
}


def _certificate(folder: Path) -> Path:
    """A certificate that signed itself."""
    private = Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "authority.example")])
    day = datetime(2026, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder(name, name, private.public_key(), 1, day, day.replace(year=2036))
    path = folder / "ca.pem"
    path.write_bytes(builder.sign(private, None).public_bytes(Encoding.PEM))
    return path


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the other options of a command are given, by name; the home has a log and a model key."""
    folder = tmp_path_factory.mktemp("material")
    settings = load_settings({"NETHICAL_HOME": str(folder / "home")})
    workspace = Workspace(settings, CycleOptions(), "begun")
    assert open_model_keys(settings.home, lambda: workspace.recorder).private.curve.name == "secp256r1"
    workspace.seal()
    workspace.end()
    (folder / "good.csv").write_text("text,n\n" + "".join(f"t{i},{i}\n" for i in range(40)))
    private = Ed25519PrivateKey.generate()
    write_private_key(folder / "key.pem", private)
    verifier = str(VerifierKey.of("log.example", private))
    subprocess.run(["git", "init", "-q", str(folder / "repository")], check=True)
    return {
        "home": str(settings.home),
        "family": "prompt_injection",
        "families": "logistic",
        "file": str(folder / "good.csv"),
        "reference": str(folder / "good.csv"),
        "window": str(folder / "good.csv"),
        "output": str(folder / "output.csv"),
        "text_column": "text",
        "model": "logistic",
        "reason": "a test",
        "key": verifier,
        "log_key": verifier,
        "key_file": str(folder / "key.pem"),
        "folder": str(folder / "witness"),
        "name": "witness.example",
        "url": "http://127.0.0.1:9",
        "roots": str(folder / "key.pem"),
        "repository": str(folder / "repository"),
        "signing_key": str(folder / "key.pem"),
        "what": "0",
        "bucket": "a-bucket",
        "until": "2030-01-01",
        "witness_key": verifier,
        "run": "begun",
    }


@pytest.fixture
def nethical(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], material: dict[str, str]) -> Run:
    """Run the program in this process."""
    monkeypatch.setenv("NETHICAL_HOME", material["home"])
    for name in ("NETHICAL_CONFIG", "NETHICAL_AUDIT_KEY_FILE", "NETHICAL_MODEL_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)
    return in_this_process(monkeypatch, capsys)


@pytest.fixture
def wrong(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The path of a file that cannot be used."""
    name, make = WRONG[request.param]
    if request.param == "not to be read" and os.geteuid() == 0:
        pytest.skip("this user may read everything")
    if request.param == "below a file":
        (tmp_path / "good.csv").touch()
    path = tmp_path / name
    if make is not None:
        make(path)
    return str(path)


def command_line(command: Command, name: str, value: str, material: dict[str, str]) -> list[str]:
    """``command`` with ``value`` where it takes ``name``, and whatever else it requires."""
    arguments: list[str] = list(command)
    for parameter, option, _ in options(dict(commands(cli.app))[command]):
        if parameter.name != name and parameter.default is not inspect.Parameter.empty:
            continue
        given = value if parameter.name == name else material[parameter.name]
        arguments += [given] if option is None else [option, given]
    return arguments


def assert_one_line(answer: tuple[int, str, str]) -> str:
    """The command ended with 2 and one line that holds nothing of a file and no word of a library; that line."""
    code, out, said = answer
    assert (code, out) == (2, ""), said
    assert len(said.splitlines()) == 1, said
    assert "anna" not in said
    for word in LIBRARY_WORDS:
        assert word not in said, said
    return said


def test_the_options_that_take_a_path_are_found() -> None:
    assert (("audit", "witness"), "key_file") in READ and (("lineage",), "key") in READ
    assert (("audit", "prove"), "output") in MADE and len(TAKEN) > 15


@pytest.mark.parametrize("wrong", WRONG, indirect=True)
@pytest.mark.parametrize(
    ("command", "name"), READ, ids=lambda value: " ".join(value) if isinstance(value, tuple) else value
)
def test_a_file_that_cannot_be_used_is_one_line(
    command: Command, name: str, wrong: str, nethical: Run, material: dict[str, str]
) -> None:
    said = assert_one_line(nethical(*command_line(command, name, wrong, material)))
    assert Path(wrong).name.encode("utf-8", "backslashreplace").decode().replace("\n", " ")[:20] in said


@pytest.mark.parametrize("case", ["below a file", "a folder", "a loop of links", "a name that is too long"])
@pytest.mark.parametrize(
    ("command", "name"), MADE, ids=lambda value: " ".join(value) if isinstance(value, tuple) else value
)
def test_what_cannot_be_made_is_one_line(
    command: Command, name: str, case: str, nethical: Run, material: dict[str, str], tmp_path: Path
) -> None:
    if (name, case) in (("folder", "a folder"), ("output", "a loop of links")) and command != ("audit", "export"):
        pytest.skip("it is right to use a folder that is there, or to put a file in the place of a link")
    named, make = WRONG[case]
    (tmp_path / "good.csv").touch()
    if make is not None:
        make(tmp_path / named)
    before = sorted(tmp_path.iterdir())
    assert_one_line(nethical(*command_line(command, name, str(tmp_path / named), material)))
    assert sorted(tmp_path.iterdir()) == before and (tmp_path / "loop.csv").is_symlink() == (case == "a loop of links")


BEGIN_A_HOME = {("run",), ("ui",), ("data", "fetch")}
NEED_NO_HOME = {
    *(("drift", "check"), ("screen",), ("error-card",)),
    *(("audit", "check-proof"), ("audit", "witness"), ("audit", "keys", "new")),
    *(("alerts", "test"), ("serve", "keys", "new")),
}
ALL = dict(commands(cli.app))


@pytest.mark.parametrize("command", [one for one in ALL if one not in BEGIN_A_HOME], ids=" ".join)
def test_a_mistyped_home_is_said_and_not_made(
    command: Command, nethical: Run, material: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if command == ("audit", "witness"):
        pytest.skip("it would serve")
    home = tmp_path / "homw"
    monkeypatch.setenv("NETHICAL_HOME", str(home))
    monkeypatch.setenv("NETHICAL_DATA_MIRROR", str(tmp_path))
    asked = {**material, "name": "nslkdd", "row": "0", "number": "1", "output": str(tmp_path / "out.csv")}
    if command[-2:] == ("keys", "new"):
        asked["file"] = str(tmp_path / "new.pem")
    if command == ("audit", "timestamp"):
        asked["roots"] = str(_certificate(tmp_path))
    answer = nethical(*command_line(command, "", "", asked))
    if command not in NEED_NO_HOME:
        assert f"no platform at {str(home)!r}: run `nethical run` first" in assert_one_line(answer)
    assert not home.exists()


def test_only_what_begins_a_home_goes_on_without_one() -> None:
    assert set(ALL) > BEGIN_A_HOME | NEED_NO_HOME
