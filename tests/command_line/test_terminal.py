"""``nethical run`` on real terminals: what moves, what is whole, and what becomes of it when the terminal goes away."""

from __future__ import annotations

import ast
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from nethical_assets import command_line
from nethical_assets.command_line.drawing import clock, fit
from nethical_assets.core.detectors.registry import family_names
from tests.orchestration import clean_environment
from tests.terminal import Screen, Shown, in_terminal, resize

NETHICAL = str(Path(sys.executable).parent / "nethical")
RUN = (NETHICAL, "run", "--source", "synthetic", "--families", "prompt_injection", "--samples", "300")
# Where there is one processor, Dagster keeps what each step writes.
ONE_CORE = (
    "import os, sys; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); os.execv(sys.argv[1], sys.argv[1:])"
)
WIDTHS = [80, 100, 120]
CLOCK = re.compile(r" *\d+:\d\d  (preparing|\d+/\d+)")
# What a cycle does to its display, with what libraries and processes that it starts do to the same terminal.
CYCLE = """
import os, subprocess, sys, time
from nethical_assets.command_line.console import CycleDisplay
from nethical_assets.home.progress import stage
{first}
display = CycleDisplay()
stages = [(name, family) for name in ("datasets", "evaluations", "model_cards") for family in {families}]
with display.running():
    time.sleep(0.5)
    display.plan(stages)
    display.say("waiting for family logistic: run 7 is at work on it")
    for name, family in stages:
        with stage(name, family), stage("checks", f"{{name}}/{{family}}"):
            kept = os.dup(2)
            os.dup2(os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)  # as Dagster does in a step
            time.sleep(0.3 if family == 'prompt_injection' else 0.01)
            os.write(2, b"a step says this\\n")
            os.dup2(kept, 2)
            print("a library prints this")
            os.write(2, b"a library warns, with a bar:  10 %\\rwith a bar: 100 %\\n")
            subprocess.run(["sh", "-c", "echo a process says this; echo and this >&2"])
    {last}
    time.sleep(0.3)
print("the end")
"""


HOLDING = "import ctypes; ctypes.PyDLL(None).sleep(3)"
"""What a library does that computes without letting another thread of its process run."""
KILLED = (
    "time.sleep(0.3); import signal; "
    "os.kill(int(open(f'/proc/{os.getpid()}/task/{os.getpid()}/children').read().split()[0]), signal.SIGKILL); "
    "time.sleep(0.5); print('after the kill'); os.write(2, b'also after it\\n'); time.sleep(1.5)"
)
NOT_STARTED = "sys.executable = '/nowhere/python'"


def cycle(first: str = "", last: str = "") -> list[str]:
    return [sys.executable, "-c", CYCLE.format(families=family_names(), first=first, last=last)]


@pytest.fixture
def begun(environment: dict[str, str]) -> dict[str, str]:
    """The variables of a home in which a command has begun, and none ended."""
    home = Path(environment["NETHICAL_HOME"])
    home.mkdir()
    (home / "cycle.lock").touch()
    return environment


def assert_readable(screen: Screen, home: str = "") -> None:
    """Every line is a whole one, and none ran into the next, but for a path that is longer than the terminal."""
    for number in screen.wrapped:
        first = number - 1
        while first in screen.wrapped:
            first -= 1
        path = screen.lines[first].split()[-1]
        assert home and (path.startswith(home) or home.startswith(path)), screen.lines[number]
    for line in screen.text.splitlines():
        assert not CLOCK.match(line), f"a clock that was left: {line}"


@pytest.mark.parametrize(
    ("columns", "variables"),
    [*((columns, {}) for columns in (40, *WIDTHS)), (80, {"NO_COLOR": "1"}), (80, {"TERM": "dumb"})],
)
def test_the_clock_moves_and_what_others_write_stays_whole(
    columns: int, variables: dict[str, str], tmp_path: Path
) -> None:
    seen: list[str] = []

    def watch(process: Any, screen: Screen) -> None:
        if not seen or seen[-1] != screen.line:
            seen.append(screen.line)

    step = tmp_path / "step"
    shown = in_terminal([*cycle(), str(step)], clean_environment(variables), columns=columns, watch=watch)
    assert shown.code == 0, shown.screen.text
    assert_readable(shown.screen)
    lines = shown.screen.text.split("\n")
    for line in ("a library prints this", "with a bar: 100 %", "a process says this", "and this"):
        assert lines.count(line) == 15
    assert lines.count("the end") == 1
    assert " ".join(shown.screen.text.split()).count("waiting for family logistic: run 7 is at work on it") == 1
    assert shown.longest_silence() < 2
    assert step.read_text() == "a step says this\n" * 15, "the display wrote into a step's log"
    assert "15/15" in "".join(seen) and "0/15" in "".join(seen)
    if columns >= 80:
        assert any(
            re.fullmatch(r" 0:0\d  \d+/15  evaluations prompt_injection, checks \S+/prompt_injection", s) for s in seen
        )
    if "TERM" in variables:
        assert "\x1b" not in shown.written
    if variables:
        assert not shown.screen.styles


def test_the_clock_moves_while_nothing_else_in_the_process_does(tmp_path: Path) -> None:
    shown = in_terminal([*cycle(last=HOLDING), str(tmp_path / "step")], clean_environment({}), columns=80)
    assert shown.code == 0
    assert shown.longest_silence() < 2
    assert_readable(shown.screen)


@pytest.mark.skipif(sys.platform != "linux", reason="which processes another one started is read from Linux's /proc")
@pytest.mark.parametrize("without", [{"last": KILLED}, {"first": NOT_STARTED}])
def test_a_terminal_without_a_process_that_draws_on_it_shows_the_same(without: dict[str, str], tmp_path: Path) -> None:
    shown = in_terminal([*cycle(**without), str(tmp_path / "step")], clean_environment({}), columns=80)
    assert shown.code == 0
    assert re.search(r" \d:\d\d  15/15", shown.written)
    lines = shown.screen.text.split("\n")
    assert [lines.count(line) for line in ("a library prints this", "with a bar: 100 %", "and this")] == [15] * 3
    if without == {"last": KILLED}:
        assert shown.longest_silence() < 2
        assert [lines.count(line) for line in ("after the kill", "also after it")] == [1, 1]
        assert len(re.findall(r"\r\x1b\[K +\d:\d\d  15/15", shown.written.partition("also after it")[2])) > 1
    else:
        assert_readable(shown.screen)


@pytest.mark.skipif(sys.platform != "linux", reason="which processes another one started is read from Linux's /proc")
def test_what_draws_ends_with_a_command_that_is_killed(tmp_path: Path) -> None:
    drawing: list[Path] = []

    def kill(process: subprocess.Popen[bytes], screen: Screen) -> None:
        if "evaluations" in screen.line and not drawing:
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            drawing.extend(Path("/proc", child) for child in children)
            process.kill()

    shown = in_terminal([*cycle(), str(tmp_path / "step")], clean_environment({}), columns=80, watch=kill)
    assert shown.code == -signal.SIGKILL
    assert drawing
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and any(map(is_alive, drawing)):
        time.sleep(0.05)
    assert not any(map(is_alive, drawing))


def is_alive(process: Path) -> bool:
    try:
        return "\nState:\tZ" not in (process / "status").read_text()
    except OSError:
        return False


def test_a_terminal_that_becomes_narrow_gets_shorter_lines(tmp_path: Path) -> None:
    seen: list[str] = []

    def watch(process: subprocess.Popen[bytes], screen: Screen) -> None:
        if "evaluations" in screen.line and screen.columns == 120:
            screen.columns = 30
            with open(f"/proc/{process.pid}/fd/0", "rb") as terminal:
                resize(terminal.fileno(), 30)
        elif screen.columns == 30:
            seen.append(screen.line)

    shown = in_terminal([*cycle(), str(tmp_path / "step")], clean_environment({}), columns=120, watch=watch)
    assert shown.code == 0
    assert max(map(len, seen[2:])) < 30


def test_without_a_terminal_there_is_a_line_a_stage(tmp_path: Path) -> None:
    answer = subprocess.run(
        [*cycle(), str(tmp_path / "step")], env=clean_environment({}), capture_output=True, text=True, check=True
    )
    stages = [line for line in answer.stderr.splitlines() if "finished in" in line]
    assert len(stages) == 30
    assert all(re.fullmatch(r" +\d:\d\d  \d+/15 +\w+ +[\w/]+ +finished in \d\.\ds", line) for line in stages), stages
    assert "\r" not in answer.stderr.replace("10 %\r", "") and "\x1b" not in answer.stderr
    assert (tmp_path / "step").read_text() == "a step says this\n" * 15


@pytest.mark.slow
def test_a_cycle_goes_on_when_nobody_reads_what_it_says(environment: dict[str, str]) -> None:
    script = f"'{NETHICAL}' {' '.join(RUN[1:])} 2>&1 | head -n 1; echo ${{PIPESTATUS[0]}}"
    answer = subprocess.run(
        ["bash", "-c", script], env=clean_environment(environment), capture_output=True, text=True, check=True
    )
    first, code = answer.stdout.splitlines()
    # On a busy machine the line that says for how long nothing was finished comes first.
    assert re.match(r" *\d+:\d\d  ", first) and (code, answer.stderr) == ("0", "")
    assert any(Path(environment["NETHICAL_HOME"], "models", "metadata").glob("prompt_injection*_card.json"))


@pytest.mark.parametrize(("command", "code"), [("status", 0), ("alerts list", 0), ("--help", 0), ("audit verify", 1)])
def test_an_answer_that_nobody_reads_has_the_exit_code_of_the_command(
    command: str, code: int, begun: dict[str, str]
) -> None:
    script = f"'{NETHICAL}' {command} 2>&1 | true; echo ${{PIPESTATUS[0]}}"
    answer = subprocess.run(
        ["bash", "-c", script], env=clean_environment(begun), capture_output=True, text=True, check=True
    )
    assert (answer.stdout, answer.stderr) == (f"{code}\n", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full is Linux's")
def test_an_answer_that_cannot_be_stored_is_one_line(begun: dict[str, str]) -> None:
    with Path("/dev/full").open("w") as full:
        answer = subprocess.run(
            [NETHICAL, "status", "--json"],
            env=clean_environment(begun),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert answer.returncode == 2
    (line,) = answer.stderr.splitlines()
    assert "No space left on device" in line


def test_a_command_whose_streams_are_closed_works(begun: dict[str, str]) -> None:
    script = f"'{NETHICAL}' status --json >&- 2>&-"
    assert subprocess.run(["bash", "-c", script], env=clean_environment(begun), check=False).returncode == 0


def run(environment: dict[str, str], columns: int, *more: str, **options: Any) -> Shown:
    """``nethical run`` of one family in a terminal."""
    return in_terminal([*RUN, *more], clean_environment({**environment, **options}), columns=columns)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("columns", "variables"), [*((columns, {}) for columns in WIDTHS), (80, {"NO_COLOR": "1"}), (80, {"TERM": "dumb"})]
)
def test_a_cycle_is_readable_on_a_terminal(
    columns: int, variables: dict[str, str], environment: dict[str, str]
) -> None:
    shown = run(environment, columns, **variables)
    assert shown.code == 0, shown.screen.text
    assert_readable(shown.screen, environment["NETHICAL_HOME"])
    assert re.search(r"^prompt_injection .* (promoted|candidate) *$", shown.screen.text, re.MULTILINE)
    assert re.search(r" \d:\d\d  (\d+)/\1\b", shown.written), "the stages are not all done"


@pytest.mark.slow
@pytest.mark.parametrize("columns", [None, 80])
def test_what_a_step_writes_is_in_its_log_and_the_display_is_not(
    columns: int | None, environment: dict[str, str]
) -> None:
    command, variables = [sys.executable, "-c", ONE_CORE, *RUN], clean_environment(environment)
    if columns is None:
        assert subprocess.run(command, env=variables, capture_output=True, check=True).stderr.count(b"finished in") > 9
    else:
        assert in_terminal(command, variables, columns=columns).code == 0
    logs = list(Path(environment["NETHICAL_HOME"], "dagster", "storage").rglob("*.err"))
    assert logs, "no step of the run has a log of its own"
    for log in logs:
        assert not re.search(r"\d:\d\d  ", log.read_text(errors="replace")), f"the display wrote into {log}"


@pytest.mark.slow
def test_a_terminal_that_is_closed_ends_the_run_as_its_signal_says(environment: dict[str, str]) -> None:
    shown = in_terminal(
        RUN, clean_environment(environment), columns=80, closed_at=lambda screen: "datasets" in screen.line
    )
    assert shown.code == 128 + signal.SIGHUP


@pytest.mark.slow
def test_ctrl_c_is_for_the_run_and_everything_it_started(environment: dict[str, str]) -> None:
    sent: list[int] = []

    def press(process: subprocess.Popen[bytes], screen: Screen) -> None:
        if "datasets" in screen.line and not sent:
            sent.append(process.pid)
            os.killpg(process.pid, signal.SIGINT)  # as the terminal does

    shown = in_terminal(RUN, clean_environment(environment), columns=80, watch=press)
    assert shown.code == 128 + signal.SIGINT, shown.screen.text
    (line,) = [line for line in shown.screen.text.splitlines() if line.strip()]
    assert line == "nethical: interrupted; what was finished is kept, start it again to go on"


def test_the_clock_moves_from_the_first_import_on() -> None:
    """A command that shows a clock imports what it needs behind it: on a busy machine that takes seconds."""
    shown, late = 0, []
    for path in sorted(Path(command_line.__file__).parent.glob("*.py")):
        for function in ast.walk(ast.parse(path.read_text())):
            if not isinstance(function, ast.FunctionDef):
                continue
            clocks = [
                one.lineno
                for one in ast.walk(function)
                if isinstance(one, ast.With)
                and re.match(r"working\(|_progress\(", ast.unparse(one.items[0].context_expr))
            ]
            shown += bool(clocks)
            late += [
                f"{path.name}: {one.module}"
                for one in ast.walk(function)
                if isinstance(one, ast.ImportFrom) and clocks and one.lineno < min(clocks)
            ]
    assert shown >= 12
    assert late == []


def test_a_clock_is_short() -> None:
    assert [clock(seconds) for seconds in (0, 31.9, 725, 3729)] == ["0:00", "0:31", "12:05", "1:02:09"]


def test_whole_words_fit_and_the_others_are_counted() -> None:
    items = ["evaluations logistic", "models prompt_injection", "raw guide"]
    whole = fit("0:31  14/63", items, 200)
    assert whole == "0:31  14/63  evaluations logistic, models prompt_injection, raw guide"
    for width in range(11, 80):
        line = fit("0:31  14/63", items, width)
        assert len(line) <= width
        shown = sum(item in line for item in items)
        assert line == whole if shown == 3 else line.endswith(f"+{3 - shown}") or width < 15
