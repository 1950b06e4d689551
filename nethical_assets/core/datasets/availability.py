"""Why a dataset could not be had, and what may stand in for it.

What belongs here: the causes, what to do about each, and whether a family goes on without a source. What does not:
asking sources (``refresh``), making synthetic data (``canonical``), or the ``available`` checks (``core.quality``).

Damage is not absence: a dataset whose stored bytes are damaged stops its families, and synthetic data stands in only
where a family never had real data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from nethical_assets.core.ground.errors import (
    BusyError,
    DatasetError,
    IntegrityError,
    NethicalError,
    SourceUnavailableError,
)
from nethical_assets.core.sources.source import CredentialsError, NotThereError, UnusableContentError

SYNTHETIC = "synthetic"
"""Where rows come from that stand in for a family's data."""
Cause = Literal["damaged", "unusable", "credentials", "disk", "busy", "missing", "unreachable", "not_asked"]

ADVICE: Mapping[Cause, str] = {
    "damaged": "bring back a backup (nethical data restore NAME), or fetch it again (nethical data fetch NAME --force)",
    "unusable": "the source delivers something that cannot be used: compare it with the catalog entry (columns, label "
    "values, format) and correct the one that is wrong",
    "credentials": "correct the Kaggle credentials, or accept the dataset's terms on its page",
    "disk": "free space or correct permissions, then run: nethical data fetch",
    "busy": "wait for the other process, then run: nethical data fetch",
    "missing": "correct 'slug' in the catalog, or put the files into OWNER/NAME/files/ of the mirror folder",
    "unreachable": "make the source reachable or name a mirror folder with NETHICAL_DATA_MIRROR, then: nethical data "
    "fetch",
    "not_asked": "allow a source (no --no-download, no --source synthetic), or run: nethical data fetch",
}
"""What to do about each cause; the gravest comes first."""

THERE_BUT_UNUSABLE: frozenset[str] = frozenset({"damaged", "unusable"})


@dataclass(frozen=True)
class Absence:
    """A dataset without a usable snapshot: one line why, and whether it ever had one."""

    dataset: str
    reason: str
    cause: Cause
    had_data: bool


def cause_of(error: NethicalError | OSError) -> Cause:
    """Why a source could not deliver, by the error it ended with."""
    by_type: tuple[tuple[type[Exception], Cause], ...] = (
        (OSError, "disk"),
        (BusyError, "busy"),
        (CredentialsError, "credentials"),
        (NotThereError, "missing"),
        (UnusableContentError, "unusable"),
        (SourceUnavailableError, "unreachable"),
        (DatasetError, "unusable"),
    )
    return next((cause for kind, cause in by_type if isinstance(error, kind)), "unusable")


def gravest(causes: Iterable[Cause]) -> Cause:
    """The cause that should be dealt with first; ``not_asked`` without any."""
    order = list(ADVICE)
    return min(causes, key=order.index, default="not_asked")


def check_absences(family: str, absences: Sequence[Absence], *, has_real_data: bool) -> None:
    """Whether ``family`` may go on without these datasets.

    Args:
        has_real_data: whether another source has real rows to train on.

    Raises:
        IntegrityError: one of them is damaged.
        DatasetError: no source is left, and there was real data before.
    """
    for absence in absences:
        if absence.cause == "damaged":
            raise IntegrityError(
                f"datasets of family {family}: {absence.dataset} is damaged, and nothing stands in for damaged data: "
                f"{absence.reason}; {advice_for(absence.dataset, absence.cause)}"
            )
    lost = [absence for absence in absences if absence.had_data]
    if lost and not has_real_data:
        told = "; ".join(f"{one.dataset}: {one.reason}; {advice_for(one.dataset, one.cause)}" for one in lost)
        raise DatasetError(
            f"datasets of family {family}: it had real data before, and synthetic data does not stand in for it "
            f"({told}); ask for synthetic data with --source synthetic"
        )


def advice_for(dataset: str, cause: Cause) -> str:
    """What to do about a dataset that is absent for ``cause``."""
    return ADVICE[cause].replace("NAME", dataset)
