"""Homes whose champion is watched, without a model: a reference, the promotion, and rows as a gateway logs them.

What belongs here: making them. What does not: what is expected of the watch (the tests).
"""

from __future__ import annotations

import dataclasses
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from nethical_assets.core.audit.events import EventType
from nethical_assets.core.delivery.expected import promotion_payload, promotion_subjects
from nethical_assets.core.drift.reference import Reference, build_reference
from nethical_assets.core.drift.segments import FeedbackRow, LoggedRow, SegmentWriter
from nethical_assets.core.drift.windows import Window
from nethical_assets.core.ground.digests import digest_bytes, pretty_json
from nethical_assets.home.changes import place_pointer
from nethical_assets.home.inference import SealedRows, seal_segments
from nethical_assets.home.options import CycleOptions
from nethical_assets.home.settings import Settings
from nethical_assets.home.stores import segment_folder
from nethical_assets.home.watch import watch_window
from nethical_assets.home.workspace import Workspace
from nethical_assets.operations.verification import verify
from tests.core.models.conftest import pointer_of

FAMILY = "logistic"
PROMOTED = datetime(2026, 3, 1, tzinfo=UTC)
WINDOW = Window.at(PROMOTED + timedelta(days=3), 6)


def drawn(random: np.random.Generator, rows: int, moved: float = 0.0, wrong: float = 0.0) -> pd.DataFrame:
    """Predictions of a calibrated model, one column of its inputs, and the labels that are true."""
    score = random.normal(-1.0, 2.5, size=rows)
    probability = 1 / (1 + np.exp(-score))
    label = random.random(rows) < probability
    label ^= (label == (probability >= 0.5)) & (random.random(rows) < wrong)
    size = random.normal(moved, 1.0, size=rows)
    return pd.DataFrame({"score": score, "probability": probability, "size": size, "label": label.astype(int)})


def reference(seed: int = 1, *, labelled: bool = True) -> Reference:
    """What test rows looked like when the model was promoted."""
    rows = drawn(np.random.default_rng(seed), 3000)
    labels = rows["label"].to_numpy(dtype=float) if labelled else None
    return build_reference(rows["score"].to_numpy(), rows["probability"].to_numpy(), rows[["size"]], labels=labels)


@dataclass
class WatchedHome:
    """A home with a champion of one family."""

    settings: Settings
    model: str = "sha256:" + "a" * 64
    truth: dict[str, int] = field(default_factory=dict)

    def open(self) -> Workspace:
        """A workspace of a run of its own."""
        return Workspace(self.settings, CycleOptions(), f"test-{uuid.uuid4()}")

    def promote(self, when: datetime = PROMOTED, of: Reference | None = None) -> None:
        """Make the model champion, through the log."""
        workspace = self.open()
        stored = workspace.objects.put(pretty_json((of or reference()).to_json()))
        decision = digest_bytes(when.isoformat().encode())
        pointer = pointer_of(
            self.model,
            family=FAMILY,
            decision=decision,
            reference=stored,
            decided_at=when.isoformat(timespec="microseconds"),
            run_id=workspace.run_id,
        )
        workspace.act(
            EventType.MODEL_PROMOTED,
            promotion_subjects(pointer),
            place_pointer(pointer, "current"),
            parents=[decision],
            payload=promotion_payload(pointer),
        )
        workspace.finish_errand()

    def replace(self, when: datetime, model: str) -> None:
        """Archive the champion and make another model of the same reference the next one."""
        workspace = self.open()
        before = workspace.registry.champion(FAMILY)
        assert before is not None
        archived = dataclasses.replace(before, replaced_at=when.isoformat(timespec="microseconds"))
        workspace.act(
            EventType.MODEL_ARCHIVED,
            {f"models/{FAMILY}": before.model},
            place_pointer(archived, "archived"),
            parents=[],
        )
        workspace.finish_errand()
        self.model = model
        self.promote(when)

    def answer(self, start: datetime, end: datetime, rows: int, seed: int = 2, **changes: Any) -> list[str]:
        """Log answers spread evenly over a time; their request ids."""
        frame = drawn(np.random.default_rng(seed), rows, **changes)
        step = (end - start) / rows
        ids = [f"{start:%d%H%M}-{seed}-{number}" for number in range(rows)]
        self.truth.update(zip(ids, frame["label"].tolist(), strict=True))
        writer = SegmentWriter(segment_folder(self.settings.home))
        writer.append(
            [
                LoggedRow(
                    at_ns=round((start + number * step).timestamp() * 1e9),
                    request_id=ids[number],
                    family=FAMILY,
                    model=self.model,
                    route="v1",
                    label=int(row.probability >= 0.5),
                    probability=row.probability,
                    score=row.score,
                    sketch={"size": row.size_},
                    latency_us=100,
                    findings={},
                )
                for number, row in enumerate(frame.rename(columns={"size": "size_"}).itertuples())
            ]
        )
        writer.close()
        return ids

    def label(self, ids: list[str], when: datetime) -> None:
        """Log the true labels of requests."""
        writer = SegmentWriter(segment_folder(self.settings.home))
        at_ns = round(when.timestamp() * 1e9)
        writer.append([FeedbackRow(at_ns, request, self.truth[request], "analyst") for request in ids])
        writer.close()

    def seal(self) -> SealedRows:
        """A sealing pass."""
        return seal_segments(self.settings)

    def problems(self) -> list[str]:
        """What verification finds, but for the model and its decision, that there are none of."""
        models = str(self.settings.home / "models")
        return [one for one in verify(self.settings)["problems"] if not one.startswith(models)]

    def watch(self, window: Window = WINDOW, *, publish: bool = True) -> dict[str, Any]:
        """The facts of a window; published, as the stage does, unless the watcher is killed before."""
        workspace = self.open()
        facts = watch_window(workspace, FAMILY, window)
        if publish:
            stored = workspace.objects.put(pretty_json(facts))
            workspace.record_event(EventType.DRIFT_JUDGED, {f"drift_reports/{FAMILY}": stored})
        workspace.finish_errand()
        return facts
