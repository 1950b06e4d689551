"""Model cards: one document a model, from evidence only.

What belongs here: assembling the card from stage facts, its bytes and digest. What does not: computing any number of
it, its other formats (``formats``), or where it is stored. The fields ``model_version`` to ``model_path`` are the ones
the original pipeline's cards had; a field without a value is null, never invented.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nethical_assets.core.ground.digests import digest_bytes, pretty_json
from nethical_assets.core.ground.errors import IntegrityError

CARD_VERSION = 4
"""2: ``training_timestamp`` is the training's; before, it was the decision's, which is now ``decided_at``.
3: the summary of screening says how many records, columns and predictions were looked at; before, it counted text
columns only, and the inputs of test rows for their predictions."""
REQUIRED_FIELDS = (
    "model_version",
    "model_type",
    "training_timestamp",
    "metrics",
    "training_config",
    "dataset_info",
    "governance_summary",
    "audit_merkle_root",
    "drift_report_id",
    "model_path",
)
_ROOT = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class AuditReference:
    """By what the card's evidence can be verified: the root over the first ``size`` events of run ``run_id``.

    ``size`` is at least 1 and ``root`` 64 hexadecimal digits: a claim over nothing proves nothing, and no log verifies
    it. A card that is issued again cites what it cited first (``audit_reference`` of the issued card), and a card
    whose run was killed before it could be issued cites the events of the run that decided.

    Raises:
        IntegrityError: there is no such claim.
    """

    run_id: str
    size: int
    root: str

    def __post_init__(self) -> None:
        if not self.run_id or self.size < 1 or not _ROOT.fullmatch(self.root):
            raise IntegrityError(
                f"a card cannot rest on {self.size} events of run {self.run_id!r}: cite the run that decided about the "
                "model, or the reference with which its card was issued first"
            )


@dataclass(frozen=True)
class CardEvidence:
    """Everything a card is made from: facts of the stages, and texts of the family's declaration.

    ``dataset``, ``screening``, ``splits``, ``model``, ``evaluation`` and ``release`` are the facts of those stages;
    ``digests`` names what each of them produced; ``input_kind`` is what the family reads (``text``, ``sequence``,
    ``records``), or empty where that is not said. ``trained_at`` is when the model was fitted, None where no record
    says it; ``issued_at`` when it was decided about. Both are ISO 8601 in UTC. ``retrained_because`` is the digest of
    the ``drift_report`` that asked for the model and its ``window`` (``start`` and ``end`` in ISO 8601, or None); None
    where none did.
    """

    family: str
    title: str
    model_form: str
    intended_use: str
    limits: tuple[str, ...]
    input_columns: tuple[str, ...]
    dataset: Mapping[str, Any]
    screening: Mapping[str, Any]
    splits: Mapping[str, Any]
    model: Mapping[str, Any]
    evaluation: Mapping[str, Any]
    release: Mapping[str, Any]
    training_config: Mapping[str, Any]
    digests: Mapping[str, str]
    audit: AuditReference
    drift_report_id: str | None
    model_path: str
    issued_at: str
    trained_at: str | None
    input_kind: str = ""
    retrained_because: Mapping[str, Any] | None = None


def dataset_of(name: str) -> str:
    """The dataset that a digest of the card is of, as it was fetched; nothing for what was made of it.

    Only datasets are named ``<what>/<dataset>``."""
    return name.partition("/")[2]


def build_card(evidence: CardEvidence) -> dict[str, Any]:
    """The card as a JSON document."""
    splits = evidence.splits["splits"]
    measured = evidence.evaluation["evaluation"]
    metrics = {name: dict(metric) for name, metric in measured["metrics"].items()}
    return {
        "card_version": CARD_VERSION,
        "model_version": evidence.release["version"],
        "model_type": evidence.family,
        "title": evidence.title,
        "training_timestamp": evidence.trained_at,
        "decided_at": evidence.issued_at,
        "verdict": evidence.release["verdict"],
        "reasons": list(evidence.release["reasons"]),
        "metrics": metrics,
        "evaluation": {
            "test_rows": measured["rows"],
            "test_positives": measured["positives"],
            "confusion": measured["confusion"],
            "decision_threshold": measured.get("decision_threshold"),
            "reliability": measured["reliability"],
            "operating_points": measured.get("operating_points"),
            "by_source": measured["sources"],
            "left_out_of_training": evidence.evaluation["across_sources"],
            "never_trained_on": evidence.evaluation["held_out_sources"],
            "notes": list(evidence.evaluation["notes"]),
        },
        "training_config": dict(evidence.training_config),
        "dataset_info": {
            "source": evidence.dataset["source"],
            "synthetic": evidence.dataset["synthetic"],
            "samples": splits_total(splits),
            "train_samples": splits["train"]["rows"],
            "val_samples": splits["validation"]["rows"],
            "test_samples": splits["test"]["rows"],
            "features": list(evidence.input_columns),
            "sources": dict(evidence.dataset["sources"]),
            "licences": dict(evidence.dataset["licences"]),
            "skipped": list(evidence.dataset["skipped"]),
            "duplicates_removed": evidence.dataset["duplicates_removed"],
            "rows_with_conflicting_labels": evidence.dataset["rows_with_conflicting_labels"],
        },
        "governance_summary": {
            "enabled": True,
            "ruleset": evidence.screening["ruleset"],
            "records_screened": evidence.screening["records_screened"],
            "columns_screened": evidence.screening["columns_screened"],
            "data_violations": sum(evidence.screening["by_kind"].values()),
            "data_violations_by_kind": dict(evidence.screening["by_kind"]),
            "rows_masked": evidence.screening["rows_masked"],
            "rows_quarantined": evidence.screening["quarantined"],
            "predictions_screened": evidence.evaluation["predictions_screened"],
            "prediction_violations": sum(evidence.evaluation["prediction_findings"].values()),
            "prediction_violations_by_kind": dict(evidence.evaluation["prediction_findings"]),
        },
        "input_kind": evidence.input_kind,
        "model_form": evidence.model_form,
        "intended_use": evidence.intended_use,
        "limits": list(evidence.limits),
        "digests": dict(evidence.digests),
        "audit_merkle_root": evidence.audit.root,
        "audit": {"run_id": evidence.audit.run_id, "size": evidence.audit.size},
        "drift_report_id": evidence.drift_report_id,
        "retrained_because": evidence.retrained_because,
        "model_path": evidence.model_path,
    }


def splits_total(splits: Mapping[str, Mapping[str, int]]) -> int:
    """The rows of all splits together."""
    return sum(numbers["rows"] for numbers in splits.values())


def card_bytes(card: Mapping[str, Any]) -> bytes:
    """The card as it is stored."""
    return pretty_json(card)


def card_digest(card: Mapping[str, Any]) -> str:
    """The digest by which the log names the card."""
    return digest_bytes(card_bytes(card))


def audit_reference(card: Mapping[str, Any]) -> AuditReference:
    """Where in the log the card says its evidence is.

    Raises:
        IntegrityError: it cites no event; cards of older versions that were issued again could.
    """
    return AuditReference(card["audit"]["run_id"], card["audit"]["size"], card["audit_merkle_root"])
