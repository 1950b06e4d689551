from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nethical_assets.core.cards import AuditReference, CardEvidence, build_card
from nethical_assets.core.evaluation.metrics import evaluate
from nethical_assets.core.ground.digests import digest_bytes

from .examples import EVIDENCE, stored

NAMES = (*EVIDENCE, "raw/nslkdd", "raw/guide")


@pytest.fixture
def example() -> dict[str, Any]:
    """An ordinary card of real data from two sources, with every kind of evidence."""
    random = np.random.default_rng(5)
    labels = (random.random(700) < 0.3).astype("int8")
    probability = np.clip(0.4 * labels + 0.7 * random.random(700), 0, 1)
    sources = np.where(np.arange(700) % 3 == 0, "guide", "nslkdd").astype(object)
    measured = evaluate(
        labels, probability, probability, sources=sources, ece_bins=10, bootstrap_samples=20, seed=1
    ).to_json()
    evidence = CardEvidence(
        family="logistic",
        title="Security records",
        model_form="a calibrated linear model",
        intended_use="Triage of security records.",
        limits=("Sees single records only.",),
        input_columns=("src_bytes", "dst_bytes"),
        dataset={
            "source": "mirror",
            "synthetic": False,
            "sources": {"nslkdd": {"rows": 6543, "positives": 2101}, "guide": {"rows": 457, "positives": 99}},
            "licences": {"nslkdd": "cite UNB", "guide": "CDLA-Permissive-2.0"},
            "skipped": [{"dataset": "security_breach", "reason": "no source has it"}],
            "duplicates_removed": 1234,
            "rows_with_conflicting_labels": 17,
        },
        screening={
            "ruleset": digest_bytes(b"rules"),
            "records_screened": 8765,
            "columns_screened": 43,
            "by_kind": {"email": 5, "ip_address": 8},
            "rows_masked": 11,
            "quarantined": 2,
        },
        splits={"splits": {"train": {"rows": 4901}, "validation": {"rows": 1399}, "test": {"rows": 700}}},
        model={},
        evaluation={
            "evaluation": measured,
            "across_sources": measured["sources"][:1],
            "held_out_sources": measured["sources"][1:],
            "notes": [],
            "predictions_screened": 4321,
            "prediction_findings": {"email": 3},
        },
        release={"version": "2.3.4", "verdict": "promoted", "reasons": ["Accuracy is at least 0.85."]},
        training_config={"seed": 42, "libraries": {"numpy": "2.4.6", "scikit-learn": "1.9.1"}},
        digests={name: digest_bytes(name.encode()) for name in NAMES},
        audit=AuditReference("run-77", 29, "ab" * 32),
        drift_report_id=digest_bytes(b"drift"),
        model_path="models/store/" + "cd" * 32,
        issued_at="2026-11-22T02:00:00.000000+00:00",
        trained_at="2026-11-21T23:00:00.000000+00:00",
        input_kind="records",
    )
    return stored(build_card(evidence))
