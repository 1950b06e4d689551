"""The resources of the code location: where data comes from, what a cycle was asked, and the issue tracker.

What belongs here: thin, cheap handles that a run may configure. What does not: the behaviour of what they open, and
secrets: the Kaggle client reads its credentials from the environment by itself.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from nethical_assets.core.detectors.registry import family_names
from nethical_assets.home.leases import end_run, hold_family, hold_run
from nethical_assets.home.options import CycleOptions, SourceChoice
from nethical_assets.home.settings import Settings
from nethical_assets.home.stores import tracker_path
from nethical_assets.home.workspace import FAMILY_WAITING_SECONDS, Workspace
from nethical_assets.stages.fetching import RAW

if TYPE_CHECKING:
    from nethical_assets.core.alerts import LocalIssueTracker


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
    drift_report: str = Field(
        default="", description="digest of the drift report that asked for this cycle; the new model's card cites it"
    )

    home: str = Field(default="", description="the home of the code location; empty holds no families")

    @contextlib.contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[CycleResource]:
        """Keep the families of the run's assets from its first step on, and let go of them when it ends, however it
        ends. A run that has to wait for another one waits here, before it does anything."""
        try:
            if self.home and context.run is not None:
                hold_run(Path(self.home), context.run.run_id)
                for family in _families_of(context.run):
                    hold_family(
                        Path(self.home),
                        family,
                        context.run.run_id,
                        waiting_seconds=FAMILY_WAITING_SECONDS,
                        said=context.log.warning if context.log is not None else None,
                    )
            yield self
        finally:
            if context.run is not None:
                workspace = _opened.get(context.run.run_id)
                if workspace is not None:
                    workspace.end()
                elif self.home:
                    end_run(Path(self.home), context.run.run_id)


class IssueTrackerResource(dg.ConfigurableResource):
    """The issue tracker; the local backend keeps its issues in one SQLite file."""

    path: str = Field(description="the SQLite file of the local issue tracker")

    @classmethod
    def of(cls, settings: Settings) -> IssueTrackerResource:
        """The tracker of a home."""
        return cls(path=str(tracker_path(settings.home)))

    def open(self, settings: Settings) -> LocalIssueTracker:
        """The tracker, whose changes are acts of its home; the file is created on first use."""
        home = Path(self.path).parents[1]
        return Workspace(dataclasses.replace(settings, home=home), CycleOptions(), "alerts").tracker


def _families_of(run: dg.DagsterRun) -> list[str]:
    """The families that the assets of a run are about, sorted: all of them where it names no assets."""
    if run.asset_selection is None:
        return list(family_names())
    named = {key.path[-1] for key in run.asset_selection if len(key.path) > 1 and key.path[0] != RAW.name}
    return [family for family in family_names() if family in named]


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
        drift_report=cycle.drift_report,
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


_opened: dict[str, Workspace] = {}
