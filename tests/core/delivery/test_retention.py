"""Retention removes what has expired, and nothing that a pointer still names."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from nethical_assets.core.models.registry import ModelRegistry
from nethical_assets.core.models.retention import Removal, remove_expired

from .conftest import files_of, pointer_of

Adder = Callable[..., str]
NOW = datetime(2026, 12, 1, tzinfo=UTC)
FAMILIES = ("anomaly", "logistic")


def days_ago(days: float) -> str:
    return (NOW - timedelta(days)).isoformat(timespec="microseconds")


def prune(registry: ModelRegistry, *, archived_too: bool = False) -> list[Removal]:
    return remove_expired(
        registry,
        FAMILIES,
        now=NOW,
        keep_candidates=timedelta(30),
        keep_replaced=timedelta(365),
        archived_too=archived_too,
    )


def stored(registry: ModelRegistry) -> int:
    return len(list((Path(str(registry.base)) / "store").iterdir()))


def test_only_expired_candidates_go(registry: ModelRegistry, add: Adder) -> None:
    for number, age in enumerate((31, 30.0001, 30, 29, 0)):
        registry.set_candidate(pointer_of(add(number), decided_at=days_ago(age)))
    removals = prune(registry)
    assert [(removal.pointer.model, removal.stage, removal.files_deleted) for removal in removals] == [
        (add_digest, "candidates", True) for add_digest in (removals[0].pointer.model, removals[1].pointer.model)
    ]
    assert {removal.pointer.decided_at for removal in removals} == {days_ago(31), days_ago(30.0001)}
    assert stored(registry) == 3
    assert len(registry.candidates("logistic")) == 3
    assert prune(registry) == []


def test_champions_never_expire(registry: ModelRegistry, add: Adder) -> None:
    registry.promote(pointer_of(add(1), decided_at=days_ago(5000)))
    assert prune(registry, archived_too=True) == []
    assert registry.load(add(1))[1] == files_of(1)


def test_the_archive_is_never_deleted_by_itself(registry: ModelRegistry, add: Adder) -> None:
    registry.promote(pointer_of(add(1), decided_at=days_ago(5000)))
    registry.promote(pointer_of(add(2), version="1.0.1", decided_at=days_ago(366)))
    registry.promote(pointer_of(add(3), version="1.0.2", decided_at=days_ago(364)))
    assert prune(registry) == []
    removals = prune(registry, archived_too=True)
    assert [(removal.pointer.version, removal.stage, removal.files_deleted) for removal in removals] == [
        ("1.0.0", "archived", True)
    ]
    assert [pointer.version for pointer in registry.archived("logistic")] == ["1.0.1"]
    registry.load(add(2))


@pytest.mark.parametrize("where", ["champion", "archive", "other family's candidate", "other family's champion"])
def test_files_that_another_pointer_names_are_kept(registry: ModelRegistry, add: Adder, where: str) -> None:
    shared = add(1)
    other = pointer_of(shared, decided_at=days_ago(1))
    match where:
        case "champion":
            registry.promote(other)
        case "archive":
            registry.promote(other)
            registry.promote(pointer_of(add(2), version="1.0.1", decided_at=days_ago(0)))
        case "other family's candidate":
            registry.set_candidate(pointer_of(shared, family="anomaly", decided_at=days_ago(1)))
        case "other family's champion":
            registry.promote(pointer_of(shared, family="anomaly", decided_at=days_ago(1)))
    registry.set_candidate(pointer_of(shared, decided_at=days_ago(40)))
    (removal,) = prune(registry)
    assert (removal.pointer.model, removal.files_deleted) == (shared, False)
    assert registry.candidate("logistic", shared) is None
    assert registry.load(shared)[1] == files_of(1)


def test_a_removed_model_can_be_stored_again(registry: ModelRegistry, add: Adder) -> None:
    digest = add(1)
    registry.set_candidate(pointer_of(digest, decided_at=days_ago(40)))
    prune(registry)
    assert stored(registry) == 0
    assert add(1) == digest
    registry.load(digest)
