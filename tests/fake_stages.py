"""Stages of a test: their code counts as that of one stage of the product, so that their code digest is real.

What belongs here: declaring them. What does not: what they do.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from nethical_assets.home.options import CycleOptions
from nethical_assets.home.settings import Settings
from nethical_assets.home.workspace import Workspace
from nethical_assets.stages.stage import Plan, Result, Stage, Work

MODULE = "nethical_assets.stages.splitting"


def open_workspace(settings: Settings, run_id: str = "run-1", **options: Any) -> Workspace:
    return Workspace(settings, CycleOptions(**options), run_id)


def declare(
    name: str, run: Callable[[Work], Result], plan: Callable[[Work], Plan] = lambda work: Plan(), **more: Any
) -> Stage:
    """A stage of a family called ``name``."""

    @functools.wraps(run)
    def ran(work: Work) -> Result:
        return run(work)

    ran.__module__ = MODULE
    return Stage(name=name, scope="family", description="", owner="team:ml-engineers", run=ran, plan=plan, **more)
