"""What should be there by the log, and is not: champions, cards, provenance statements, alerts.

What belongs here: comparing what is kept with what the audit log says was made, one line a difference. What does not:
the log itself (``core.audit``), whether stored bytes are their digests (``core.ground.storage``).

A promotion's leaf pins the pointer as it was decided (``pinned``), and its payload holds that pointer
(:func:`promotion_payload`). Leaves of older versions do not; then it is compared with the leaf and the decision.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from nethical_assets.core.audit.events import Event, EventType, payload_bytes
from nethical_assets.core.audit.reader import LoggedEvent, LogReader
from nethical_assets.core.delivery.champion import (
    check_promotion,
    missing_champion,
    newest_promotion,
)
from nethical_assets.core.delivery.issued import issued_cards
from nethical_assets.core.delivery.pinned import (
    decided_fields,
    is_pinning,
    model_subject,
    pinning_subject,
    pins,
)
from nethical_assets.core.ground.digests import ALGORITHM, digest_bytes
from nethical_assets.core.ground.errors import IntegrityError
from nethical_assets.core.ground.storage import ObjectStore
from nethical_assets.core.lineage.provenance import ProvenanceStore, stage_of_statement
from nethical_assets.core.models.registry import ModelPointer, ModelRegistry

if TYPE_CHECKING:
    from nethical_assets.core.alerts import Issue

REFERENCE_SUBJECT = "drift reference"
ALERT_PREFIX = "alerts/"
ALERT_TEXT = "issue text"
_ABOUT_ALERTS = (EventType.ALERT_FILED, EventType.ALERT_ACKNOWLEDGED, EventType.ALERT_CLOSED)


def promotion_subjects(pointer: ModelPointer) -> dict[str, str]:
    """The subjects (name -> digest) of the leaf that promotes; its parent is ``pointer.decision``."""
    subjects = {model_subject(pointer.family): pointer.model, **pinning_subject(pointer)}
    return {**subjects, REFERENCE_SUBJECT: pointer.reference} if pointer.reference else subjects


def promotion_payload(pointer: ModelPointer) -> dict[str, Any]:
    """The payload of the leaf that promotes."""
    return {"version": pointer.version, "pointer": decided_fields(pointer)}


def alert_subject(kind: str, fingerprint: str, text: str | None = None) -> dict[str, str]:
    """The subjects of leaves about alerts: the alert's kind with a digest of its fingerprint, and, when an issue is
    opened, the digest of what it says."""
    subjects = {ALERT_PREFIX + kind: digest_bytes(fingerprint.encode())}
    return subjects if text is None else {**subjects, ALERT_TEXT: text}


def champion_problems(registry: ModelRegistry, objects: ObjectStore, log: LogReader, family: str) -> list[str]:
    """What is wrong with the pointer to the champion: gone, not the one the log promoted, or with other fields.

    Raises:
        AuditError, IntegrityError: the log or the pointer cannot be read.
    """
    where = f"{registry.base / 'current' / family}.json"
    champion, newest = registry.champion(family), newest_promotion(log, family)
    if champion is None:
        missing = missing_champion(registry, log, family)
        return [missing] if missing else []
    try:
        check_promotion(registry, log, champion)
    except IntegrityError as error:
        return [str(error)]
    if newest is None:
        return []
    wrong = _differences(champion, newest, log, objects)
    if champion.replaced_at:
        wrong["replaced_at"] = "no champion in its place was promoted"
    return [f"{where}: {name} is not what was decided ({why}); restore the pointer" for name, why in wrong.items()]


def lost_champion(registry: ModelRegistry, log: LogReader, family: str) -> ModelPointer | None:
    """The champion whose pointer is gone although the log promoted it, as it was decided, with the card that was issued
    for it since. None where a pointer is there, or nothing was ever promoted.

    Raises:
        IntegrityError: the promotion does not hold the pointer any more, or is of an older version and never did.
        AuditError: the log is not what was signed.
    """
    missing = missing_champion(registry, log, family)
    newest = newest_promotion(log, family) if missing else None
    if missing is None or newest is None:
        return None
    try:
        said = dict((log.payload(newest) or {})["pointer"])
        # Floats are text in payloads: the shortest one that is exact.
        metrics = {name: None if value is None else float(value) for name, value in said["metrics"].items()}
        pointer = ModelPointer.from_json({**said, "metrics": metrics})
    except (IntegrityError, KeyError, TypeError, ValueError, AttributeError):
        raise IntegrityError(missing) from None
    if not pins(newest, pointer):
        raise IntegrityError(missing)
    return replace(pointer, card=next(reversed(issued_cards(log, pointer)), ""))


def card_problems(registry: ModelRegistry, log: LogReader, family: str) -> list[str]:
    """Whether the champion's card is the newest one that the log says was issued for it.

    Raises:
        AuditError, IntegrityError: the log or the pointer cannot be read.
    """
    champion = registry.champion(family)
    if champion is None:
        return []
    cards = issued_cards(log, champion)
    path = registry.card_path(champion, "json")
    if cards and champion.card not in cards:
        named = champion.card or "none"
        return [f"{path}: the audit log issued card {cards[-1]} for the champion, its pointer names {named}; run again"]
    if cards and not path.exists():
        return [f"{path}: missing, the audit log issued card {cards[-1]} for the champion; run again, or restore it"]
    return []


def provenance_problems(log: LogReader, store: ProvenanceStore, kept_elsewhere: Collection[str] = ()) -> list[str]:
    """The provenance statements that leaves name and that are missing, the results they are about that are missing, and
    results whose index names none of them; what retention deleted is not missed.

    Args:
        kept_elsewhere: the stages whose results are no objects of the store.

    The index may name any of the statements about an output: the leaves of a killed run enter the log when a later run
    ends, behind newer ones of that run, and clocks may be set back.

    Raises:
        AuditError: the log is malformed.
    """
    deleted = {
        subject.digest: found.index
        for found in log.find_events(event_type=EventType.RETENTION_DELETED)
        for subject in found.event.subjects
    }
    waiting = {one.digest for event in log.pending_events(b'"provenance_issued"') for one in event.subjects}
    named: dict[tuple[str, str, str], dict[str, int]] = {}
    for found in log.find_events(event_type=EventType.PROVENANCE_ISSUED):
        for subject in found.event.subjects:
            place = stage_of_statement(subject.name)
            if place is not None and found.event.parents:
                named.setdefault((*place, found.event.parents[0]), {})[subject.digest] = found.index
    stored = {f"{ALGORITHM}:{one}" for one in store.objects.names()}
    problems = []
    for (stage, about, output), statements in named.items():
        # What was made again since is missed again.
        gone = max((deleted.get(digest, -1) for digest in (*statements, output)), default=-1)
        if gone > max(statements.values()):
            continue
        missing = {digest: index for digest, index in statements.items() if digest not in stored}
        problems += [
            f"provenance of {stage}/{about}: leaf {index} names {digest} about {output}, it is missing"
            for digest, index in missing.items()
        ]
        if output not in stored and stage not in kept_elsewhere:
            problems.append(
                f"{store.objects.path(output)}: missing, leaf {min(statements.values())} names it as {stage}/{about}; "
                "run again, which computes it again where it can and still needs it, or restore it from a backup"
            )
        try:
            kept = store.find(stage, about, output)
        except IntegrityError as error:
            problems.append(str(error))
            continue
        # Two runs at once may attest the same dataset; one of them may not be in the log yet.
        if kept not in statements and kept not in waiting:
            problems.append(
                f"provenance of {stage}/{about}: the log names {len(statements)} statements about {output}, the index "
                f"names {kept or 'none'}"
            )
    return problems


def alert_problems(log: LogReader, issues: Mapping[str, Issue], told: Collection[str] = ()) -> list[str]:
    """The alerts that the log says were filed, or are open, and that the tracker does not have so; and the issues that
    say something else than they did when their leaf was written.

    Counts, comments and times of occurrences are in no leaf. What an issue says is bound by the leaf that opened it,
    its severity by the newest leaf that filed it; leaves of older versions bind neither.

    Args:
        issues: digest of an issue's fingerprint -> the issue, for every issue of the tracker.
        told: those of them that are left out, because they wait to be recorded.

    Raises:
        AuditError: the log is malformed.
    """
    found: dict[str, _Alerts] = {}
    leaves = [one for kind in _ABOUT_ALERTS for one in log.find_events(event_type=kind)]
    for one in sorted(leaves, key=lambda leaf: leaf.index):
        text = next((subject.digest for subject in one.event.subjects if subject.name == ALERT_TEXT), None)
        for subject in one.event.subjects:
            if subject.name.startswith(ALERT_PREFIX):
                known = found.setdefault(subject.digest, _Alerts(subject.name.removeprefix(ALERT_PREFIX), one))
                known.take(one, text)
    waiting = {subject.digest for event in log.pending_events(b'"alert_') for subject in event.subjects}
    return [
        problem
        for digest, known in found.items()
        if digest not in waiting and digest not in told and (problem := known.problem(log, issues.get(digest)))
    ]


@dataclass
class _Alerts:
    """The leaves about one issue: the newest that left it open or closed, the newest that filed it, the newest by which
    somebody works on it, and what it says (leaf and digest)."""

    kind: str
    newest: LoggedEvent
    filed: LoggedEvent | None = None
    acknowledged: LoggedEvent | None = None
    opened: tuple[int, str] | None = None

    def take(self, leaf: LoggedEvent, text: str | None) -> None:
        """The next leaf of the log."""
        if leaf.event.type is EventType.ALERT_ACKNOWLEDGED:
            self.acknowledged = leaf
            return
        self.newest = leaf
        if leaf.event.type is EventType.ALERT_FILED:
            self.filed = leaf
        if text is not None:
            self.opened = leaf.index, text

    def problem(self, log: LogReader, issue: Issue | None) -> str | None:
        """What is wrong with the issue, in one line."""
        state = "open" if self.newest.event.type is EventType.ALERT_FILED else "closed"
        if issue is None or issue.state != state:
            return (
                f"alerts: leaf {self.newest.index} left one of kind {self.kind} {state}, the tracker has it "
                f"{'not at all' if issue is None else issue.state}; restore the tracker from a backup"
            )
        wrong = []
        if state == "closed":
            named = {"actor": issue.closed_by, "reason": issue.close_reason, "at": issue.closed_at}
            wrong += self._differing(log, self.newest, named)
        if self.acknowledged is not None and issue.acknowledged_by:
            named = {"actor": issue.acknowledged_by, "at": issue.acknowledged_at}
            wrong += [f"acknowledged: {one}" for one in self._differing(log, self.acknowledged, named)]
        if self.opened is not None and self.filed is not None:
            wrong += self._differing(log, self.filed, {"severity": issue.severity})
            index, text = self.opened
            if issue.text_digest != text:
                wrong.append(f"title, body or labels (leaf {index})")
        if not wrong:
            return None
        return (
            f"alerts: #{issue.number} ({self.kind}): {', '.join(wrong)} is not what the log says; restore the tracker "
            "from a backup"
        )

    @staticmethod
    def _differing(log: LogReader, leaf: LoggedEvent, has: Mapping[str, str]) -> list[str]:
        try:
            said = log.payload(leaf.event) or {}
        except IntegrityError:
            # Deleted by retention, or a problem of its own.
            return []
        return [f"{name} (leaf {leaf.index})" for name in has if said.get(name, has[name]) != has[name]]


def _differences(champion: ModelPointer, newest: Event, log: LogReader, objects: ObjectStore) -> dict[str, str]:
    """Field of a pointer -> what says something else."""
    named = {subject.name: subject.digest for subject in newest.subjects}
    payload = log.payload(newest) or {}
    if is_pinning(newest, champion.family):
        if pins(newest, champion):
            return {}
        # Floats are text in payloads, so both sides are compared as payloads.
        decided, found = payload.get("pointer", {}), json.loads(payload_bytes(decided_fields(champion)))
        return {name: "the promotion says otherwise" for name in found if decided.get(name) != found[name]}
    wrong = {}
    decision = json.loads(objects.get(champion.decision))
    for name in ("model", "evaluation", "verdict", "reasons"):
        if decision.get(name) != champion.to_json()[name]:
            wrong[name] = "the decision says otherwise"
    said = {
        "version": payload.get("version", champion.version),
        "run_id": newest.run_id,
        REFERENCE_SUBJECT: named.get(REFERENCE_SUBJECT, champion.reference),
    }
    has = {"version": champion.version, "run_id": champion.run_id, REFERENCE_SUBJECT: champion.reference}
    wrong.update({name: "the promotion says otherwise" for name in said if said[name] != has[name]})
    metrics = json.loads(objects.get(champion.evaluation)).get("metrics", {})
    if {name: metric["value"] for name, metric in metrics.items()} != dict(champion.metrics):
        wrong["metrics"] = "the evaluation says otherwise"
    return wrong
