"""Sketches beside batches: the same as counting the rows, and never trusted where they cannot be."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from nethical_assets.core.drift.batch_sketches import SketchedBy, SketchLog, labelled_by_sub_window
from nethical_assets.core.drift.feedback import FEEDBACK_SCHEMA, FeedbackLog
from nethical_assets.core.drift.inference_log import REQUEST_SCHEMA, InferenceLog
from nethical_assets.core.drift.reference import build_reference
from nethical_assets.core.drift.reliability import Reliability
from nethical_assets.core.drift.sketches import Sketch, added
from nethical_assets.core.ground.errors import DatasetError, IntegrityError
from tests.core.drift.logged import MODEL, NOON, NOON_NS, OTHER, at

HOUR = timedelta(hours=1)
EVER, LATER = NOON - 100 * HOUR, NOON + 100 * HOUR


def drawn(rows: int, seed: int) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame({"probability": random.random(rows), "score": random.normal(size=rows), "size": range(rows)})


REFERENCE = build_reference(
    *(drawn(500, 1)[name].to_numpy() for name in ("score", "probability")), drawn(500, 1)[["size"]]
)


class Store:
    """A log, its sketches, and what the audit log names of both."""

    def __init__(self, folder: Path) -> None:
        self.named: set[tuple[str, str]] = set()
        self.sketches_named: set[tuple[str, str]] = set()
        self.reads = 0
        self.log = InferenceLog(folder / "inference", counts=lambda name, digest: (name, digest) in self.named)
        self.sketches = SketchLog(
            folder / "sketches", self.log, counts=lambda name, digest: (name, digest) in self.sketches_named
        )
        self.feedback = FeedbackLog(folder / "feedback")

    def append(
        self, frame: pd.DataFrame, start: datetime = NOON, *, by: SketchedBy | None = None, model: str = MODEL
    ) -> str:
        """A batch of rows a second apart; its name."""
        first = NOON_NS + int((start - NOON).total_seconds()) * 10**9
        times = pa.array([first + number * 10**9 for number in range(len(frame))], REQUEST_SCHEMA.field("at").type)
        ids = [f"{start:%d%H%M}-{number}" for number in range(len(frame))]
        names: list[str] = []

        def record(name: str, digest: str) -> None:
            self.named.add((name, digest))
            names.append(name)
            if by is not None:
                self.sketches.write(name, digest, by, lambda file, found: self.sketches_named.add((file, found)))

        self.log.append(
            "logistic",
            model,
            frame["probability"].to_numpy(),
            frame["score"].to_numpy(),
            frame[["size"]],
            occasion=f"{start}",
            when=start,
            record=record,
            requests=pa.table({"request_id": ids, "at": times}),
        )
        return names[0]

    def read(self, by: SketchedBy, since: datetime = EVER, until: datetime = LATER) -> dict[datetime, Sketch]:
        return self.sketches.read("logistic", MODEL, by, since, until)

    @property
    def files(self) -> list[Path]:
        return sorted(Path(str(self.sketches.folder)).rglob("*.sketches"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


BY = SketchedBy(REFERENCE, 15)


def of(frame: pd.DataFrame) -> Sketch:
    return Sketch.of(REFERENCE, frame["probability"].to_numpy(), frame["score"].to_numpy(), frame[["size"]])


@pytest.fixture
def unread(store: Store, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From when it is called, rows are not read."""

    def forbid() -> None:
        def refuse(*arguments: object, **options: object) -> None:
            raise AssertionError("rows were read")

        monkeypatch.setattr("nethical_assets.core.drift.batch_files.BatchFile.read", refuse)

    return forbid


@pytest.mark.parametrize("minutes", [5, 10, 15, 20, 30, 60])
def test_sub_windows_are_those_that_the_rows_were_scored_in(store: Store, minutes: int, unread: Callable) -> None:
    by, frame = SketchedBy(REFERENCE, minutes), drawn(3000, 2)
    store.append(frame.iloc[:2000], by=by)
    store.append(frame.iloc[2000:], NOON + HOUR, by=by)
    expected = {}
    for start, rows in ((NOON, frame.iloc[:2000]), (NOON + HOUR, frame.iloc[2000:])):
        size = minutes * 60
        for number in range(0, len(rows), size):
            expected[start + timedelta(seconds=number)] = of(rows.iloc[number : number + size])
    from_rows = _without_files(store).read(by)
    assert from_rows == expected
    unread()
    assert store.read(by) == expected
    assert added(REFERENCE, store.read(by).values()) == of(frame)
    assert list(store.read(by, NOON, NOON + HOUR)) == [moment for moment in expected if moment < NOON + HOUR]


def _without_files(store: Store) -> Store:
    """The same log, of which no sketches are known."""
    other = Store(Path(str(store.log.folder)).parent)
    other.named = store.named
    return other


def test_written_again_or_by_two_processes_it_is_the_same_bytes(store: Store) -> None:
    frame = drawn(50, 3)
    name = store.append(frame, by=BY)
    (path,) = store.files
    before, known = path.read_bytes(), set(store.sketches_named)
    store.append(frame, by=BY)
    path.unlink()
    (digest,) = {digest for _, digest in store.named}
    store.sketches.write(name, digest, BY, lambda file, found: known.add((file, found)))
    assert path.read_bytes() == before and known == store.sketches_named and len(store.files) == 1


def _remove(path: Path) -> None:
    path.unlink()


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(bytes(data))


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("harm", [_remove, _flip, _cut, _empty, _folder])
def test_a_file_that_is_missing_or_damaged_is_counted_again(store: Store, harm: Callable[[Path], None]) -> None:
    frame = drawn(2000, 4)
    store.append(frame, by=BY)
    expected = store.read(BY)
    (path,) = store.files
    harm(path)
    assert store.read(BY) == expected and added(REFERENCE, expected.values()) == of(frame)


def test_a_file_that_the_log_does_not_name_is_not_trusted(store: Store) -> None:
    first, second = drawn(100, 5), drawn(100, 6)
    store.append(first, by=BY)
    name = store.append(second, NOON + HOUR, by=BY)
    one, other = store.files
    # The sketches of another batch, whole and named under their own name.
    other.write_bytes(one.read_bytes())
    assert added(REFERENCE, store.read(BY).values()) == of(pd.concat([first, second]))
    # Also where the leaf names those bytes under this name: they are of another batch.
    (digest,) = {digest for file, digest in store.sketches_named if file.endswith(one.name)}
    store.sketches_named.add((f"logistic/{other.name}", digest))
    assert added(REFERENCE, store.read(BY).values()) == of(pd.concat([first, second]))
    # A batch that does not count adds nothing, whatever its sketches say.
    store.named = {(file, digest) for file, digest in store.named if file != name}
    assert added(REFERENCE, store.read(BY).values()) == of(first)


def test_another_length_or_reference_has_files_of_its_own(store: Store) -> None:
    frame = drawn(2000, 7)
    store.append(frame, by=BY)
    assert list(store.read(SketchedBy(REFERENCE, 30))) == [NOON, NOON + HOUR / 2]
    other = build_reference(
        drawn(90, 8)["score"].to_numpy(), drawn(90, 8)["probability"].to_numpy(), drawn(90, 8)[["size"]]
    )
    assert added(other, store.read(SketchedBy(other, 15)).values()).rows == 2000
    assert len(store.files) == 1


def test_a_period_that_begins_within_a_batch_has_its_rows_from_then_on(store: Store) -> None:
    frame = drawn(2000, 9)
    store.append(frame, by=BY)
    found = store.read(BY, at(1000))
    assert min(found) == NOON + timedelta(minutes=15) and added(REFERENCE, found.values()) == of(frame.iloc[1000:])
    assert added(REFERENCE, store.read(BY, until=at(500)).values()) == of(frame.iloc[:500])


def test_batches_of_other_models_and_columns_are_told_apart(store: Store) -> None:
    store.append(drawn(10, 10), model=OTHER)
    assert store.read(BY) == {}
    named = drawn(10, 11).rename(columns={"size": "length"})
    with pytest.raises(KeyError):
        store.append(named)
    reference = build_reference(named["score"].to_numpy(), named["probability"].to_numpy(), named[["length"]])
    store.append(drawn(10, 12), NOON + HOUR)
    with pytest.raises(DatasetError, match="'length'"):
        store.read(SketchedBy(reference, 15))


def test_damaged_rows_stop_whoever_needs_them(store: Store) -> None:
    name = store.append(drawn(10, 13))
    path = Path(str(store.log.folder)) / name
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(IntegrityError, match="does not match its name"):
        store.read(BY)
    with pytest.raises(IntegrityError):
        store.sketches.write(name, "sha256:" + "0" * 64, BY, lambda file, digest: None)


def test_what_a_killed_writer_left_goes_with_its_batch(store: Store) -> None:
    kept, left = store.append(drawn(10, 14), by=BY), store.append(drawn(10, 15), NOON + HOUR, by=BY)
    for start in (NOON, NOON + HOUR):
        store.sketches.drop_left("logistic", MODEL, f"{start}")
    assert len(store.files) == 2
    Path(str(store.log.folder), left).unlink()
    store.sketches.drop_left("logistic", MODEL, f"{NOON + HOUR}")
    assert [path.name.startswith(kept.split("/")[1].removesuffix(".parquet")) for path in store.files] == [True]


def feed(store: Store, ids: list[str], labels: list[int], when: datetime) -> None:
    table = pa.table(
        [[when] * len(ids), ids, labels, ["analyst"] * len(ids)],
        schema=FEEDBACK_SCHEMA,
    )
    store.feedback.append_table(table, occasion=f"{when}", when=when, record=lambda name, digest: None)


def test_labels_that_came_are_those_of_their_sub_windows(store: Store, unread: Callable) -> None:
    frame = drawn(2000, 16)
    store.append(frame, by=BY)
    of_log = (store.log, store.feedback, "logistic", MODEL, BY)
    some = [0, 5, 899, 900, 1999]
    feed(store, [f"011200-{number}" for number in some] + ["unknown"], [1, 0, 1, 1, 0, 1], at(5000))
    feed(store, ["011200-5"], [1], at(6000))
    found = labelled_by_sub_window(*of_log, NOON, NOON + HOUR)
    probability = frame["probability"].to_numpy()

    def reliability(rows: list[int], labels: list[float]) -> Reliability:
        return Reliability.of(probability[rows], np.array(labels), 0.5)

    assert found == {
        NOON: reliability([0, 5, 899], [1, 1, 1]),
        NOON + timedelta(minutes=15): reliability([900], [1]),
        NOON + timedelta(minutes=30): reliability([1999], [0]),
    }
    # Before any label, rows are not read at all.
    unread()
    assert labelled_by_sub_window(*of_log, NOON + 5 * HOUR, NOON + 6 * HOUR) == {}
