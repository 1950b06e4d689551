"""The catalog: what ships, and that every wrong entry is one line."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from nethical_assets.core.detectors.registry import family_names, load_family
from nethical_assets.core.ground.errors import CatalogError
from nethical_assets.core.rows.catalog import Catalog, DatasetEntry, load_catalog
from tests.core.conftest import ENTRY

ROOT = Path(__file__).resolve().parents[3]
SHIPPED = ROOT / "config" / "datasets.toml"
MIRRORED = ROOT.parent / "shared" / "data" / "catalog.json"
SPECIFIED = {
    "teamincribo/cyber-security-attacks",
    "Microsoft/microsoft-security-incident-prediction",
    "xontoloyo/security-breachhh",
    "raimondextervinluan/arxiv-ethics",
    "patricklford/ai-ethics-zen-principles-and-the-socratic-method",
}
UNKNOWN_LAYOUT = {slug for slug in SPECIFIED if not slug.startswith(("teamincribo", "Microsoft"))}

NOT_TRAINED_ON = {
    f"nethical-mirror/{name}"
    for name in (
        "benign-instructions",
        "hate-and-toxicity",
        "instruction-in-data",
        "multilingual-injections",
        "profanity-lexicon",
    )
}
"""Mirrored sets that no family uses yet."""


@pytest.fixture(scope="module")
def shipped() -> Catalog:
    return load_catalog(SHIPPED, family_names())


def test_the_specification_s_datasets_are_there(shipped: Catalog) -> None:
    slugs = {entry.slug: entry for entry in shipped.dataset}
    assert set(slugs) >= SPECIFIED
    assert {slug for slug, entry in slugs.items() if entry.discover} == UNKNOWN_LAYOUT


def test_every_mirrored_dataset_is_there(shipped: Catalog) -> None:
    if not MIRRORED.exists():
        pytest.skip("the shared data folder is not beside this checkout")
    assert set(json.loads(MIRRORED.read_text())) - {entry.slug for entry in shipped.dataset} == NOT_TRAINED_ON


def test_every_family_has_data_to_train_on_and_understands_it(shipped: Catalog) -> None:
    for family in ("heuristic", "logistic", "prompt_injection", "anomaly", "correlation"):
        assert any(family in entry.families for entry in shipped.dataset), family
        kinds = {entry.kind for entry in shipped.for_family(family)}
        assert kinds == {load_family(family).kind}


def test_a_set_with_random_labels_is_never_trained_on(shipped: Catalog) -> None:
    assert shipped.entry("cyber_attacks").families == ()


def test_entries_are_found_by_name_and_slug(shipped: Catalog) -> None:
    assert shipped.entry("nslkdd") is shipped.entry("hassan06/nslkdd")
    with pytest.raises(CatalogError, match=r"^unknown dataset 'nsl': the catalog has nslkdd, guide"):
        shipped.entry("nsl")


def test_an_entry_survives_json(shipped: Catalog) -> None:
    for entry in shipped.dataset:
        assert DatasetEntry.model_validate_json(json.dumps(entry.model_dump(mode="json"))) == entry


def toml_of(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml_of(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml_of, value)) + "]"
    return value if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", value) else json.dumps(value)


def file_with(**changes: Any) -> dict[str, Any]:
    return {"files": [{**ENTRY["files"][0], **changes}]}


def entry_with(**changes: Any) -> str:
    merged = {key: value for key, value in {**ENTRY, **changes}.items() if value is not ...}
    return "[[dataset]]\n" + "".join(f"{key} = {toml_of(value)}\n" for key, value in merged.items())


BAD: dict[str, tuple[str, list[str]]] = {
    "not TOML": ("[[dataset]\n", ["not readable as TOML", "line 1"]),
    "key twice": (entry_with() + 'name = "x"\n', ["not readable as TOML"]),
    "no dataset table": ("# nothing", ["dataset: Field required"]),
    "table at the top": ("[datasets]\n", ["dataset"]),
    "unknown key": (entry_with(licens="x"), ["dataset.0.licens (toy) = 'x'", "unknown key; allowed are", "licence"]),
    "unknown file key": (entry_with(**file_with(lable="x")), ["files.0.lable (toy) = 'x'", "allowed are", "label"]),
    "unknown label key": (
        entry_with(**file_with(label={"colum": "x"})),
        ["files.0.label.colum (toy) = 'x'", "allowed are column, constant, negative, positive"],
    ),
    "missing title": (entry_with(title=...), ["dataset.0.title (toy): Field required"]),
    "title of another type": (entry_with(title=3), ["dataset.0.title (toy) = 3", "string"]),
    "name with capitals": (entry_with(name="Toy"), ["dataset.0.name (Toy) = 'Toy'", "pattern"]),
    "name that is a path": (entry_with(name="../toy"), ["= '../toy'", "pattern"]),
    "slug without owner": (entry_with(slug="toy"), ["dataset.0.slug (toy) = 'toy'", "pattern"]),
    "slug that climbs": (entry_with(slug="../../etc"), ["= '../../etc'", "pattern"]),
    "unknown kind": (entry_with(kind="images"), ["= 'images'", "'text', 'sequence', 'records' or 'spans'"]),
    "unknown format": (entry_with(**file_with(format="xls")), ["= 'xls'", "'csv'", "'parquet'"]),
    "unknown family": (entry_with(families=["logistics"]), ["dataset toy", "unknown family 'logistics'", "logistic"]),
    "unknown evaluation family": (
        entry_with(evaluation_families=["nobody"]), ["unknown family 'nobody'; known are anomaly"]
    ),
    "family twice": (entry_with(evaluation_families=["logistic"]), ["either in 'families' or in"]),
    "no files": (entry_with(files=...), ["give 'files', or 'discover = true'"]),
    "files and discover": (entry_with(discover=True), ["give 'files', or 'discover = true'"]),
    "file without path": (entry_with(**file_with(path=[])), ["files.0.path (toy)", "at least 1"]),
    "empty path": (entry_with(**file_with(path=[""])), ["files.0.path.0 (toy) = ''", "at least 1 character"]),
    "no header and no columns": (entry_with(**file_with(header=False)), ["without a header line needs 'columns'"]),
    "long delimiter": (entry_with(**file_with(delimiter="||")), ["delimiter (toy) = '||'", "at most 1"]),
    "two ways to a label": (
        entry_with(**file_with(label={"column": "a", "constant": 1, "positive": ["1"]})),
        ["give either 'constant' or 'column'"],
    ),
    "no way to a label": (entry_with(**file_with(label={})), ["give either 'constant' or 'column'"]),
    "label without values": (entry_with(**file_with(label={"column": "a"})), ["needs 'positive' values, 'negative'"]),
    "constant that is no label": (entry_with(**file_with(label={"constant": 2})), ["constant (toy) = 2", "0 or 1"]),
    "label value that is a number": (
        entry_with(**file_with(label={"column": "a", "positive": [1]})), ["positive.0 (toy) = 1", "string"]
    ),
    "text without its column": (entry_with(kind="text"), ["files of a text dataset need 'text_column'"]),
    "sequence without its column": (entry_with(kind="sequence"), ["need 'sequence_column'"]),
    "day without time column": (entry_with(test_from="2026-01-01"), ["'test_from' needs a 'time_column'"]),
    "cohorts of an unknown layout": (
        entry_with(files=..., discover=True, cohort_column="region"), ["a 'cohort_column' goes with 'files'"]
    ),
    "day that is text": (
        entry_with(test_from="new year", time_column="t"), ["test_from (toy) = 'new year'", "date"]
    ),
    "name twice": (entry_with() + entry_with(slug="owner/other"), ["name 'toy' is used twice"]),
    "slug twice": (entry_with() + entry_with(name="other"), ["slug 'owner/toy' is used twice"]),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_bad_entry_is_one_line(tmp_path: Path, case: str) -> None:
    text, expected = BAD[case]
    path = tmp_path / "datasets.toml"
    path.write_text(text)
    with pytest.raises(CatalogError) as caught:
        load_catalog(path, family_names())
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    for part in expected:
        assert part in message, message


def test_a_good_entry_loads(tmp_path: Path) -> None:
    path = tmp_path / "datasets.toml"
    path.write_text(entry_with())
    assert load_catalog(path, family_names()).dataset == (DatasetEntry.model_validate(ENTRY),)


def test_a_missing_or_mis_encoded_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"none\.toml: no such file; expected the dataset catalog"):
        load_catalog(tmp_path / "none.toml", ())
    (tmp_path / "latin.toml").write_bytes(b'title = "\xe9"')
    with pytest.raises(CatalogError, match=r"latin\.toml: byte 9 is not UTF-8 text"):
        load_catalog(tmp_path / "latin.toml", ())
