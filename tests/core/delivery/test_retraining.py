"""Whether a drift report asks for retraining: threshold, cool-down, attempts, and a damaged memory."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from nethical_assets.core.delivery.retraining import (
    NewestReport,
    RetrainingRequest,
    Situation,
    decide_retraining,
    remarks,
)

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
DRIFT = NewestReport("logistic", "sha256:a", "drift", 0.3)


def decide(
    *reports: NewestReport, cursor: str | None = None, after: timedelta = timedelta()
) -> tuple[list[RetrainingRequest], str]:
    return decide_retraining(reports, cursor, now=NOW + after, threshold=0.15, cooldown=24 * HOUR)


@pytest.mark.parametrize(
    ("verdict", "score", "asks"),
    [
        ("drift", 0.151, True),
        ("drift", 0.15, False),
        ("drift", None, False),
        ("stable", 0.9, False),
        ("changed", 0.9, False),
        ("needs_more_data", 0.9, False),
        ("needs_more_data", None, False),
    ],
)
def test_asks_for_drift_above_the_threshold_only(verdict: str, score: float | None, asks: bool) -> None:
    requests, _ = decide(NewestReport("logistic", "sha256:a", verdict, score))
    assert bool(requests) is asks


def test_the_request_says_why() -> None:
    (request,), _ = decide(DRIFT)
    reason = "drift score 0.300 is above 0.15: drift report sha256:a"
    assert request == RetrainingRequest("logistic", "drift:logistic:sha256:a:1", reason, "sha256:a")
    (request,), _ = decide(replace(DRIFT, window="2026-11-22 06:00 to 12:00 UTC"))
    assert request.reason == f"{reason} of window 2026-11-22 06:00 to 12:00 UTC"


def test_waits_for_the_cool_down_and_then_asks_again_under_another_key() -> None:
    _, cursor = decide(DRIFT)
    requests, cursor = decide(DRIFT, cursor=cursor, after=24 * HOUR - timedelta(seconds=1))
    assert requests == []
    (second,), cursor = decide(DRIFT, cursor=cursor, after=24 * HOUR)
    assert second.key == "drift:logistic:sha256:a:2"
    (third,), _ = decide(DRIFT, cursor=cursor, after=48 * HOUR)
    assert third.key == "drift:logistic:sha256:a:3"


def test_a_new_report_waits_too_and_starts_its_own_attempts() -> None:
    newer = NewestReport("logistic", "sha256:b", "drift", 0.4)
    _, cursor = decide(DRIFT)
    assert decide(newer, cursor=cursor, after=HOUR)[0] == []
    (request,), _ = decide(newer, cursor=cursor, after=25 * HOUR)
    assert request.key == "drift:logistic:sha256:b:1"


def test_families_cool_down_apart() -> None:
    _, cursor = decide(DRIFT)
    requests, cursor = decide(DRIFT, NewestReport("anomaly", "sha256:c", "drift", 0.2), cursor=cursor, after=HOUR)
    assert [request.family for request in requests] == ["anomaly"]
    assert set(json.loads(cursor)["families"]) == {"logistic", "anomaly"}


def test_a_quiet_look_keeps_the_memory() -> None:
    _, cursor = decide(DRIFT)
    assert decide(NewestReport("logistic", "sha256:b", "stable", 0.0), cursor=cursor, after=HOUR) == ([], cursor)
    assert decide(cursor=cursor) == ([], cursor)


def remembered(**changes: Any) -> str:
    known = {"digest": "sha256:a", "asked_at": NOW.isoformat(), "attempt": 1, **changes}
    return json.dumps({"version": 1, "families": {"logistic": {k: v for k, v in known.items() if v is not ...}}})


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "{",
        "12345",
        "[]",
        "null",
        "{}",
        '{"version": 1}',
        '{"version": 1, "families": []}',
        '{"version": 1, "families": null}',
        '{"version": 1, "families": {"logistic": 3}}',
        '{"version": 1, "families": {"logistic": []}}',
        remembered().replace('"version": 1', '"version": 2'),
        remembered(asked_at="yesterday"),
        remembered(asked_at=12),
        remembered(asked_at="2026-11-22T12:00:00"),
        remembered(asked_at=...),
        remembered(attempt="x"),
        remembered(attempt=None),
        remembered(attempt=...),
        remembered(digest=...),
    ],
)
def test_a_damaged_memory_is_forgotten_and_at_worst_asks_once_more(cursor: str) -> None:
    (request,), repaired = decide(DRIFT, cursor=cursor)
    assert request.key == "drift:logistic:sha256:a:1"
    assert decide(DRIFT, cursor=repaired, after=HOUR)[0] == []


def test_an_intact_memory_is_not_forgotten() -> None:
    assert decide(DRIFT, cursor=remembered(), after=HOUR)[0] == []


RULE: dict[str, Any] = {"threshold": 0.15, "cooldown": 24 * HOUR}
WATCHED = NewestReport("logistic", "sha256:a", "drift", 0.3, model="sha256:m1")
BEFORE = Situation(champion="sha256:m1", data="d1")


def look(
    situation: Situation, cursor: str | None, after: timedelta, seen: NewestReport = WATCHED
) -> tuple[list[RetrainingRequest], str, list[str]]:
    """The requests, the new cursor, and what is said on the issue from what the cursor held."""
    situations = {"logistic": situation}
    said = remarks([seen], cursor, now=NOW + after, situations=situations, **RULE)
    requests, new = decide_retraining([seen], cursor, now=NOW + after, situations=situations, **RULE)
    return requests, new, [remark.text for remark in said]


def trained(verdict: str, **changes: str) -> Situation:
    values = {"champion": "sha256:m1", "data": "d1", **changes}
    return Situation(**values, trained_at=NOW + HOUR, verdict=verdict)


def test_a_preview_says_nothing_of_a_request_that_was_not_made() -> None:
    requests, cursor, said = look(BEFORE, None, timedelta())
    assert len(requests) == 1
    assert said == []
    assert look(BEFORE, cursor, HOUR)[2] == [
        "Retraining was requested at 2026-11-22 12:00 UTC.",
        "Retraining is not requested again before 2026-11-23 12:00 UTC.",
    ]


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        (
            "unchanged",
            "Retraining gave the same model: it needs new labelled data. Which requests to label first: nethical "
            "label-queue logistic. It is requested again when the data or the champion changes.",
        ),
        ("candidate", "Retraining gave a model that was refused; the champion stays."),
    ],
)
def test_what_was_fruitless_is_not_asked_for_again_until_data_or_champion_change(verdict: str, said: str) -> None:
    _, cursor, _ = look(BEFORE, None, timedelta())
    for days in (1, 2, 30):
        # Also for newer reports of the same drift.
        newer = NewestReport("logistic", f"sha256:{days}", "drift", 0.4, model="sha256:m1")
        requests, after, texts = look(trained(verdict), cursor, days * 24 * HOUR, newer)
        assert requests == []
        assert after == cursor
        assert texts[-1].startswith(said)
    changed = trained(verdict, data="d2")
    assert len(look(changed, cursor, 25 * HOUR)[0]) == 1
    replaced = trained(verdict, champion="sha256:m2")
    about_it = NewestReport("logistic", "sha256:b", "drift", 0.4, model="sha256:m2")
    assert len(look(replaced, cursor, 25 * HOUR, about_it)[0]) == 1


def test_a_retraining_that_never_decided_is_asked_for_again_after_the_cool_down() -> None:
    _, cursor, _ = look(BEFORE, None, timedelta())
    assert look(BEFORE, cursor, 23 * HOUR)[0] == []
    (again,), _, _ = look(BEFORE, cursor, 24 * HOUR)
    assert again.key == "drift:logistic:sha256:a:2"
    # A decision from before the request is none about it.
    old = Situation("sha256:m1", "d1", NOW - HOUR, "unchanged")
    assert len(look(old, cursor, 24 * HOUR)[0]) == 1


def test_a_report_about_a_former_champion_asks_for_nothing() -> None:
    requests, _, said = look(trained("promoted", champion="sha256:m2"), None, HOUR)
    assert requests == []
    assert said == ["No retraining is requested: the report is about the former champion."]
    assert look(Situation(), None, HOUR)[0] != []


def test_nothing_is_said_without_drift() -> None:
    for verdict in ("stable", "needs_more_data"):
        assert look(BEFORE, None, HOUR, NewestReport("logistic", "sha256:a", verdict, 0.1))[2] == []


CAUSED = replace(WATCHED, cause="sha256:cause")
LATER = replace(CAUSED, digest="sha256:b", score=0.5)
"""The report of a later window that drifted in the same monitors."""


def test_the_same_cause_is_asked_for_once_whatever_the_window() -> None:
    requests, cursor, _ = look(BEFORE, None, timedelta(), CAUSED)
    assert len(requests) == 1
    # A person rolled back the model that it gave: the same cause would give it again.
    back = trained("promoted")
    for days in (1, 2, 300):
        again, cursor, said = look(back, cursor, 24 * days * HOUR, LATER)
        assert again == []
        assert said[-1].startswith("Retraining was requested for this cause before.")


@pytest.mark.parametrize("changes", [{"data": "d2"}, {"champion": "sha256:m2"}])
def test_the_same_cause_is_asked_for_again_when_data_or_champion_changed(changes: dict[str, str]) -> None:
    _, cursor, _ = look(BEFORE, None, timedelta(), CAUSED)
    about = replace(LATER, model=changes.get("champion", CAUSED.model))
    (request,), cursor, _ = look(trained("promoted", **changes), cursor, 24 * HOUR, about)
    assert request.key.endswith(":2")
    assert request.report == LATER.digest
    # Counted anew: two more if no training comes of it.
    moved = Situation(**{"champion": "sha256:m1", "data": "d1", **changes})
    for hours in (48, 72):
        (request,), cursor, _ = look(moved, cursor, hours * HOUR, about)
    assert look(moved, cursor, 96 * HOUR, about)[0] == []


def test_another_cause_asks_after_the_cool_down() -> None:
    _, cursor, _ = look(BEFORE, None, timedelta(), CAUSED)
    other = replace(LATER, cause="sha256:other")
    back = trained("promoted")
    assert look(back, cursor, 23 * HOUR, other)[0] == []
    (request,), _, _ = look(back, cursor, 24 * HOUR, other)
    assert request.key == "drift:logistic:sha256:b:1"


def test_a_request_of_which_no_training_came_is_made_three_times_in_all() -> None:
    cursor: str | None = None
    keys = []
    for days in range(6):
        # Each window has its own report.
        report = replace(CAUSED, digest=f"sha256:{days}")
        requests, cursor, said = look(BEFORE, cursor, 24 * days * HOUR, report)
        keys += [request.key for request in requests]
    assert keys == [f"drift:logistic:sha256:{days}:{days + 1}" for days in range(3)]
    assert "requested 3 times for this cause and no training came of it: see why its runs failed" in said[-1]


def test_a_memory_of_an_older_version_knows_the_report_only() -> None:
    assert decide(replace(DRIFT, cause="sha256:c"), cursor=remembered(), after=HOUR)[0] == []
    assert len(decide(replace(DRIFT, cause="sha256:c"), cursor=remembered(), after=24 * HOUR)[0]) == 1
    assert len(decide(DRIFT, cursor=remembered(tries="many"), after=24 * HOUR)[0]) == 1
