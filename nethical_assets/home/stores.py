"""Stores of a home that are opened without a run: the log, keys, models, the issue tracker, segments of answers.

What belongs here: where each of them is in a home. What does not: what a run records in them (``workspace``).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nethical_assets.core.alerts.inhibition import Inhibition
    from nethical_assets.core.audit import AuditLog, RunRecorder
    from nethical_assets.core.models.registry import ModelRegistry
    from nethical_assets.core.rows.catalog import Catalog
    from nethical_assets.core.signing.keys import ModelKeys


def open_audit_log(home: Path) -> AuditLog:
    """The audit log of a home; its signing key is created when there is none."""
    from nethical_assets.core.audit import AuditLog

    return AuditLog(home / "audit")


def tracker_path(home: Path) -> Path:
    """The file of the local issue tracker of a home."""
    return home / "alerts" / "issues.sqlite"


def inhibition_by(catalog: Catalog) -> Inhibition:
    """What holds alerts back: the files that each family trains on. What they were joined to is as old as the oldest of
    them, and is looked at again later than they are."""
    from nethical_assets.core.alerts.inhibition import Inhibition
    from nethical_assets.core.audit.subjects import RAW

    data: dict[str, set[str]] = {}
    for entry in catalog.dataset:
        for family in entry.families:
            data.setdefault(family, set()).add(f"{RAW}/{entry.name}")
    return Inhibition({family: frozenset(assets) for family, assets in data.items()})


def open_model_keys(home: Path, recorder: Callable[[], RunRecorder] | None = None) -> ModelKeys:
    """The keys that sign models and provenance, trusted as the audit log pins them. With the recorder of a run, the
    signing key is created and pinned when it is first needed."""
    from nethical_assets.core.lineage.pins import LogPins
    from nethical_assets.core.signing.keys import ModelKeys

    return ModelKeys(home / "models" / "keys", LogPins(home / "audit", recorder))


def open_registry(home: Path, recorder: Callable[[], RunRecorder] | None = None) -> ModelRegistry:
    """The models of a home, their signatures verified, and made where the recorder of a run is given."""
    from nethical_assets.core.models.registry import ModelRegistry
    from nethical_assets.core.signing.signatures import ModelSignatures

    models = home / "models"
    return ModelRegistry(models, signatures=ModelSignatures(models / "signatures", open_model_keys(home, recorder)))


def segment_folder(home: Path) -> Path:
    """Where the processes of a home write rows as they come."""
    return home / "serving" / "segments"


def has_served(home: Path) -> bool:
    """Whether a home ever answered a request, of any family: there is something in its inference log."""
    batches = home.joinpath("serving", "inference").rglob("*")
    return any(path.is_file() for folder in (segment_folder(home).glob("*.segment"), batches) for path in folder)


def damaged_segments(home: Path) -> list[Path]:
    """The segments that were kept because something of them cannot be read."""
    return sorted(path for path in segment_folder(home).joinpath("damaged").glob("*") if path.is_file())
