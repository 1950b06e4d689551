"""``python -m benchmarks.quality``: the quality tables of docs/families.md, from the cards of the current champions.

What belongs here: reading cards and printing them as tables. What does not: measuring; run a cycle first.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from nethical_assets.core.detectors.registry import family_names
from nethical_assets.core.ground.storage import read_json
from nethical_assets.core.models.registry import ModelRegistry
from nethical_assets.home.settings import load_settings

KINDS = (
    ("by_source", "test rows"),
    ("left_out_of_training", "left out of training"),
    ("never_trained_on", "never trained on"),
)


def main() -> int:
    """Print both tables; 1 when no family has a champion."""
    registry = ModelRegistry(load_settings().home / "models")
    champions = [champion for family in family_names() if (champion := registry.champion(family)) is not None]
    cards = [read_json(registry.card_path(champion, "json")) for champion in champions]
    print("| family | data | rows | test rows | accuracy | ECE | F1 | AUC |\n|---|---|---|---|---|---|---|---|")
    for card in cards:
        info, metrics = card["dataset_info"], card["metrics"]
        figures = _figures(metrics, ("accuracy", "ece", "f1", "roc_auc"))
        print(f"| {card['model_type']} | {info['source']} | {info['samples']} | {info['test_samples']} | {figures} |")
    print("\n| family | source | measured on | rows | accuracy | AUC | ECE |\n|---|---|---|---|---|---|---|")
    for card in cards:
        for key, kind in KINDS:
            for source in card["evaluation"][key]:
                figures = _figures(source["metrics"], ("accuracy", "roc_auc", "ece"))
                print(f"| {card['model_type']} | {source['source']} | {kind} | {source['rows']} | {figures} |")
    return 0 if cards else 1


def _figures(metrics: Mapping[str, Mapping[str, Any]], names: Sequence[str]) -> str:
    return " | ".join("-" if metrics[name]["value"] is None else f"{metrics[name]['value']:.3f}" for name in names)


if __name__ == "__main__":
    sys.exit(main())
