"""The ledger: an entry is there once, durably, before anything is judged by it, whoever dies or writes beside."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from nethical_assets.core.drift.budget import Budget, Spending, spend
from nethical_assets.core.ground.errors import BusyError, IntegrityError
from nethical_assets.home import ledger as ledgers
from nethical_assets.home.ledger import Ledger
from tests.processes import start_child

START = datetime(2026, 3, 1, tzinfo=UTC)
BUDGET = Budget(1.0, 5, 2920)


def paid(ledger: Ledger, evidence: str, family: str = "logistic", window: int = 0) -> Spending:
    when = START + window * timedelta(hours=6)
    return ledger.spend(lambda known: spend(known, BUDGET, family, when, evidence, period="trailing", measured="m"))


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "watch" / "budget.jsonl")


def test_an_entry_is_a_line_of_canonical_json_and_the_same_evidence_adds_none(ledger: Ledger) -> None:
    assert ledger.entries() == []
    first = paid(ledger, "sha256:1")
    assert (first.look, first.level, first.period, first.measured) == (1, BUDGET.share / 2, "trailing", "m")
    before = ledger.path.read_bytes()
    assert paid(ledger, "sha256:1") == first and ledger.path.read_bytes() == before
    second = paid(ledger, "sha256:2")
    assert (second.look, second.level) == (2, BUDGET.share / 4)
    assert ledger.entries() == Ledger(ledger.path).entries() == [first, second]
    lines = ledger.path.read_bytes().splitlines()
    assert [json.loads(line)["entry"]["evidence"] for line in lines] == ["sha256:1", "sha256:2"]
    assert ledger.path.read_bytes().startswith(before)


def test_whatever_a_killed_writer_left_of_its_line_is_repaired(ledger: Ledger) -> None:
    first, second = paid(ledger, "sha256:1"), paid(ledger, "sha256:2")
    whole = ledger.path.read_bytes()
    end = whole.index(b"\n") + 1
    for cut in (*range(end, len(whole) - 1, 41), len(whole) - 1):
        ledger.path.write_bytes(whole[:cut])
        # All but the end of the line is the line.
        known = [first, second] if cut == len(whole) - 1 else [first]
        assert ledger.entries() == known
        assert paid(ledger, "sha256:2") == second
        if cut < len(whole) - 1:
            assert ledger.path.read_bytes() == whole
    third = paid(ledger, "sha256:3")
    assert ledger.entries() == [first, second, third]


def test_a_changed_line_is_named_with_what_to_do(ledger: Ledger) -> None:
    for number in range(3):
        paid(ledger, f"sha256:{number}")
    whole = ledger.path.read_bytes()
    first, last = whole.index(b"\n"), len(whole)
    for position in (*range(0, first, 23), first, *range(first + 1, last - 1, 53)):
        ledger.path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        with pytest.raises(IntegrityError, match=r"budget\.jsonl: line \d+ was changed.*restore the file") as caught:
            ledger.entries()
        assert "\n" not in str(caught.value)
        with pytest.raises(IntegrityError):
            paid(ledger, "sha256:9")
    # Also where the end of the last line is what was changed.
    ledger.path.write_bytes(whole[:-1] + b"\x0b")
    with pytest.raises(IntegrityError, match="line 3 was changed"):
        ledger.entries()


def test_an_entry_that_cannot_be_made_safe_is_not_there(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    first = paid(ledger, "sha256:1")
    whole = ledger.path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ledgers, "_datasync", full)
    with pytest.raises(OSError, match=r"No space left on device.*budget\.jsonl"):
        paid(ledger, "sha256:2")
    assert ledger.path.read_bytes() == whole and ledger.entries() == [first]


def test_what_is_decided_is_on_the_disk_before_anybody_knows_of_it(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[bytes] = []
    real = os.fsync

    def sync(descriptor: int) -> None:
        real(descriptor)
        synced.append(ledger.path.read_bytes())

    monkeypatch.setattr(ledgers, "_datasync", sync)
    paid(ledger, "sha256:1")
    assert synced == [ledger.path.read_bytes()]


def test_families_and_processes_at_once_lose_nothing_and_spend_once(ledger: Ledger) -> None:
    def work(family: str) -> None:
        for window in range(10):
            paid(ledger, f"sha256:{family}{window}", family, window)

    workers = [start_child(lambda family=family: work(family)) for family in ("a", "b", "a")]
    assert [worker() for worker in workers] == [0, 0, 0]
    entries = ledger.entries()
    assert len(entries) == 20 and len({(one.family, one.window) for one in entries}) == 20
    assert all(one.look == 1 for one in entries)


def test_who_waits_too_long_for_the_ledger_is_told(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledgers, "_WAITING_SECONDS", 0.01)
    lock = ledger.path.with_suffix(".lock")
    with (
        ledgers.exclusive_lock(lock, waiting_seconds=1, what="x"),
        pytest.raises(BusyError, match="false-alarm budget is in use"),
    ):
        paid(ledger, "sha256:1")


def test_what_an_older_version_wrote_is_read(ledger: Ledger) -> None:
    def decided(known: Sequence[Spending]) -> Spending:
        return replace(spend(known, BUDGET, "logistic", START, "sha256:1"), measured="")

    old = ledger.spend(decided)
    assert (old.period, old.measured) == ("window", "")
    assert paid(ledger, "sha256:1").look == 1, "each period has looks of its own"
    assert len(ledger.entries()) == 2
