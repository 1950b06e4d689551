"""The champion by the log: what counts as its newest promotion, and what a pointer has to say."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from nethical_assets.core.alerts import LocalIssueTracker
from nethical_assets.core.audit import PROMOTIONS, AuditLog, EventType, LogReader, verify_log
from nethical_assets.core.delivery.champion import check_champion, newest_promotion, promoted_model
from nethical_assets.core.delivery.expected import (
    alert_problems,
    alert_subject,
    card_problems,
    champion_problems,
    promotion_payload,
    promotion_subjects,
)
from nethical_assets.core.ground.digests import digest_bytes
from nethical_assets.core.ground.errors import IntegrityError
from nethical_assets.core.ground.storage import ObjectStore
from nethical_assets.core.models.registry import ModelPointer, ModelRegistry
from tests.core.alerts.conftest import make_alert
from tests.core.audit.attacks import ORIGIN, pending_line
from tests.core.audit.conftest import open_log, private_key

FAMILY = "logistic"
SUBJECT = f"models/{FAMILY}"


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    return open_log(tmp_path / "audit")


@pytest.fixture
def registry(tmp_path: Path) -> ModelRegistry:
    return ModelRegistry(tmp_path / "models")


def pointer_to(name: str, run_id: str = "run-a", **more: object) -> ModelPointer:
    return ModelPointer.from_json(
        {
            "family": FAMILY,
            "model": digest_bytes(name.encode()),
            "version": "1.0.0",
            "decision": digest_bytes(f"decision {name}".encode()),
            "decided_at": "2026-01-01T00:00:00",
            "run_id": run_id,
            "evaluation": digest_bytes(b"evaluation"),
            "thresholds": digest_bytes(b"limits"),
            "compared_with": "",
            "verdict": "promoted",
            "reasons": ["good"],
            "metrics": {"accuracy": 0.98},
            **more,
        }
    )


def promote(
    log: AuditLog, pointer: ModelPointer, kind: EventType = EventType.MODEL_PROMOTED, *, finalize: bool = True
) -> None:
    subjects = [{"name": name, "digest": digest} for name, digest in promotion_subjects(pointer).items()]
    log.recorder(pointer.run_id).append(
        kind, actor="t", subjects=subjects, parents=[pointer.decision], payload=promotion_payload(pointer)
    )
    if finalize:
        log.finalize_run(pointer.run_id)


def newest(log: AuditLog, family: str = FAMILY) -> str | None:
    event = newest_promotion(LogReader(log.folder), family)
    return None if event is None else promoted_model(event, family)


def test_there_is_no_promotion_before_the_first_one(log: AuditLog) -> None:
    assert newest(log) is None
    log.heartbeat("beat")
    assert newest(log) is None


@pytest.mark.parametrize("kind", PROMOTIONS)
def test_every_kind_of_promotion_makes_the_champion(log: AuditLog, registry: ModelRegistry, kind: EventType) -> None:
    first, second = pointer_to("first"), pointer_to("second", "run-b")
    promote(log, first)
    promote(log, second, kind)
    for number in range(3):
        log.heartbeat(f"beat-{number}")
    assert newest(log) == second.model
    assert newest(log, "heuristic") is None
    check_champion(registry, LogReader(log.folder), second)
    with pytest.raises(IntegrityError, match="no newest promotion of model"):
        check_champion(registry, LogReader(log.folder), first)


def test_a_promotion_that_waits_is_newer_than_every_logged_one(log: AuditLog, registry: ModelRegistry) -> None:
    first, second = pointer_to("first"), pointer_to("second", "run-b")
    promote(log, first)
    promote(log, second, finalize=False)
    assert newest(log) == second.model
    with pytest.raises(IntegrityError, match="no newest promotion"):
        check_champion(registry, LogReader(log.folder), first)
    log.finalize_run("run-b")
    assert newest(log) == second.model


def test_what_nobody_signed_for_its_place_promotes_nothing(log: AuditLog, registry: ModelRegistry) -> None:
    """Faults A2 and its kin: whoever can write ``pending/`` and ``models/`` makes no champion."""
    first, second, third = (pointer_to(name, f"run-{name}") for name in ("a", "b", "c"))
    promote(log, first, finalize=False)
    path = log.pending.path("run-a")
    old = path.read_bytes()
    log.finalize_run("run-a")
    promote(log, second)
    promote(log, third, finalize=False)
    signed = log.pending.path("run-c").read_bytes()
    log.pending.path("run-c").unlink()
    leaf = signed[:-1].split(b" ", 2)[2]
    forgeries = {
        "empty": ("run-x", b""),
        "replayed": ("run-a", old),
        "copied to another run": ("run-x", signed),
        "signed by a stranger": ("run-c", pending_line(leaf, bytes(32), ORIGIN, private_key(9))),
        "signed for another log": ("run-c", pending_line(leaf, bytes(32), "other", private_key(1))),
        "signed for another place": ("run-c", pending_line(leaf, bytes(31) + b"x", ORIGIN, private_key(1))),
        "not signed": ("run-c", signed.split(b" ")[0] + b" " + leaf + b"\n"),
        "changed": ("run-c", signed.replace(third.model.encode(), first.model.encode())),
        "torn": ("run-c", signed[:-30]),
    }
    for name, (run_id, data) in forgeries.items():
        log.pending.path(run_id).write_bytes(data)
        assert newest(log) == second.model, name
        for pointer in (first, third, pointer_to("a", run_id)):
            with pytest.raises(IntegrityError, match="no newest promotion"):
                check_champion(registry, LogReader(log.folder), pointer)
        log.pending.path(run_id).unlink()
    log.pending.path("run-c").write_bytes(signed)
    assert newest(log) == third.model, "the line itself is right"


def test_what_nobody_signed_never_enters_the_log(log: AuditLog) -> None:
    promote(log, pointer_to("first"))
    stranger = open_log(log.folder.parent / "other", key=9)
    promote(stranger, pointer_to("evil", "run-x"), finalize=False)
    shutil.copy(stranger.pending.path("run-x"), log.pending.path("run-x"))
    (receipt,) = log.finalize_abandoned(lambda run_id: False)
    assert receipt.events == 1
    (only, _) = log.find_events(run_id="run-x")
    assert only.event.type is EventType.RUN_INTERRUPTED
    assert "not signed by the log's key" in log.payload(only.event)["damage"]
    assert newest(log) == pointer_to("first").model
    assert verify_log(log.folder).problems == []


def test_a_pointer_says_what_was_decided(log: AuditLog, registry: ModelRegistry, tmp_path: Path) -> None:
    """Fault V1: a removed pointer, and each changed field of it, is named."""
    objects = ObjectStore(tmp_path / "objects")
    pointer = pointer_to("first", reference=digest_bytes(b"reference"))
    promote(log, pointer)
    (found,) = champion_problems(registry, objects, log, FAMILY)
    assert f"names {pointer.model} as champion" in found
    registry.set_champion(pointer)
    assert champion_problems(registry, objects, log, FAMILY) == []
    path = tmp_path / "models" / "current" / f"{FAMILY}.json"
    changes = {
        "version": "9.9.9",
        "metrics": {"accuracy": 1.0},
        "reasons": [],
        "decided_at": "2030-01-01T00:00:00",
        "reference": digest_bytes(b"other"),
        "thresholds": digest_bytes(b"none"),
        "run_id": "run-z",
        "compared_with": digest_bytes(b"x"),
        "evaluation": digest_bytes(b"x"),
        "verdict": "candidate",
    }
    for name, value in changes.items():
        path.write_text(json.dumps({**pointer.to_json(), name: value}))
        (problem,) = champion_problems(registry, objects, log, FAMILY)
        assert f"{name} is not what was decided" in problem


def test_the_card_of_the_champion_is_the_newest_one_that_was_issued_for_it(
    log: AuditLog, registry: ModelRegistry, tmp_path: Path
) -> None:
    pointer = pointer_to("first")
    promote(log, pointer)
    registry.set_champion(pointer)
    assert card_problems(registry, log, FAMILY) == []
    card = digest_bytes(b"card")

    def issue(run_id: str, digest: str, model: str) -> None:
        subjects = [{"name": f"model_cards/{FAMILY}", "digest": digest}]
        parents = [model, pointer.decision]
        log.recorder(run_id).append("card_issued", actor="t", subjects=subjects, parents=parents)

    issue("run-b", card, pointer.model)
    for finalized in (False, True):
        assert f"issued card {card} for the champion, its pointer names none" in card_problems(registry, log, FAMILY)[0]
        if not finalized:
            log.finalize_run("run-b")
    registry.attach_card(pointer, card)
    assert "missing, the audit log issued" in card_problems(registry, log, FAMILY)[0]
    path = Path(str(registry.card_path(pointer, "json")))
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    assert card_problems(registry, log, FAMILY) == []
    issue("run-c", digest_bytes(b"of a candidate"), digest_bytes(b"candidate"))
    log.finalize_run("run-c")
    assert card_problems(registry, log, FAMILY) == [], "the card of a candidate is another matter"


def test_alerts_that_the_log_filed_are_in_the_tracker(log: AuditLog, tmp_path: Path) -> None:
    tracker = LocalIssueTracker(tmp_path / "issues.sqlite")
    subject = alert_subject("drift", "fingerprint")
    named = [{"name": name, "digest": digest} for name, digest in subject.items()]
    (digest,) = subject.values()
    log.recorder("run-a").append("alert_filed", actor="t", subjects=named)
    assert alert_problems(log, {}) == [], "what waits is not missed yet"
    log.finalize_run("run-a")
    assert "the tracker has it not at all" in alert_problems(log, {})[0]
    issue = tracker.file(make_alert())
    assert alert_problems(log, {digest: issue}) == [], "a leaf of an older version binds no text"
    closed = tracker.close(issue.number, "mended", "ada")
    assert "the tracker has it closed" in alert_problems(log, {digest: closed})[0]
    log.recorder("run-b").append("alert_closed", actor="t", subjects=named)
    log.finalize_run("run-b")
    assert alert_problems(log, {digest: closed}) == []
