from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nethical_assets.core.drift.budget import YEAR, Budget, Spending, spend, spent
from nethical_assets.core.ground.documents import from_document, to_document
from nethical_assets.core.ground.errors import DatasetError

START = datetime(2026, 1, 1, tzinfo=UTC)
SIX_HOURS = timedelta(hours=6)
BUDGET = Budget(1.0, 5, 1460)


def test_a_year_of_first_looks_and_second_looks_stays_within_the_budget():
    ledger: list[Spending] = []
    small = Budget(1.0, 2, 40)
    for number in range(40):
        for family in ("a", "b"):
            for evidence in ("first", "labels came"):
                ledger.append(spend(ledger, small, family, START + number * YEAR / 40, evidence))
    assert {entry.level for entry in ledger if entry.look == 1} == {small.share / 2}
    assert {entry.level for entry in ledger if entry.look == 2} == {small.share / 4}
    assert sum(entry.level for entry in ledger) == pytest.approx(0.75)


def test_the_same_judgement_again_spends_once():
    first = spend([], BUDGET, "logistic", START, "sha256:1")
    assert first == Spending("logistic", "2026-01-01T00:00:00+00:00", "sha256:1", 1, BUDGET.share / 2)
    assert spend([first], BUDGET, "logistic", START, "sha256:1") is first
    # Also where the settings changed meanwhile, and by another way of writing the moment.
    elsewhere = START.astimezone(tz=datetime.fromisoformat("2026-01-01T00:00:00+05:00").tzinfo)
    assert spend([first], Budget(9.0, 1, 10), "logistic", elsewhere, "sha256:1") is first
    again = spend([first], BUDGET, "logistic", START, "sha256:2")
    assert (again.look, again.level) == (2, BUDGET.share / 4)
    assert spend([first, again], BUDGET, "heuristic", START, "sha256:2").look == 1


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 1200), st.sampled_from("abc"), st.integers(0, 3)), max_size=60),
    st.floats(0.01, 3.0),
)
def test_no_year_spends_more_than_the_budget_whatever_the_order(judgements, false_alerts):
    # Far more windows than the budget was told of.
    budget = Budget(false_alerts, 1, 3)
    ledger: list[Spending] = []
    for day, family, evidence in judgements:
        entry = spend(ledger, budget, family, START + timedelta(days=day), str(evidence))
        assert 0.0 <= entry.level <= budget.share / 2
        if entry not in ledger:
            ledger.append(entry)
    for entry in ledger:
        assert spent(ledger, datetime.fromisoformat(entry.window)) <= false_alerts * (1 + 1e-9)


def test_a_budget_that_is_spent_leaves_nothing_until_a_year_has_passed():
    full = Spending("a", START.isoformat(), "x", 1, 1.0)
    assert spend([full], BUDGET, "b", START + timedelta(days=300), "y").level == 0.0
    assert spend([full], BUDGET, "b", START - timedelta(days=300), "y").level == 0.0
    assert spend([full], BUDGET, "b", START + YEAR, "y").level == BUDGET.share / 2


def test_entries_are_documents_and_times_have_zones():
    entry = spend([], BUDGET, "logistic", START, "sha256:1")
    assert from_document(Spending, to_document(entry), "ledger") == entry
    with pytest.raises(DatasetError, match="no time zone"):
        spend([], BUDGET, "logistic", START.replace(tzinfo=None), "x")
    assert Budget(1e9, 1, 1).share == 1.0
