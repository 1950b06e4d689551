"""A record is used only with its signed statement, which the log names; all else is computed anew or is one line."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nethical_assets.core.audit.events import EventType
from nethical_assets.core.ground.digests import canonical_json, digest_bytes
from nethical_assets.core.ground.errors import IntegrityError
from nethical_assets.core.ground.storage import write_json
from nethical_assets.core.lineage.provenance import statement_name
from nethical_assets.core.signing.dsse import sign_payload
from nethical_assets.core.signing.keys import ModelKeys, key_id
from nethical_assets.home.evidence import statement_about
from nethical_assets.home.records import StageRecord, result_digest
from nethical_assets.home.settings import Settings
from nethical_assets.home.workspace import Workspace
from nethical_assets.stages.stage import Plan, Result, Work, carry_out
from tests.fake_stages import declare, open_workspace
from tests.pins import GivenPins

FAMILY = "logistic"
OTHER = "sha256:" + "7" * 64


def _first(work: Work) -> Result:
    return Result(work.workspace.objects.put(b"first"), {"frame": work.workspace.objects.put(b"first")}, {"rows": 3})


def _second(work: Work) -> Result:
    stored = work.workspace.objects.put(b"second")
    return Result(stored, {"frame": stored}, {"rows": 2, "share": 0.1, "columns": ["a", "b"]})


FIRST = declare("first", _first)
SECOND = declare("second", _second, needs=(FIRST,))


@pytest.fixture
def workspace(settings: Settings) -> Workspace:
    return open_workspace(settings)


@pytest.fixture
def record(workspace: Workspace) -> StageRecord:
    """The record of the second stage, published as the newest."""
    first = carry_out(FIRST, workspace, FAMILY)
    made = carry_out(SECOND, workspace, FAMILY, [first])
    for one in (first, made):
        workspace.records.publish(one, workspace.run_id)
    return made


def with_digest(document: dict[str, Any]) -> dict[str, Any]:
    """What somebody does who knows how digests are made."""
    return {**document, "digest": result_digest(document["output"], document["objects"], document["facts"])}


def foreign_statement(workspace: Workspace, record: StageRecord, folder: Path) -> str:
    """A statement that says exactly what the record says, signed by a key that nobody trusts, named by a leaf."""
    key = ModelKeys(folder, GivenPins(), environment={}).private
    return _announced(workspace, record, _envelope(workspace, record, key))


def unannounced_statement(workspace: Workspace, record: StageRecord, folder: Path) -> str:
    """The same, signed by the platform's key, which no leaf names."""
    return _envelope(workspace, record, workspace.provenance.keys.private)


def _envelope(workspace: Workspace, record: StageRecord, key: Any) -> str:
    first = workspace.records.load(FIRST.name, FAMILY, "")
    about = statement_about(record, [first], materials={}, parameters={"mine": True}, run_id="x")
    envelope = sign_payload(canonical_json(about.to_json()), key, identifier=key_id(key.public_key()))
    return workspace.objects.put(canonical_json(envelope))


def _announced(workspace: Workspace, record: StageRecord, statement: str) -> str:
    subjects = {statement_name(record.stage, record.subject): statement}
    workspace.record_event(EventType.PROVENANCE_ISSUED, subjects, parents=[record.output])
    return statement


Forgery = Callable[[Workspace, StageRecord, Path], dict[str, Any]]


def edited(**changes: Any) -> Forgery:
    return lambda workspace, record, folder: {**record.to_json(), **changes}


def recomputed(**changes: Any) -> Forgery:
    return lambda workspace, record, folder: with_digest({**record.to_json(), **changes})


def with_statement(make: Callable[[Workspace, StageRecord, Path], str]) -> Forgery:
    return lambda workspace, record, folder: {**record.to_json(), "statement": make(workspace, record, folder)}


def statement_of_another(workspace: Workspace, record: StageRecord, folder: Path) -> str:
    return workspace.records.load(FIRST.name, FAMILY, "").statement


def removed_statement(workspace: Workspace, record: StageRecord, folder: Path) -> str:
    workspace.objects.path(record.statement).unlink()
    return record.statement


def changed_statement(workspace: Workspace, record: StageRecord, folder: Path) -> str:
    path = Path(str(workspace.objects.path(record.statement)))
    path.write_bytes(path.read_bytes().replace(b'"keyid"', b'"keyId"'))
    return record.statement


FORGERIES: Mapping[str, Forgery] = {
    "edited fact": edited(facts={"rows": 200}),
    "edited fact, digest recomputed": recomputed(facts={"rows": 200}),
    "edited output, digest recomputed": recomputed(output=OTHER),
    "edited object, digest recomputed": recomputed(objects={"frame": OTHER}),
    "edited digest": edited(digest=OTHER),
    "another input": edited(inputs={f"first/{FAMILY}": OTHER}),
    "no input": edited(inputs={}),
    "one more input": lambda w, record, f: {**record.to_json(), "inputs": {**record.inputs, "raw/nslkdd": OTHER}},
    "another subject": edited(subject="anomaly"),
    "another stage": edited(stage="third"),
    "another fingerprint": edited(fingerprint=OTHER),
    "no statement": edited(statement=""),
    "a statement that is not there": edited(statement=OTHER),
    "a malformed statement": edited(statement="sha256:../../x"),
    "the statement of another stage": with_statement(statement_of_another),
    "a statement by a foreign key": with_statement(foreign_statement),
    "a statement that no leaf names": with_statement(unannounced_statement),
    "a removed statement": with_statement(removed_statement),
    "a changed statement": with_statement(changed_statement),
    "an unknown key": edited(more=1),
    "no table": edited(objects=None),
    "facts of another form": edited(facts=[]),
}


@pytest.mark.parametrize("same_process", [True, False], ids=["same process", "next process"])
@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_record_that_is_not_what_was_attested_is_never_found(
    forgery: str, same_process: bool, workspace: Workspace, record: StageRecord, tmp_path: Path
) -> None:
    document = FORGERIES[forgery](workspace, record, tmp_path / "keys")
    fingerprint = document["fingerprint"] if isinstance(document["fingerprint"], str) else record.fingerprint
    if not same_process:
        workspace = open_workspace(workspace.settings, "next")
    else:
        assert workspace.records.find(record.fingerprint) is not None or "removed" in forgery or "changed" in forgery
    records = workspace.records
    for path in (records._finished(fingerprint), records._newest(SECOND.name, FAMILY)):
        write_json(path, document)
    assert records.find(fingerprint) is None
    assert records.newest(SECOND.name, FAMILY) is None
    with pytest.raises(IntegrityError) as refusal:
        records.load(SECOND.name, FAMILY, "")
    assert "\n" not in str(refusal.value)
    assert any(word in str(refusal.value) for word in ("run again", "materialize", "restore", "malformed", "trusted"))


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: b"\xff" + data,
        lambda data: b"[]",
        lambda data: b"null",
        lambda data: b"[" * 100_000,
    ],
    ids=["empty", "cut", "not UTF-8", "list", "null", "deep"],
)
def test_a_damaged_file_is_computed_anew_and_one_line(
    damage: Callable[[bytes], bytes], workspace: Workspace, record: StageRecord
) -> None:
    records = workspace.records
    for path in (records._finished(record.fingerprint), records._newest(SECOND.name, FAMILY)):
        path.write_bytes(damage(path.read_bytes()))
    assert records.find(record.fingerprint) is None
    with pytest.raises(IntegrityError, match=r"second/logistic\.json: not a ") as refusal:
        records.load(SECOND.name, FAMILY, "")
    assert "\n" not in str(refusal.value)
    again = carry_out(SECOND, workspace, FAMILY, [records.load(FIRST.name, FAMILY, "")])
    assert again == record
    assert records.find(record.fingerprint) == replace(record, reused=True)


def test_the_record_in_the_file_of_another_fingerprint_is_not_found(workspace: Workspace, record: StageRecord) -> None:
    write_json(workspace.records._finished(OTHER), record.to_json())
    assert workspace.records.find(OTHER) is None


def test_the_record_of_another_stage_in_the_place_of_one_is_named(workspace: Workspace, record: StageRecord) -> None:
    write_json(workspace.records._newest(FIRST.name, FAMILY), record.to_json())
    with pytest.raises(IntegrityError, match=r"is the record of second/logistic; materialize first/logistic again"):
        workspace.records.load(FIRST.name, FAMILY, "")


def test_what_was_attested_is_found_by_the_next_process(workspace: Workspace, record: StageRecord) -> None:
    following = open_workspace(workspace.settings, "next").records
    assert following.find(record.fingerprint) == replace(record, reused=True)
    assert following.newest(SECOND.name, FAMILY) == record == following.load(SECOND.name, FAMILY, workspace.run_id)


def test_a_run_is_handed_its_own_record_and_others_the_newest(workspace: Workspace, record: StageRecord) -> None:
    other = open_workspace(workspace.settings, "run-2")
    first = other.records.load(FIRST.name, FAMILY, "")
    changed = declare(
        SECOND.name,
        lambda work: Result(work.workspace.objects.put(b"third")),
        lambda work: Plan({"n": 3}),
        needs=(FIRST,),
    )
    newer = carry_out(changed, other, FAMILY, [first])
    other.records.publish(newer, "run-2")
    assert other.records.load(SECOND.name, FAMILY, "run-1") == record
    assert other.records.load(SECOND.name, FAMILY, "run-2") == newer
    assert other.records.load(SECOND.name, FAMILY, "run-3") == newer
    assert other.records.runs() == ["run-1", "run-2"]
    other.records.forget_run("run-1")
    assert other.records.load(SECOND.name, FAMILY, "run-1") == newer


def test_what_was_never_materialized_is_one_line(workspace: Workspace) -> None:
    with pytest.raises(IntegrityError, match="asset second/logistic has no record yet; materialize it first"):
        workspace.records.load("second", FAMILY, "run-1")
    assert workspace.records.newest("second", FAMILY) is None
    assert workspace.records.all_newest() == []


@pytest.mark.parametrize("document", [{}, {"stage": "splits"}, {"stage": "a", "surplus": 1}, [], None, "x", 3])
def test_a_malformed_record_is_one_line(document: Any) -> None:
    with pytest.raises(IntegrityError, match=r"not a stage record .* remove it and run again"):
        StageRecord.from_json(document)


def test_records_round_trip_through_json(record: StageRecord) -> None:
    assert StageRecord.from_json(json.loads(json.dumps(record.to_json()))) == record


def test_the_digest_is_of_the_result_as_it_reads_back() -> None:
    facts = {"columns": ("a", "b"), "by_bin": {10: 1, 9: 2}, "share": 0.1}
    output = digest_bytes(b"x")
    assert result_digest(output, {}, facts) == result_digest(output, {}, json.loads(json.dumps(facts)))
    assert result_digest(output, {}, facts) != result_digest(output, {}, {**facts, "share": 0.2})
    assert result_digest(output, {}, facts) != result_digest(output, {"frame": output}, facts)


def about(window: str | None) -> Callable[[Work], Result]:
    def run(work: Work) -> Result:
        facts = {} if window is None else {"window": {"start": f"{window}+00:00"}}
        return Result(work.workspace.objects.put(str(window).encode()), facts=facts)

    return run


def test_the_newest_record_is_that_of_the_newest_window_however_late_another_is_judged_again(
    workspace: Workspace,
) -> None:
    """A report of an older version says no window: any that does comes after it."""
    records = workspace.records
    for window, newest in (
        (None, None),
        ("2026-11-22T06:00:00", "2026-11-22T06:00:00"),
        ("2026-11-22T12:00:00", "2026-11-22T12:00:00"),
        ("2026-11-22T06:00:00", "2026-11-22T12:00:00"),
        ("2026-11-22T12:00:00", "2026-11-22T12:00:00"),
    ):
        made = carry_out(declare("watched", about(window), lambda work: Plan(lookup=False)), workspace, FAMILY)
        records.publish(made, workspace.run_id)
        # What comes after it in its own run is handed the run's own, whatever is the newest.
        assert records.load("watched", FAMILY, workspace.run_id) == replace(made, reused=False)
        found = records.newest("watched", FAMILY)
        assert found is not None
        assert found.facts == ({} if newest is None else {"window": {"start": f"{newest}+00:00"}})
