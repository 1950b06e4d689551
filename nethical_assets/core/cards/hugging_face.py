"""The Hugging Face form of a model card: YAML metadata of the Hub, then the Markdown card.

What belongs here: the metadata of https://huggingface.co/docs/hub/model-cards, as far as the card knows it. What does
not: uploading, or fields that would have to be invented (licence of the model, language, Hub names of the datasets).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from nethical_assets.core.cards.card import card_digest
from nethical_assets.core.cards.figures import clean, metric_title, slices
from nethical_assets.core.cards.markdown import render_markdown

_TASKS = {"text": "text-classification", "records": "tabular-classification"}
_OTHER_TASK = "other"
_NO_FOLDING = 1 << 30


def render_hugging_face(card: Mapping[str, Any]) -> str:
    """A ``README.md`` of the Hub."""
    written = yaml.safe_dump(hugging_face_metadata(card), sort_keys=False, allow_unicode=True, width=_NO_FOLDING)
    return f"---\n{written}---\n\n{render_markdown(card)}"


def hugging_face_metadata(card: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata as a document. Metrics keep the card's digits; undefined ones are left out."""
    info = card["dataset_info"]
    family, task = clean(card["model_type"]), _TASKS.get(card["input_kind"])
    results = _results(card, task or _OTHER_TASK)
    document: dict[str, Any] = {
        "tags": ["ai-safety", "calibrated", *(["synthetic-data"] if info["synthetic"] else []), family],
        "library_name": "nethical-assets",
    }
    if task:
        document["pipeline_tag"] = task
    document["model_name"] = clean(card["title"])
    if results:
        document["metrics"] = [name for name, metric in card["metrics"].items() if metric["value"] is not None]
        document["model-index"] = [{"name": f"{family} {clean(card['model_version'])}", "results": results}]
    document["nethical"] = {
        "verdict": clean(card["verdict"]),
        "card": card_digest(card),
        "audit_merkle_root": card["audit_merkle_root"],
        "audit_run": card["audit"]["run_id"],
        **{
            name: clean(digest)
            for name, digest in card["digests"].items()
            if name in ("model", "evaluation", "decision")
        },
    }
    return document


def _results(card: Mapping[str, Any], task: str) -> list[dict[str, Any]]:
    """One result a set of rows: the test rows, then every source of every slice."""
    family = clean(card["model_type"])
    measured = [("test rows", "test", card["metrics"])]
    for title, sources in slices(card):
        measured += [(f"{clean(source['source'])}: {title}", "", source["metrics"]) for source in sources]
    results = []
    for name, split, metrics in measured:
        values = [_metric(key, metric) for key, metric in metrics.items() if metric["value"] is not None]
        if values:
            dataset = {"type": family, "name": name, **({"split": split} if split else {})}
            results.append({"task": {"type": task}, "dataset": dataset, "metrics": values})
    return results


def _metric(name: str, metric: Mapping[str, Any]) -> dict[str, Any]:
    document = {"type": name, "value": metric["value"], "name": metric_title(name)}
    if metric["low"] is not None and metric["high"] is not None:
        document["args"] = {"interval_low": metric["low"], "interval_high": metric["high"], "confidence": "95 %"}
    return document
