"""How a training cycle is divided over processes.

What belongs here: what its steps are about, which run first, and whether the others are worth more than one process.
What does not: running them (``executor``), or the cycle (``cycle``).
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Mapping

import dagster as dg

from nethical_assets.assets.requests import TRAINING_JOB
from nethical_assets.core.detectors.registry import family_names
from nethical_assets.home.leases import lend
from nethical_assets.home.settings import Settings
from nethical_assets.home.workspace import Workspace
from nethical_assets.orchestration.build import build_cycle_defs
from nethical_assets.orchestration.executor import Division
from nethical_assets.stages.fetching import RAW
from nethical_assets.stages.graph import is_evaluated, is_new


def divide(workspace: Workspace, families: tuple[str, ...], workers: int) -> Division:
    """How the steps of one run of the training job are divided over ``workers`` processes.

    Datasets are fetched first, in this process. If after that two families or more have something to compute, each
    goes to a worker; that decides about time only, and about no result.
    """
    settings = workspace.settings
    return Division(
        rebuild=functools.partial(_training_job, settings, families),
        locks=lambda: lend(settings.home, workspace.run_id),
        subject_of=lambda step: _subject_of(settings, step),
        weight_of=lambda family: len(settings.catalog.for_family(family)),
        is_first=lambda step: step.startswith(f"{RAW.name}__"),
        expected=lambda: workspace.options.force or _are_several(families, lambda family: is_new(workspace, family)),
        pays=lambda: (
            workspace.options.force or _are_several(families, lambda family: not is_evaluated(workspace, family))
        ),
        workers=workers,
    )


def steps_of(definitions: dg.Definitions) -> Mapping[str, set[dg.AssetKey]]:
    """Step -> the assets that it makes or checks."""
    found = {
        asset.op.name: set(asset.keys) for asset in definitions.assets or () if isinstance(asset, dg.AssetsDefinition)
    }
    for checks in definitions.asset_checks or ():
        # A blocking check that fails stops what depends on its asset.
        found[checks.op.name] = {spec.key.asset_key for spec in checks.check_specs}
    return found


def _are_several(families: Iterable[str], holds: Callable[[str], bool]) -> bool:
    return len(list(itertools.islice(filter(holds, families), 2))) == 2


def _training_job(settings: Settings, families: tuple[str, ...]) -> dg.JobDefinition:
    return build_cycle_defs(settings, families).resolve_job_def(TRAINING_JOB)


def _subject_of(settings: Settings, step: str) -> str:
    """The family that a step is about; of a dataset, the first family that reads it."""
    parts = step.split("__")
    named = [family for family in family_names() if family in parts]
    if named:
        return named[0]
    readers = [
        family
        for entry in settings.catalog.dataset
        if entry.name in parts
        for family in (*entry.families, *entry.evaluation_families)
    ]
    return readers[0] if readers else step
