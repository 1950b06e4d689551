"""What a stage of the graph is, and the one sequence that every stage runs through.

What belongs here: the declaration, and the sequence look up -> compute -> act -> attest -> record. What does not: any
    stage's own work (one file a stage, listed in ``graph``), or the orchestrator, whose assets, jobs and checks are
    generated from the declarations.

A stage is a value: other code names it by the constant of its file, never by its name as text. Its ``run`` may read
    what it is handed and nothing else of the graph, so that its code digest is that of the modules it reaches."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from nethical_assets.core.audit.events import EventType
from nethical_assets.core.ground.digests import digest_json
from nethical_assets.core.ground.errors import IntegrityError
from nethical_assets.home.progress import stage as announced
from nethical_assets.home.records import StageRecord, result_digest

if TYPE_CHECKING:
    from nethical_assets.core.drift.windows import Window
    from nethical_assets.core.rows.catalog import DatasetEntry
    from nethical_assets.home.acts import Change
    from nethical_assets.home.settings import Settings
    from nethical_assets.home.workspace import Workspace
    from nethical_assets.stages.shown import Shown

Scope = Literal["dataset", "family", "platform"]
"""One asset a dataset of the catalog, one a detector family, or one for the whole platform."""
Owner = Literal["team:data-stewards", "team:ml-engineers", "team:auditors", "team:on-call"]
PLATFORM = "all"
"""The subject of stages that are about the whole platform."""
_LOGGER = logging.getLogger(__name__)
_declaring: set[str] = set()
"""The modules that declare stages."""


@dataclass(frozen=True, eq=False)
class Stage:
    """One stage of the graph.

    Attributes:
        name: the first part of its assets' keys, and the group they are shown in unless ``group`` names another.
        scope: what there is one of a stage for.
        needs: the earlier stages whose records it is handed, of the same subject (of every dataset of a family, where a
            family's stage needs one of datasets).
        follows: earlier stages that only have to be done before, without their records.
        run: computes the result. It depends on what ``plan`` names and on nothing else.
        plan: what the result depends on beside its inputs and its code.
        event: the event of the audit log that says that the stage was carried out; None where its acts say so.
        tells: the payload of that event.
        intact: whether what a found record refers to outside the object store is still there.
        shows: what the orchestrator shows of a record.
        sums_up: what the summary of a cycle says of a record.
        fresh_for: after which time its newest result is stale.
        known_by_object: whether it is known by a stored object; else by a snapshot, a model, a card or a root.
        of_family: whether the result depends on the code of the family's detector.
        in_cycle: whether a training cycle carries it out.
        in_graph: whether it is an asset; the others are parts of a stage that are worth remembering.
        in_chain: whether a model's chain of provenance leads through it.
        ends_run: whether it ends the run's part of the log: nothing is attested or remembered of it afterwards.
        seals: whether the run's events enter the log when it is done, because no later stage of the run does it.
    """

    name: str
    scope: Scope
    description: str | Callable[[Settings, str], str]
    owner: Owner
    run: Callable[[Work], Result]
    needs: tuple[Stage, ...] = ()
    follows: tuple[Stage, ...] = ()
    plan: Callable[[Work], Plan] = field(default=lambda work: Plan())
    event: EventType | None = None
    tells: Callable[[StageRecord], Mapping[str, Any]] = field(default=lambda record: {})
    intact: Callable[[Workspace, StageRecord], bool] = field(default=lambda workspace, record: True)
    shows: Callable[[Workspace, StageRecord], Mapping[str, Shown]] = field(default=lambda workspace, record: {})
    sums_up: Callable[[StageRecord], Mapping[str, Any]] = field(default=lambda record: {})
    fresh_for: Callable[[Settings], timedelta] | None = None
    kinds: frozenset[str] = frozenset({"json"})
    group: str = ""
    known_by_object: bool = True
    of_family: bool = False
    in_cycle: bool = True
    in_graph: bool = True
    in_chain: bool = False
    ends_run: bool = False
    seals: bool = False

    def __post_init__(self) -> None:
        _declaring.add(self.run.__module__)

    def record_name(self, subject: str) -> str:
        """By which name records, statements and leaves name what it makes of a subject."""
        return f"{self.name}/{subject}"

    def __repr__(self) -> str:
        return f"Stage({self.name})"


@dataclass(frozen=True)
class Plan:
    """What a result depends on beside its code.

    Attributes:
        parameters: what the stage is told, as JSON.
        materials: name -> digest of what else it is made from: rules, limits, a champion.
        inputs: the names of the records it uses, where it does not use all that it is handed.
        lookup: whether an earlier result may be used again.
    """

    parameters: Mapping[str, Any] = field(default_factory=dict)
    materials: Mapping[str, str] = field(default_factory=dict)
    inputs: Sequence[str] | None = None
    lookup: bool = True


@dataclass(frozen=True)
class Act:
    """A change of state and the event that is recorded before it is made."""

    event: EventType
    subjects: Mapping[str, str]
    change: Change | None = None
    parents: Sequence[str] = ()
    payload: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """What a stage computed.

    Attributes:
        output: the digest that the result is known by.
        objects: name -> digest of an object in the store.
        facts: JSON facts about the result.
        subjects: more names and digests for the stage's event.
        acts: the changes of state that follow from it, in order; each is recorded before it is made.
        then: work on a store that the stage's event has to precede; done again when the stage is run again.
        reused: whether the result is that of an earlier decision and nothing was done.
    """

    output: str
    objects: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    subjects: Mapping[str, str] = field(default_factory=dict)
    acts: Sequence[Act] = ()
    then: Callable[[], object] | None = None
    reused: bool = False


@dataclass(frozen=True)
class Work:
    """What a stage is handed: the stores, its subject, the records of the stages it needs, and the window it is about,
    if any."""

    workspace: Workspace
    stage: Stage
    subject: str
    records: Mapping[str, StageRecord]
    window: Window | None = None

    def of(self, stage: Stage) -> StageRecord:
        """The record of an earlier stage of the same subject."""
        return self.records[stage.record_name(self.subject)]

    def of_datasets(self, stage: Stage) -> dict[str, StageRecord]:
        """The records of a stage of datasets, by the dataset's name."""
        prefix = stage.record_name("")
        return {name.removeprefix(prefix): record for name, record in self.records.items() if name.startswith(prefix)}

    def find(self, stage: Stage) -> StageRecord | None:
        """The newest record of a stage that is not needed but told about where it is there."""
        return self.workspace.records.newest(stage.name, self.subject)

    @property
    def entries(self) -> tuple[DatasetEntry, ...]:
        """The catalog entries of the family."""
        return self.workspace.settings.catalog.for_family(self.subject)


def carry_out(
    stage: Stage, workspace: Workspace, subject: str, records: Sequence[StageRecord] = (), *, quietly: bool = False
) -> StageRecord:
    """Carry a stage out for a subject, or find that it was: the one sequence.

    The result is looked up by what it depends on; if it has to be computed, its event is recorded, its acts are
    recorded and made, a signed statement is issued about it, and only then may it be found. Killed anywhere, the next
    process computes the same again.

    Args:
        records: those of the stages it needs.
        quietly: whether the stage is a part of another one, whose progress is announced.

    Raises:
        IntegrityError: a record is missing, does not verify, or was made from something else than its siblings.
    """
    work = _work(stage, workspace, subject, records)
    if quietly:
        return _carry_out(work)
    with announced(stage.name, subject):
        return _carry_out(work)


def _work(stage: Stage, workspace: Workspace, subject: str, records: Iterable[StageRecord]) -> Work:
    """In whatever order records are handed over, a stage sees them in one: a result never depends on it."""
    handed = {record.name: record for record in records}
    return Work(workspace, stage, subject, dict(sorted(handed.items())))


def _carry_out(work: Work) -> StageRecord:
    work.workspace.acts.settle()
    check_inputs(work)
    plan = work.stage.plan(work)
    return _find(work, plan) or conclude(work, plan, work.stage.run(work))


def find(stage: Stage, workspace: Workspace, subject: str, records: Iterable[StageRecord]) -> StageRecord | None:
    """The result that carrying the stage out would find; None where it would compute.

    Raises:
        NethicalError: the stage could not be carried out.
    """
    work = _work(stage, workspace, subject, records)
    check_inputs(work)
    return _find(work, stage.plan(work))


def _find(work: Work, plan: Plan) -> StageRecord | None:
    if not plan.lookup:
        return None
    found = work.workspace.records.find(_fingerprint(work, plan))
    return found if found is not None and _is_complete(work, found) else None


def conclude(work: Work, plan: Plan, result: Result) -> StageRecord:
    """Record the event of a result, make its acts, attest it and remember it: the second half of the one sequence."""
    stage, workspace = work.stage, work.workspace
    used = _used(work, plan)
    facts = workspace.places.named(result.facts)
    record = StageRecord(
        stage=stage.name,
        subject=work.subject,
        fingerprint=_fingerprint(work, plan),
        digest=result_digest(result.output, result.objects, facts),
        output=result.output,
        inputs={source.name: source.output for source in used},
        objects=dict(result.objects),
        facts=facts,
        reused=result.reused,
    )
    if stage.ends_run:
        return record
    if stage.event is not None and not result.reused:
        workspace.record_event(
            stage.event,
            {record.name: record.output, **result.subjects},
            parents=list(record.inputs.values()),
            payload=stage.tells(record),
        )
    for act in result.acts:
        perform(workspace, act)
    if result.then is not None:
        result.then()
    code = code_digest(workspace, stage, work.subject)
    issued = workspace.attest(record, used, materials={"code": code, **plan.materials}, parameters=plan.parameters)
    workspace.records.keep(issued)
    if stage.seals:
        workspace.seal()
    return issued


def _used(work: Work, plan: Plan) -> list[StageRecord]:
    return [work.records[name] for name in sorted(work.records if plan.inputs is None else plan.inputs)]


def _fingerprint(work: Work, plan: Plan) -> str:
    return digest_json(
        {
            "stage": work.stage.name,
            "subject": work.subject,
            "inputs": {record.name: record.output for record in _used(work, plan)},
            "parameters": dict(plan.parameters),
            "materials": dict(plan.materials),
            "code": code_digest(work.workspace, work.stage, work.subject),
        }
    )


def code_digest(workspace: Workspace, stage: Stage, subject: str) -> str:
    """The digest of the code that a stage runs for a subject, the family's detector included where it depends on it.

    Modules of other stages are left out: what those did reaches this one through their records only.
    """
    others = frozenset(_declaring) - {stage.run.__module__}
    return workspace.code_digest(stage.run, family=subject if stage.of_family else None, without=others)


def earlier_stages(stage: Stage) -> tuple[Stage, ...]:
    """Every stage that has to be carried out before ``stage``, in an order in which they can be."""
    found: dict[Stage, None] = {}
    for needed in stage.needs:
        found |= dict.fromkeys((*earlier_stages(needed), needed))
    return tuple(found)


def check_inputs(work: Work) -> None:
    """Make sure that everything a stage needs is there, and that the records belong together.

    Raises:
        IntegrityError: one is missing, or was made from another sibling than the one that is here.
    """
    for needed in work.stage.needs:
        if needed.scope == work.stage.scope and needed.record_name(work.subject) not in work.records:
            raise IntegrityError(
                f"{work.stage.name}/{work.subject} needs {needed.name}/{work.subject}, which is missing"
            )
    for record in work.records.values():
        for name, output in record.inputs.items():
            sibling = work.records.get(name)
            if sibling is not None and sibling.output != output:
                raise IntegrityError(
                    f"{work.stage.name}/{work.subject}: {record.name} was made from another {name} than the one "
                    f"that is here; materialize {record.name} again, together with it"
                )


def _is_complete(work: Work, record: StageRecord) -> bool:
    """Whether everything that a found record names is there as it was. What is missing or damaged is computed again,
    which puts the same bytes in its place: an object is named by them."""
    objects = work.workspace.objects
    own = {record.output} if work.stage.known_by_object else set()
    damaged = sorted(one for one in {*record.objects.values(), *own} if not objects.is_intact(one))
    for digest in damaged:
        what = "was changed on disk" if digest in objects else "is missing"
        _LOGGER.warning("%s %s; %s is computed again to put it back", objects.path(digest), what, record.name)
    return not damaged and work.stage.intact(work.workspace, record)


def perform(workspace: Workspace, act: Act) -> None:
    """Record an event, and make the change that it is about, if any, after it."""
    if act.change is None:
        workspace.record_event(act.event, act.subjects, parents=act.parents, payload=act.payload)
    else:
        workspace.act(act.event, act.subjects, act.change, parents=act.parents, payload=act.payload)
