"""What every stage asset has in common.

What belongs here: the decorator arguments shared by the assets of a stage, and turning expected errors into failures
that show one line. What does not: any stage's own work.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import dagster as dg

from nethical_assets.assets.presentation import RECORDS_IO_MANAGER
from nethical_assets.core.ground.errors import NethicalError


def stage_asset(
    stage: str, subject: str, *, owner: str, kinds: set[str], description: str, **more: Any
) -> dict[str, Any]:
    """Keyword arguments of ``dg.asset`` for the asset ``<stage>/<subject>`` in the group of its stage."""
    return {
        "key": dg.AssetKey([stage, subject]),
        "group_name": stage,
        "owners": [owner],
        "kinds": kinds,
        "description": description,
        "io_manager_key": RECORDS_IO_MANAGER,
        "tags": {"nethical/stage": stage, "nethical/subject": subject},
        **more,
    }


@contextlib.contextmanager
def expected_failures() -> Iterator[None]:
    """Show an expected error as a step failure with its one line; trying again would not help."""
    try:
        yield
    except NethicalError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error
