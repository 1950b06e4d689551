"""Whether a retrained model is the stored one, and what differed when it is not.

What belongs here: comparing two manifests, their files and their predictions. What does not: training
(``core.detectors``), or reading what was stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nethical_assets.core.ground.digests import canonical_json, digest_bytes
from nethical_assets.core.ground.documents import to_document
from nethical_assets.core.models.registry import ModelManifest
from nethical_assets.core.rows.columns import FloatArray


@dataclass(frozen=True)
class Reproduction:
    """The outcome. ``differences`` has one line for everything that is not the same; ``causes`` those of them that the
    retraining was done with (libraries, code, parameters) and that can explain the others.

    ``largest_probability_difference`` is between the two models' probabilities for the same rows, in [0, 1].
    """

    stored: str
    retrained: str
    causes: tuple[str, ...]
    differences: tuple[str, ...]
    largest_probability_difference: float

    @property
    def same(self) -> bool:
        """Whether the retrained model is the stored one, byte by byte."""
        return self.stored == self.retrained

    def to_json(self) -> dict[str, Any]:
        """The outcome as a JSON document."""
        return {"same": self.same, **to_document(self)}


def compare_models(
    stored: ModelManifest, retrained: ModelManifest, then: FloatArray, now: FloatArray, *, context: Mapping[str, Any]
) -> Reproduction:
    """Compare a stored model with one that was retrained from the same splits.

    Args:
        then, now: probabilities of the two for the same rows, shape ``(rows,)``.
        context: what is not in a manifest and may differ: name -> (then, now).
    """
    causes = [
        *_changed("library", stored.libraries, retrained.libraries),
        *_changed("training", stored.training, retrained.training),
        *(f"{name}: {before} -> {after}" for name, (before, after) in sorted(context.items()) if before != after),
    ]
    effects = _changed("file", stored.files, retrained.files)
    if stored.input_columns != retrained.input_columns:
        effects.append(f"input columns: {len(stored.input_columns)} -> {len(retrained.input_columns)} or other names")
    largest = float(np.max(np.abs(then - now), initial=0.0))
    if largest > 0:
        rows = int((then != now).sum())
        effects.append(f"predictions: {rows} of {len(then)} rows differ, probabilities by up to {largest:.3g}")
    return Reproduction(
        stored=digest_bytes(stored.to_bytes()),
        retrained=digest_bytes(retrained.to_bytes()),
        causes=tuple(causes),
        differences=(*causes, *effects),
        largest_probability_difference=largest,
    )


def _changed(kind: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    before, after = _flat(then), _flat(now)
    return [
        f"{kind} {name}: {before.get(name, 'none')} -> {after.get(name, 'none')}"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Dotted names and the JSON text of every value, so that a tuple equals the list it was stored as."""
    flat: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = canonical_json(value).decode()
    return flat
