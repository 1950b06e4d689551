"""The command line as a user meets it: documents, exit codes, and one clear line for whatever is wrong."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nethical_assets.command_line import app as cli
from nethical_assets.core.alerts import Alert, LocalIssueTracker
from nethical_assets.core.detectors.registry import family_names
from nethical_assets.core.drift.inference_log import InferenceLog
from nethical_assets.core.ground.digests import digest_file
from nethical_assets.core.models.registry import ModelRegistry
from nethical_assets.home.settings import Settings
from nethical_assets.home.stores import open_audit_log, open_model_keys
from nethical_assets.home.workspace import Workspace
from tests.across.platform import Answer, ForkServer
from tests.core.alerts.github_double import REPOSITORY, TOKEN, GitHubDouble
from tests.orchestration import Start, clean_environment, enter, environment_of, write_settings
from tests.tiny_mirror import CATALOG, connections, texts

FAMILIES = ("logistic", "prompt_injection")
METRICS = {"accuracy", "precision", "recall", "f1", "roc_auc", "brier", "ece"}
SECRET_KEY = "3f9c1b7e5d2a4c6e8f0a1b3c5d7e9f10"


Cli = Callable[..., Answer]
Finished = tuple[dict[str, str], Answer]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run ``nethical`` in this process, from its entry point."""

    def run(*arguments: str) -> Answer:
        monkeypatch.setattr(sys, "argv", ["nethical", *arguments])
        capsys.readouterr()
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        captured = capsys.readouterr()
        return Answer(code, captured.out, captured.err)

    return run


@pytest.fixture(scope="module")
def finished(server: ForkServer, tmp_path_factory: pytest.TempPathFactory, mirror: Path) -> Finished:
    """A home in which one cycle of two families ran, in a process with Kaggle credentials, and what it printed."""
    environment = environment_of(tmp_path_factory.mktemp("finished"), mirror)
    variables = clean_environment({**environment, "KAGGLE_USERNAME": "somebody", "KAGGLE_KEY": SECRET_KEY})
    done = server.start("nethical", ("run", "--families", ",".join(FAMILIES), "--json"), variables, {}).wait()
    return environment, done


@pytest.fixture
def home(
    finished: Finished,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A copy of the finished home, which this process now points at; a test may spoil it."""
    environment, _ = finished
    copy = tmp_path / "home"
    shutil.copytree(environment["NETHICAL_HOME"], copy, symlinks=True)
    enter(monkeypatch, {**environment, "NETHICAL_HOME": str(copy)})
    return copy


@pytest.fixture
def a_home(environment: dict[str, str]) -> Path:
    """A home in which nothing ran yet."""
    folder = Path(environment["NETHICAL_HOME"])
    (folder / "data" / "objects").mkdir(parents=True)
    return folder


def assert_one_line(answer: Answer, *parts: str, code: int = 2) -> None:
    """The command ended with ``code`` and one line on stderr that holds ``parts``; nothing on stdout."""
    assert answer.code == code, answer.err
    assert answer.out == ""
    assert "Traceback" not in answer.err
    lines = [line for line in answer.err.splitlines() if line.strip()]
    assert len(lines) == 1, answer.err
    for part in parts:
        assert part in lines[0]


# run


def test_run_prints_the_document_of_the_design(
    finished: Finished,
) -> None:
    environment, done = finished
    assert done.code == 0, done.err
    summary = json.loads(done.out)
    assert {"run_id", "wall_seconds", "families", "audit", "checks"} <= set(summary)
    assert re.fullmatch(r"[0-9a-f-]{36}", summary["run_id"])
    assert summary["wall_seconds"] > 0
    assert list(summary["families"]) == list(FAMILIES)
    for family, result in summary["families"].items():
        assert set(result) >= {
            *("source", "rows", "train_rows", "test_rows", "verdict"),
            *("reasons", "metrics", "model_digest", "card"),
        }
        assert result["source"] == "mirror"
        assert result["verdict"] in ("promoted", "candidate")
        assert result["train_rows"] + result["test_rows"] < result["rows"]
        assert set(result["metrics"]) >= METRICS
        for metric in result["metrics"].values():
            assert (
                metric["value"] is None
                or metric["low"] <= metric["value"] <= metric["high"]
                or metric["reason"]
                or (metric["low"] <= metric["high"])
            )
        assert re.fullmatch(r"sha256:[0-9a-f]{64}", result["model_digest"])
        assert json.loads(Path(result["card"]).read_text())["model_type"] == family
    assert summary["audit"]["size"] > 10
    assert re.fullmatch(r"(sha256:)?[0-9a-f]{64}", summary["audit"]["root"])
    assert summary["checks"]["passed"] > 10
    assert summary["checks"]["failed"] >= 0


def test_run_logs_to_stderr_and_shows_no_traceback(
    finished: Finished,
) -> None:
    _, done = finished
    assert done.out.lstrip().startswith("{")
    assert done.out.rstrip().endswith("}")
    for stage in ("raw", "splits", "models", "evaluations", "audit"):
        assert stage in done.err
    assert "Traceback" not in done.err
    assert "Warning" not in done.err


def test_credentials_are_nowhere(finished: Finished) -> None:
    environment, done = finished
    assert SECRET_KEY not in done.out + done.err
    home = Path(environment["NETHICAL_HOME"])
    files = [path for path in home.rglob("*") if path.is_file()]
    assert len(files) > 50
    for path in files:
        assert SECRET_KEY.encode() not in path.read_bytes(), path


def test_what_others_may_read_follows_the_umask_and_secrets_are_private(finished: Finished) -> None:
    environment, _ = finished
    umask = os.umask(0)
    os.umask(umask)
    home = Path(environment["NETHICAL_HOME"])
    files = [path for path in home.rglob("*") if path.is_file() and not path.is_symlink()]
    modes = {path.relative_to(home): path.stat().st_mode & 0o777 for path in files}
    secret = {path for path in modes if path.name == "signing-key.pem" or path.suffix == ".row"}
    # SQLite takes the group's right to write away, whatever the umask is.
    shared = {path for path in modes if path not in secret and path.parts[0] not in ("dagster", "alerts")}
    assert {str(path.parent) for path in secret} >= {"audit/keys", "models/keys"}
    assert {modes[path] for path in secret} == {0o600}
    assert {modes[path] for path in shared} == {0o666 & ~umask}
    assert any(path.name.endswith(".pub.pem") for path in shared)
    assert any(path.parts[:2] == ("audit", "tile") for path in shared)


def test_nothing_outside_the_home_is_written(
    finished: Finished,
) -> None:
    home = Path(finished[0]["NETHICAL_HOME"])
    assert {path.name for path in home.parent.iterdir()} == {"home", "training-schedule.json"}
    assert {path.name for path in home.iterdir()} <= {
        *("dagster", "data", "models", "audit", "serving", "alerts", "runs", "acts", "cache", "cycle.lock")
    }


def test_run_as_text_ends_with_a_table_and_where_to_look_next(home: Path, command: Cli) -> None:
    answer = command("run", "--families", "logistic")
    assert answer.code == 0, answer.err
    for part in ("Family", "Accuracy", "95 % interval", "ECE", "Verdict", "logistic", "unchanged", "Card:", "make ui"):
        assert part in answer.out
    assert "Audit:" in answer.out
    assert "Data came from: mirror" in answer.out


def test_a_second_run_finds_everything_unchanged(home: Path, command: Cli) -> None:
    before = {p: p.stat().st_mtime_ns for p in (home / "models").rglob("*") if p.is_file() and p.name != ".lock"}
    summary = command("run", "--families", "logistic", "--json").document
    assert summary["families"]["logistic"]["verdict"] == "unchanged"
    after = {p: p.stat().st_mtime_ns for p in (home / "models").rglob("*") if p.is_file() and p.name != ".lock"}
    assert after == before


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("run", "--families", "nonsense"), ("'nonsense'", *family_names())),
        (("run", "--families", "logistic,,heuristic"), ("''", "logistic")),
        (("run", "--source", "mirror"), ("NETHICAL_DATA_MIRROR",)),
        (("score", "nonsense", "x.csv", "--output", "y.csv"), ("'nonsense'", "logistic")),
        (("data", "fetch", "owner/nothing"), ("'owner/nothing'", "nslkdd")),
        (("data", "validate", "nothing"), ("'nothing'", "hdfs")),
    ],
)
def test_what_does_not_exist_is_one_line(
    arguments: tuple[str, ...], parts: tuple[str, ...], environment: dict[str, str], command: Cli
) -> None:
    assert_one_line(command(*arguments), *parts)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("run", "--samples", "-5"), "--samples"),
        (("run", "--samples", "many"), "--samples"),
        (("run", "--seed", "-1"), "--seed"),
        (("run", "--source", "ftp"), "ftp"),
        (("nonsense",), "nonsense"),
        (("alerts", "show", "0"), "number"),
        (("score", "logistic"), "file"),
    ],
)
def test_wrong_usage_exits_with_2_and_names_it(
    arguments: tuple[str, ...], part: str, environment: dict[str, str], command: Cli
) -> None:
    answer = command(*arguments)
    assert answer.code == 2
    assert answer.out == ""
    assert part in answer.err.lower()
    assert "Traceback" not in answer.err


def test_samples_too_few_to_split_is_an_error_of_the_family(environment: dict[str, str], command: Cli) -> None:
    answer = command("run", "--families", "logistic", "--samples", "5", "--json")
    assert answer.code == 1
    result = answer.document["families"]["logistic"]
    assert result["verdict"] == "error"
    assert len(result["reasons"]) == 1
    assert "split" in result["reasons"][0] or "class" in result["reasons"][0]
    assert command("audit", "verify").code == 0


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ('{"thresholds": {}}', ("thresholds", "unknown key", "performance_thresholds")),
        ('{"performance_thresholds": {"accuracy_min": 1.5}}', ("performance_thresholds.accuracy_min", "1.5")),
        ('{"default_schedule": "every day"}', ("default_schedule", "every day", "cron")),
        ('{"training": {"seed": "1"}}', ("training.seed", "'1'")),
        ("{", ("JSON",)),
    ],
)
def test_wrong_settings_are_one_line(
    content: str, parts: tuple[str, ...], environment: dict[str, str], command: Cli
) -> None:
    path = Path(environment["NETHICAL_CONFIG"])
    path.write_text(content)
    for arguments in (("run",), ("status", "--json"), ("data", "list")):
        assert_one_line(command(*arguments), path.name, *parts)


def test_a_home_that_cannot_be_written_is_one_line(
    environment: dict[str, str], command: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.write_text("")
    monkeypatch.setenv("NETHICAL_HOME", str(file))
    assert_one_line(command("run"), "NETHICAL_HOME", "folder")
    monkeypatch.setenv("NETHICAL_HOME", str(file / "below"))
    assert_one_line(command("run"), "NETHICAL_HOME")


def test_a_mirror_that_is_no_folder_is_one_line(
    environment: dict[str, str], command: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NETHICAL_DATA_MIRROR", "/nowhere/at/all")
    assert_one_line(command("run"), "NETHICAL_DATA_MIRROR", "/nowhere/at/all")


def test_asking_for_kaggle_alone_when_it_cannot_be_reached_is_an_error_of_the_family(
    environment: dict[str, str], command: Cli
) -> None:
    answer = command("run", "--families", "logistic", "--source", "kaggle", "--json")
    assert answer.code == 1
    (reason,) = answer.document["families"]["logistic"]["reasons"]
    assert "cannot be reached" in reason
    assert "nslkdd" in reason


# status, models, alerts


def test_status_in_a_fresh_checkout_says_that_nothing_is_there_yet(
    environment: dict[str, str], command: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("NETHICAL_HOME")
    monkeypatch.setattr("nethical_assets.home.settings.PROJECT_ROOT", tmp_path)
    for arguments in (("status", "--json"), ("data", "list", "--json")):
        answer = command(*arguments)
        assert answer.code == 0
        assert "run `nethical run` first" in answer.err
        assert answer.document
    answer = command("status", "--json")
    assert set(answer.document["families"]) == set(family_names())
    assert answer.document["audit"] == {"size": 0, "root": None}
    assert not (tmp_path / ".nethical").exists()
    assert command("alerts", "list").code == 2


NEED_A_HOME = (
    ("status",),
    ("models", "list"),
    ("models", "prune"),
    ("models", "rotate-key", "--reason", "r"),
    ("data", "list"),
    ("data", "validate"),
    ("alerts", "list"),
    ("alerts", "show", "1"),
    ("alerts", "close", "1", "--reason", "r"),
    ("alerts", "ack", "1", "--reason", "r"),
    ("alerts", "deliver"),
    ("quarantine", "list"),
    ("quarantine", "show", "logistic", "0" * 64),
    ("quarantine", "release", "logistic", "0" * 64, "--reason", "r"),
    ("lineage", "logistic"),
    ("reproduce", "logistic"),
    ("retention",),
    ("score", "logistic", "x.csv", "--output", "y.csv"),
    ("label-queue", "logistic"),
    ("feedback", "x.csv"),
    ("audit", "verify"),
    ("audit", "show"),
    ("audit", "prove", "1"),
    ("audit", "export", "run", "--output", "out"),
    ("audit", "heartbeat"),
    ("audit", "keys", "show"),
)


@pytest.mark.parametrize("arguments", NEED_A_HOME, ids=" ".join)
@pytest.mark.parametrize("kind", ["missing", "another folder", "impossible"])
def test_a_mistyped_home_is_said_and_nothing_is_written(
    arguments: tuple[str, ...],
    kind: str,
    environment: dict[str, str],
    command: Cli,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    folder = Path("/proc/x") if kind == "impossible" else tmp_path / "folder"
    if kind == "another folder":
        for name in ("data", "models", "runs"):
            (folder / name).mkdir(parents=True)
    monkeypatch.setenv("NETHICAL_HOME", str(folder))
    before = sorted(tmp_path.rglob("*"))
    assert_one_line(command(*arguments), "no platform at", str(folder), "nethical run", "NETHICAL_HOME")
    assert sorted(tmp_path.rglob("*")) == before


STAGES = ("datasets", "splits", "releases")


def test_status_after_a_cycle(home: Path, command: Cli, finished: Finished) -> None:
    summary = json.loads(finished[1].out)
    status = command("status", "--json").document
    for family in FAMILIES:
        result = summary["families"][family]
        if result["verdict"] == "promoted":
            assert status["families"][family]["champion"] == result["model_digest"]
            assert status["families"][family]["version"] == "1.0.0"
        else:
            assert status["families"][family]["candidates"] == 1
    assert status["families"]["anomaly"]["champion"] is None
    assert status["audit"] == {key: summary["audit"][key] for key in ("size", "root")}
    issues = command("alerts", "list", "--json").document["issues"]
    assert status["alerts"]["open"] == len(issues) > 0
    assert {issue["subject"] for issue in issues} <= {
        f"{stage}/{f}" for stage in STAGES for f in status["families"]
    } | {f"raw/{name}" for name in summary["datasets"]}
    assert "logistic" in command("status").out


def test_alerts_are_listed_shown_and_closed(environment: dict[str, str], a_home: Path, command: Cli) -> None:
    assert command("alerts", "list", "--json").document == {"issues": []}
    tracker = LocalIssueTracker(Path(environment["NETHICAL_HOME"]) / "alerts" / "issues.sqlite")
    when = datetime(2026, 11, 23, tzinfo=UTC)
    tracker.file(Alert("drift", "logistic", "drift", "score 0.4 is above 0.15", when, "run-1"))
    tracker.file(Alert("data_quality", "raw/hdfs", "schema", "wrong columns: line", when, "run-1"))
    issues = command("alerts", "list", "--json").document["issues"]
    assert [(issue["number"], issue["title"], issue["state"]) for issue in issues] == [
        (1, "Model Drift Alert: logistic - 2026-11-23", "open"),
        (2, "Dataset Validation Issues: hdfs - 2026-11-23", "open"),
    ]
    assert issues[0]["labels"] == ["ml-ops", "drift-alert", "needs-attention"]
    assert [i["number"] for i in command("alerts", "list", "--label", "drift-alert", "--json").document["issues"]] == [
        1
    ]
    assert "score 0.4" in command("alerts", "show", "1").out
    assert command("alerts", "show", "1", "--json").document["subject"] == "logistic"
    assert command("alerts", "close", "1", "--reason", "retrained", "--actor", "kim").code == 0
    assert [i["number"] for i in command("alerts", "list", "--json").document["issues"]] == [2]
    assert [i["number"] for i in command("alerts", "list", "--state", "closed", "--json").document["issues"]] == [1]
    assert_one_line(command("alerts", "show", "7"), "7")


def test_alerts_are_acknowledged_and_told_elsewhere(
    environment: dict[str, str], a_home: Path, command: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = LocalIssueTracker(Path(environment["NETHICAL_HOME"]) / "alerts" / "issues.sqlite")
    tracker.file(Alert("drift", "logistic", "drift", "score 0.4 is above 0.15", datetime.now(UTC), "run-1"))
    for name in ("deliver", "test"):
        assert_one_line(command("alerts", name), "no target is named", "NETHICAL_GITHUB_REPOSITORY", "docs/alerts.md")
    assert command("alerts", "ack", "1", "--reason", "looking", "--actor", "kim", "--json").document[
        "acknowledged_by"
    ] == ("kim")
    assert "Acknowledged by kim" in command("alerts", "show", "1").out
    with GitHubDouble().serving() as github:
        monkeypatch.setenv("NETHICAL_GITHUB_REPOSITORY", REPOSITORY)
        assert_one_line(command("alerts", "deliver"), "NETHICAL_GITHUB_TOKEN")
        monkeypatch.setenv("NETHICAL_GITHUB_TOKEN", TOKEN)
        monkeypatch.setenv("NETHICAL_GITHUB_URL", github.address)
        github.fail("GET", f"/repos/{REPOSITORY}", (401, {}, {"message": "Bad credentials"}))
        refused = command("alerts", "deliver", "--json")
        assert refused.code == 1
        assert refused.document["targets"][0]["waiting"] == 2
        assert "NETHICAL_GITHUB_TOKEN" in refused.document["targets"][0]["problem"]
        told = command("alerts", "deliver")
        assert (told.code, told.out) == (0, f"github:{REPOSITORY}: 2 delivered, 0 waiting\n")
        assert "looking" in github.texts()[0] and TOKEN not in told.out + told.err
        assert command("alerts", "test").code == 0 and github.issues[2]["state"] == "closed"
        assert command("alerts", "close", "1", "--reason", "retrained").code == 0
        assert_one_line(command("alerts", "ack", "1", "--reason", "late"), "closed", code=1)


def test_expired_candidates_are_pruned_and_recorded(
    home: Path, command: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert command("models", "prune", "--json").document == {"removed": []}
    # A gate nobody passes makes a candidate; a month later it has expired.
    write_settings(tmp_path, performance_thresholds={"accuracy_min": 1.0, "ece_max": 0.0})
    monkeypatch.setenv("NETHICAL_CONFIG", str(tmp_path / "training-schedule.json"))
    summary = command("run", "--families", "logistic", "--samples", "600", "--json").document
    result = summary["families"]["logistic"]
    assert result["verdict"] == "candidate"
    listed = command("models", "list", "--json").document["models"]
    assert ("logistic", "candidates", result["model_digest"]) in {(m["family"], m["stage"], m["model"]) for m in listed}
    later = datetime.now(UTC) + timedelta(days=31)
    monkeypatch.setattr(Workspace, "now", lambda self: later)
    removed = command("models", "prune", "--json").document["removed"]
    assert [row["model"] for row in removed] == [result["model_digest"]]
    registry = ModelRegistry(home / "models")
    assert registry.candidates("logistic") == []
    assert command("audit", "verify", "--json").document["ok"]


# score


@pytest.fixture
def promoted(finished: Finished) -> None:
    verdicts = {f: r["verdict"] for f, r in json.loads(finished[1].out)["families"].items()}
    assert verdicts == dict.fromkeys(FAMILIES, "promoted")


def test_raw_records_are_scored(home: Path, promoted: None, command: Cli, tmp_path: Path) -> None:
    records = tmp_path / "KDDTrain+.txt"
    rows = connections(200, np.random.default_rng(11))
    rows.to_csv(records, index=False, header=False)
    answer = command("score", "logistic", str(records), "--output", str(tmp_path / "scores.csv"), "--json")
    assert answer.code == 0, answer.err
    scores = pd.read_csv(tmp_path / "scores.csv")
    assert list(scores.columns)[-3:] == ["label", "probability", "score"]
    assert len(scores) == 200 == answer.document["rows"]
    assert scores["probability"].between(0, 1).all()
    assert ((scores["probability"] >= 0.5) == (scores["label"] == 1)).all()
    assert (scores["label"] == (rows["attack"] != "normal")).mean() > 0.9
    assert answer.document["positives"] == int(scores["label"].sum())
    logged = sorted((home / "serving" / "inference" / "logistic").iterdir())
    batch = pd.read_parquet(logged[0])
    digest = digest_file(records).partition(":")[2]
    named = f"logistic-{digest}-[0-9a-f]{{16}}-[0-9]+"
    assert batch["request_id"].str.fullmatch(named).all() and batch["request_id"].is_unique
    assert scores["request_id"].tolist() == batch["request_id"].tolist()
    assert batch["label"].tolist() == scores["label"].tolist() and set(batch["route"]) == {"score"}
    assert command("score", "logistic", str(records), "--output", str(tmp_path / "again.csv")).code == 0
    assert sorted((home / "serving" / "inference" / "logistic").iterdir()) == logged != []


def test_texts_with_the_canonical_column_are_scored_as_jsonl_and_parquet(
    home: Path, promoted: None, command: Cli, tmp_path: Path
) -> None:
    attacks = np.arange(60) % 2 == 0
    frame = pd.DataFrame({"text": texts(attacks, np.random.default_rng(12))})
    frame.to_csv(tmp_path / "prompts.csv", index=False)
    for suffix, read in ((".jsonl", lambda p: pd.read_json(p, lines=True)), (".parquet", pd.read_parquet)):
        output = tmp_path / f"scores{suffix}"
        answer = command("score", "prompt_injection", str(tmp_path / "prompts.csv"), "--output", str(output))
        assert answer.code == 0, answer.err
        assert (read(output)["label"].to_numpy() == attacks).mean() > 0.9
    logged = b"".join(p.read_bytes() for p in (home / "serving").rglob("*") if p.is_file())
    assert b"number 1 " not in logged


@pytest.mark.parametrize(
    ("name", "content", "parts"),
    [
        ("records.csv", "name,price\nbook,3\n", ("records.csv", "column")),
        ("empty.csv", "", ("empty.csv",)),
        ("header.csv", "duration,protocol_type\n", ("header.csv",)),
        ("picture.png", "x", ("picture.png", ".csv")),
        (None, None, ("missing.csv", "no such file")),
    ],
)
def test_records_that_cannot_be_scored_are_one_line_and_no_output(
    name: str | None,
    content: str | None,
    parts: tuple[str, ...],
    home: Path,
    promoted: None,
    command: Cli,
    tmp_path: Path,
) -> None:
    file = tmp_path / (name or "missing.csv")
    if content is not None:
        file.write_text(content)
    output = tmp_path / "scores.csv"
    answer = command("score", "logistic", str(file), "--output", str(output))
    assert_one_line(answer, *[part for part in parts if part != file.name])
    assert not output.exists()


WRONG = {
    "thousands.csv": ('"1,000"', "digits with separators"),
    "hex.csv": ("0x10", "a number of another base than ten"),
    "truth.csv": ("True", "a truth value"),
    "list.csv": ('"[1, 2]"', "a list"),
    "object.csv": ('"{""a"": 1}"', "an object"),
    "huge.csv": ("9" * 400, "too large for a number"),
    "word.csv": ("planted-word", "text"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_cell_of_the_wrong_type_is_counted_and_named_and_too_many_are_refused(
    name: str, home: Path, promoted: None, command: Cli, tmp_path: Path
) -> None:
    cell, reason = WRONG[name]
    rows = connections(150, np.random.default_rng(13)).drop(columns=["attack", "difficulty"]).astype("object")
    records, output = tmp_path / name, tmp_path / "scores.csv"

    def write(count: int) -> None:
        lines = rows.assign(src_bytes=["CELL"] * count + [""] + list(range(149 - count))).to_csv(index=False)
        records.write_text(lines.replace("CELL", cell))

    write(1)
    answer = command("score", "logistic", str(records), "--output", str(output), "--json")
    assert answer.code == 0, answer.err
    wrong = {"column": "src_bytes", "count": 1, "first": 1, "records": 150}
    wrong |= {"reason": reason, "reasons": {reason: 1}}
    assert answer.document["wrong_cells"] == [wrong], "and the empty cell is missing"
    assert answer.document["prediction_findings"] == {}
    batch = next(open_audit_log(home).find_events(event_type="batch_scored")).event
    assert open_audit_log(home).payload(batch)["wrong_cells"] == [wrong]
    shown = command("score", "logistic", str(records), "--output", str(output))
    assert f"column src_bytes: 1 of 150 values, {reason} (first: record 1)" in shown.out
    output.unlink()
    write(2)
    refused = command("score", "logistic", str(records), "--output", str(output))
    assert_one_line(refused, "column src_bytes: 2 of 150 values are", reason, "wrong_type_share_max")
    assert not output.exists()
    assert "planted-word" not in shown.out + answer.out + refused.err


def test_scoring_into_an_unknown_format_is_one_line(home: Path, promoted: None, command: Cli, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("text\nhello there\n")
    output = str(tmp_path / "scores.xlsx")
    assert_one_line(command("score", "prompt_injection", str(tmp_path / "p.csv"), "--output", output), ".parquet")


def test_what_the_inference_log_does_not_take_is_not_handed_out(
    home: Path, promoted: None, command: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(*arguments: object, **named: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(home / "serving"))

    monkeypatch.setattr(InferenceLog, "append", read_only)
    connections(20, np.random.default_rng(1)).to_csv(tmp_path / "r.csv", index=False)
    output = tmp_path / "scores.csv"
    assert_one_line(command("score", "logistic", str(tmp_path / "r.csv"), "--output", str(output)), "Read-only")
    assert not output.exists()


def test_scoring_without_a_promoted_model_is_one_line_and_1(
    environment: dict[str, str], a_home: Path, command: Cli, tmp_path: Path
) -> None:
    (tmp_path / "p.csv").write_text("text\nhello\n")
    answer = command("score", "prompt_injection", str(tmp_path / "p.csv"), "--output", str(tmp_path / "s.csv"))
    assert_one_line(answer, "prompt_injection", "nethical run", code=1)


def test_a_tampered_model_is_not_used(home: Path, promoted: None, command: Cli, tmp_path: Path) -> None:
    champion = ModelRegistry(home / "models").champion("logistic")
    assert champion is not None
    file = next((home / "models" / "store" / champion.model.partition(":")[2]).glob("*.safetensors"))
    spoil(file)
    connections(20, np.random.default_rng(1)).to_csv(tmp_path / "r.csv", index=False)
    answer = command("score", "logistic", str(tmp_path / "r.csv"), "--output", str(tmp_path / "s.csv"))
    assert_one_line(answer, file.name, code=1)
    assert not (tmp_path / "s.csv").exists()


# audit


def spoil(path: Path) -> None:
    """Flip one bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(bytes(data))


def test_the_log_of_a_cycle_verifies(home: Path, command: Cli, finished: Finished) -> None:
    report = command("audit", "verify", "--json")
    assert report.code == 0
    assert report.document["ok"] is True
    assert report.document["problems"] == []
    assert report.document["root"] == json.loads(finished[1].out)["audit"]["root"]
    assert "verifies" in command("audit", "verify").out


@pytest.mark.parametrize("kind", ["tile", "checkpoint", "card"])
def test_tampering_is_found_and_named(kind: str, home: Path, command: Cli) -> None:
    found = [
        path
        for folder in ("audit", "models/metadata")
        for path in sorted((home / folder).rglob("*"))
        if path.is_file() and path.stat().st_size and kind in str(path.relative_to(home)) and ".lock" not in path.name
    ]
    assert found
    victim = max(found, key=lambda path: path.stat().st_size)
    spoil(victim)
    answer = command("audit", "verify", "--json")
    assert answer.code == 1
    assert answer.document["ok"] is False
    assert any(victim.name in problem for problem in answer.document["problems"]), answer.document["problems"]
    assert all("\n" not in problem for problem in answer.document["problems"])
    assert "Traceback" not in answer.err


def test_verifying_nothing_is_not_a_success(environment: dict[str, str], command: Cli) -> None:
    answer = command("audit", "verify", "--json")
    assert answer.code in (1, 2)
    assert "Traceback" not in answer.err


# data


def test_data_list_shows_the_catalog_and_what_is_there(home: Path, command: Cli) -> None:
    rows = {row["name"]: row for row in command("data", "list", "--json").document["datasets"]}
    assert set(rows) == {entry.name for entry in CATALOG.dataset}
    assert rows["nslkdd"]["rows"] == 900
    assert rows["nslkdd"]["source"] == "mirror"
    assert rows["hdfs"]["rows"] is None
    assert rows["nslkdd"]["slug"] == "hassan06/nslkdd"
    assert "Datasets" in command("data", "list").out


def test_data_fetch_by_slug_then_validate(
    environment: dict[str, str], mirror: Path, command: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NETHICAL_DATA_MIRROR", str(mirror))
    fetched = command("data", "fetch", "hassan06/nslkdd", "hdfs", "--json")
    assert fetched.code == 0
    assert {row["name"]: row["status"] for row in fetched.document["datasets"]} == {"nslkdd": "new", "hdfs": "new"}
    again = command("data", "fetch", "nslkdd", "--json").document["datasets"]
    assert [row["status"] for row in again] == ["unchanged"]
    assert command("audit", "verify").code == 0

    validated = command("data", "validate", "nslkdd", "--json")
    outcomes = {outcome["name"]: outcome for outcome in validated.document["datasets"]["nslkdd"]}
    assert validated.code == 0
    assert outcomes["schema"]["status"] == "pass"
    assert outcomes["minimum_samples"]["numbers"]["rows"] == 900
    assert "nslkdd" in command("data", "validate", "nslkdd").out


def test_fetching_what_no_source_has_exits_with_1_and_says_why(environment: dict[str, str], command: Cli) -> None:
    answer = command("data", "fetch", "nslkdd", "--json")
    assert answer.code == 1
    (row,) = answer.document["datasets"]
    assert row["status"] == "skipped"
    assert "cannot be reached" in row["reason"]


# processes


def test_a_named_dataset_that_is_not_there_is_no_success_of_any_command(
    environment: dict[str, str], command: Cli
) -> None:
    assert command("data", "fetch", "nslkdd", "--source", "mirror").code != 0
    assert command("data", "validate", "nslkdd").code == 1
    assert command("data", "validate").code == 0  # of all that there could be, nothing is there yet


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("run", "--source", "ftp"),
            "'ftp' is not one of 'auto', 'kaggle', 'mirror', 'synthetic'. (nethical run --help",
        ),
        (("alerts", "list", "--state", "x"), "'x' is not one of 'open', 'closed', 'all'. (nethical alerts list --help"),
        (("audit", "keys", "frob"), "No such command 'frob'. (nethical audit keys --help"),
        (("ui", "--port", "abc"), "'--port': expected a whole number (nethical ui --help"),
        (("run", "--samples", "-5"), "'--samples': expected a value greater than or equal to 0 (nethical run --help"),
        (("run", "--sourc", "x"), "No such option: --sourc (Possible options: "),
        (("frob",), "No such command 'frob'. (nethical --help"),
        (("score", "logistic"), "Missing argument 'file'. (nethical score --help"),
    ],
)
def test_a_usage_error_names_the_command_it_is_about_in_plain_words(
    arguments: tuple[str, ...], said: str, command: Cli
) -> None:
    answer = command(*arguments)
    assert_one_line(answer, said)
    for word in ("Value error", "Input should be", "parse"):
        assert word not in answer.err


def test_the_version_is_that_of_the_package(command: Cli) -> None:
    assert command("--version").ok().out == f"nethical {metadata.version('nethical-assets')}\n"


@pytest.mark.parametrize(
    ("words", "found"),
    [("qua", "quarantine"), ("run --sou", "--source"), ("run --source mir", "mirror"), ("data res", "restore")],
)
def test_bash_completes_commands_options_and_values(words: str, found: str, tmp_path: Path) -> None:
    program = Path(sys.executable).parent / "nethical"
    script = (
        f'eval "$({program} --show-completion)"; COMP_WORDS=(nethical {words}); '
        f'COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _nethical_completion {program}; echo "${{COMPREPLY[@]}}"'
    )
    answer = subprocess.run(
        ["bash", "-c", script],
        env=clean_environment({"HOME": str(tmp_path)}),
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.split() == [found], answer.stderr


def test_help_names_every_command(start: Start) -> None:
    answer = start("--help").wait()
    assert answer.code == 0
    for name in ("run", "status", "score", "ui", "data", "models", "audit", "alerts"):
        assert re.search(rf"\b{name}\b", answer.out)


def test_an_unknown_family_in_a_process_of_its_own(start: Start) -> None:
    assert_one_line(start("run", "--families", "nonsense", "--json").wait(), "'nonsense'")


def test_the_model_key_is_replaced_with_a_reason_that_the_log_keeps(
    command: Cli, a_home: Path, settings: Settings
) -> None:
    refused = command("models", "rotate-key", "--reason", "it may be known")
    assert (refused.code, "no model key is pinned yet" in refused.err) == (2, True)
    log = open_audit_log(settings.home)
    _ = open_model_keys(settings.home, lambda: log.recorder("run-a")).private
    answer = command("models", "rotate-key", "--reason", "it may be known", "--actor", "a person")
    assert answer.code == 0
    (rotated,) = [one.event for one in log.find_events(event_type="key_created") if one.event.parents]
    assert (rotated.actor, log.payload(rotated)) == ("a person", {"reason": "it may be known"})
    assert rotated.subjects[0].digest in answer.out
    assert command("audit", "verify").code == 0


# labels


def test_rows_of_a_scored_file_are_queued_labelled_and_labelled_once(
    home: Path, promoted: None, command: Cli, tmp_path: Path
) -> None:
    records, scores, queue = tmp_path / "KDDTrain+.txt", tmp_path / "scores.csv", tmp_path / "queue.csv"
    rows = connections(60, np.random.default_rng(12))
    rows.to_csv(records, index=False, header=False)
    assert command("score", "logistic", str(records), "--output", str(scores)).code == 0
    answer = command("label-queue", "logistic", "--rows", "20", "--out", str(queue), "--json")
    assert answer.code == 0, answer.err
    document = answer.document
    assert (document["window_rows"], document["labelled"], document["unknown_labels"]) == (60, 0, 0)
    listed = pd.read_csv(queue)
    assert listed["request_id"].tolist() == [row["request_id"] for row in document["rows"]]
    assert listed["request_id"].is_unique and set(listed["request_id"]) <= set(pd.read_csv(scores)["request_id"])
    assert listed["label"].isna().all() and "normal" not in queue.read_text()
    assert_one_line(command("feedback", str(queue)), "no row has a label")
    assert_one_line(command("feedback", str(scores)), "--label")

    number = listed["request_id"].str.rpartition("-")[2].astype(int)
    truth = (rows["attack"].iloc[number] != "normal").astype("int8").tolist()
    filled = listed.assign(label=truth)
    filled.loc[3:, "label"] = None
    filled.to_csv(queue, index=False)
    answer = command("feedback", str(queue), "--json")
    assert (answer.document["labels"], answer.document["blank"], answer.document["unknown"]) == (3, len(listed) - 3, 0)
    again = command("feedback", str(queue))
    assert again.code == 0 and "Nothing to do: this file was taken at" in again.out
    later = command("label-queue", "logistic", "--since", "1h", "--json").document
    assert later["labelled"] == 3
    assert not {row["request_id"] for row in later["rows"]} & set(filled["request_id"][:3])

    filled.assign(request_id="no-such-" + filled["request_id"], label=1).to_csv(queue, index=False)
    said = command("feedback", str(queue)).out
    assert f"{len(listed)} labels taken" in said and f"{len(listed)} are of no request that is in the log" in said
    shown = command("label-queue", "logistic")
    assert f"{len(listed)} labels since then are of no request" in shown.out and "Next: fill" in shown.out
    assert command("label-queue", "logistic", "--since", "2999-01-01", "--json").document["rows"] == []
    assert command("audit", "verify", "--json").document["ok"]


@pytest.mark.parametrize("since", ["yesterday", "0d", "-3h", "2026-13-01", "99999w9"])
def test_what_is_no_time_is_one_line(home: Path, promoted: None, command: Cli, since: str) -> None:
    assert_one_line(command("label-queue", "logistic", f"--since={since}"), "--since is no time")


def test_labels_of_a_family_without_a_model_are_not_queued(home: Path, command: Cli) -> None:
    assert_one_line(command("label-queue", "anomaly"), "nethical run --families anomaly", code=1)
    assert_one_line(command("label-queue", "nonsense"), "logistic")


def test_retention_removes_old_batches_and_says_so_once(
    home: Path, promoted: None, command: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records, scores = tmp_path / "KDDTrain+.txt", tmp_path / "scores.csv"
    connections(20, np.random.default_rng(13)).to_csv(records, index=False, header=False)
    assert command("score", "logistic", str(records), "--output", str(scores)).code == 0
    assert command("feedback", str(scores), "--label", "label").code == 2
    pd.read_csv(scores)[["request_id"]].assign(label=1).to_csv(scores, index=False)
    assert command("feedback", str(scores)).code == 0
    document = command("retention", "--json").document
    assert (document["predictions"], document["labels"]) == (0, 0)
    later = datetime.now(UTC) + timedelta(days=401)
    monkeypatch.setattr(Workspace, "now", lambda self: later)
    said = command("retention")
    assert "Removed 1 batches of predictions and 1 of labels" in said.out, said.err
    document = command("retention", "--json").document
    assert (document["predictions"], document["labels"]) == (0, 0)
    verified = command("audit", "verify")
    assert verified.code == 0 and "2 batches of the inference log are gone because retention" in " ".join(
        (verified.out + verified.err).split()
    )
