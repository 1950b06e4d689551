"""Since when checks fail: a small file a dataset, so that a steward sees whether a problem is new.

What belongs here: the first failing validation of every check that fails now. What does not: the outcomes themselves,
which the orchestrator keeps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

        A damaged file is written anew: since when is then now. Where nothing changed nothing is written, not even a
        lock: data in a home that cannot be written is validated too.

        Raises:
            BusyError: another process holds the file for long.
            OSError: something changed, and the disk is full or not writable.
        """
        path = self.folder / stage / f"{subject}.json"
        known = _read(path)
        following = _following(known, outcomes, now)
        if following != known:
            with exclusive_lock(
                path.with_suffix(".lock"), waiting_seconds=_WAITING_SECONDS, what=f"the history {path}"
            ):
                known = _read(path)
                following = _following(known, outcomes, now)
                if following != known:
                    write_json(path, dict(sorted(following.items())))
        failing = {one.name: following[one.name] for one in outcomes if one.status != "pass" and not one.undecided}
        return tuple(replace(outcome, failing_since=failing.get(outcome.name, "")) for outcome in outcomes)

    def failing(self, stage: str, subject: str) -> dict[str, str]:
        """The checks of a dataset that failed, or warned, when they were last evaluated, and since when."""
        return dict(sorted(_read(self.folder / stage / f"{subject}.json").items()))


def _following(known: Mapping[str, str], outcomes: Sequence[CheckOutcome], now: datetime) -> dict[str, str]:
    """What is known after a validation."""
    # A check that had nothing to look at, or could not tell, says nothing about the problem it found before.
    told = [outcome for outcome in outcomes if not outcome.undecided]
    kept = {name: since for name, since in known.items() if name not in {outcome.name for outcome in told}}
    return kept | {o.name: known.get(o.name, timestamp(now)) for o in told if o.status != "pass"}


def _read(path: Path) -> dict[str, str]:
    try:
        document = read_json(path)
    except (FileNotFoundError, IntegrityError):
        return {}
    usable = isinstance(document, dict) and all(isinstance(value, str) for value in document.values())
    return document if usable else {}
