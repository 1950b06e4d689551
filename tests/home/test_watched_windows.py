"""With which window the watch of a home begins, and which windows got labels since they were judged."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from nethical_assets.core.drift import batch_files
from nethical_assets.core.drift.segment_rows import FeedbackRow, LoggedRow
from nethical_assets.core.drift.segments import SegmentWriter
from nethical_assets.core.drift.windows import Window
from nethical_assets.core.ground.errors import IntegrityError
from nethical_assets.home import watched_windows
from nethical_assets.home.inference import seal_segments
from nethical_assets.home.options import CycleOptions
from nethical_assets.home.settings import Settings
from nethical_assets.home.stores import segment_folder
from nethical_assets.home.watched_windows import began_at, first_window, windows_with_new_labels
from nethical_assets.home.workspace import Workspace
from tests.core.drift.logged import NOON as LOGGED_NOON
from tests.core.drift.logged import scored, told

NOON = datetime(2026, 11, 22, 12, 30, tzinfo=UTC)


def test_before_there_is_a_log_the_first_window_follows_now(settings: Settings) -> None:
    assert began_at(settings.home) is None
    assert first_window(settings.home, 6, NOON).key == "2026-11-22T06:00"
    assert first_window(settings.home, 24, NOON).key == "2026-11-21T00:00"


def test_with_a_log_the_first_window_stays_where_it_is(settings: Settings) -> None:
    workspace = Workspace(settings, CycleOptions(), "run-1")
    workspace.record_event("data_validated", {})
    workspace.seal()
    began = began_at(settings.home)
    assert began is not None
    years = timedelta(days=3000)
    assert first_window(settings.home, 6, began) == first_window(settings.home, 6, began + years)
    assert first_window(settings.home, 6, began) == Window.at(began, 6).before()


def test_a_damaged_log_hides_no_window(settings: Settings) -> None:
    folder = settings.home / "audit"
    folder.mkdir(parents=True)
    (folder / "checkpoint").write_text("not a checkpoint\n")
    assert began_at(settings.home) is None
    assert first_window(settings.home, 6, NOON).key == "2026-11-22T06:00"


WINDOW = Window.at(LOGGED_NOON, 6)


def sealed(settings: Settings, *rows: LoggedRow | FeedbackRow) -> None:
    """What a process wrote that ended, sealed."""
    writer = SegmentWriter(segment_folder(settings.home), sync_seconds=1000)
    writer.append(rows)
    writer.close()
    seal_segments(settings)


def labelled(settings: Settings, since: datetime, *windows: Window) -> dict[Window, str]:
    workspace = Workspace(settings, CycleOptions(), "reader")
    return windows_with_new_labels(workspace, "logistic", dict.fromkeys(windows or (WINDOW,), since))


def test_labels_that_were_sealed_since_the_report_ask_for_their_window(settings: Settings) -> None:
    long_ago, much_later = (datetime.now(UTC) + timedelta(days=days) for days in (-1, 1))
    sealed(settings, scored(1), scored(2), scored(3, family="anomaly"))
    assert labelled(settings, long_ago) == {}
    sealed(settings, told(3, 1))  # of another family's request
    assert labelled(settings, long_ago) == {}
    sealed(settings, told(1, 1))
    found = labelled(settings, long_ago, WINDOW, WINDOW.before())
    assert set(found) == {WINDOW}
    assert labelled(settings, long_ago) == found
    # The report saw them.
    assert labelled(settings, much_later) == {}
    # Labels of other requests are none of this window: runs that fail would begin anew with each.
    sealed(settings, scored(8, family="anomaly"), told(3, 0), told(77, 1))
    assert labelled(settings, long_ago) == found
    # Another label of the same request is news, too.
    sealed(settings, told(1, 0))
    assert labelled(settings, long_ago)[WINDOW] != found[WINDOW]


def test_where_there_is_too_much_to_look_at_the_window_counts_as_labelled(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed(settings, scored(1), scored(2))
    sealed(settings, told(9, 1))
    long_ago = datetime.now(UTC) - timedelta(days=1)
    assert labelled(settings, long_ago) == {}
    monkeypatch.setattr(watched_windows, "_ROWS_LOOKED_AT", 0)
    assert set(labelled(settings, long_ago)) == {WINDOW}


def test_labels_that_nobody_recorded_do_not_count(settings: Settings) -> None:
    sealed(settings, scored(1), told(1, 1))
    (batch,) = (settings.home / "serving" / "feedback").glob("*.parquet")
    long_ago = datetime.now(UTC) - timedelta(days=1)
    assert set(labelled(settings, long_ago)) == {WINDOW}
    data = batch.read_bytes()
    batch.unlink()
    assert labelled(settings, long_ago) == {}
    batch.write_bytes(data + b"forged")
    with pytest.raises(IntegrityError, match="does not match its name"):
        labelled(settings, long_ago)


def test_labels_of_before_the_windows_are_not_looked_at(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder may hold years of them, and each look would take seconds."""
    sealed(settings, scored(1), told(1, 1))
    folder = settings.home / "serving" / "feedback"
    for day in range(100):
        old = LOGGED_NOON - timedelta(days=day + 1)
        (folder / f"{old:%Y%m%dT%H%M%S.%fZ}-{'b' * 16}-{'c' * 16}.parquet").touch()
    looked: list[str] = []
    whole = batch_files.batch_file
    monkeypatch.setattr(batch_files, "batch_file", lambda path: looked.append(path.name) or whole(path))
    assert set(labelled(settings, datetime.now(UTC) - timedelta(days=1))) == {WINDOW}
    assert len(looked) <= 3
