"""Settings, variables and child processes of the orchestration tests.

What belongs here: functions that tests of several folders call. What does not: fixtures (``conftest``).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.across.platform import Command

Start = Callable[..., "Command"]

SMALL_SETTINGS: dict[str, Any] = {
    "datasets": {"minimum_samples": 100, "maximum_rows": 5000},
    "training": {"synthetic_samples": 1500, "bootstrap_samples": 100},
}
# Nothing listens on port 1: the Kaggle client, which honours the proxy, is refused at once.
NO_KAGGLE = {"HTTPS_PROXY": "http://127.0.0.1:1", "https_proxy": "http://127.0.0.1:1", "NO_PROXY": "", "no_proxy": ""}
# Of an instance whose tests look at no step's output: two processes a run would follow what is written there.
NO_OUTPUT_KEPT = {
    "compute_logs": {
        "module": "dagster._core.storage.noop_compute_log_manager",
        "class": "NoOpComputeLogManager",
    }
}
_KAGGLE_VARIABLES = ("KAGGLE_API_ENVIRONMENT", "KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_API_TOKEN")


def write_settings(folder: Path, **changes: Mapping[str, Any]) -> Path:
    """The small settings file in ``folder``; ``changes`` are merged a section at a time."""
    sections = {key: {**SMALL_SETTINGS.get(key, {}), **changes.get(key, {})} for key in {*SMALL_SETTINGS, *changes}}
    path = folder / "training-schedule.json"
    path.write_text(json.dumps(sections))
    return path


def environment_of(folder: Path, mirror: Path | None = None, **changes: Mapping[str, Any]) -> dict[str, str]:
    """NETHICAL_* and proxy variables for a home below ``folder``, whether for this process or another."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {
        **NO_KAGGLE,
        "NETHICAL_CONFIG": str(write_settings(folder, **changes)),
        "NETHICAL_HOME": str(folder / "home"),
    }
    return found if mirror is None else {**found, "NETHICAL_DATA_MIRROR": str(mirror)}


def enter(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> dict[str, str]:
    """Make ``environment`` this process's, without leftovers of the user's own."""
    for name in (*_KAGGLE_VARIABLES, "NETHICAL_DATA_MIRROR", "DAGSTER_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DAGSTER_HOME", str(Path(environment["NETHICAL_HOME"]) / "dagster"))
    return environment


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables of a child process: ``environment``, and of this one's only what every program needs."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TMPDIR", "HOME") if name in os.environ}
    return {**kept, "PYTHONUNBUFFERED": "1", **environment}
