"""With which window the watch of a home begins."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from nethical_assets.core.drift.windows import Window
from nethical_assets.home.options import CycleOptions
from nethical_assets.home.settings import Settings
from nethical_assets.home.watched_windows import began_at, first_window
from nethical_assets.home.workspace import Workspace

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
