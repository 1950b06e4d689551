"""A card held against Annex IV of the EU AI Act (Regulation (EU) 2024/1689): the points of the technical documentation.

What belongs here: for every point, what the card knows about it and how. What does not: judging conformity, or whether
a system is high-risk; both are the provider's to do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from nethical_assets.core.cards.card import dataset_of
from nethical_assets.core.cards.figures import clean, estimate, in_order, metric_title, retrained_because
from nethical_assets.core.cards.markdown import code, escape, table

Status = Literal["proven", "declared", "missing"]

MEANINGS: Mapping[Status, str] = {
    "proven": "taken from a record of the pipeline whose digest is given here; the signed audit log names this card",
    "declared": "written by the authors of the family or of the dataset entry; nothing checks that it is true",
    "missing": "not known to the product; the provider has to add it",
}
DISCLAIMER = (
    "This table says what the card can and cannot contribute to the technical documentation of Article 11. It is no "
    "conformity assessment, and it does not say that the system is high-risk."
)


@dataclass(frozen=True)
class AnnexRow:
    """One part of one point.

    Attributes:
        point: as numbered in the annex, such as ``2(d)``; a point may have several rows.
        required: what the annex asks for, in short.
        statement: what the card says about it, empty where nothing.
        evidence: (name, digest) of the records behind a proven statement.
    """

    point: str
    required: str
    status: Status
    statement: str = ""
    evidence: tuple[tuple[str, str], ...] = ()


def annex_rows(card: Mapping[str, Any]) -> list[AnnexRow]:
    """Every point of the annex, in its order."""
    return [
        *_general_description(card),
        *_development(card),
        *_functioning(card),
        _missing("4", "Why the performance metrics are appropriate for the system"),
        _missing("5", "Risk management system (Article 9)"),
        _lifecycle(card),
        _missing("7", "Harmonised standards applied, or the solutions adopted instead"),
        _missing("8", "EU declaration of conformity (Article 47)"),
        _drift(card),
        _missing("9", "Post-market monitoring plan (Article 72)"),
    ]


def render_annex_iv(card: Mapping[str, Any]) -> str:
    """The table as Markdown."""
    rows = [
        (
            row.point,
            escape(row.required),
            f"**{row.status}**",
            escape(row.statement),
            "<br>".join(f"{escape(name)} {code(digest)}" for name, digest in row.evidence),
        )
        for row in annex_rows(card)
    ]
    lines = [
        f"# EU AI Act, Annex IV: {escape(card['title'])} {escape(card['model_version'])}",
        "",
        DISCLAIMER,
        "",
        *(f"- **{status}**: {meaning}" for status, meaning in MEANINGS.items()),
        "",
        *table(("Point", "Required", "Status", "What the card says", "Evidence"), rows),
        "",
    ]
    return "\n".join(lines)


def _general_description(card: Mapping[str, Any]) -> list[AnnexRow]:
    libraries = card["training_config"].get("libraries", {})
    fitted = ", ".join(f"{name} {version}" for name, version in libraries.items())
    because = [sentence] if (sentence := retrained_because(card)) else []
    decided = " ".join([f"Version {card['model_version']}, {card['verdict']}.", *card["reasons"], *because])
    return [
        _declared("1(a)", "Intended purpose", card["intended_use"]),
        _missing("1(a)", "Name of the provider"),
        _proven(card, "1(a)", "Version, in relation to previous versions", decided, "model", "decision"),
        _missing("1(b)", "Interaction with hardware or software that is not part of the system"),
        _proven(card, "1(c)", "Versions of relevant software", f"Fitted with {fitted}." if fitted else "", "model"),
        _missing("1(c)", "Requirements related to version updates"),
        _missing("1(d)", "Forms in which the system is placed on the market or put into service"),
        _missing("1(e)", "Hardware on which the system is intended to run"),
        _missing("1(f)", "Where it is part of products: their features, marking and layout"),
        _missing("1(g)", "User interface provided to the deployer"),
        _missing("1(h)", "Instructions for use"),
    ]


def _development(card: Mapping[str, Any]) -> list[AnnexRow]:
    info, governance, evaluation = card["dataset_info"], card["governance_summary"], card["evaluation"]
    origin = "Synthetic rows, no real data" if info["synthetic"] else f"Source: {info['source']}"
    collections = "; ".join(
        f"{name} {numbers['rows']} rows, {numbers['positives']} positive" for name, numbers in info["sources"].items()
    )
    cleaning = (
        f"{info['duplicates_removed']} duplicates removed, {info['rows_with_conflicting_labels']} rows had conflicting "
        f"labels; screening looked at {governance['records_screened']} records, masked {governance['rows_masked']} and "
        f"kept out {governance['rows_quarantined']}."
    )
    licences = "; ".join(f"{name}: {licence}" for name, licence in info["licences"].items())
    tested = (
        f"{evaluation['test_rows']} test rows ({evaluation['test_positives']} positive) that training never saw; "
        f"{info['train_samples']} rows for training, {info['val_samples']} for calibration."
    )
    others = [*evaluation["left_out_of_training"], *evaluation["never_trained_on"]]
    across = "; ".join(f"{source['source']}: {_metrics(source['metrics'], 'accuracy', 'roc_auc')}" for source in others)
    raw = [name for name in card["digests"] if dataset_of(name)]
    return [
        _proven(
            card,
            "2(a)",
            "Methods and steps of the development",
            "Dataset, screening, split and training, each a record that names what it was made from.",
            *("dataset", "screened", "splits", "model"),
        ),
        _missing("2(a)", "Recourse to pre-trained systems or tools of third parties"),
        _declared("2(b)", "General logic of the system", card["model_form"]),
        _missing("2(b)", "Key design choices, rationale, assumptions, what is optimised for, trade-offs"),
        _missing("2(c)", "System architecture"),
        _missing("2(c)", "Computational resources used"),
        _proven(
            card,
            "2(d)",
            "Training data: provenance, scope, main characteristics",
            f"{origin}. {info['samples']} rows{': ' if collections else ''}{collections}.",
            *("dataset", *raw),
        ),
        _declared("2(d)", "Licences of the training data", licences),
        _missing("2(d)", "How the data was obtained, selected and labelled"),
        _proven(card, "2(d)", "Data cleaning", cleaning, "dataset_record", "screening_record"),
        _missing("2(e)", "Human oversight measures (Article 14), assessed"),
        _missing("2(f)", "Pre-determined changes and continuous compliance"),
        _proven(card, "2(g)", "Validation and testing data", tested, "splits"),
        _proven(card, "2(g)", "Metrics of accuracy", _metrics(card["metrics"]), "evaluation"),
        _proven(card, "2(g)", "Robustness: data of sources it did not learn from", across, "evaluation_record"),
        _missing("2(g)", "Potentially discriminatory impacts"),
        _missing("2(g)", "Test reports dated and signed by the responsible persons"),
        _missing("2(h)", "Cybersecurity measures"),
    ]


def _functioning(card: Mapping[str, Any]) -> list[AnnexRow]:
    info = card["dataset_info"]
    overall = _metrics({name: card["metrics"][name] for name in ("accuracy",) if name in card["metrics"]})
    accuracy = "Overall level of accuracy for the intended purpose"
    return [
        _declared("3", "Capabilities and limitations", " ".join(card["limits"])),
        _missing("3", accuracy, "Measured on synthetic rows only, which says nothing about the intended purpose.")
        if info["synthetic"]
        else _proven(card, "3", accuracy, overall, "evaluation"),
        _missing("3", "Degrees of accuracy for specific persons or groups"),
        _missing("3", "Foreseeable unintended outcomes; risks to health, safety, fundamental rights; discrimination"),
        _missing("3", "Human oversight measures, and how to interpret outputs"),
        _proven(card, "3", "Specifications on input data", _inputs(info["features"]), "model"),
    ]


def _lifecycle(card: Mapping[str, Any]) -> AnnexRow:
    audit = card["audit"]
    # The card was issued once, before anything that came later: it can prove no later promotion and no rollback.
    statement = (
        f"Version {card['model_version']} rests on the first {audit['size']} events of run {audit['run_id']} in the "
        "signed audit log, which have this root. Changes after its decision are not part of this card."
    )
    root, decision = card["audit_merkle_root"], card["digests"].get("decision")
    evidence = (("audit_merkle_root", str(root)), ("decision", str(decision))) if root and decision else ()
    return _with_evidence("6", "Changes made through the lifecycle", statement, evidence)


def _drift(card: Mapping[str, Any]) -> AnnexRow:
    report = card["drift_report_id"]
    evidence = (("drift_report_id", str(report)),) if report else ()
    statement = "Traffic is compared with the test rows; the newest report is cited." if report else ""
    return _with_evidence("9", "Evaluation of performance in the post-market phase", statement, evidence)


def _metrics(metrics: Mapping[str, Mapping[str, Any]], *names: str) -> str:
    """Metrics with intervals, as one sentence."""
    parts = []
    for name, metric in in_order(metrics):
        if not names or name in names:
            value, bounds = estimate(metric)
            parts.append(f"{metric_title(name)} {value} ({bounds})")
    return ", ".join(parts)


def _inputs(features: Sequence[str]) -> str:
    return f"Reads {', '.join(features)}." if features else ""


def _missing(point: str, required: str, statement: str = "") -> AnnexRow:
    return AnnexRow(point, required, "missing", statement)


def _declared(point: str, required: str, statement: str) -> AnnexRow:
    return AnnexRow(point, required, "declared" if clean(statement) else "missing", statement)


def _proven(card: Mapping[str, Any], point: str, required: str, statement: str, *names: str) -> AnnexRow:
    """Proven by the records called ``names``; missing unless the card says something and names at least one."""
    digests = card["digests"]
    evidence = tuple((name, str(digests[name])) for name in names if digests.get(name))
    return _with_evidence(point, required, statement, evidence)


def _with_evidence(point: str, required: str, statement: str, evidence: tuple[tuple[str, str], ...]) -> AnnexRow:
    if statement and evidence:
        return AnnexRow(point, required, "proven", statement, evidence)
    return AnnexRow(point, required, "missing", statement)
