"""``nethical metrics``: the ways out, and the exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.across.platform import Answer
from tests.command_line.test_cli import command
from tests.operations.measured_home import FAMILY, MeasuredHome, samples
from tests.operations.test_collecting import home, measured
from tests.orchestration import enter

__all__ = ["command", "home", "measured"]
Cli = Callable[..., Answer]


@pytest.fixture
def entered(home: MeasuredHome, monkeypatch: pytest.MonkeyPatch) -> Path:
    enter(monkeypatch, home.environment)
    return home.settings.home


def test_metrics_are_printed_or_replace_a_file(entered: Path, command: Cli, tmp_path: Path) -> None:
    printed = command("metrics")
    assert (printed.code, printed.err) == (0, "")
    assert f'nethical_champion_verified{{family="{FAMILY}"}} 1.0\n' in printed.out
    document = command("metrics", "--json")
    told = samples(json.loads(document.out))
    assert told["nethical_audit_head_verified",] == 1.0 and json.loads(document.out)["problems"] == []
    file = tmp_path / "nethical.prom"
    written = command("metrics", "--textfile", str(file))
    assert (written.code, written.out, written.err) == (0, "", "")
    assert file.read_text().count("# HELP") == printed.out.count("# HELP")


def test_what_is_damaged_is_a_line_and_exit_code_1_and_the_rest_is_written(
    entered: Path,
    command: Cli,
    tmp_path: Path,
) -> None:
    (entered / "models" / "current" / f"{FAMILY}.json").write_bytes(b"[]")
    file = tmp_path / "nethical.prom"
    answer = command("metrics", "--textfile", str(file))
    assert (answer.code, answer.out) == (1, "")
    assert len(answer.err.splitlines()) == 1 and answer.err.startswith("nethical: ")
    assert 'nethical_collection_failed{store="registry"} 1.0\n' in file.read_text()


@pytest.mark.parametrize(
    "arguments",
    [("--textfile", "metrics.txt"), ("--push", "http://user:password@localhost"), ("--push", "localhost")],
)
def test_what_cannot_be_used_is_refused_before_anything_is_read(
    entered: Path,
    command: Cli,
    arguments: tuple[str, ...],
) -> None:
    answer = command("metrics", *arguments)
    assert (answer.code, answer.out) == (2, "")
    assert len(answer.err.splitlines()) == 1 and "user:password" not in answer.err


def test_without_a_platform_nothing_is_written(command: Cli, environment: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "nethical.prom"
    answer = command("metrics", "--textfile", str(file))
    assert answer.code == 2 and "no platform at" in answer.err
    assert not file.exists()
