"""Old batches of the inference log: recorded before they go, killed anywhere, and never missed afterwards."""

from __future__ import annotations

import shutil
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nethical_assets.core.audit.events import EventType
from nethical_assets.core.drift.expiry import batches_between
from nethical_assets.core.ground.errors import IntegrityError
from nethical_assets.home.acts import Change
from nethical_assets.home.changes import apply_change
from nethical_assets.home.evidence import BATCH_PREFIX, FEEDBACK_PREFIX
from nethical_assets.home.inference import removed_batches, seal_segments
from nethical_assets.home.settings import Settings
from nethical_assets.home.workspace import Workspace, utc_now
from nethical_assets.operations import retention
from nethical_assets.operations.retention import RemovedBatches, remove_expired_batches
from nethical_assets.operations.verification import verify
from tests.core.drift.logged import MODEL, NOON, NOON_NS, SECOND, scored, told
from tests.fake_stages import open_workspace
from tests.home.test_inference import batch_files, write
from tests.processes import DURABLE, in_child

DAY_NS = 24 * 3600 * SECOND
NAME = "20260301T120000.000000Z-" + "a" * 64 + "-" + "b" * 16 + "-" + "c" * 16 + ".parquet"


def expire(settings: Settings, days: float, run_id: str = "retention-1") -> RemovedBatches:
    """What goes so many days from now."""
    with pytest.MonkeyPatch.context() as later:
        later.setattr(Workspace, "now", lambda self: utc_now() + timedelta(days=days))
        workspace = open_workspace(settings, run_id)
        removed = remove_expired_batches(workspace)
        workspace.finish_errand()
        return removed


def fill(settings: Settings) -> None:
    """Three hours of one family, one of another, and labels."""
    write(settings, *(scored(hour, at_ns=NOON_NS + hour * 3600 * SECOND) for hour in range(3)))
    write(settings, scored(9, family="anomaly"), told(1, 1))
    assert seal_segments(settings).batches == 5


def labels(settings: Settings) -> list[Path]:
    return sorted((settings.home / "serving" / "feedback").glob("*.parquet"))


def test_what_is_too_old_goes_with_its_sketches_and_is_not_missed(settings: Settings) -> None:
    fill(settings)
    sketches = settings.home / "serving" / "sketches" / "logistic"
    sketches.mkdir(parents=True)
    for path in (one for one in batch_files(settings) if one.parent.name == "logistic"):
        (sketches / f"{path.stem}-{'0' * 16}-15.sketches").touch()
    (sketches / "of-another-batch").touch()
    assert expire(settings, 399) == RemovedBatches(0, 0)
    assert verify(settings)["notes"] == []
    # The rows are of March; what counts too is when the log had them.
    assert expire(settings, 401, "retention-2") == RemovedBatches(4, 1)
    assert batch_files(settings) == [] == labels(settings)
    assert [path.name for path in sketches.iterdir()] == ["of-another-batch"]
    said = verify(settings)
    assert said["problems"] == [] and "5 batches of the inference log are gone because retention" in said["notes"][0]
    workspace = open_workspace(settings, "reader")
    (event,) = [one.event for one in workspace.audit_log.find_events(event_type=EventType.RETENTION_DELETED)]
    assert workspace.audit_log.payload(event)["kept_days"] == 400
    assert removed_batches(workspace, "logistic", NOON, NOON + timedelta(hours=2)) == 2
    assert removed_batches(workspace, "anomaly", NOON, NOON + timedelta(minutes=1)) == 1
    assert removed_batches(workspace, "anomaly", NOON + timedelta(hours=1), NOON + timedelta(days=9)) == 0
    assert expire(settings, 401, "retention-3") == RemovedBatches(0, 0)
    head = workspace.audit_log.checkpoint_bytes()
    assert expire(settings, 900, "retention-4") == RemovedBatches(0, 0)
    assert open_workspace(settings, "reader").audit_log.checkpoint_bytes() == head, "nothing to do leaves no leaf"


def test_what_is_younger_or_lost_or_of_nobody_stays_as_it_is(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(settings)
    lost, *_, foreign = batch_files(settings)
    lost.unlink()
    (foreign.parent / NAME).write_bytes(b"nobody knows it")
    recent = int(utc_now().timestamp()) * SECOND + 390 * DAY_NS
    write(settings, scored(1, request_id="young", at_ns=recent))
    seal_segments(settings)
    assert expire(settings, 401) == RemovedBatches(3, 1)
    assert sorted(path.name for path in batch_files(settings))[0] == NAME and len(batch_files(settings)) == 2
    # What was lost before is still missed: retention did not remove it.
    assert [line for line in verify(settings)["problems"] if "is missing" in line and lost.name in line]


def test_a_batch_that_was_damaged_expires_like_any_other(settings: Settings) -> None:
    fill(settings)
    batch_files(settings)[0].write_bytes(b"damaged")
    assert verify(settings)["problems"] != []
    assert expire(settings, 401) == RemovedBatches(4, 1)
    assert verify(settings)["problems"] == []


def test_batches_of_older_versions_whose_leaves_name_the_family_only_expire_too(settings: Settings) -> None:
    workspace = open_workspace(settings, "older")
    ones = np.ones(3)

    def record(name: str, digest: str) -> None:
        workspace.record_event(EventType.BATCH_SCORED, {f"{BATCH_PREFIX}{name.partition('/')[0]}": digest})

    frame = pd.DataFrame({"length": ones})
    workspace.inference_log.append("logistic", MODEL, ones, ones, frame, occasion="o", when=NOON, record=record)
    workspace.finish_errand()
    assert verify(settings)["problems"] == []
    assert expire(settings, 401) == RemovedBatches(1, 0)
    assert verify(settings)["problems"] == [] and batch_files(settings) == []


def test_a_batch_that_waits_to_be_finalised_waits_with_its_removal(settings: Settings) -> None:
    workspace = open_workspace(settings, "scoring")
    ones = np.ones(3)
    workspace.inference_log.append(
        "logistic", MODEL, ones, ones, pd.DataFrame({"length": ones}), occasion="o", when=NOON,
        record=lambda name, digest: workspace.record_batch(name, digest, MODEL, {}),
    )  # fmt: skip
    assert expire(settings, 401) == RemovedBatches(0, 0)
    assert len(batch_files(settings)) == 1


@pytest.mark.parametrize("moment", DURABLE)
def test_killed_anywhere_the_next_one_ends_it_and_the_log_verifies(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    fill(settings)
    monkeypatch.setattr(retention, "_BATCHES_AN_ACT", 2)
    kept = settings.home.parent / "kept"
    shutil.copytree(settings.home, kept, symlinks=True)
    survived, killed = 0, True
    while killed:
        shutil.rmtree(settings.home)
        shutil.copytree(kept, settings.home, symlinks=True)
        killed = in_child(lambda: expire(settings, 401, "killed"), moment, survived)
        assert verify(settings)["problems"] == [] or killed
        open_workspace(settings, "next").acts.settle()
        there = {path.name for path in (*batch_files(settings), *labels(settings))}
        removed = open_workspace(settings, "reader").evidence.removed_batches()
        assert not there & {name.rpartition("/")[2] for name in removed}
        assert len(there) + len(removed) == 5, "what is gone was named, and what was named is gone"
        expire(settings, 401, "again")
        assert batch_files(settings) == [] == labels(settings)
        assert verify(settings)["problems"] == []
        survived += 8
    assert survived > 8


@pytest.mark.parametrize(
    "document",
    [
        {"predictions": [f"../models/{NAME}"], "labels": []},
        {"predictions": [f"..{NAME}"], "labels": []},
        {"predictions": [], "labels": [f"../inference/logistic/{NAME}"]},
        {"predictions": ["logistic/x.parquet"], "labels": []},
        {"predictions": [f"../{NAME}"], "labels": []},
    ],
)
def test_an_act_that_names_anything_else_removes_nothing(settings: Settings, document: dict[str, list[str]]) -> None:
    fill(settings)
    with pytest.raises(IntegrityError, match="no batch"):
        apply_change(open_workspace(settings, "act"), Change("batches", document))
    assert len(batch_files(settings)) == 4


def test_which_batches_are_of_a_time_is_told_by_their_names() -> None:
    other = NAME.replace("T12", "T13")
    names = [f"{BATCH_PREFIX}logistic/{NAME}", f"{FEEDBACK_PREFIX}{other}", "logistic/notes.txt"]
    first, second, _ = names

    def between(start: datetime | None, end: datetime, whole: bool = False) -> list[str]:
        return batches_between(names, start, end, whole=whole)

    hour = timedelta(hours=1)
    assert between(NOON, NOON + hour) == [first]
    assert between(NOON + hour, NOON + 2 * hour) == [second]
    assert between(None, NOON + hour - timedelta(microseconds=1), whole=True) == []
    assert between(None, NOON + hour, whole=True) == [first]
