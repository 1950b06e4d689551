"""The Markdown form of a model card, and the Markdown that other formats share.

What belongs here: layout and escaping. What does not: any number that is not in the card.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from nethical_assets.core.cards.card import card_bytes
from nethical_assets.core.cards.figures import SLICES, clean, decimal, estimate, metric_title, retrained_because

# Whatever opens markup anywhere; what opens a block at the start of a line; what turns a bare address into a link.
_SPECIAL = re.compile(r"[\\`*\[\]<|~$&]|^[#>+=-]|^\d+[.)](?=\s|$)|(?<!\w)_|_(?!\w)|:(?=//)|(?<=www)\.(?=\S)|@")


def render_markdown(card: Mapping[str, Any]) -> str:
    """The card for people: the same facts as the JSON document, in the order in which it is stored, nothing more."""
    card = json.loads(card_bytes(card))
    info, governance, evaluation = card["dataset_info"], card["governance_summary"], card["evaluation"]
    warning = ["> **Synthetic data.** No source could serve real data; the figures say nothing about real traffic.", ""]
    lines = [
        f"# {escape(card['title'])} {escape(card['model_version'])}",
        "",
        *(warning if info["synthetic"] else []),
        f"**Verdict: {escape(card['verdict'])}.** {escape(card['model_form'])}",
        "",
        *_bullets(card["reasons"]),
        "",
        *([escape(retrained_because(card)), ""] if retrained_because(card) else []),
        "## Metrics",
        "",
        f"On {evaluation['test_rows']} test rows ({evaluation['test_positives']} positive) that training never saw.",
        "",
        *table(
            ("Metric", "Value", "95 % interval"),
            [(escape(metric_title(name)), *map(escape, estimate(metric))) for name, metric in card["metrics"].items()],
        ),
        "",
        *_confusion(evaluation["confusion"]),
        *(line for name, title in SLICES.items() for line in _sources(title, evaluation[name])),
        *_bullets(evaluation["notes"]),
        "",
        "## Reliability",
        "",
        *table(
            ("Probability", "Rows", "Mean probability", "Observed rate"),
            [
                (
                    f"{b['low']:.2f} to {b['high']:.2f}",
                    b["rows"],
                    decimal(b["mean_probability"], 3),
                    decimal(b["observed_rate"], 3),
                )
                for b in evaluation["reliability"]
            ],
        ),
        "",
        "## Data",
        "",
        f"Source: **{escape(info['source'])}**. {info['samples']} rows: {info['train_samples']} training, "
        f"{info['val_samples']} validation, {info['test_samples']} test. "
        f"{info['duplicates_removed']} duplicates removed, {info['rows_with_conflicting_labels']} rows had conflicting "
        "labels.",
        "",
        *table(
            ("Collection", "Rows", "Positives"),
            [(escape(name), numbers["rows"], numbers["positives"]) for name, numbers in info["sources"].items()],
        ),
        "",
        *_bullets([f"Licence of {name}: {licence}" for name, licence in info["licences"].items()]),
        *_bullets([f"Skipped {row['dataset']}: {row['reason']}" for row in info["skipped"]]),
        "",
        f"Inputs: {', '.join(code(name) for name in info['features'])}.",
        "",
        "## Governance",
        "",
        f"{governance['records_screened']} records were screened in {governance['columns_screened']} columns: "
        f"{governance['data_violations']} findings in the data, {governance['rows_masked']} rows masked, "
        f"{governance['rows_quarantined']} rows kept out. {governance['predictions_screened']} predictions were "
        f"screened: {governance['prediction_violations']} findings in predictions.",
        "",
        *table(
            ("Kind", "In", "Findings"),
            [
                (escape(kind), where, count)
                for where, kinds in (
                    ("data", governance["data_violations_by_kind"]),
                    ("predictions", governance["prediction_violations_by_kind"]),
                )
                for kind, count in kinds.items()
            ],
        ),
        "",
        "## Use",
        "",
        escape(card["intended_use"]),
        "",
        "Limits:",
        "",
        *_bullets(card["limits"]),
        "",
        "## Evidence",
        "",
        *table(("What", "Digest"), [(escape(name), code(digest)) for name, digest in card["digests"].items()]),
        "",
        f"Audit root {code(card['audit_merkle_root'])} over the first {card['audit']['size']} events of run "
        f"{code(card['audit']['run_id'])}; `nethical audit verify` recomputes it.",
        "",
    ]
    return "\n".join(lines)


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """The lines of a table whose cells are Markdown already; nothing without rows."""
    if not rows:
        return []
    return [
        f"| {' | '.join(header)} |",
        f"| {' | '.join('---' for _ in header)} |",
        *(f"| {' | '.join(str(value) for value in row)} |" for row in rows),
    ]


def escape(value: object) -> str:
    """``value`` on one line, without effect on the layout: names and reasons may come from a downloaded file."""
    return _SPECIAL.sub(lambda match: f"{match[0][:-1]}\\{match[0][-1]}", clean(value))


def code(value: object) -> str:
    """``value`` as code, where it can be written as code."""
    text = clean(value)
    return escape(text) if not text or "`" in text or "|" in text else f"`{text}`"


def _bullets(sentences: Sequence[str]) -> list[str]:
    return [f"- {escape(sentence)}" for sentence in sentences]


def _confusion(matrix: Mapping[str, int] | None) -> list[str]:
    if matrix is None:
        return []
    return [
        *table(
            ("", "Called positive", "Called negative"),
            [
                ("Positive", matrix["true_positives"], matrix["false_negatives"]),
                ("Negative", matrix["false_positives"], matrix["true_negatives"]),
            ],
        ),
        "",
    ]


def _sources(title: str, sources: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = [
        (
            escape(source["source"]),
            source["rows"],
            *(decimal(source["metrics"][name]["value"], 3) for name in ("accuracy", "f1", "roc_auc", "ece")),
        )
        for source in sources
    ]
    if not rows:
        return []
    return [f"### {title}", "", *table(("Source", "Rows", "Accuracy", "F1", "ROC AUC", "ECE"), rows), ""]
