"""The CycloneDX 1.6 form of a model card: a bill of materials of one model (ML-BOM).

What belongs here: the model with its model card, the data and the libraries it was made from, and what depends on what
(https://cyclonedx.org/docs/1.6/json/). What does not: anything the card does not say.

The library of the format writes what it knows. It has no type for model cards, for the data of a component, or for
compositions; these three are put into the document that it wrote, at their places.
"""

from __future__ import annotations

import itertools
import json
import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from nethical_assets.core.cards.card import card_digest, dataset_of
from nethical_assets.core.cards.figures import exact, retrained_because, slices
from nethical_assets.core.ground.digests import pretty_json

if TYPE_CHECKING:
    from cyclonedx.model import HashType
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component
    from cyclonedx.model.license import DisjunctiveLicense

_MODEL = "model"
_STAGES = {
    "splits": "training, validation and test rows",
    "screened": "rows after screening, without those that it kept out",
    "dataset": "canonical rows of screened records",
}
"""Each was made from the next one, the last from the raw datasets."""
_TESTED = "test rows"

Document = dict[str, Any]


def render_bill_of_materials(card: Mapping[str, Any]) -> bytes:
    """The bill as JSON; the same card gives the same bytes."""
    from cyclonedx.output.json import JsonV1Dot6

    document = json.loads(JsonV1Dot6(_bill(card)).output_as_string())
    names = _data_names(card)
    components = {component["bom-ref"]: component for component in document.get("components", [])}
    for name in names:
        components[_reference(name)]["data"] = [_contents(card, name)]
    document["metadata"]["component"]["modelCard"] = _model_card(card, [_reference(name) for name in names])
    # The card records the libraries that fitted the model, not everything they need themselves.
    document["compositions"] = [{"aggregate": "incomplete", "dependencies": [_MODEL]}]
    return pretty_json(document)


def _bill(card: Mapping[str, Any]) -> Bom:
    """What the library of the format can say: components, where they come from, and what depends on what."""
    from cyclonedx.model import Property
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.model.lifecycle import LifecyclePhase, PredefinedLifecycle
    from cyclonedx.model.tool import ToolRepository

    digest = card_digest(card)
    model = Component(
        name=card["model_type"],
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref=_MODEL,
        version=card["model_version"],
        description=card["title"],
        hashes=_hashes(card["digests"].get("model")),
    )
    data = [_data_component(card, name) for name in _data_names(card)]
    libraries = _library_components(card)
    bill = Bom(
        serial_number=uuid.uuid5(uuid.NAMESPACE_URL, digest),
        metadata=BomMetaData(
            timestamp=datetime.fromisoformat(card["decided_at"]),
            lifecycles=[PredefinedLifecycle(LifecyclePhase.POST_BUILD)],
            tools=ToolRepository(components=[Component(name="nethical-assets", type=ComponentType.APPLICATION)]),
            component=model,
            properties=[Property(name="nethical:card", value=digest)],
        ),
        components=[*data, *libraries],
    )
    for component, needed in _dependencies(model, data, libraries):
        bill.register_dependency(component, needed)
    return bill


def _model_card(card: Mapping[str, Any], datasets: list[str]) -> Document:
    return {
        "bom-ref": "model-card",
        "modelParameters": {
            "task": "classification",
            "modelArchitecture": card["model_form"],
            "datasets": [{"ref": reference} for reference in datasets],
            "inputs": [{"format": name} for name in card["dataset_info"]["features"]],
            "outputs": [{"format": "calibrated probability"}],
        },
        "quantitativeAnalysis": {"performanceMetrics": list(_performance(card))},
        "considerations": {"useCases": [card["intended_use"]], "technicalLimitations": list(card["limits"])},
        "properties": [{"name": f"nethical:{name}", "value": value} for name, value in _facts(card)],
    }


_SCREENING = (
    *("records_screened", "columns_screened", "data_violations", "rows_masked", "rows_quarantined"),
    *("predictions_screened", "prediction_violations"),
)


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
    if sentence := retrained_because(card):
        yield "retrained_because", sentence
    for note in evaluation["notes"]:
        yield "evaluation:note", note
    for name, metric in card["metrics"].items():
        if metric["value"] is None:
            yield f"undefined:{name}", metric["reason"]
    for name in ("test_rows", "test_positives"):
        yield f"evaluation:{name}", exact(evaluation[name])
    for name, count in (evaluation["confusion"] or {}).items():
        yield f"confusion:{name}", exact(count)
    for name in _SCREENING:
        yield f"screening:{name}", exact(governance[name])
    for name in ("evaluation", "decision"):
        if name in card["digests"]:
            yield f"digest:{name}", card["digests"][name]
    yield "audit:run_id", card["audit"]["run_id"]
    yield "audit:size", exact(card["audit"]["size"])
    yield "audit:merkle_root", card["audit_merkle_root"]


def _data_names(card: Mapping[str, Any]) -> list[str]:
    """The names of the card's digests that are data: stages from the newest on, then raw datasets."""
    digests = card["digests"]
    return [
        *(name for name in _STAGES if name in digests),
        *(name for name in digests if dataset_of(name)),
    ]


def _reference(name: str) -> str:
    return f"data:{name}"


def _data_component(card: Mapping[str, Any], name: str) -> Component:
    from cyclonedx.model.component import Component, ComponentType

    return Component(
        name=dataset_of(name) or name,
        type=ComponentType.DATA,
        bom_ref=_reference(name),
        description=_STAGES.get(name, "as it was fetched"),
        hashes=_hashes(card["digests"][name]),
        licenses=_licences(card, name),
    )


def _licences(card: Mapping[str, Any], name: str) -> list[DisjunctiveLicense]:
    from cyclonedx.model.license import DisjunctiveLicense, LicenseAcknowledgement

    licence = card["dataset_info"]["licences"].get(dataset_of(name))
    return [DisjunctiveLicense(name=licence, acknowledgement=LicenseAcknowledgement.DECLARED)] if licence else []


def _contents(card: Mapping[str, Any], name: str) -> Document:
    """What a component of data holds."""
    contents: Document = {"type": "dataset", "name": dataset_of(name) or name}
    numbers = card["dataset_info"]["sources"].get(dataset_of(name), {})
    if numbers:
        counts = [{"name": f"nethical:{key}", "value": exact(count)} for key, count in numbers.items()]
        contents["contents"] = {"properties": counts}
    return contents


def _library_components(card: Mapping[str, Any]) -> list[Component]:
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    return [
        Component(
            name=name,
            type=ComponentType.LIBRARY,
            bom_ref=f"library:{name}",
            version=version,
            purl=PackageURL(type="pypi", name=name.lower(), version=version),
        )
        for name, version in card["training_config"].get("libraries", {}).items()
    ]


def _dependencies(
    model: Component, data: list[Component], libraries: list[Component]
) -> Iterator[tuple[Component, list[Component]]]:
    """The model depends on its rows and libraries; rows on the rows they were made from."""
    raw = [component for component in data if dataset_of(str(component.bom_ref.value))]
    chain = [model, *(component for component in data if component not in raw)]
    yield from ((made, [source]) for made, source in itertools.pairwise(chain))
    yield chain[-1], raw
    yield model, libraries
    yield from ((component, []) for component in (*data, *libraries))


def _hashes(digest: str | None) -> list[HashType]:
    from cyclonedx.model import HashAlgorithm, HashType

    return [HashType(alg=HashAlgorithm.SHA_256, content=digest.partition(":")[2])] if digest else []
