"""What every registered family promises of one record by itself: the batch, bit for bit, and strict input."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from nethical_assets.core.detectors.base import Detector, DetectorSpec
from nethical_assets.core.detectors.registry import load_family
from nethical_assets.core.ground.errors import DatasetError, RecordError
from nethical_assets.core.rows.catalog import DatasetEntry
from nethical_assets.core.rows.one_cell import Reads
from tests.contract.fitted_family import Fitted
from tests.contract.raw_records import RAW_MAKERS, catalog
from tests.contract.test_family_contract import LAYOUTS, odd_rows, raw_of

AS_FRAMES = {("heuristic", "guide"), ("correlation", "guide"), ("heuristic", "cyber_attacks")}
"""What means nothing by itself: evidence of an incident, alerts with a history."""
NUMBERS = st.one_of(
    st.floats(), st.sampled_from([0.0, -0.0, 1.0, math.nan, math.inf, 1e300, 5e-324, -1e-320]), st.none()
)
TEXTS = st.one_of(st.text(st.characters(exclude_categories=[]), max_size=120), st.none())


def bits(values: Any) -> bytes:
    return np.asarray(values, dtype=np.float64).tobytes()


def differing(detector: Detector, inputs: pd.DataFrame) -> list[int]:
    """The rows of ``inputs`` of which one record says anything else than the frame."""
    said, sketch = detector.predict(inputs), detector.sketch(inputs)
    wrong = []
    for row, record in enumerate(inputs.astype("object").to_dict("records")):
        one, drawn = detector.score_one(record), detector.sketch_one(record)
        assert isinstance(one.score, float) and all(isinstance(value, float) for value in drawn.values())
        same = list(drawn) == list(sketch.columns) and bits(list(drawn.values())) == bits(sketch.iloc[row])
        if not same or bits(one) != bits([said.score[row], said.probability[row]]):
            wrong.append(row)
    return wrong


def test_one_record_says_what_a_frame_of_thousands_says(family: Fitted) -> None:
    inputs = pd.concat([family.test.inputs, family.validation.inputs], ignore_index=True)
    assert len(inputs) >= 2000
    assert differing(family.detector, inputs) == []


def test_a_frame_of_one_row_says_what_a_frame_of_thousands_says(family: Fitted) -> None:
    said = family.detector.predict(family.test.inputs)
    for row in range(0, len(family.test.inputs), 90):
        one = family.detector.predict(family.test.inputs.iloc[[row]].reset_index(drop=True))
        assert bits([one.score, one.probability]) == bits([[said.score[row]], [said.probability[row]]]), row


def test_odd_records_say_what_frames_say(family: Fitted) -> None:
    odd = odd_rows(family)
    assert differing(family.detector, odd) == []
    # In frames of many rows texts are read by Arrow, and one by one in frames of few.
    many = pd.concat([odd, *[family.test.inputs.iloc[:40]] * 2], ignore_index=True)
    assert differing(family.detector, many) == []
    for value in ("seven", " 7 ", "+7.", "1e999", "1,000", "[EMAIL]", True, 3, 10**20, -(10**400)):
        frame = pd.DataFrame({column: pd.Series([value], dtype=object) for column in family.columns})
        assert differing(family.detector, frame) == [], value


def test_made_up_records_say_what_frames_say(family: Fitted) -> None:
    @settings(max_examples=12, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
    @given(
        st.fixed_dictionaries(
            {column: st.lists(cells_of(family, column), min_size=8, max_size=8) for column in family.columns}
        )
    )
    def compare(cells: dict[str, list[Any]]) -> None:
        frame = {
            column: pd.Series(values, dtype=object if is_text(family, column) else "float64")
            for column, values in cells.items()
        }
        assert differing(family.detector, pd.DataFrame(frame)) == []

    compare()


def is_text(family: Fitted, column: str) -> bool:
    return not pd.api.types.is_numeric_dtype(family.training.inputs[column].dtype)


def cells_of(family: Fitted, column: str) -> st.SearchStrategy[Any]:
    return TEXTS if is_text(family, column) else NUMBERS


def test_a_missing_column_is_one_clear_line(family: Fitted) -> None:
    for ask in (family.detector.score_one, family.detector.sketch_one):
        with pytest.raises(DatasetError) as caught:
            ask({"something else": 1.0})
        assert family.columns[0] in str(caught.value) and "\n" not in str(caught.value)


def json_records(spec: DetectorSpec, entry: DatasetEntry, raw: pd.DataFrame) -> list[dict[str, Any]]:
    """Raw rows as JSON holds them: the fields that the catalog knows, without those of another file's layout."""
    known = {name for layout in spec.record_reader((entry,)).layouts for name in layout.fields}
    frame = raw[[name for name in raw.columns if name in known]].astype("object")
    records = frame.where(frame.notna(), None).to_dict("records")
    if spec.kind == "records":
        return [{str(name): value for name, value in record.items()} for record in records]
    return [{str(name): value for name, value in record.items() if value is not None} for record in records]


@pytest.mark.parametrize(("family_name", "entry_name"), LAYOUTS)
def test_inputs_of_one_record_are_those_of_its_frame(family_name: str, entry_name: str) -> None:
    spec, (entry, raw) = load_family(family_name), raw_of(entry_name)
    entries = catalog().for_family(family_name)
    read = spec.record_reader(entries)
    for number, record in enumerate(json_records(spec, entry, raw)[::12]):
        if (family_name, entry_name) in AS_FRAMES:
            assert read.inputs(record) is None
            continue
        found = read.inputs(record) if number else spec.inputs_of_one(record, entries)
        (wanted,) = spec.inputs_of(pd.DataFrame([record]), entries).to_dict("records")
        assert found is not None and list(found) == list(wanted)
        for column, value in wanted.items():
            assert type(found[column]) is type(value)
            assert found[column] == value if isinstance(value, str) else bits(found[column]) == bits(value), column


def test_inputs_of_a_canonical_record_are_those_of_its_frame(family: Fitted) -> None:
    entries = catalog().for_family(family.spec.family)
    for record in family.test.inputs.iloc[:50].to_dict("records"):
        found = family.spec.inputs_of_one({str(name): value for name, value in record.items()}, entries)
        (wanted,) = family.spec.inputs_of(pd.DataFrame([record]), entries).to_dict("records")
        assert found == wanted


@pytest.mark.parametrize(("family_name", "entry_name"), LAYOUTS)
def test_a_record_is_read_strictly(family_name: str, entry_name: str) -> None:
    spec, (entry, raw) = load_family(family_name), raw_of(entry_name)
    reader = spec.record_reader(catalog().for_family(family_name))
    record = json_records(spec, entry, raw)[-1]
    reader.inputs(record)
    reads = fields_of(spec.family, entry, record)
    for field, kind in reads.items():
        for value, reason in wrong_values(kind).items():
            with pytest.raises(RecordError) as caught:
                reader.inputs({**record, field: value.value})
            assert caught.value.field == field and reason in caught.value.reason, (field, value)
            assert "zquillon" not in str(caught.value) and "\n" not in str(caught.value)
        for value in right_values(kind):
            reader.inputs({**record, field: value})
    required = next(field for field, kind in reads.items() if kind is not Reads.NOTHING)
    without = {field: value for field, value in record.items() if field != required}
    if spec.kind == "records":
        with pytest.raises(RecordError, match=r"missing, and required") as caught:
            reader.inputs(without)
        assert caught.value.field == required
    with pytest.raises(RecordError, match=r"unknown") as caught:
        reader.inputs({**record, "zusatz": 1})
    assert caught.value.field == "zusatz"
    with pytest.raises(RecordError, match=r"look like data"):
        reader.inputs({**record, "zquillon@example.org": 1})
    with pytest.raises(RecordError, match=r"missing, and required"):
        reader.inputs({})


class Wrong:
    """A value of a record, hashable whatever it is."""

    def __init__(self, value: Any) -> None:
        self.value = value


def wrong_values(kind: Reads) -> dict[Wrong, str]:
    values = {Wrong(["zquillon"]): "a list", Wrong({"zquillon": 1}): "an object", Wrong(math.nan): "not a number"}
    values |= {Wrong(-math.inf): "infinite", Wrong(10**400): "too large"}
    if kind is not Reads.NOTHING:
        values[Wrong(True)] = "a truth value"
    if kind is Reads.NUMBER:
        values |= {Wrong("zquillon"): "text", Wrong("1,000"): "separators", Wrong("0x10"): "another base"}
        values |= {Wrong(" "): "empty", Wrong("NaN"): "a number is read", Wrong("9" * 400): "too large"}
        values |= {Wrong("Infinity"): "infinite", Wrong("true"): "truth value", Wrong("[EMAIL]"): "a number is read"}
    if kind is Reads.TEXT:
        values |= {Wrong(None): "missing", Wrong(" \t"): "missing"}
    return values


def right_values(kind: Reads) -> list[Any]:
    return {
        Reads.NUMBER: [1, -2.5, 10**20, "7", " +7.5e1 ", None],
        Reads.CATEGORY: ["tcp", "", 7, 7.0, None],
        Reads.TEXT: ["a text", 7],
        Reads.NOTHING: ["anything", "", 1, True, None],
    }[kind]


def fields_of(family: str, entry: DatasetEntry, record: Mapping[str, Any]) -> dict[str, Reads]:
    """What the fields of one maker's records are to a family, written out apart from the product."""
    texts = {file.text_column or file.sequence_column for file in entry.files}
    categories = {"protocol_type", "service", "flag", "Category", "EntityType", "EvidenceRole", "OrgId", "IncidentId"}
    categories |= {"AlertId", "Timestamp", "Network Segment", "Malware Indicators", "Protocol"}
    found: dict[str, Reads] = {}
    for field in record:
        if field in texts:
            found[field] = Reads.TEXT
        elif field in categories:
            if family != "correlation" or entry.name == "guide":
                found[field] = Reads.CATEGORY
        elif field in ("attack", "difficulty", "IncidentGrade", "Severity Level", "label", "Id", "trace"):
            if field in entry.read_columns() or field in entry.files[0].columns:
                found[field] = Reads.NOTHING
        elif field in ("src_bytes", "count", "same_srv_rate", "Anomaly Scores"):
            found[field] = Reads.NUMBER
    return found


def test_every_layout_of_the_catalog_that_families_read_is_tried() -> None:
    assert {name for _, name in LAYOUTS} == set(RAW_MAKERS)
