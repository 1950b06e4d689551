"""Labels of a file: all of it or nothing, once, whoever was killed in between."""

from __future__ import annotations

import threading
from datetime import timedelta

import pyarrow as pa
import pytest

from nethical_assets.core.audit.events import EventType
from nethical_assets.core.drift.given_labels import GivenLabels
from nethical_assets.home.inference import InferenceStore, TakenLabels, seal_segments
from nethical_assets.home.settings import Settings
from nethical_assets.home.workspace import Workspace, utc_now
from nethical_assets.operations.verification import verify
from tests.core.drift.logged import scored, told
from tests.fake_stages import open_workspace
from tests.home.test_inference import write
from tests.processes import DURABLE, in_child

SOURCE, OTHER = "sha256:" + "1" * 64, "sha256:" + "2" * 64


def labels(**given: int) -> GivenLabels:
    return GivenLabels(pa.array(list(given)), pa.array(list(given.values()), pa.int8()), 0, 0)


def take(settings: Settings, source: str = SOURCE, run_id: str = "feedback-1", **given: int) -> TakenLabels:
    workspace = open_workspace(settings, run_id)
    taken = InferenceStore(workspace).take_labels(labels(**given), source)
    workspace.finish_errand()
    return taken


def known(settings: Settings, *ids: str) -> list[int | None]:
    log = open_workspace(settings, "reader").feedback_log
    return log.labels_of(pa.array(ids), utc_now() - timedelta(days=1))[0].to_pylist()


def test_labels_of_a_file_are_in_the_log_at_once_and_the_file_again_changes_nothing(settings: Settings) -> None:
    write(settings, scored(1, request_id="a"), told(7, 1))
    seal_segments(settings)
    assert take(settings, a=1, b=0) == TakenLabels(2, 1, 0)
    assert known(settings, "a", "b") == [1, 0]
    # A correction by another file stays, also when the first one comes again.
    assert take(settings, OTHER, "feedback-2", a=0) == TakenLabels(1, 0, 1)
    again = take(settings, SOURCE, "feedback-3", a=1, b=0)
    assert again.taken_before is not None and again.unknown == 1
    assert known(settings, "a", "b") == [0, 0]
    workspace = open_workspace(settings, "reader")
    events = [one.event for one in workspace.audit_log.find_events(event_type=EventType.BATCH_SCORED)]
    told_of = [workspace.audit_log.payload(event).get("feedback") for event in events]
    assert told_of[1:] == [
        {"labels": 2, "unknown": 1, "changed": 0, "source": SOURCE},
        {"labels": 1, "unknown": 0, "changed": 1, "source": OTHER},
    ]
    assert verify(settings)["problems"] == []


def test_a_home_that_has_scored_nothing_keeps_labels_for_what_may_come(settings: Settings) -> None:
    assert take(settings, a=1) == TakenLabels(1, 1, 0)
    assert known(settings, "a") == [1]
    assert verify(settings)["problems"] == []


@pytest.mark.parametrize("moment", DURABLE)
def test_killed_anywhere_and_given_again_each_label_is_there_once(settings: Settings, moment: str) -> None:
    write(settings, scored(1, request_id="a"))
    seal_segments(settings)
    survived, killed = 0, True
    while killed:
        name = f"k{survived}"

        def work(name: str = name, survived: int = survived) -> None:
            take(settings, f"sha256:{survived:064d}", f"feedback-{name}", **{name: 1})

        killed = in_child(work, moment, survived)
        take(settings, f"sha256:{survived:064d}", f"feedback-again-{name}", **{name: 1})
        assert known(settings, name) == [1]
        survived += 6
    assert survived > 6
    log = open_workspace(settings, "reader").feedback_log
    rows = pa.concat_tables(log.batches(utc_now() - timedelta(days=1)))
    assert sorted(rows["request_id"].to_pylist()) == sorted(set(rows["request_id"].to_pylist()))
    assert len(list(log.folder.glob("*.parquet"))) == rows.num_rows, "no file of a killed process is left"
    assert verify(settings)["problems"] == []


def test_two_processes_that_give_one_file_at_once_give_it_once(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(settings, scored(1, request_id="a"))
    seal_segments(settings)
    began, real = threading.Event(), Workspace.record_event
    found: list[TakenLabels] = []

    def slow(self: Workspace, *arguments: object, **options: object) -> None:
        if not began.is_set():
            began.set()
            second.start()
            second.join(0.3)
        real(self, *arguments, **options)  # type: ignore[arg-type]

    second = threading.Thread(target=lambda: found.append(take(settings, run_id="feedback-2", a=1)))
    monkeypatch.setattr(Workspace, "record_event", slow)
    found.append(take(settings, a=1))
    second.join()
    # Whichever ended first is first in the list.
    assert sorted(one.taken_before is None for one in found) == [False, True]
    assert len(list((settings.home / "serving" / "feedback").iterdir())) == 1
