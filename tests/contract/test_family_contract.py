"""What every registered detector family promises; a new family is covered by being registered."""

from __future__ import annotations

import json
import zipfile
from io import BytesIO

import numpy as np
import pandas as pd
import pytest

from nethical_assets.core.detectors.artifact import GOLDEN, MANIFEST, choose_golden_inputs, pack, unpack
from nethical_assets.core.detectors.base import LabelledRows
from nethical_assets.core.detectors.registry import family_module, family_names, family_summary, load_family
from nethical_assets.core.ground.code import loaded_code
from nethical_assets.core.ground.digests import digest_bytes, pretty_json
from nethical_assets.core.ground.errors import DatasetError, IntegrityError, TrainingError
from nethical_assets.core.rows.catalog import DatasetEntry
from nethical_assets.core.rows.columns import COMMON_COLUMNS
from tests.contract.fitted_family import SEED, Fitted, labelled
from tests.contract.raw_records import RAW_MAKERS, catalog

LAYOUTS = [
    (family, entry.name)
    for family in family_names()
    for entry in catalog().for_family(family)
    if entry.name in RAW_MAKERS
]


def raw_of(name: str, rows: int = 240, seed: int = 3) -> tuple[DatasetEntry, pd.DataFrame]:
    entry = catalog().entry(name)
    return entry, RAW_MAKERS[name](entry, rows, np.random.default_rng(seed))


def accuracy(family: Fitted) -> float:
    predicted = family.detector.probability(family.test.inputs) >= 0.5
    return float((predicted == family.test.labels).mean())


def expected_calibration_error(probability: np.ndarray, labels: np.ndarray, bins: int = 10) -> float:
    place = np.minimum((probability * bins).astype(int), bins - 1)
    return sum(
        abs(probability[place == b].mean() - labels[place == b].mean()) * (place == b).mean() for b in np.unique(place)
    )


def odd_rows(family: Fitted) -> pd.DataFrame:
    """Inputs that nobody planned for, in the family's columns."""
    numeric = [np.nan, np.inf, -np.inf, 1e308, -1e308, 0.0, -5.0, 1e-320]
    text = [None, "", " ", "x", "\u0000", "नमस्ते 😀 \u202e", "a" * 20_000, "\ud83d broken"]
    by_column = {}
    for column in family.columns:
        known_numeric = pd.api.types.is_numeric_dtype(family.training.inputs[column].dtype)
        by_column[column] = pd.Series(numeric if known_numeric else text, dtype="float64" if known_numeric else object)
    return pd.DataFrame(by_column)


def test_spec_is_well_formed(family: Fitted) -> None:
    spec = family.spec
    assert spec.family in family_names()
    assert spec.kind in ("text", "sequence", "records")
    assert set(spec.text_columns) <= set(spec.input_columns)
    assert not set(spec.input_columns) & {*COMMON_COLUMNS, "identity"}
    assert spec.limits and all(limit.endswith(".") for limit in spec.limits)
    assert spec.intended_use.endswith(".") and spec.model_form and spec.title
    json.dumps(dict(spec.hyperparameters))
    assert len(family_summary(spec.family)) > 80
    assert loaded_code().digest(family_module(spec.family)).startswith("sha256:")


def test_synthetic_rows_are_seeded_and_have_both_classes(family: Fitted) -> None:
    first = family.spec.synthesise(500, np.random.default_rng(5))
    pd.testing.assert_frame_equal(first, family.spec.synthesise(500, np.random.default_rng(5)))
    assert not first.equals(family.spec.synthesise(500, np.random.default_rng(6)))
    assert len(first) == 500 and set(first["label"]) == {0, 1}
    assert set(family.spec.input_columns) <= set(first.columns)
    assert len(family.spec.synthesise(0, np.random.default_rng(5))) == 0
    assert family.spec.synthesise(2000, np.random.default_rng(5)).drop(columns="label").duplicated().mean() < 0.35


def test_scores_and_probabilities_have_the_right_form(family: Fitted) -> None:
    score = family.detector.score(family.test.inputs)
    probability = family.detector.probability(family.test.inputs)
    for values in (score, probability):
        assert values.shape == family.test.labels.shape and values.dtype == np.float64
        assert np.isfinite(values).all()
    assert (probability >= 0).all() and (probability <= 1).all()
    ranked = probability[np.argsort(score, kind="stable")]
    assert (np.diff(ranked) >= 0).all(), "probability must not fall as the score rises"


def test_it_beats_chance_and_is_calibrated_on_synthetic_data(family: Fitted) -> None:
    majority = max(family.test.labels.mean(), 1 - family.test.labels.mean())
    assert accuracy(family) > majority + 0.15
    probability = family.detector.probability(family.test.inputs)
    assert expected_calibration_error(probability, family.test.labels) < 0.08


def test_shuffled_labels_teach_it_nothing(family: Fitted) -> None:
    generator = np.random.default_rng(11)
    shuffled = LabelledRows(family.training.inputs, generator.permutation(family.training.labels))
    validation = LabelledRows(family.validation.inputs, generator.permutation(family.validation.labels))
    detector = family.spec.fit(shuffled, validation, SEED)
    probability = detector.probability(family.test.inputs)
    assert abs(probability - family.test.labels.mean()).mean() < 0.15
    score = detector.score(family.test.inputs)
    order = pd.Series(score).rank().to_numpy()
    positives = family.test.labels == 1
    auc = (order[positives].mean() - (positives.sum() + 1) / 2) / (~positives).sum()
    assert 0.2 < auc < 0.8


def test_row_order_changes_neither_model_nor_scores(family: Fitted) -> None:
    generator = np.random.default_rng(1)

    def permuted(rows: LabelledRows) -> LabelledRows:
        order = generator.permutation(len(rows.labels))
        return LabelledRows(rows.inputs.iloc[order].reset_index(drop=True), rows.labels[order])

    again = family.spec.fit(permuted(family.training), permuted(family.validation), SEED)
    assert dict(again.to_files()) == dict(family.detector.to_files())
    order = generator.permutation(len(family.test.labels))
    backwards = family.detector.score(family.test.inputs.iloc[order].reset_index(drop=True))
    np.testing.assert_array_equal(backwards, family.detector.score(family.test.inputs)[order])
    some = family.test.inputs.iloc[:7]
    np.testing.assert_array_equal(family.detector.score(some), family.detector.score(family.test.inputs)[:7])


def test_one_pass_predicts_what_score_and_probability_say(family: Fitted) -> None:
    found = family.detector.predict(family.test.inputs)
    np.testing.assert_array_equal(found.score, family.detector.score(family.test.inputs))
    np.testing.assert_array_equal(found.probability, family.detector.probability(family.test.inputs))


def test_features_computed_once_give_the_same_model_and_scores(family: Fitted) -> None:
    featurise = family.spec.featurise
    if featurise is None:
        return
    everything = pd.concat([rows.inputs for rows in (family.test, family.training, family.validation)])
    features = featurise(everything)
    ends = np.cumsum([len(rows.labels) for rows in (family.test, family.training, family.validation)])
    test, training, validation = (
        features.take(np.arange(start, end)) for start, end in zip([0, *ends[:-1]], ends, strict=True)
    )
    again = family.spec.fit(
        LabelledRows(family.training.inputs, family.training.labels, training),
        LabelledRows(family.validation.inputs, family.validation.labels, validation),
        SEED,
    )
    assert dict(again.to_files()) == dict(family.detector.to_files())
    order = np.random.default_rng(2).permutation(len(test))
    plain = family.detector.score(family.test.inputs)
    np.testing.assert_array_equal(family.detector.score(family.test.inputs, test), plain)
    shuffled = family.detector.score(family.test.inputs.iloc[order], test.take(order))
    np.testing.assert_array_equal(shuffled, plain[order])
    assert len(features.take(np.zeros(0, dtype=np.int64))) == 0
    odd = odd_rows(family)
    np.testing.assert_array_equal(family.detector.score(odd, featurise(odd)), family.detector.score(odd))


def test_scoring_does_not_touch_its_input(family: Fitted) -> None:
    before = family.test.inputs.copy(deep=True)
    family.detector.probability(family.test.inputs)
    pd.testing.assert_frame_equal(before, family.test.inputs)


def test_no_rows_give_no_scores(family: Fitted) -> None:
    empty = family.test.inputs.iloc[:0]
    assert family.detector.score(empty).shape == (0,)
    assert family.detector.probability(empty).shape == (0,)
    assert len(family.detector.sketch(empty)) == 0


def test_odd_inputs_give_finite_scores(family: Fitted) -> None:
    odd = odd_rows(family)
    assert np.isfinite(family.detector.score(odd)).all()
    probability = family.detector.probability(odd)
    assert ((probability >= 0) & (probability <= 1)).all()
    assert np.isfinite(family.detector.sketch(odd).to_numpy()).all()
    for value in (None, "seven", 3, object()):
        frame = pd.DataFrame({column: pd.Series([value], dtype=object) for column in family.columns})
        assert np.isfinite(family.detector.score(frame)).all()


def test_sketch_is_numeric_and_has_a_row_an_input(family: Fitted) -> None:
    sketch = family.detector.sketch(family.test.inputs)
    assert len(sketch) == len(family.test.labels) and 1 <= sketch.shape[1] <= 12
    assert np.isfinite(sketch.to_numpy(dtype=np.float64)).all()


def test_one_class_cannot_be_fitted(family: Fitted) -> None:
    zeros = LabelledRows(family.training.inputs, np.zeros_like(family.training.labels))
    with pytest.raises(TrainingError, match=r"both classes"):
        family.spec.fit(zeros, family.validation, SEED)
    with pytest.raises(TrainingError, match=r"both classes"):
        zeros = LabelledRows(family.validation.inputs, np.zeros_like(family.validation.labels))
        family.spec.fit(family.training, zeros, SEED)


def test_missing_columns_are_one_clear_line(family: Fitted) -> None:
    with pytest.raises(DatasetError) as caught:
        family.detector.score(pd.DataFrame({"something else": [1]}))
    assert family.columns[0] in str(caught.value) and "\n" not in str(caught.value)
    entries = catalog().for_family(family.spec.family)
    with pytest.raises(DatasetError) as caught:
        family.spec.inputs_of(pd.DataFrame({"something else": [1]}), entries)
    assert "something else" in str(caught.value) and "expected" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_canonical_inputs_are_taken_as_they_are(family: Fitted) -> None:
    entries = catalog().for_family(family.spec.family)
    inputs = family.spec.inputs_of(family.test.inputs, entries)
    np.testing.assert_array_equal(family.detector.score(inputs), family.detector.score(family.test.inputs))
    assert len(family.spec.inputs_of(family.test.inputs.iloc[:0], entries)) == 0


def test_round_trip_is_bit_identical(family: Fitted) -> None:
    loaded = unpack(family.spec, family.files)
    np.testing.assert_array_equal(loaded.score(family.test.inputs), family.detector.score(family.test.inputs))
    np.testing.assert_array_equal(
        loaded.probability(family.test.inputs), family.detector.probability(family.test.inputs)
    )
    assert dict(loaded.to_files()) == dict(family.detector.to_files())
    assert pack(family.spec, loaded, choose_golden_inputs(family.spec, family.validation.inputs, SEED)) == family.files


def test_artifact_consists_of_harmless_formats(family: Fitted) -> None:
    assert {MANIFEST, GOLDEN} < set(family.files)
    for name, data in family.files.items():
        assert name.endswith((".json", ".safetensors"))
        assert b"cpickle" not in data.lower() and not data.startswith(b"\x80")
        assert not zipfile.is_zipfile(BytesIO(data))
        if name.endswith(".json"):
            assert pretty_json(json.loads(data)) == data


def test_every_changed_file_is_refused(family: Fitted) -> None:
    for name, data in family.files.items():
        for changed in (data[:-1], data + b" ", data[: len(data) // 2], b"", bytes([data[0] ^ 1]) + data[1:]):
            with pytest.raises(IntegrityError) as caught:
                unpack(family.spec, {**family.files, name: changed})
            assert "\n" not in str(caught.value)
        with pytest.raises(IntegrityError, match=r"missing"):
            unpack(family.spec, {key: value for key, value in family.files.items() if key != name})
    with pytest.raises(IntegrityError, match=r"payload\.pkl"):
        unpack(family.spec, {**family.files, "payload.pkl": b"cos\nsystem\n(S'true'\ntR."})


def test_every_flipped_byte_of_a_resealed_file_is_refused_or_harmless(family: Fitted) -> None:
    """Someone who can also rewrite the manifest gets an IntegrityError or a model that answers, never a crash."""
    generator = np.random.default_rng(2)
    own = [name for name in family.files if name not in (MANIFEST, GOLDEN)]
    for name in own:
        size = len(family.files[name])
        places = np.unique(np.concatenate([np.arange(min(size, 24)), generator.integers(0, size, 24)]))
        for place in places:
            data = bytearray(family.files[name])
            data[place] ^= 1 << int(generator.integers(0, 8))
            try:
                detector = unpack(family.spec, resealed(family.files, name, bytes(data)))
            except IntegrityError as error:
                assert "\n" not in str(error)
            else:
                assert np.isfinite(detector.score(family.test.inputs.iloc[:50])).all()


def test_golden_predictions_notice_another_model(family: Fitted) -> None:
    half = labelled(family.training.inputs.assign(label=1 - family.training.labels), family.columns)
    other = family.spec.fit(half, family.validation, SEED)
    changed = dict(family.files)
    for name, data in other.to_files().items():
        changed = resealed(changed, name, data)
    with pytest.raises(IntegrityError, match=r"golden\.json"):
        unpack(family.spec, changed)


def test_another_familys_artifact_is_refused(family: Fitted) -> None:
    other = next(name for name in family_names() if name != family.spec.family)
    with pytest.raises(IntegrityError, match=other):
        unpack(load_family(other), family.files)


def resealed(files: dict[str, bytes], name: str, data: bytes) -> dict[str, bytes]:
    manifest = json.loads(files[MANIFEST])
    manifest["files"][name] = {"digest": digest_bytes(data), "bytes": len(data)}
    return {**files, name: data, MANIFEST: pretty_json(manifest)}


def inputs_only(spec_family: str, frame: pd.DataFrame) -> pd.DataFrame:
    wanted = [column for column in frame.columns if column not in ("label", "source")]
    assert "label" in frame, spec_family
    return frame[wanted]


@pytest.mark.parametrize(("family_name", "entry_name"), LAYOUTS)
def test_canonical_rows_have_inputs_identity_and_declared_columns(family_name: str, entry_name: str) -> None:
    spec, (entry, raw) = load_family(family_name), raw_of(entry_name)
    frame = spec.canonicalise(entry, raw)
    columns = spec.input_columns or (*entry.numeric_columns, *entry.categorical_columns)
    assert {*columns, "label", "identity"} <= set(frame.columns)
    assert ("group" in frame) == (entry.group_column is not None)
    assert ("time" in frame) == (entry.time_column is not None)
    assert set(frame["label"]) == {0, 1} and len(frame) <= len(raw)
    assert frame[list(columns)].notna().all().all()
    assert not frame["identity"].isna().any()
    empty = spec.canonicalise(entry, raw.iloc[:0])
    assert len(empty) == 0 and list(empty.columns) == list(frame.columns)


@pytest.mark.parametrize(("family_name", "entry_name"), LAYOUTS)
def test_inputs_do_not_depend_on_labels(family_name: str, entry_name: str) -> None:
    spec, (entry, raw) = load_family(family_name), raw_of(entry_name)
    before = inputs_only(family_name, spec.canonicalise(entry, raw))
    other = raw.assign(_label=np.random.default_rng(8).permutation(raw["_label"]).astype("int8"))
    for file in entry.files:
        if file.label is not None and file.label.column in raw:
            other[file.label.column] = np.random.default_rng(9).permutation(raw[file.label.column])
    if "difficulty" in raw:
        other["difficulty"] = raw["difficulty"].iloc[::-1].to_numpy()
    pd.testing.assert_frame_equal(before, inputs_only(family_name, spec.canonicalise(entry, other)))


@pytest.mark.parametrize(("family_name", "entry_name"), LAYOUTS)
def test_inputs_do_not_depend_on_row_order(family_name: str, entry_name: str) -> None:
    spec, (entry, raw) = load_family(family_name), raw_of(entry_name)
    shuffled = raw.sample(frac=1.0, random_state=4).reset_index(drop=True)

    def rows(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.sort_values(list(frame.columns), ignore_index=True)

    pd.testing.assert_frame_equal(
        rows(inputs_only(family_name, spec.canonicalise(entry, raw))),
        rows(inputs_only(family_name, spec.canonicalise(entry, shuffled))),
    )


@pytest.mark.parametrize(("family_name", "entry_name"), LAYOUTS)
def test_batch_scoring_reads_the_raw_layout(family_name: str, entry_name: str) -> None:
    spec, (entry, raw) = load_family(family_name), raw_of(entry_name)
    if spec.kind == "text":
        raw = raw[raw["_file"] != "neuralchemy.csv"].dropna(axis=1).reset_index(drop=True)
    unlabelled = raw.drop(columns=["_label", "_file"])
    canonical = spec.canonicalise(entry, raw)
    inputs = spec.inputs_of(unlabelled, catalog().for_family(family_name))
    columns = list(spec.input_columns) or [*entry.numeric_columns, *entry.categorical_columns]
    pd.testing.assert_frame_equal(
        inputs[columns].reset_index(drop=True), canonical[columns].reset_index(drop=True), check_dtype=False
    )
    assert "label" not in inputs and "identity" not in inputs


@pytest.mark.parametrize(("family_name", "entry_name"), LAYOUTS)
def test_a_missing_raw_column_is_named(family_name: str, entry_name: str) -> None:
    spec, (entry, raw) = load_family(family_name), raw_of(entry_name)
    needed = {"nslkdd": "srv_count", "guide": "Category", "cyber_attacks": "Network Segment"}.get(entry_name)
    needed = needed or entry.files[0].text_column or entry.files[0].sequence_column
    with pytest.raises(DatasetError) as caught:
        spec.canonicalise(entry, raw.drop(columns=[str(needed)]))
    assert str(needed) in str(caught.value) and entry_name in str(caught.value)
