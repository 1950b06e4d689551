"""What a person may ask of one cycle.

What belongs here: the options and their values, so light that the command line can name them in its help. What does
not: what they do (``workspace`` and the stages).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SourceChoice = Literal["auto", "kaggle", "mirror", "synthetic"]


@dataclass(frozen=True)
class CycleOptions:
    """What a person may ask of one cycle.

    Attributes:
        source: where data may come from; ``auto`` takes the first of Kaggle, mirror and synthetic that can serve.
        force: train again although nothing changed.
        download: False uses the snapshots that are there and asks no source.
        force_download: fetch although the source says that nothing changed.
        samples: at most this many rows a family; 0 leaves it to the settings.
        seed: overrides the seed of the settings.
        drift_report: digest of the drift report that asked for the cycle, or empty.
    """

    source: SourceChoice = "auto"
    force: bool = False
    download: bool = True
    force_download: bool = False
    samples: int = 0
    seed: int | None = None
    drift_report: str = ""
