"""The stage cache: what is done once, and when it is done again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from nethical_assets.core.ground.errors import IntegrityError
from nethical_assets.core.ground.storage import ObjectStore
from nethical_assets.home.records import StageCache, StageOutput, StageRecord, code_digest, get_table, put_table

CORE = Path(__file__).resolve().parents[2] / "nethical_assets" / "core"


class Stage:
    """A stage that counts how often it runs."""

    def __init__(self, folder: Path) -> None:
        self.objects = ObjectStore(folder / "objects")
        self.cache = StageCache(folder / "stages", self.objects)
        self.facts: dict[str, Any] = {"rows": 3, "columns": ("a", "b"), "by_bin": {10: 1, 9: 2}, "share": 0.1}
        self.runs = 0

    def compute(self) -> StageOutput:
        self.runs += 1
        return StageOutput({"frame": self.objects.put(b"result")}, self.facts)

    def run(self, **changes: Any) -> StageRecord:
        arguments: dict[str, Any] = {
            "inputs": {"raw": "sha256:1"}, "parameters": {"seed": 42}, "code": "c1", "compute": self.compute
        }  # fmt: skip
        return self.cache.run("splits", "logistic", **{**arguments, **changes})

    @property
    def stored(self) -> Path:
        (path,) = (self.cache.base).iterdir()
        return Path(str(path))


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def test_the_same_work_is_done_once(stage: Stage, tmp_path: Path) -> None:
    first = stage.run()
    again = StageCache(tmp_path / "stages", stage.objects).run(
        "splits", "logistic", inputs={"raw": "sha256:1"}, parameters={"seed": 42}, code="c1", compute=stage.compute
    )
    assert stage.runs == 1
    assert (first.reused, again.reused) == (False, True)
    assert again.digest == first.digest
    assert again.facts == json.loads(json.dumps(first.facts))


@pytest.mark.parametrize(
    "changes",
    [{"inputs": {"raw": "sha256:2"}}, {"inputs": {}}, {"parameters": {"seed": 43}}, {"code": "c2"}],
    ids=["input", "no input", "parameter", "code"],
)
def test_any_change_does_it_again(stage: Stage, changes: dict[str, Any]) -> None:
    first = stage.run()
    second = stage.run(**changes)
    assert stage.runs == 2
    assert second.fingerprint != first.fingerprint
    assert second.digest == first.digest, "the same result has the same version"


def test_another_subject_is_other_work(stage: Stage) -> None:
    stage.run()
    stage.cache.run(
        "splits", "anomaly", inputs={"raw": "sha256:1"}, parameters={"seed": 42}, code="c1", compute=stage.compute
    )
    assert stage.runs == 2


def test_force_does_it_again(stage: Stage) -> None:
    stage.run()
    assert not stage.run(force=True).reused
    assert stage.runs == 2


def test_a_vanished_object_does_it_again(stage: Stage) -> None:
    record = stage.run()
    stage.objects.path(record.objects["frame"]).unlink()
    assert not stage.run().reused
    assert stage.objects.get(record.objects["frame"]) == b"result"


def edit(**changes: Any) -> Callable[[bytes], bytes]:
    return lambda data: json.dumps({**json.loads(data), **changes}).encode()


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: b"\xff" + data,
        lambda data: b"[]",
        lambda data: b"null",
        lambda data: data.replace(b'"rows": 3', b'"rows": 4'),
        edit(objects=None),
        edit(objects={}),
        edit(objects={"frame": "sha256:not-a-digest"}),
        edit(facts=[]),
        edit(fingerprint="sha256:another"),
        edit(unknown=1),
    ],
    ids=["empty", "cut", "not UTF-8", "list", "null", "changed fact", "no objects", "lost object", "malformed digest",
         "facts of another form", "another stage's", "unknown key"],
)  # fmt: skip
def test_a_damaged_record_does_it_again(stage: Stage, damage: Callable[[bytes], bytes]) -> None:
    first = stage.run()
    data = stage.stored.read_bytes()
    stage.stored.write_bytes(damage(data))
    assert stage.stored.read_bytes() != data
    again = stage.run()
    assert not again.reused
    assert again == first
    assert stage.run().reused


def test_a_stage_that_fails_leaves_no_record(stage: Stage) -> None:
    def fail() -> StageOutput:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        stage.run(compute=fail)
    assert not Path(str(stage.cache.base)).exists()
    assert not stage.run().reused


def test_the_digest_names_the_result(stage: Stage) -> None:
    first = stage.run()
    stage.facts = {**stage.facts, "rows": 4}
    assert stage.run(force=True).digest != first.digest


def test_records_round_trip_and_facts_of_a_cycle_do_not_change_the_version(stage: Stage) -> None:
    record = stage.run()
    more = record.with_facts(source="mirror")
    assert (more.digest, more.facts["source"]) == (record.digest, "mirror")
    read = StageRecord.from_json(json.loads(json.dumps(more.to_json())))
    assert (read.objects, read.digest, read.reused) == (more.objects, more.digest, False)


@pytest.mark.parametrize("document", [{}, {"stage": "splits"}, {"stage": "a", "surplus": 1}])
def test_a_malformed_record_is_one_line(document: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError, match=r"not a stage record .* remove it and run again"):
        StageRecord.from_json(document)


def table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "text": ["b", None, "é"],
            "number": [0.1, float("nan"), -1e300],
            "label": pd.array([1, 0, 1], dtype="int8"),
            "time": pd.to_datetime(["2026-01-01", None, "2026-01-02"], utc=True),
        }
    )


def test_tables_round_trip_and_the_same_table_has_the_same_digest(tmp_path: Path) -> None:
    objects = ObjectStore(tmp_path)
    digest = put_table(objects, table())
    pd.testing.assert_frame_equal(get_table(objects, digest), table())
    assert put_table(objects, table().set_axis([7, 8, 9])) == digest, "the index is not content"
    assert put_table(objects, table().iloc[::-1]) != digest


def test_a_changed_table_is_refused(tmp_path: Path) -> None:
    objects = ObjectStore(tmp_path)
    digest = put_table(objects, table())
    path = Path(str(objects.path(digest)))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(IntegrityError):
        get_table(objects, digest)


def test_code_digests_tell_files_apart_and_folders_hold_their_files() -> None:
    assert code_digest("errors.py") != code_digest("digests.py")
    assert code_digest("errors.py", "digests.py") == code_digest("digests.py", "errors.py", "errors.py")
    files = [str(path.relative_to(CORE)) for path in (CORE / "delivery").rglob("*.py")]
    assert code_digest("delivery") == code_digest(*files)
