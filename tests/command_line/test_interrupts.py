"""Signals that end a command: which of them are heard, whatever runs meanwhile."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster._utils.interrupts import capture_interrupts

from nethical_assets.command_line import app
from nethical_assets.command_line.interrupts import exit_code, interruptible
from tests.orchestration import clean_environment


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    for each in before:
        signal.signal(each, signal.SIG_DFL)
    yield
    for each, handler in before.items():
        signal.signal(each, handler)


def test_a_command_in_the_background_is_ended_by_the_system_before_and_after_a_step() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with interruptible():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        with capture_interrupts():  # a step, to Dagster
            pass
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        assert exit_code() == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_each_signal_is_an_interruption_with_its_own_exit_code(sent: signal.Signals) -> None:
    with interruptible(), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(sent)
    assert exit_code() == 128 + sent
    assert signal.getsignal(sent) is signal.SIG_DFL


def test_a_closed_terminal_that_is_ignored_stays_so() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with interruptible():
        signal.raise_signal(signal.SIGHUP)
        with capture_interrupts():
            pass
        signal.raise_signal(signal.SIGHUP)


ENDINGS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
NETHICAL = str(Path(sys.executable).parent / "nethical")
DURING_IMPORTS = """
import sys, time
class Slow:
    def find_spec(self, name, path, target=None):
        if name == "nethical_assets.command_line.app":
            print("importing", flush=True)
            time.sleep(60)
sys.meta_path.insert(0, Slow())
from nethical_assets.command_line.program import program
program()
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table that takes long to read."""
    path = tmp_path_factory.mktemp("large") / "large.csv"
    with path.open("w") as stream:
        stream.write("text\n")
        for block in range(200):
            stream.write("".join(f"write to me, not to row {block * 10_000 + row}\n" for row in range(10_000)))
    return path


def start(command: list[str], variables: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


@pytest.mark.parametrize("sent", ENDINGS)
def test_a_signal_while_the_program_is_imported_is_one_line(sent: signal.Signals) -> None:
    process = start([sys.executable, "-c", DURING_IMPORTS], clean_environment({}))
    assert process.stdout is not None and process.stdout.readline() == "importing\n"
    process.send_signal(sent)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (128 + sent, "", "nethical: interrupted\n")


@pytest.mark.parametrize("sent", ENDINGS)
@pytest.mark.parametrize(
    "arguments",
    [
        ("screen", "{input}", "--text-column", "text", "--format", "csv"),
        pytest.param(("drift", "check", "--reference", "{input}", "--window", "{input}"), marks=pytest.mark.slow),
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_command_at_work_says_one_line_also_when_told_twice(
    arguments: tuple[str, ...], sent: signal.Signals, environment: dict[str, str], large: Path
) -> None:
    command = [NETHICAL, *(part.format(input=large) for part in arguments)]
    process = start(command, clean_environment(environment))
    try:
        deadline = time.monotonic() + 60
        while not opens(process.pid, large):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(sent)
        process.send_signal(sent)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 128 + sent, err
    assert (out, err) == ("", "nethical: interrupted; what was finished is kept, start it again to go on\n")


def opens(pid: int, path: Path) -> bool:
    """Whether a process has a file open."""
    with contextlib.suppress(OSError):
        return any(one.readlink() == path for one in Path(f"/proc/{pid}/fd").iterdir())
    return False


def test_a_library_that_turns_an_interruption_into_its_own_error_is_interrupted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(**options: object) -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            raise ImportError("half of a library") from None

    monkeypatch.setattr(app, "app", interrupted)
    with pytest.raises(SystemExit) as ended:
        app.main()
    assert ended.value.code == 128 + signal.SIGTERM
    assert capsys.readouterr().err.splitlines() == [
        "nethical: interrupted; what was finished is kept, start it again to go on"
    ]


def test_an_interruption_that_python_drops_comes_again() -> None:
    class Dropping:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    with interruptible(), pytest.raises(KeyboardInterrupt):
        one = Dropping()
        del one
        time.sleep(30)
