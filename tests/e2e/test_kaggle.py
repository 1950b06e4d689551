"""Whole cycles through the unmodified Kaggle client against its local stand-in, with faults and without credentials."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nethical_assets.core.detectors.registry import family_names
from tests.e2e.platform import NETHICAL, SHARED
from tests.orchestration import clean_environment, environment_of
from tests.tiny_mirror import CATALOG, CHECKOUT

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(280)]

KAGGLE_KEY = "local-key"


def cycle(folder: Path, *options: str, families: str | None = None) -> tuple[subprocess.CompletedProcess[str], Any]:
    """``nethical run --samples 3000`` behind the stand-in; the process, and the requests that the stand-in saw."""
    environment = environment_of(folder)
    # The client calls http://localhost, which no proxy variable of the fixture concerns.
    log = folder / "requests.jsonl"
    chosen = [] if families is None else ["--families", families]
    done = subprocess.run(
        [
            *(sys.executable, str(SHARED / "kaggle_mirror" / "serve.py"), "--log", str(log), *options),
            # The stand-in's own remarks about broken connections stay apart from what the command says.
            *("--", "sh", "-c", 'errors=$1; shift; exec "$@" 2>"$errors"', "sh", str(folder / "errors")),
            *(NETHICAL, "run", "--samples", "3000", "--json", *chosen),
        ],
        env=clean_environment(environment),
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=270,
        check=False,
    )
    return done, [json.loads(line) for line in log.read_text().splitlines()]


@pytest.mark.parametrize(
    "options", [("--faults", "429,truncate,corrupt"), ("--anonymous",)], ids=["faults", "anonymous"]
)
def test_a_whole_cycle_on_real_data(options: tuple[str, ...], kaggle_port: int, tmp_path: Path) -> None:
    done, requests = cycle(tmp_path, *options)

    assert "Traceback" not in (tmp_path / "errors").read_text()
    summary = json.loads(done.stdout)
    reasons = {family: result["reasons"] for family, result in summary["families"].items()}
    assert {f: r["verdict"] for f, r in summary["families"].items() if r["verdict"] == "error"} == {}, reasons
    assert done.returncode == 0
    assert set(summary["families"]) == set(family_names())
    assert {result["source"] for result in summary["families"].values()} == {"kaggle"}
    served = {name for name, dataset in summary["datasets"].items() if dataset["source"] == "kaggle"}
    assert {"nslkdd", "guide", "cyber_attacks", "prompt_injection_collection", "hdfs", "adfa_ld"} <= served
    for name, dataset in summary["datasets"].items():
        if name not in served:
            assert "404" in dataset["reason"] or "not found" in dataset["reason"].lower(), dataset
    downloads = [request["path"] for request in requests if request["path"].startswith("/storage/")]
    # Every file once, and again after each fault.
    assert len(downloads) == len(served) + (3 if "--faults" in options else 0) - ("429" in "".join(options))
    home = tmp_path / "home"
    verified = subprocess.run(
        [NETHICAL, "audit", "verify", "--json"],
        env=clean_environment({"NETHICAL_HOME": str(home)}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert json.loads(verified.stdout)["problems"] == []
    assert verified.returncode == 0
    for path in home.rglob("*"):
        if path.is_file():
            assert KAGGLE_KEY.encode() not in path.read_bytes(), path
    assert list((home / "data" / "downloads").rglob("*.zip*")) == []


def test_unchanged_datasets_are_not_downloaded_again(kaggle_port: int, tmp_path: Path) -> None:
    first, requests = cycle(tmp_path, families="logistic")
    assert first.returncode == 0, first.stderr
    assert any(request["path"].startswith("/storage/") for request in requests)
    second, requests = cycle(tmp_path, families="logistic")
    # Its headers answer whether anything changed; the client reads no further (tests/core/sources).
    assert len([request for request in requests if request["path"].startswith("/storage/")]) == 1
    summary = json.loads(second.stdout)
    assert summary["families"]["logistic"]["verdict"] == "unchanged"
    assert summary["datasets"]["nslkdd"]["status"] == "unchanged"
    assert CATALOG.entry("nslkdd").name in summary["datasets"]
