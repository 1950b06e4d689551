"""The one sequence: look up, compute, record, act, attest, remember; and what stops it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

from nethical_assets.core.audit.events import Event, EventType
from nethical_assets.core.ground.digests import digest_bytes
from nethical_assets.core.ground.errors import IntegrityError
from nethical_assets.home import changes
from nethical_assets.home.acts import Change
from nethical_assets.home.records import StageRecord, result_digest
from nethical_assets.home.settings import Settings
from nethical_assets.home.workspace import Workspace
from nethical_assets.stages.graph import STAGES
from nethical_assets.stages.stage import Act, Plan, Result, Stage, Work, carry_out, check_inputs, find
from tests.fake_stages import declare, open_workspace
from tests.processes import DURABLE, in_child

FAMILY = "logistic"


class Counting:
    """A stage that counts how often it computes, and depends on what a test says."""

    def __init__(self, **more: Any) -> None:
        self.runs = 0
        self.plan = Plan({"seed": 42}, {"rules": digest_bytes(b"rules")})
        self.facts: dict[str, Any] = {"rows": 3, "columns": ("a", "b"), "by_bin": {10: 1, 9: 2}}
        self.more: dict[str, Any] = {}
        self.stage = declare("counted", self._run, lambda work: self.plan, **more)

    def _run(self, work: Work) -> Result:
        self.runs += 1
        stored = work.workspace.objects.put(b"result")
        return Result(stored, {"frame": stored}, self.facts, **self.more)


OF_THE_RUN = (EventType.RUN_STARTED, EventType.KEY_CREATED)


@pytest.fixture
def workspace(settings: Settings) -> Workspace:
    return open_workspace(settings)


@pytest.fixture
def counting() -> Counting:
    return Counting()


def leaves(workspace: Workspace) -> list[Event]:
    """What this run recorded of its stages."""
    own = [event for event in workspace.audit_log.pending_events() if event.run_id == workspace.run_id]
    return [event for event in own if event.type not in OF_THE_RUN]


def made(stage: Stage | str, output: str, subject: str = FAMILY, **inputs: str) -> StageRecord:
    """A record as another run could have made it."""
    name = stage if isinstance(stage, str) else stage.name
    digest = digest_bytes(output.encode())
    return StageRecord(name, subject, digest, result_digest(digest, {}, {}), digest, inputs, {})


def test_the_same_work_is_done_once(workspace: Workspace, counting: Counting, settings: Settings) -> None:
    first = carry_out(counting.stage, workspace, FAMILY)
    again = carry_out(counting.stage, open_workspace(settings, "run-2"), FAMILY)
    assert counting.runs == 1
    assert (first.reused, again.reused) == (False, True)
    assert (again.digest, again.statement) == (first.digest, first.statement)
    assert again.facts == {"rows": 3, "columns": ["a", "b"], "by_bin": {"10": 1, "9": 2}}


def test_records_come_in_any_order(workspace: Workspace, counting: Counting) -> None:
    records = [carry_out(counting.stage, workspace, name) for name in ("nslkdd", "guide", "hdfs")]
    reading = declare("reading", counting._run, lambda work: Plan({"read": list(work.records)}))
    first = carry_out(reading, workspace, FAMILY, records)
    before = counting.runs
    assert carry_out(reading, workspace, FAMILY, records[::-1]).digest == first.digest
    assert find(reading, workspace, FAMILY, records[1:] + records[:1]) is not None
    assert counting.runs == before


CHANGES: dict[str, Callable[[Counting, pytest.MonkeyPatch], None]] = {
    "parameter": lambda c, patch: setattr(c, "plan", Plan({"seed": 43}, c.plan.materials)),
    "no parameter": lambda c, patch: setattr(c, "plan", Plan({}, c.plan.materials)),
    "material": lambda c, patch: setattr(c, "plan", Plan(c.plan.parameters, {"rules": digest_bytes(b"other")})),
    "code": lambda c, patch: patch.setattr(Workspace, "code_digest", lambda *a, **k: digest_bytes(b"code")),
}


@pytest.mark.parametrize("change", CHANGES)
def test_any_change_does_it_again(
    change: str, workspace: Workspace, counting: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = carry_out(counting.stage, workspace, FAMILY)
    CHANGES[change](counting, monkeypatch)
    second = carry_out(counting.stage, workspace, FAMILY)
    assert counting.runs == 2
    assert second.fingerprint != first.fingerprint
    assert second.digest == first.digest, "the same result has the same version"


def test_another_input_or_subject_is_other_work(workspace: Workspace, counting: Counting) -> None:
    source = declare("source", lambda work: Result(digest_bytes(b"x")))
    carry_out(counting.stage, workspace, FAMILY)
    carry_out(counting.stage, workspace, "anomaly")
    carry_out(counting.stage, workspace, FAMILY, [carry_out(source, workspace, FAMILY)])
    assert counting.runs == 3


def test_what_is_handed_but_not_used_does_not_count(workspace: Workspace, counting: Counting) -> None:
    source = carry_out(declare("source", lambda work: Result(digest_bytes(b"x"))), workspace, FAMILY)
    counting.plan = Plan(inputs=[])
    first = carry_out(counting.stage, workspace, FAMILY, [source])
    assert first.inputs == {}
    assert carry_out(counting.stage, workspace, FAMILY).reused


def test_without_lookup_it_is_done_again(workspace: Workspace, counting: Counting) -> None:
    carry_out(counting.stage, workspace, FAMILY)
    counting.plan = Plan(counting.plan.parameters, counting.plan.materials, lookup=False)
    counting.facts = {**counting.facts, "rows": 4}
    assert not carry_out(counting.stage, workspace, FAMILY).reused
    assert counting.runs == 2


def test_a_vanished_object_does_it_again(workspace: Workspace, counting: Counting) -> None:
    record = carry_out(counting.stage, workspace, FAMILY)
    workspace.objects.path(record.objects["frame"]).unlink()
    assert not carry_out(counting.stage, workspace, FAMILY).reused
    assert workspace.objects.get(record.objects["frame"]) == b"result"


def test_what_is_not_intact_is_done_again(workspace: Workspace) -> None:
    intact = True
    counting = Counting(intact=lambda workspace, record: intact)
    carry_out(counting.stage, workspace, FAMILY)
    assert carry_out(counting.stage, workspace, FAMILY).reused
    intact = False
    assert not carry_out(counting.stage, workspace, FAMILY).reused


def test_a_result_is_used_again_only_while_its_statement_verifies(workspace: Workspace, counting: Counting) -> None:
    record = carry_out(counting.stage, workspace, FAMILY)
    workspace.objects.path(record.statement).unlink()
    again = carry_out(counting.stage, open_workspace(workspace.settings, "run-2"), FAMILY)
    assert (counting.runs, again.reused) == (2, False)
    assert again.digest == record.digest
    assert carry_out(counting.stage, open_workspace(workspace.settings, "run-3"), FAMILY).reused


def test_a_result_whose_leaf_the_log_lost_is_computed_again(workspace: Workspace, counting: Counting) -> None:
    carry_out(counting.stage, workspace, FAMILY)
    workspace.audit_log.pending.remove(workspace.run_id)
    assert not carry_out(counting.stage, open_workspace(workspace.settings, "run-2"), FAMILY).reused
    assert counting.runs == 2


def test_a_stage_that_fails_leaves_no_record(workspace: Workspace) -> None:
    def fail(work: Work) -> Result:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        carry_out(declare("counted", fail, event=EventType.DATA_SPLIT), workspace, FAMILY)
    assert list((workspace.home / "data").rglob("*.json")) == []
    assert workspace.audit_log.pending_runs() == []


def test_killed_at_any_write_it_is_computed_again_and_nothing_unattested_is_found(settings: Settings) -> None:
    prepared = open_workspace(settings, "prepared")
    whole = carry_out(Counting(event=EventType.DATA_SPLIT).stage, prepared, "anomaly")
    kills = 0
    for moment in DURABLE:
        for survived in range(40):
            family = f"family-{moment}-{survived}"
            attempt = open_workspace(settings, f"killed-{family}")
            stage = Counting(event=EventType.DATA_SPLIT).stage
            killed = in_child(functools.partial(carry_out, stage, attempt, family), moment, survived)
            kills += killed
            following = open_workspace(settings, f"next-{family}")
            counting = Counting(event=EventType.DATA_SPLIT)
            record = carry_out(counting.stage, following, family)
            assert record.reused == (counting.runs == 0)
            assert (record.output, record.digest) == (whole.output, whole.digest)
            following.evidence.check_record(record)
            event = following.evidence.named_by(record.statement, EventType.PROVENANCE_ISSUED)
            assert event is not None
            assert carry_out(counting.stage, open_workspace(settings, f"last-{family}"), family).reused
            if not killed:
                break
        else:
            pytest.fail(f"never survived every {moment}")
    assert kills > 5


# Inputs that belong together


def mixed_cases() -> list[Any]:
    """(stage, record that was made from another sibling, that sibling), over the whole graph."""
    return [
        pytest.param(stage, later, earlier, id=f"{stage.name}: {later.name} of another {earlier.name}")
        for stage in STAGES
        for later in stage.needs
        for earlier in stage.needs
        if earlier in later.needs
    ]


def handed(stage: Stage) -> dict[str, StageRecord]:
    """Records of everything a stage needs that belong together."""
    found: dict[str, StageRecord] = {}
    for needed in stage.needs:
        names = [one.record_name(FAMILY) for one in needed.needs]
        inputs = {name: found[name].output for name in names if name in found}
        record = made(needed, f"output of {needed.name}", **inputs)
        found[record.name] = record
    return found


@pytest.mark.parametrize(("stage", "later", "earlier"), mixed_cases())
def test_an_input_of_another_sibling_is_refused(
    stage: Stage, later: Stage, earlier: Stage, workspace: Workspace
) -> None:
    records = handed(stage)
    check_inputs(Work(workspace, stage, FAMILY, records))
    other = made(earlier, "another", **records[earlier.record_name(FAMILY)].inputs)
    mixed = [*({**records, other.name: other}).values()]
    with pytest.raises(IntegrityError) as refusal:
        carry_out(stage, workspace, FAMILY, mixed)
    assert f"{stage.name}/{FAMILY}: " in str(refusal.value)
    assert "was made from another" in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert workspace.audit_log.pending_runs() == [], "refused before anything was recorded"


def test_the_graph_has_siblings_that_could_be_mixed() -> None:
    pairs = {(case.values[0].name, case.values[1].name, case.values[2].name) for case in mixed_cases()}
    assert ("evaluations", "models", "splits") in pairs
    assert ("releases", "evaluations", "models") in pairs
    assert len(pairs) >= 6


@pytest.mark.parametrize("stage", [s for s in STAGES if any(n.scope == s.scope for n in s.needs)], ids=repr)
def test_a_missing_input_is_one_line(stage: Stage, workspace: Workspace) -> None:
    for needed in stage.needs:
        if needed.scope == stage.scope:
            records = [record for name, record in handed(stage).items() if name != needed.record_name(FAMILY)]
            with pytest.raises(IntegrityError, match=f"needs {needed.name}/{FAMILY}, which is missing"):
                carry_out(stage, workspace, FAMILY, records)


# The order of what is recorded and done


def test_the_event_comes_before_every_act_and_the_work_after_it_and_the_statement_last(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[str] = []

    def recorded(what: str) -> None:
        happened.append(f"{what} after {[str(event.type) for event in leaves(workspace)]}")

    def applied(workspace: Workspace, change: Change) -> None:
        recorded(change.document["in_force"]["settings"])

    def act(event: EventType, name: str = "") -> Act:
        return Act(event, {"about": digest_bytes(b"it")}, changes.put_in_force({"settings": name}) if name else None)

    monkeypatch.setattr("nethical_assets.home.workspace.apply_change", applied)
    counting = Counting(event=EventType.DATA_SCREENED, tells=lambda record: {"rows": record.facts["rows"]})
    counting.more = {
        "acts": [
            act(EventType.GATE_DECIDED),
            act(EventType.MODEL_ARCHIVED, "archived"),
            act(EventType.MODEL_PROMOTED, "promoted"),
        ],
        "then": lambda: recorded("then"),
        "subjects": {"ruleset": digest_bytes(b"rules")},
    }
    record = carry_out(counting.stage, workspace, FAMILY)
    assert happened == [
        "archived after ['data_screened', 'gate_decided', 'model_archived']",
        "promoted after ['data_screened', 'gate_decided', 'model_archived', 'model_promoted']",
        "then after ['data_screened', 'gate_decided', 'model_archived', 'model_promoted']",
    ]
    first, *_, last = leaves(workspace)
    assert {subject.name: subject.digest for subject in first.subjects} == {
        f"counted/{FAMILY}": record.output, "ruleset": digest_bytes(b"rules")
    }  # fmt: skip
    assert workspace.audit_log.payload(first) == {"rows": 3}
    assert (last.type, last.subjects[0].digest) == (EventType.PROVENANCE_ISSUED, record.statement)


@pytest.mark.parametrize("step", ["act", "then"])
def test_what_failed_after_the_event_is_not_found_and_done_again(step: str, workspace: Workspace) -> None:
    def fail() -> None:
        raise OSError("no space")

    counting = Counting(event=EventType.DATA_SPLIT)
    counting.more = {"then": fail}
    if step == "act":
        counting.more = {"acts": [Act(EventType.MODEL_PROMOTED, {"about": "not a digest"})]}
    with pytest.raises((OSError, IntegrityError)):
        carry_out(counting.stage, workspace, FAMILY)
    counting.more = {}
    assert not carry_out(counting.stage, workspace, FAMILY).reused
    assert counting.runs == 2


def test_an_earlier_decision_is_no_new_event(workspace: Workspace) -> None:
    counting = Counting(event=EventType.GATE_DECIDED)
    counting.more = {"reused": True}
    record = carry_out(counting.stage, workspace, FAMILY)
    assert record.reused
    assert [event.type for event in leaves(workspace)] == [EventType.PROVENANCE_ISSUED]


def test_what_a_killed_process_left_is_settled_before_anything_is_computed(
    workspace: Workspace, counting: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nethical_assets.home.workspace.apply_change", lambda workspace, change: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        workspace.act(EventType.SETTINGS_CHANGED, {}, changes.put_in_force({"settings": "x"}))
    monkeypatch.undo()
    assert not workspace.in_force_path.exists()
    carry_out(counting.stage, workspace, FAMILY)
    assert workspace.in_force_path.exists()


def test_a_stage_that_ends_its_run_is_neither_attested_nor_remembered(workspace: Workspace) -> None:
    record = carry_out(Counting(ends_run=True).stage, workspace, FAMILY)
    assert record.statement == ""
    assert workspace.records.find(record.fingerprint) is None


def test_a_stage_that_seals_has_its_events_in_the_log(workspace: Workspace) -> None:
    carry_out(Counting(seals=True, event=EventType.DRIFT_JUDGED).stage, workspace, FAMILY)
    assert workspace.audit_log.pending_runs() == []
    found = [str(one.event.type) for one in workspace.audit_log.find_events(run_id=workspace.run_id)]
    assert [kind for kind in found if kind not in OF_THE_RUN][:2] == ["drift_judged", "provenance_issued"]
