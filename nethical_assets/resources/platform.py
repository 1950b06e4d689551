"""The resources of the code location: where data comes from, what a cycle was asked, and the issue tracker.

What belongs here: thin, cheap handles that a run may configure. What does not: the behaviour of what they open, and
secrets: the Kaggle client reads its credentials from the environment by itself.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from nethical_assets.home.options import CycleOptions, SourceChoice
from nethical_assets.home.settings import Settings
from nethical_assets.home.workspace import Workspace, tracker_path

if TYPE_CHECKING:
    from nethical_assets.core.alerts import IssueTracker


class DataSourcesResource(dg.ConfigurableResource):
    """Where datasets may come from in this run."""

    source: SourceChoice = Field(
        default="auto", description="auto takes the first of Kaggle, mirror folder and synthetic data that can serve"
    )
    download: bool = Field(default=True, description="false uses the snapshots that are there and asks no source")


class CycleResource(dg.ConfigurableResource):
    """What a person may ask of one cycle."""

    force: bool = Field(default=False, description="train again although nothing changed")
    samples: int = Field(default=0, ge=0, description="at most this many rows a family; 0 leaves it to the settings")
    seed: int = Field(default=-1, ge=-1, description="seed of this cycle; -1 leaves it to the settings")

    @contextlib.contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[CycleResource]:
        """Let go of what the run held when it ends, however it ends."""
        try:
            yield self
        finally:
            workspace = _opened.get(context.run.run_id) if context.run is not None else None
            if workspace is not None:
                workspace.end()


class IssueTrackerResource(dg.ConfigurableResource):
    """The issue tracker; the local backend keeps its issues in one SQLite file."""

    path: str = Field(description="the SQLite file of the local issue tracker")

    @classmethod
    def of(cls, settings: Settings) -> IssueTrackerResource:
        """The tracker of a home."""
        return cls(path=str(tracker_path(settings.home)))

    def open(self) -> IssueTracker:
        """The tracker; the file is created on first use."""
        from nethical_assets.home.workspace import open_tracker

        return open_tracker(Path(self.path).parents[1])


def open_workspace(
    settings: Settings, run_id: str, data_sources: DataSourcesResource, cycle: CycleResource
) -> Workspace:
    """The stores of ``settings`` with the options of one run; the stages of a run share one, and what it has opened."""
    options = CycleOptions(
        source=data_sources.source,
        force=cycle.force,
        download=data_sources.download,
        samples=cycle.samples,
        seed=None if cycle.seed < 0 else cycle.seed,
    )
    known = _opened.get(run_id)
    if known is None or (known.settings, known.options) != (settings, options):
        known = Workspace(settings, options, run_id)
        _opened.clear()
        _opened[run_id] = known
    return known


def share_workspace(workspace: Workspace) -> None:
    """Have the stages of a run that is about to start in this process use these stores, and what they have verified."""
    _opened.clear()
    _opened[workspace.run_id] = workspace


def opened_workspace(settings: Settings, run_id: str) -> Workspace | None:
    """The stores that the stages of a run share, where one of them has opened them."""
    known = _opened.get(run_id)
    return known if known is not None and known.settings == settings else None


_opened: dict[str, Workspace] = {}
