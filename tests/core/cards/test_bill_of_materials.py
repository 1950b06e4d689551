"""The bill of materials: valid CycloneDX 1.6, no reference into nothing, and the card's own digests and licences."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest
from cyclonedx.schema import SchemaVersion
from hypothesis import given, settings

from nethical_assets.core.cards import card_digest
from nethical_assets.core.cards.bill_of_materials import render_bill_of_materials

from .examples import cards, filled_with

if TYPE_CHECKING:
    from cyclonedx.validation.json import JsonStrictValidator


@functools.cache
def validator() -> JsonStrictValidator:
    # Its grammars take a second to load: only the process that runs these tests needs them.
    from cyclonedx.validation.json import JsonStrictValidator

    return JsonStrictValidator(SchemaVersion.V1_6)


def values_of(document: Any, names: set[str]) -> Iterator[Any]:
    if isinstance(document, dict):
        for name, value in document.items():
            if name in names:
                yield from value if isinstance(value, list) else [value]
            yield from values_of(value, names)
    elif isinstance(document, list):
        for value in document:
            yield from values_of(value, names)


def bill_of(card: dict[str, Any]) -> dict[str, Any]:
    """The bill, after checking it against the schema and its references against each other."""
    data = render_bill_of_materials(card)
    problem = validator().validate_str(data.decode())
    assert problem is None, problem
    bill: dict[str, Any] = json.loads(data)
    defined = list(values_of(bill, {"bom-ref"}))
    assert len(defined) == len(set(defined))
    used = [bill["dependencies"][0]["ref"], *bill["compositions"][0]["dependencies"]]
    used += list(values_of(bill, {"ref", "dependsOn"}))
    assert {reference for reference in used if isinstance(reference, str)} <= set(defined)
    assert len({entry["ref"] for entry in bill["dependencies"]}) == len(bill["dependencies"])
    return bill


def reachable(bill: dict[str, Any]) -> set[str]:
    graph = {entry["ref"]: entry.get("dependsOn", []) for entry in bill["dependencies"]}
    found, waiting = set(), ["model"]
    while waiting:
        reference = waiting.pop()
        if reference not in found:
            found.add(reference)
            waiting += graph[reference]
    return found


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(cards())
def test_any_card_gives_a_valid_bill_in_which_the_model_depends_on_everything(card: dict[str, Any]) -> None:
    bill = bill_of(card)
    assert reachable(bill) == {"model", *(component["bom-ref"] for component in bill.get("components", []))}


@pytest.mark.parametrize("word", ["word", "<script>", 'a"b', "urn:cdx:x", "x y", "\u202e", "../.."])
def test_hostile_names_stay_values(word: str, example: dict[str, Any]) -> None:
    bill = bill_of(filled_with(word, example))
    assert [component["name"] for component in bill["components"] if component["bom-ref"].startswith("data:raw/")] == [
        word
    ]
    considerations = bill["metadata"]["component"]["modelCard"]["considerations"]
    assert considerations == {"useCases": [word], "technicalLimitations": [word]}


def test_data_comes_with_digests_licences_and_counts(example: dict[str, Any]) -> None:
    bill = bill_of(example)
    components = {component["bom-ref"]: component for component in bill["components"]}
    raw = components["data:raw/nslkdd"]
    assert raw["hashes"] == [{"alg": "SHA-256", "content": example["digests"]["raw/nslkdd"].removeprefix("sha256:")}]
    assert raw["licenses"] == [{"license": {"name": "cite UNB", "acknowledgement": "declared"}}]
    properties = raw["data"][0]["contents"]["properties"]
    assert {entry["name"]: entry["value"] for entry in properties} == {
        "nethical:rows": "6543",
        "nethical:positives": "2101",
    }
    assert components["library:numpy"]["purl"] == "pkg:pypi/numpy@2.4.6"
    model = bill["metadata"]["component"]
    assert model["hashes"][0]["content"] == example["digests"]["model"].removeprefix("sha256:")
    assert {entry["ref"] for entry in model["modelCard"]["modelParameters"]["datasets"]} == {
        reference for reference in components if reference.startswith("data:")
    }


def test_number_and_time_are_those_of_the_card(example: dict[str, Any]) -> None:
    bill = bill_of(example)
    assert bill["serialNumber"] == f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, card_digest(example))}"
    assert datetime.fromisoformat(bill["metadata"]["timestamp"]) == datetime.fromisoformat(example["decided_at"])
    assert [tool["name"] for tool in bill["metadata"]["tools"]["components"]] == ["nethical-assets"]


def test_the_library_is_loaded_only_when_a_bill_is_written_and_needs_no_validator(example: dict[str, Any]) -> None:
    """What the wheel installs has not the extra with the schema validator."""
    code = (
        "import sys, nethical_assets.core.cards.formats as formats; loaded = set(sys.modules); "
        "assert not {'cyclonedx', 'jinja2', 'packageurl'} & loaded, loaded; "
        "sys.modules['jsonschema'] = sys.modules['referencing'] = None; "
        "import json; formats.render_bill_of_materials(json.load(sys.stdin))"
    )
    subprocess.run([sys.executable, "-c", code], input=json.dumps(example), text=True, check=True)


def test_what_was_made_from_what(example: dict[str, Any]) -> None:
    graph = {entry["ref"]: entry.get("dependsOn", []) for entry in bill_of(example)["dependencies"]}
    assert graph["model"] == ["data:splits", "library:numpy", "library:scikit-learn"]
    assert graph["data:splits"] == ["data:screened"]
    assert graph["data:screened"] == ["data:dataset"]
    assert set(graph["data:dataset"]) == {"data:raw/nslkdd", "data:raw/guide"}


def test_metrics_are_listed_with_every_digit(example: dict[str, Any]) -> None:
    metrics = bill_of(example)["metadata"]["component"]["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    tested = {metric["type"]: metric for metric in metrics if metric["slice"] == "test rows"}
    for name, metric in example["metrics"].items():
        assert float(tested[name]["value"]) == metric["value"]
        assert float(tested[name]["confidenceInterval"]["upperBound"]) == metric["high"]
    assert len(metrics) == len(example["metrics"]) * (1 + 2 + 1 + 1)
