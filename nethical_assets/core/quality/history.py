"""Since when checks fail: a small file a dataset, so that a steward sees whether a problem is new.

What belongs here: the first failing validation of every check that fails now. What does not: the outcomes themselves,
which the orchestrator keeps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from nethical_assets.core.datasets.snapshots import timestamp
from nethical_assets.core.ground.errors import IntegrityError
from nethical_assets.core.ground.storage import exclusive_lock, read_json, write_json
from nethical_assets.core.quality.checks import CheckOutcome

_WAITING_SECONDS = 30.0


class ValidationHistory:
    """The files under ``folder``: one a stage and dataset, check -> since when it fails (ISO 8601, UTC)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def dated(
        self, stage: str, subject: str, outcomes: Sequence[CheckOutcome], now: datetime
    ) -> tuple[CheckOutcome, ...]:
        """The outcomes of a validation with ``failing_since`` filled in; what passes now is forgotten.

        A damaged file is written anew: since when is then now.

        Raises:
            BusyError: another process holds the file for long.
        """
        path = self.folder / stage / f"{subject}.json"
        with exclusive_lock(path.with_suffix(".lock"), waiting_seconds=_WAITING_SECONDS, what=f"the history {path}"):
            known = _read(path)
            failing = {o.name: known.get(o.name, timestamp(now)) for o in outcomes if o.status != "pass"}
            # A check that had nothing to look at this time says nothing about the problem it found before.
            evaluated = {outcome.name for outcome in outcomes}
            kept = {name: since for name, since in known.items() if name not in evaluated}
            if {**kept, **failing} != known:
                write_json(path, dict(sorted({**kept, **failing}.items())))
        return tuple(replace(outcome, failing_since=failing.get(outcome.name, "")) for outcome in outcomes)


def _read(path: Path) -> dict[str, str]:
    try:
        document = read_json(path)
    except (FileNotFoundError, IntegrityError):
        return {}
    usable = isinstance(document, dict) and all(isinstance(value, str) for value in document.values())
    return document if usable else {}
