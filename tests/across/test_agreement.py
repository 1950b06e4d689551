"""What is said of one run agrees: exit code, last line, document, the run's colour in the UI, and the alert."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.across.conftest import Copy
from tests.across.platform import Home, Sensors, files_of, flip
from tests.sweeping import cases
from tests.tiny_mirror import connections, write_connections

_SAYS_FAILED = re.compile(r"(?i)not verif|fail|error")
_SOURCE = ("--source", "mirror")


def says_failed(document: dict[str, Any]) -> bool:
    """Whether the document of a run says that it failed, for a family or as a whole."""
    whole = document.get("ok") is False or str(document.get("status", "")).lower() in ("failed", "failure", "error")
    return whole or any(result["verdict"] == "error" for result in document["families"].values())


def nothing(home: Home) -> tuple[str, ...]:
    """A run in which all is well."""
    return _SOURCE


def damaged_payload(home: Home) -> tuple[str, ...]:
    """Evidence that no stage reads and nothing repairs: only the check of the log fails."""
    flip(max(files_of(home.path / "audit" / "payloads"), key=lambda path: path.stat().st_size))
    return _SOURCE


def damaged_object(home: Home) -> tuple[str, ...]:
    """A stored table of an earlier cycle, which a cycle of fewer rows does not need."""
    flip(max(files_of(home.path / "data" / "objects"), key=lambda path: path.stat().st_size))
    return (*_SOURCE, "--samples", "500")


def text_in_numbers(home: Home) -> tuple[str, ...]:
    """A dataset whose blocking check (schema) fails."""
    rows = connections(900, np.random.default_rng(3)).assign(duration="x")
    assert home.mirror is not None
    write_connections(home.mirror, rows)
    return _SOURCE


def no_source(home: Home) -> tuple[str, ...]:
    """A source that cannot be reached: a step fails. The snapshot must not serve, so the data is asked for anew."""
    for path in files_of(home.path / "data" / "snapshots"):
        path.unlink()
    return ("--source", "kaggle")


@pytest.mark.parametrize(
    ("spoil", "fails"),
    cases(
        (nothing, False),
        (damaged_payload, True),
        (text_in_numbers, True),
        more=[(damaged_object, True), (no_source, True)],
    ),
)
def test_everything_that_is_said_of_a_run_agrees(
    spoil: Callable[[Home], tuple[str, ...]], fails: bool, copy: Copy, real: Home, tmp_path: Path
) -> None:
    assert real.mirror is not None
    own = tmp_path / "mirror"
    write_connections(own, connections(900, np.random.default_rng(7)))
    home = copy(real, mirror=own) if spoil is text_in_numbers else copy(real)
    sensors = Sensors(home)
    sensors.tick()
    arguments = spoil(home)

    answer = home.run(*arguments)
    shown = home.shown("run", "--families", "logistic", *arguments)
    sensors.tick()

    runs = home.dagster("runs")[-2:]
    grave = [issue for issue in home.alerts() if issue["severity"] in ("high", "critical")]
    said = {
        "exit code": bool(answer.code),
        "exit code, as text": bool(shown.code),
        "document": says_failed(answer.document),
        "last line": bool(_SAYS_FAILED.search(shown.last_line())),
        "run": runs[0]["status"] == "FAILURE",
        "run, as text": runs[1]["status"] == "FAILURE",
        "alert": bool(grave),
    }
    assert said == dict.fromkeys(said, fails), (shown.last_line(), grave)
    assert {answer.code, shown.code} <= {0, 1}
    assert "Traceback" not in answer.err + shown.out
    for issue in grave:
        assert issue["occurrences"] == 2
