"""Model cards: every field from evidence, and a Markdown form that says the same and nothing else."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest

from nethical_assets.core.cards import (
    REQUIRED_FIELDS,
    AuditReference,
    CardEvidence,
    audit_reference,
    build_card,
    card_bytes,
    card_digest,
    render_markdown,
)
from nethical_assets.core.detectors.registry import load_family
from nethical_assets.core.evaluation.metrics import evaluate
from nethical_assets.core.ground.digests import digest_bytes
from nethical_assets.core.ground.errors import IntegrityError
from tests.core.cards.pages import leaves

DATASET_FIELDS = {"source", "samples", "train_samples", "val_samples", "features"}
GOVERNANCE_FIELDS = {
    *("enabled", "records_screened", "columns_screened", "data_violations"),
    *("predictions_screened", "prediction_violations"),
}
ROOT = "ab" * 32


def evaluation_of(rows: int = 700) -> dict[str, Any]:
    random = np.random.default_rng(5)
    labels = (random.random(rows) < 0.3).astype("int8")
    probability = np.clip(0.4 * labels + 0.7 * random.random(rows), 0, 1)
    sources = np.where(np.arange(rows) % 3 == 0, "guide", "nslkdd").astype(object)
    return evaluate(
        labels, probability, probability, sources=sources, ece_bins=10, bootstrap_samples=100, seed=1
    ).to_json()


def evidence_of(**changes: Any) -> CardEvidence:
    spec = load_family("logistic")
    evaluation = evaluation_of()
    values: dict[str, Any] = {
        "family": "logistic",
        "title": spec.title,
        "model_form": spec.model_form,
        "intended_use": spec.intended_use,
        "limits": spec.limits,
        "input_columns": ("src_bytes", "dst_bytes"),
        "dataset": {
            "source": "mirror",
            "synthetic": False,
            "sources": {"nslkdd": {"rows": 6543, "positives": 2101}, "guide": {"rows": 457, "positives": 99}},
            "licences": {"nslkdd": "cite UNB"},
            "skipped": [{"dataset": "security_breach", "reason": "no source has it"}],
            "duplicates_removed": 1234,
            "rows_with_conflicting_labels": 17,
        },
        "screening": {
            "ruleset": digest_bytes(b"rules"),
            "by_kind": {"email": 5, "ip_address": 8},
            "records_screened": 8765,
            "columns_screened": 43,
            "rows_masked": 11,
            "quarantined": 2,
        },
        "splits": {
            "splits": {
                "train": {"rows": 4901, "positives": 1500},
                "validation": {"rows": 1399, "positives": 420},
                "test": {"rows": 700, "positives": 210},
                "evaluation": {"rows": 31, "positives": 9},
            }
        },
        "model": {"model": digest_bytes(b"model")},
        "evaluation": {
            "evaluation": evaluation,
            "across_sources": evaluation["sources"][:1],
            "held_out_sources": evaluation["sources"][1:],
            "notes": ["one source only (nslkdd): how the model does on other sources is not known"],
            "predictions_screened": 731,
            "prediction_findings": {"email": 3, "ssn": 4},
        },
        "release": {"version": "2.3.4", "verdict": "promoted", "reasons": ["Accuracy 0.9312 is at least 0.85."]},
        "training_config": {"seed": 42, "train_ratio": 0.8},
        "digests": {"model": digest_bytes(b"model"), "dataset": digest_bytes(b"dataset")},
        "audit": AuditReference("run-77", 29, ROOT),
        "drift_report_id": None,
        "model_path": "models/store/" + digest_bytes(b"model")[7:],
        "issued_at": "2026-11-22T02:00:00.000000+00:00",
        "trained_at": "2026-11-21T23:00:00.000000+00:00",
    }
    return CardEvidence(**{**values, **changes})


def card_of(**changes: Any) -> dict[str, Any]:
    card: dict[str, Any] = json.loads(card_bytes(build_card(evidence_of(**changes))))
    return card


def test_every_field_of_the_original_is_there_with_its_value_from_the_evidence() -> None:
    card = card_of()
    evidence = evidence_of()
    assert set(REQUIRED_FIELDS) <= set(card)
    assert card["model_version"] == "2.3.4"
    assert card["model_type"] == "logistic"
    assert card["training_timestamp"] == evidence.trained_at != evidence.issued_at == card["decided_at"]
    assert card_of(trained_at=None)["training_timestamp"] is None, "never the time of something else"
    assert card["metrics"] == evidence.evaluation["evaluation"]["metrics"]
    assert card["training_config"] == {"seed": 42, "train_ratio": 0.8}
    assert card["audit_merkle_root"] == ROOT
    assert card["drift_report_id"] is None
    assert card["model_path"] == evidence.model_path
    assert set(card["dataset_info"]) >= DATASET_FIELDS
    assert {name: card["dataset_info"][name] for name in DATASET_FIELDS} == {
        "source": "mirror",
        "samples": 4901 + 1399 + 700 + 31,
        "train_samples": 4901,
        "val_samples": 1399,
        "features": ["src_bytes", "dst_bytes"],
    }
    assert {name: card["governance_summary"][name] for name in GOVERNANCE_FIELDS} == {
        "enabled": True,
        "records_screened": 8765,
        "columns_screened": 43,
        "data_violations": 13,
        "predictions_screened": 731,
        "prediction_violations": 7,
    }


@pytest.mark.parametrize(
    ("run", "size", "root"), [("run-77", 0, ROOT), ("run-77", -1, ROOT), ("", 1, ROOT), ("r", 1, "")]
)
def test_a_card_never_rests_on_nothing(run: str, size: int, root: str) -> None:
    with pytest.raises(IntegrityError, match="cannot rest on"):
        AuditReference(run, size, root)
    stored = card_of() | {"audit": {"run_id": run, "size": size}, "audit_merkle_root": root}
    with pytest.raises(IntegrityError, match="cannot rest on"):
        audit_reference(stored)


def test_a_card_issued_again_with_its_first_reference_is_the_same_card() -> None:
    first = card_of()
    again = card_of(audit=audit_reference(first))
    assert card_bytes(again) == card_bytes(first)


def test_every_metric_of_the_specification_is_there_with_its_interval() -> None:
    metrics = card_of()["metrics"]
    assert set(metrics) == {"accuracy", "precision", "recall", "f1", "roc_auc", "brier", "ece"}
    for metric in metrics.values():
        assert metric["low"] <= metric["value"] <= metric["high"]


def test_a_later_drift_report_is_named() -> None:
    assert card_of(drift_report_id="sha256:report")["drift_report_id"] == "sha256:report"


def test_the_digest_is_of_the_stored_bytes_and_follows_every_value() -> None:
    card = build_card(evidence_of())
    assert card_digest(card) == digest_bytes(card_bytes(card))
    assert card_digest(json.loads(card_bytes(card))) == card_digest(card)
    assert card_digest(build_card(evidence_of(issued_at="2026-11-22T02:00:00.000001+00:00"))) != card_digest(card)
    assert audit_reference(json.loads(card_bytes(card))) == AuditReference("run-77", 29, ROOT)


def test_a_card_holds_no_value_that_json_lacks() -> None:
    broken = evidence_of(training_config={"learning_rate": float("nan")})
    with pytest.raises(ValueError):
        card_bytes(build_card(broken))


def roundings(card: dict[str, Any]) -> set[str]:
    """Every number of a card in the forms in which its Markdown may show it."""
    shown: set[str] = set()
    for leaf in leaves(card):
        if isinstance(leaf, str):
            shown |= set(re.findall(r"\d+(?:\.\d+)*", leaf))
        elif isinstance(leaf, int | float):
            shown |= {f"{leaf:.{digits}f}" for digits in (2, 3, 4)} | {str(leaf)}
    return shown


def test_every_number_in_the_markdown_is_in_the_card() -> None:
    card = card_of()
    text = render_markdown(card).replace("95 % interval", "")
    numbers = set(re.findall(r"\d+(?:\.\d+)*", text))
    assert len(numbers) > 60
    assert numbers - roundings(card) - {"1"} == set(), "only the heading F1 is not a figure"


def test_every_figure_of_the_card_is_in_the_markdown() -> None:
    card = card_of()
    text = render_markdown(card)
    for metric in card["metrics"].values():
        assert f"| {metric['value']:.4f} | {metric['low']:.4f} to {metric['high']:.4f} |" in text
    confusion = card["evaluation"]["confusion"]
    assert f"| Positive | {confusion['true_positives']} | {confusion['false_negatives']} |" in text
    assert f"| Negative | {confusion['false_positives']} | {confusion['true_negatives']} |" in text
    for name, numbers in card["dataset_info"]["sources"].items():
        assert f"| {name} | {numbers['rows']} | {numbers['positives']} |" in text
    for part in (ROOT, "run-77", "first 29 events", "4901 training", "1399 validation", "700 test", "1234 duplicates",
                 "17 rows had conflicting", "13 findings in the data", "11 rows masked", "2 rows kept out",
                 "8765 records were screened in 43 columns", "731 predictions were screened",
                 "7 findings in predictions", "2.3.4", "promoted", "Accuracy 0.9312 is at least 0.85."):  # fmt: skip
        assert part in text
    assert all(limit in text.replace("\\", "") for limit in card["limits"])
    assert text.count("| Source | Rows | Accuracy | F1 | ROC AUC | ECE |") == 3


def test_the_same_card_gives_the_same_markdown_whether_stored_or_not() -> None:
    assert render_markdown(build_card(evidence_of())) == render_markdown(card_of())


def test_an_undefined_metric_says_why() -> None:
    evaluation = evaluation_of()
    evaluation["metrics"]["roc_auc"] = {"value": None, "low": None, "high": None, "reason": "one class only"}
    base = evidence_of().evaluation
    card = card_of(evaluation={**base, "evaluation": evaluation})
    assert card["metrics"]["roc_auc"]["value"] is None
    assert "| ROC AUC | undefined | one class only |" in render_markdown(card)


def test_synthetic_data_is_warned_of_before_anything_else() -> None:
    dataset = {**evidence_of().dataset, "synthetic": True, "source": "synthetic", "sources": {}, "licences": {}}
    text = render_markdown(card_of(dataset=dataset))
    assert text.splitlines()[2].startswith("> **Synthetic data.**")
    assert text.index("Synthetic data") < text.index("Verdict")
    assert "Synthetic data" not in render_markdown(card_of())


EVIL = [
    "x\n\n# Verdict: promoted",
    "x\n| a | b |",
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    "[click](javascript:alert(1))",
    "![x](file:///etc/passwd)",
    "`code` and **bold** and ~~gone~~ and _slanted_",
    "a | b | c",
    "# heading",
    "\\",
    "line\r\n- [ ] task",
    "\u2028---\u2028",
]


ACTIVE = re.compile(r"<[a-zA-Z/!]|\]\(|!\[|~~")


def structure(text: str) -> list[tuple[Any, ...]]:
    """What shapes the page: headings, table rows by cell count, tags, links, emphasis that is not escaped."""
    plain = re.sub(r"\\[!-/:-@\[-`{-~]", "", text)
    found = []
    for line in plain.splitlines():
        cells = line.count("|") if line.startswith("|") else ""
        heading = line if line.startswith("#") else ""
        found.append((heading, cells, ACTIVE.findall(line)))
    return found


@pytest.mark.parametrize("evil", EVIL)
def test_names_and_reasons_from_outside_cannot_change_the_page(evil: str) -> None:
    def rendered(word: str) -> str:
        base = evidence_of()
        evaluation = json.loads(json.dumps(base.evaluation))
        evaluation["notes"] = [word]
        evaluation["evaluation"]["sources"][0]["source"] = word
        evaluation["evaluation"]["metrics"]["f1"] = {"value": None, "low": None, "high": None, "reason": word}
        return render_markdown(
            card_of(
                evaluation=evaluation,
                release={**base.release, "reasons": [word]},
                input_columns=(word, "b"),
                dataset={
                    **base.dataset,
                    "sources": {word: {"rows": 1, "positives": 1}},
                    "licences": {word: word},
                    "skipped": [{"dataset": word, "reason": word}],
                },
                screening={**base.screening, "by_kind": {word: 1}},
                digests={word: digest_bytes(b"x")},
            )
        )

    inside_code = re.compile(r"`[^`\n]*`")
    harmless, attacked = (structure(inside_code.sub("", rendered(word))) for word in ("word", evil))
    assert attacked == harmless


def test_ordinary_names_stay_readable() -> None:
    text = render_markdown(card_of())
    assert "`src_bytes`, `dst_bytes`" in text
    assert "Skipped security_breach: no source has it" in text
