"""The CycloneDX 1.6 form of a model card: a bill of materials of one model (ML-BOM).

What belongs here: the model with its model card, the data and the libraries it was made from, and what depends on what
(https://cyclonedx.org/docs/1.6/json/). What does not: anything the card does not say.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from nethical_assets.core.cards.card import card_digest
from nethical_assets.core.cards.figures import exact, slices
from nethical_assets.core.ground.digests import pretty_json

_MODEL = "model"
_RAW = "raw/"
_STAGES = {
    "splits": "training, validation and test rows",
    "screened": "rows after screening for personal data and secrets",
    "dataset": "canonical rows before screening",
}
"""Each was made from the next one, the last from the raw datasets."""
_TESTED = "test rows"

Document = dict[str, Any]


def render_bill_of_materials(card: Mapping[str, Any]) -> bytes:
    """The bill as JSON; the same card gives the same bytes."""
    data, libraries = _data_components(card), _library_components(card)
    digest = card_digest(card)
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, digest)}",
        "version": 1,
        "metadata": {
            "timestamp": card["training_timestamp"],
            "lifecycles": [{"phase": "post-build"}],
            "tools": {"components": [{"type": "application", "name": "nethical-assets"}]},
            "component": _model_component(card, data),
            "properties": [{"name": "nethical:card", "value": digest}],
        },
        "components": [*data, *libraries],
        "dependencies": _dependencies(card, data, libraries),
        # The card records the libraries that fitted the model, not everything they need themselves.
        "compositions": [{"aggregate": "incomplete", "dependencies": [_MODEL]}],
    }
    return pretty_json(document)


def _model_component(card: Mapping[str, Any], data: list[Document]) -> Document:
    considerations = {"useCases": [card["intended_use"]], "technicalLimitations": list(card["limits"])}
    return {
        "type": "machine-learning-model",
        "bom-ref": _MODEL,
        "name": card["model_type"],
        "version": card["model_version"],
        "description": card["title"],
        **_hashes(card["digests"].get("model")),
        "modelCard": {
            "bom-ref": "model-card",
            "modelParameters": {
                "task": "classification",
                "modelArchitecture": card["model_form"],
                "datasets": [{"ref": component["bom-ref"]} for component in data],
                "inputs": [{"format": name} for name in card["dataset_info"]["features"]],
                "outputs": [{"format": "calibrated probability"}],
            },
            "quantitativeAnalysis": {"performanceMetrics": list(_performance(card))},
            "considerations": considerations,
            "properties": [{"name": f"nethical:{name}", "value": value} for name, value in _facts(card)],
        },
    }


def _performance(card: Mapping[str, Any]) -> Iterator[Document]:
    """Every defined metric with the card's digits: of the test rows, then of every source of every slice."""
    measured = [(_TESTED, card["metrics"])]
    for title, sources in slices(card):
        measured += [(f"{source['source']}: {title}", source["metrics"]) for source in sources]
    for where, metrics in measured:
        for name, metric in metrics.items():
            if metric["value"] is None:
                continue
            document: Document = {"type": name, "value": exact(metric["value"]), "slice": where}
            if metric["low"] is not None and metric["high"] is not None:
                bounds = {"lowerBound": exact(metric["low"]), "upperBound": exact(metric["high"])}
                document["confidenceInterval"] = bounds
            yield document


def _facts(card: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What has no place of its own in the format."""
    evaluation, governance = card["evaluation"], card["governance_summary"]
    yield "verdict", card["verdict"]
    for reason in card["reasons"]:
        yield "reason", reason
    for note in evaluation["notes"]:
        yield "evaluation:note", note
    for name, metric in card["metrics"].items():
        if metric["value"] is None:
            yield f"undefined:{name}", metric["reason"]
    for name in ("test_rows", "test_positives"):
        yield f"evaluation:{name}", exact(evaluation[name])
    for name, count in (evaluation["confusion"] or {}).items():
        yield f"confusion:{name}", exact(count)
    for name in ("data_violations", "rows_masked", "rows_quarantined", "prediction_violations"):
        yield f"screening:{name}", exact(governance[name])
    for name in ("evaluation", "decision"):
        if name in card["digests"]:
            yield f"digest:{name}", card["digests"][name]
    yield "audit:run_id", card["audit"]["run_id"]
    yield "audit:size", exact(card["audit"]["size"])
    yield "audit:merkle_root", card["audit_merkle_root"]


def _data_components(card: Mapping[str, Any]) -> list[Document]:
    info, digests = card["dataset_info"], card["digests"]
    named = [name for name in _STAGES if name in digests]
    named += [name for name in digests if name.startswith(_RAW)]
    components = []
    for name in named:
        source = name.removeprefix(_RAW)
        licence = info["licences"].get(source) if name.startswith(_RAW) else None
        numbers = info["sources"].get(source, {}) if name.startswith(_RAW) else {}
        contents: Document = {"type": "dataset", "name": source}
        if numbers:
            counts = [{"name": f"nethical:{key}", "value": exact(count)} for key, count in numbers.items()]
            contents["contents"] = {"properties": counts}
        components.append(
            {
                "type": "data",
                "bom-ref": f"data:{name}",
                "name": source,
                "description": _STAGES.get(name, "as it was fetched"),
                **_hashes(digests[name]),
                **({"licenses": [{"license": {"name": licence, "acknowledgement": "declared"}}]} if licence else {}),
                "data": [contents],
            }
        )
    return components


def _library_components(card: Mapping[str, Any]) -> list[Document]:
    return [
        {
            "type": "library",
            "bom-ref": f"library:{name}",
            "name": name,
            "version": version,
            "purl": f"pkg:pypi/{quote(name.lower(), safe='')}@{quote(version, safe='')}",
        }
        for name, version in card["training_config"].get("libraries", {}).items()
    ]


def _dependencies(card: Mapping[str, Any], data: list[Document], libraries: list[Document]) -> list[Document]:
    """The model depends on its rows and libraries; rows on the rows they were made from."""
    references = [component["bom-ref"] for component in data]
    raw = [reference for reference in references if reference.startswith(f"data:{_RAW}")]
    chain = [_MODEL, *(reference for reference in references if reference not in raw)]
    made_from: dict[str, list[str]] = {made: [source] for made, source in itertools.pairwise(chain)}
    made_from.setdefault(chain[-1], []).extend(raw)
    made_from.setdefault(_MODEL, []).extend(component["bom-ref"] for component in libraries)
    everything = [_MODEL, *references, *(component["bom-ref"] for component in libraries)]
    return [{"ref": reference, "dependsOn": made_from.get(reference, [])} for reference in everything]


def _hashes(digest: str | None) -> Document:
    return {"hashes": [{"alg": "SHA-256", "content": digest.partition(":")[2]}]} if digest else {}
