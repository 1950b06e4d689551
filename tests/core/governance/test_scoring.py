"""Records in front of a model are masked as those it learned from: the same inputs, the same score, one or many."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from nethical_assets.core.datasets.canonical import build_dataset
from nethical_assets.core.detectors.base import Detector, DetectorSpec, LabelledRows
from nethical_assets.core.detectors.registry import family_names, load_family
from nethical_assets.core.governance.frames import canonical_readings
from nethical_assets.core.governance.protection import protect
from nethical_assets.core.governance.pseudonyms import PassingPseudonyms
from nethical_assets.core.governance.scoring import RecordScorer, ScoredRecords, score_records
from nethical_assets.core.governance.screener import Screener
from nethical_assets.core.ground.errors import RecordError
from nethical_assets.core.models.loading import input_columns
from nethical_assets.core.reading.readers import read_dataset
from nethical_assets.core.rows.catalog import DatasetEntry
from nethical_assets.core.rows.labels import labels_of
from nethical_assets.core.rows.one_record import frame_of_one
from nethical_assets.core.rows.sources import attach_sources
from tests.across.planted import CARD, EMAIL, KEY, MANY, NEEDLES, NUMBER, PHONE, TOKEN, found_in, plant
from tests.core.record_screening import record_screener
from tests.tiny_mirror import CATALOG, connections

VALUES = (EMAIL, NUMBER, CARD, TOKEN, f"to {PHONE} now", KEY)
KINDS = ("EMAIL", "SSN", "CREDIT_CARD", "GITHUB_TOKEN", "PHONE", "PRIVATE_KEY")


@dataclass(frozen=True)
class Trained:
    """A family trained on planted records: each layout's raw rows and the inputs that training made of them."""

    spec: DetectorSpec
    detector: Detector
    sources: dict[str, tuple[DatasetEntry, pd.DataFrame]]
    inputs: dict[str, pd.DataFrame]
    screener: Screener

    def score(self, records: pd.DataFrame) -> ScoredRecords:
        entries = CATALOG.for_family(self.spec.family)
        return score_records(self.detector, self.spec, records, entries, self.screener, wrong_share_max=1.0)


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plant(tmp_path_factory.mktemp("planted"), rows=300)


@pytest.fixture(scope="module")
def trained_families() -> dict[str, Trained]:
    return {}


@pytest.fixture(params=family_names())
def trained(
    request: pytest.FixtureRequest, mirror: Path, screener: Screener, trained_families: dict[str, Trained]
) -> Trained:
    if request.param not in trained_families:
        trained_families[request.param] = train(load_family(request.param), mirror, screener)
    return trained_families[request.param]


def train(spec: DetectorSpec, mirror: Path, screener: Screener) -> Trained:
    sources: dict[str, tuple[DatasetEntry, pd.DataFrame]] = {}
    for entry in CATALOG.for_family(spec.family):
        if not entry.discover and (mirror / entry.slug).is_dir():
            table = read_dataset(entry, mirror / entry.slug, maximum_rows=10_000, seed=0).table
            raw = table.to_pandas().assign(_label=labels_of(entry, table))
            raw = raw[raw["_label"] >= 0].reset_index(drop=True)
            sources[entry.name] = (entry, raw.assign(_source=attach_sources(entry, raw)))
    frame = canonical(spec, list(sources.values()), screener)
    rows = LabelledRows(frame[input_columns(spec, frame)], frame["label"].to_numpy())
    each = {name: canonical(spec, [source], screener)[input_columns(spec, frame)] for name, source in sources.items()
            if spec.kind != "records" or spec.input_columns}  # fmt: skip
    each = each or dict.fromkeys(sources, rows.inputs)
    return Trained(spec, spec.fit(rows, rows, 3), sources, each, screener)


def canonical(spec: DetectorSpec, sources: list[tuple[DatasetEntry, pd.DataFrame]], screener: Screener) -> pd.DataFrame:
    """Canonical rows as the stage stores them."""
    frame = build_dataset(spec, sources, maximum_rows=100_000, screener=record_screener()).frame
    return protect(frame, canonical_readings(frame, spec.kind), screener).frame


def rows_of(frame: pd.DataFrame) -> set[tuple[str, ...]]:
    return set(frame.astype("str").itertuples(index=False, name=None))


def test_what_is_scored_is_what_was_learned(trained: Trained) -> None:
    """The same raw records, through training and through scoring: no input but those of training."""
    for name, (_, raw) in trained.sources.items():
        wanted = trained.inputs[name]
        # What cannot be screened to its end is never learned.
        learnable = raw[~raw.apply(lambda column: column.astype("str").str.contains(MANY, regex=False)).any(axis=1)]
        masked = 0
        # A text file holds the columns of its own layout only.
        for _, part in learnable.groupby("_file") if trained.spec.kind == "text" else [("", learnable)]:
            plain = part.dropna(axis=1, how="all").drop(columns=["_label", "_file", "_source"])
            scored = trained.score(plain.reset_index(drop=True))
            inputs = scored.inputs[list(wanted.columns)]
            masked += sum(scored.masked.values())
            assert rows_of(inputs) - rows_of(wanted) == set(), name
            assert found_in(inputs.to_csv().encode(), NEEDLES) == set()
        assert masked > 0


def variants(trained: Trained) -> list[tuple[pd.DataFrame, pd.DataFrame]]:
    """Single records with personal data in every column that may hold text, and in numbers; with their masked form."""
    found = []
    for _, raw in trained.sources.values():
        plain = raw.drop(columns=["_label", "_file", "_source"]).dropna(axis=1, how="all")
        record = plain.iloc[[len(plain) - 1]].reset_index(drop=True)
        for column in record.columns:
            for value, kind in zip(VALUES, KINDS, strict=True):
                if record[column].dtype.kind in "if" and value != CARD:
                    continue
                masked: Any = f"to [{kind}] now" if value.startswith("to ") else f"[{kind}]"
                planted: Any = int(value) if record[column].dtype.kind in "if" else value
                as_object = record.astype({column: "object"})
                found.append(
                    (
                        record.assign(**{column: [planted]}),
                        as_object.assign(**{column: [np.nan if planted != value else masked]}),
                    )
                )
    return found


@pytest.mark.slow
def test_a_record_scores_as_its_masked_form(trained: Trained) -> None:
    differing = []
    for record, masked in variants(trained)[:: 1 if trained.spec.kind != "records" else 5]:
        (one,), (other,) = (trained.score(each).prediction.score for each in (record, masked))
        if one != other:
            differing.append((record.iloc[0].to_dict(), one, other))
    assert differing == []


def test_a_record_scores_the_same_alone_and_among_others(screener: Screener, mirror: Path) -> None:
    """Also numbers, which in training are judged by what share of their column is personal data."""
    trained = train(load_family("logistic"), mirror, screener)
    rows = connections(40, np.random.default_rng(4)).drop(columns=["attack", "difficulty"], errors="ignore")
    rows = rows.astype({"service": "object", "src_bytes": "int64"})
    rows["src_bytes"] += 9_000_000_000_000_000
    rows.loc[3, "src_bytes"] = int(CARD)
    rows.loc[range(6), "service"] = list(VALUES)
    together = trained.score(rows)
    alone = [trained.score(rows.iloc[[row]].reset_index(drop=True)).prediction.score[0] for row in range(len(rows))]
    assert together.prediction.score.tolist() == alone
    assert together.masked == {kind: 2 if kind == "CREDIT_CARD" else 1 for kind in sorted(KINDS)}
    assert together.inputs["src_bytes"].isna().tolist() == [row == 3 for row in range(len(rows))]
    assert together.inputs["service"].tolist()[:6] == [
        "[EMAIL]", "[SSN]", "[CREDIT_CARD]", "[GITHUB_TOKEN]", "to [PHONE] now", "[PRIVATE_KEY]"
    ]  # fmt: skip


def test_a_row_of_numbers_scores_the_same_wherever_it_is_among_many() -> None:
    spec = load_family("logistic")
    frame = spec.synthesise(2500, np.random.default_rng(3))
    inputs = frame.drop(columns="label")
    rows = LabelledRows(inputs, frame["label"].to_numpy(dtype=np.int8))
    detector = spec.fit(rows, rows, 3)
    whole = detector.predict(inputs).score
    for start, end in ((0, 1), (1000, 2100), (1023, 1025), (2048, 2500), (7, 7)):
        assert detector.predict(inputs.iloc[start:end]).score.tolist() == whole[start:end].tolist()
    for row in (0, 1023, 1024, 2499):
        assert detector.score_one(inputs.iloc[row].to_dict()).score == whole[row]


def test_incidents_stay_apart_and_their_keys_are_as_they_came(screener: Screener, mirror: Path) -> None:
    trained = train(load_family("correlation"), mirror, screener)
    _, raw = trained.sources["guide"]
    records = raw.drop(columns=["_label", "_file", "_source"])
    scored = trained.score(records)
    keys = set(records["OrgId"].astype("str") + "/" + records["IncidentId"].astype("str"))
    assert set(scored.predictions["incident"]) == keys
    assert any("@" in key for key in keys)


def test_a_text_that_repeats_its_input_can_still_be_told(screener: Screener, mirror: Path) -> None:
    trained = train(load_family("prompt_injection"), mirror, screener)
    scored = trained.score(
        pd.DataFrame({"text": pd.Series([f"write to {EMAIL}", None, "\ud800 half"], dtype="object")})
    )
    assert scored.texts is not None
    assert scored.texts[0] == f"write to {EMAIL}"
    assert scored.inputs["text"].tolist()[0] == "write to [EMAIL]"
    assert np.isfinite(scored.prediction.score).all()


def test_passing_pseudonyms_are_of_one_call_and_know_whose_they_are() -> None:
    first, second = PassingPseudonyms(), PassingPseudonyms()
    token = first.token("EMAIL", EMAIL)
    assert token == first.token("EMAIL", f" {EMAIL.upper()} ")
    assert len({token, first.token("SSN", EMAIL), first.token("EMAIL", "x"), second.token("EMAIL", EMAIL)}) == 4
    keys = pd.Series([f"{token}/7", "[EMAIL 000000000000]/8", "plain"])
    assert first.restored(keys).tolist() == [f"{EMAIL}/7", "[EMAIL 000000000000]/8", "plain"]
    assert second.restored(keys).tolist() == keys.tolist()


def bits(value: Any) -> Any:
    return np.float64(value).tobytes() if isinstance(value, float) else value


def json_records(trained: Trained, every: int) -> list[dict[str, Any]]:
    """Raw rows of every source as JSON holds them: plain types, and the fields that the catalog knows."""
    found = []
    for entry, raw in trained.sources.values():
        layouts = trained.spec.record_reader((entry,)).layouts
        known = {name for layout in layouts for name in layout.fields}
        rows = raw[[name for name in raw.columns if name in known]].astype("object")
        for record in rows.iloc[::every].to_dict("records"):
            plain = {name: None if value != value else value for name, value in record.items()}
            texts = trained.spec.kind != "records"
            found.append({name: value for name, value in plain.items() if value is not None or not texts})
    return found


def same_as_a_frame(trained: Trained, scorer: RecordScorer, record: dict[str, Any]) -> bool:
    one, frame = scorer.score(record), trained.score(frame_of_one(record))
    columns = list(trained.spec.input_columns) or list(frame.inputs.columns)
    rows = ((one.inputs, frame.inputs[columns]), (one.sketch, trained.detector.sketch(frame.inputs)))
    return all(
        list(mine) == list(theirs.columns)
        and [bits(value) for value in mine.values()] == [bits(value) for value in theirs.to_dict("records")[0].values()]
        for mine, theirs in rows
    ) and [bits(one.score), bits(one.probability), one.label, one.masked] == [
        *(bits(float(value[0])) for value in (frame.prediction.score, frame.prediction.probability)),
        int(frame.predictions["label"].iloc[0]),
        frame.masked,
    ]


def scorer_of(trained: Trained) -> RecordScorer:
    entries = CATALOG.for_family(trained.spec.family)
    return RecordScorer(trained.detector, trained.spec, entries, trained.screener)


def test_one_record_is_scored_as_a_frame_of_it(trained: Trained) -> None:
    """Planted personal data included: in every field that may hold text, in numbers, in what canonical inputs hold."""
    scorer, masked = scorer_of(trained), 0
    records = json_records(trained, 151 if trained.spec.kind == "records" else 75)
    for number, record in enumerate(records):
        assert number % 2 or same_as_a_frame(trained, scorer, record), record
        name = list(record)[number % len(record)]
        marked = ("[EMAIL 0123456789ab]", "[EMAIL] and [THREAT]", "[EMAIL 0123456789ab ] [A 0]")
        for value in ((VALUES[number % len(VALUES)], int(CARD), *marked)[number % 5], EMAIL):
            try:
                said = scorer.score({**record, name: value})
            except RecordError as error:
                assert error.field == name and str(value) not in str(error)
                continue
            assert same_as_a_frame(trained, scorer, {**record, name: value}), (name, value)
            masked += sum(said.masked.values())
    assert len(records) >= 2 and masked > 0


def test_texts_that_utf_8_cannot_hold_are_scored(trained: Trained) -> None:
    """JSON can name half of a surrogate pair."""
    scorer = scorer_of(trained)
    record = json_records(trained, 150)[0]
    for name, value in record.items():
        if isinstance(value, str) and name != "Timestamp":
            for text in ("\ud83d broken", f"{EMAIL} \udc00"):
                said = scorer.score({**record, name: text})
                assert np.isfinite(said.score) and ("EMAIL" in said.masked or EMAIL not in text)


def test_ordinary_records_need_no_frame(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = scorer_of(trained)
    inputs = next(iter(trained.inputs.values()))
    marked = inputs.apply(lambda column: column.astype("str").str.contains("[", regex=False)).any(axis=1)
    # What was masked before is nothing to mask again; among the names of actions it is not certain.
    masked = inputs[marked].iloc[: 0 if trained.spec.kind == "sequence" else 5]
    rows = pd.concat([masked, inputs[~marked]]).iloc[:20]
    records = [{str(name): value for name, value in row.items()} for row in rows.to_dict("records")]
    assert all(same_as_a_frame(trained, scorer, record) for record in records[:2])
    monkeypatch.setattr(pd, "DataFrame", None)
    assert [scorer.score(record).masked for record in records] == [{}] * 20


def test_records_are_scored_the_same_by_many_threads(trained: Trained) -> None:
    scorer, records = scorer_of(trained), json_records(trained, 150)
    wanted = [scorer.score(record) for record in records]
    fresh = scorer_of(trained)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(fresh.score, records * 2)) == wanted * 2


def test_many_records_are_read_as_strictly_as_one(screener: Screener, mirror: Path) -> None:
    trained = train(load_family("logistic"), mirror, screener)
    scorer = scorer_of(trained)
    records = pd.DataFrame(json_records(trained, 30))
    together = scorer.score_many(records)
    pd.testing.assert_frame_equal(together.predictions, trained.score(records).predictions)
    wrong: list[tuple[str, Any, str]] = [
        ("src_bytes", "zquillon", "text"), ("src_bytes", True, "truth value"), ("src_bytes", np.inf, "infinite"),
        ("src_bytes", 10**400, "too large"), ("service", ["zquillon"], "a list"), ("attack", {"zquillon": 1}, "object"),
    ]  # fmt: skip
    for field, value, reason in wrong:
        cells = records[field].astype("object").tolist()
        cells[2] = value
        with pytest.raises(RecordError) as caught:
            scorer.score_many(records.assign(**{field: pd.Series(cells, dtype="object")}))
        assert (caught.value.field, caught.value.record) == (field, 3) and reason in caught.value.reason
        assert "zquillon" not in str(caught.value)
    with pytest.raises(RecordError, match="missing, and required"):
        scorer.score_many(records.drop(columns="src_bytes"))
    with pytest.raises(RecordError, match="unknown"):
        scorer.score_many(records.assign(zusatz=1))


def test_an_alert_whose_time_is_none_is_refused_by_itself(screener: Screener, mirror: Path) -> None:
    trained = train(load_family("heuristic"), mirror, screener)
    _, raw = trained.sources["cyber_attacks"]
    record = next(
        each for each in json_records(trained, 1) if set(raw.columns) >= set(each) and "Network Segment" in each
    )
    with pytest.raises(RecordError) as caught:
        scorer_of(trained).score({**record, "Timestamp": "zquillon"})
    assert caught.value.field == "Timestamp" and "zquillon" not in str(caught.value)


def test_wrong_cells_of_canonical_numbers_are_counted(screener: Screener, mirror: Path) -> None:
    """They were read where nobody counted, and became zero."""
    trained = train(load_family("heuristic"), mirror, screener)
    inputs = pd.DataFrame({name: [0.5, 0.5] for name in trained.spec.input_columns}).astype("object")
    inputs.iloc[1, 0] = "1,000"
    (cells,) = trained.score(inputs).cells.columns.values()
    assert cells.first == 2 and cells.reason == "digits with separators"
