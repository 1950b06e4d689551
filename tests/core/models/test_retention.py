"""What has expired, and nothing else: champions never do, replaced ones only where a person asks for it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from nethical_assets.core.models.registry import ModelRegistry
from nethical_assets.core.models.retention import Expired, expired_pointers

from .conftest import pointer_of, promote

Adder = Callable[..., str]
NOW = datetime(2026, 12, 1, tzinfo=UTC)
FAMILIES = ("anomaly", "logistic")


def days_ago(days: float) -> str:
    return (NOW - timedelta(days)).isoformat(timespec="microseconds")


def expired(registry: ModelRegistry, *, archived_too: bool = False) -> list[Expired]:
    return expired_pointers(
        registry,
        FAMILIES,
        now=NOW,
        keep_candidates=timedelta(30),
        keep_replaced=timedelta(365),
        archived_too=archived_too,
    )


def test_only_expired_candidates_of_the_families_go(registry: ModelRegistry, add: Adder) -> None:
    ages = (31, 30.0001, 30, 29, 0)
    for number, age in enumerate(ages):
        registry.set_candidate(pointer_of(add(number), decided_at=days_ago(age)))
    registry.set_candidate(pointer_of(add(9), family="heuristic", decided_at=days_ago(5000)))
    found = expired(registry)
    assert [(one.pointer.model, one.pointer.decided_at, one.stage) for one in found] == [
        (add(number), days_ago(ages[number]), "candidates") for number in (0, 1)
    ]
    assert len(registry.candidates("logistic")) == len(ages), "nothing is removed by looking"


def test_champions_never_expire(registry: ModelRegistry, add: Adder) -> None:
    promote(registry, pointer_of(add(1), decided_at=days_ago(5000)))
    assert expired(registry, archived_too=True) == []


def test_the_archive_expires_only_on_request_and_from_the_day_of_the_replacement(
    registry: ModelRegistry, add: Adder
) -> None:
    promote(registry, pointer_of(add(1), decided_at=days_ago(5000)))
    promote(registry, pointer_of(add(2), version="1.0.1", decided_at=days_ago(366)))
    promote(registry, pointer_of(add(3), version="1.0.2", decided_at=days_ago(364)))
    assert expired(registry) == []
    (one,) = expired(registry, archived_too=True)
    assert (one.pointer.version, one.stage) == ("1.0.0", "archived")
