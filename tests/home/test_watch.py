"""One window of a home: what is judged of it, what it costs, and what a kill or a second look changes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from nethical_assets.core.audit.events import EventType
from nethical_assets.core.drift.windows import Window
from nethical_assets.core.ground.errors import IntegrityError
from nethical_assets.home import watch
from nethical_assets.home.settings import Settings
from nethical_assets.home.watch import budget_ledger
from nethical_assets.home.workspace import Workspace
from tests.home.watched import FAMILY, PROMOTED, WINDOW, WatchedHome, reference
from tests.processes import in_child, start_child
from tests.sweeping import COMPLETE

HOUR = timedelta(hours=1)
FIELDS = {
    "verdict", "priority", "drift_score", "threshold", "accuracy_drop", "window", "model", "reference", "rows",
    "labelled_rows", "labels_given", "labels_unknown", "labels_not_counted", "reasons", "what_next", "level", "look",
    "cause", "periods", "monitors", "rates", "estimates", "histograms",
}  # fmt: skip
MONITOR = {"kind", "name", "period", "statistic", "low", "high", "score", "adjusted_p_value", "outcome"}
RATE = {"start", "rows", "positive_rate", "accuracy", "estimated_accuracy"}


@pytest.fixture(autouse=True)
def fewer_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """So few that tests are quick; p-values below what they show come from their tails in any case."""
    monkeypatch.setattr("nethical_assets.core.drift.statistics.jensen_shannon.PERMUTATIONS", 100)
    monkeypatch.setattr("nethical_assets.core.drift.statistics.calibration_change.DRAWS", 100)


@pytest.fixture
def home(settings: Settings) -> WatchedHome:
    made = WatchedHome(settings)
    made.promote()
    return made


def calm(home: WatchedHome) -> None:
    """Ten hours of traffic as in the reference, before the window."""
    home.answer(WINDOW.start - 10 * HOUR, WINDOW.start, 1500)


def spent(home: WatchedHome) -> list[tuple[str, str, int]]:
    return [(one.window[:13], one.period, one.look) for one in budget_ledger(home.open()).entries()]


def outcomes(facts: dict, period: str) -> dict[tuple[str, str], str]:
    return {(one["name"], one["kind"]): one["outcome"] for one in facts["monitors"] if one["period"] == period}


def test_a_calm_window_is_stable_by_itself_and_with_the_days_before(home: WatchedHome) -> None:
    calm(home)
    ids = home.answer(WINDOW.start, WINDOW.end, 400, seed=3)
    home.label(ids[:150], WINDOW.end)
    home.truth["logistic-77"] = 1
    home.label(["logistic-77"], WINDOW.start + HOUR)
    facts = home.watch()
    assert (facts["labels_given"], facts["labels_unknown"], facts["labels_not_counted"]) == (1, 1, "")
    assert set(facts) == FIELDS and json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert (facts["verdict"], facts["priority"], facts["drift_score"], facts["cause"]) == ("stable", "none", 0.0, "")
    assert facts["window"] == {
        "start": "2026-03-04T00:00:00+00:00", "end": "2026-03-04T06:00:00+00:00", "complete": True,
    }  # fmt: skip
    assert (facts["rows"], facts["labelled_rows"], facts["model"]) == (400, 150, home.model)
    assert [(one["name"], one["hours"], one["report"]["measured"]["rows"]) for one in facts["periods"]] == [
        ("window", 6, 400), ("trailing", 168, 1900),
    ]  # fmt: skip
    assert all(set(one) == MONITOR for one in facts["monitors"])
    assert set(outcomes(facts, "window").values()) == {"unremarkable"}, "labelled rows are judged too"
    assert all(set(one) == RATE for one in facts["rates"])
    assert [one["rows"] for one in facts["rates"]][-1] == 400 and sum(one["rows"] for one in facts["rates"]) == 1900
    assert facts["rates"][-1]["accuracy"] == pytest.approx(facts["rates"][-1]["estimated_accuracy"], abs=0.1)
    assert facts["rates"][0]["accuracy"] is None and len(facts["rates"]) == 13
    assert set(facts["histograms"]) == {"probability", "score", "size"}
    for picture in facts["histograms"].values():
        assert len(picture["reference"]) == len(picture["window"]) == len(picture["edges"]) + 2
        assert sum(picture["window"]) == pytest.approx(1.0)
    assert spent(home) == [("2026-03-04T00", "window", 1), ("2026-03-04T00", "trailing", 1)]
    assert len(facts["reasons"]) == 2 and all("significant" in reason for reason in facts["reasons"])
    assert home.problems() == []


def test_a_shift_is_drift_by_the_window_and_its_cause_stays_the_same(home: WatchedHome) -> None:
    calm(home)
    home.answer(WINDOW.start, WINDOW.end, 600, seed=4, moved=1.0)
    facts = home.watch()
    assert (facts["verdict"], facts["priority"], facts["look"]) == ("drift", "normal", 1)
    assert facts["drift_score"] > 0.15 and facts["reasons"][0].startswith("This window: The distribution of size moved")
    assert outcomes(facts, "window")["size", "distribution"] == "drifted"
    following = Window(WINDOW.end, WINDOW.end + 6 * HOUR)
    home.answer(following.start, following.end, 600, seed=5, moved=1.0)
    again = home.watch(following)
    assert again["verdict"] == "drift" and again["cause"] == facts["cause"] != ""
    assert "model is promoted" in again["what_next"]


def test_labels_that_come_late_are_another_look_and_the_same_rows_none(home: WatchedHome) -> None:
    calm(home)
    ids = home.answer(WINDOW.start, WINDOW.end, 600, seed=6, wrong=0.35)
    first = home.watch()
    assert (first["verdict"], first["look"], first["labelled_rows"]) == ("stable", 1, 0)
    assert home.watch() == first and len(spent(home)) == 2
    home.label(ids, WINDOW.end + 30 * HOUR)
    later = home.watch()
    assert (later["verdict"], later["priority"], later["look"]) == ("drift", "high", 2)
    assert later["labelled_rows"] == 600 and later["level"] == first["level"] / 2
    assert later["rates"][-1]["accuracy"] < later["rates"][-1]["estimated_accuracy"] - 0.05
    assert home.watch() == later and [look for *_, look in spent(home)] == [1, 1, 2, 2]


def test_calm_traffic_that_becomes_known_later_buys_no_second_look(home: WatchedHome) -> None:
    home.answer(WINDOW.start, WINDOW.end, 600, seed=7, moved=0.4)
    first = home.watch()
    report = first["periods"][0]["report"]
    # A worker that was away comes back: its rows are of before the window.
    calm(home)
    again = home.watch()
    assert again["periods"][0]["report"] == report, "the window's rows have the p-values that they had"
    assert again["periods"][1]["report"]["measured"]["rows"] == 2100
    # The trailing period has other rows than before, when it was the window: it is judged, and paid for.
    assert spent(home) == [("2026-03-04T00", "window", 1), ("2026-03-04T00", "trailing", 1)]


def test_one_judgement_where_both_periods_have_the_same_rows(home: WatchedHome) -> None:
    home.answer(WINDOW.start, WINDOW.end, 600, seed=8)
    facts = home.watch()
    assert spent(home) == [("2026-03-04T00", "window", 1)]
    assert [one["name"] for one in facts["periods"]] == ["window", "trailing"]
    assert facts["periods"][0]["report"] == facts["periods"][1]["report"]
    assert {one["period"] for one in facts["monitors"]} == {"window"}
    assert not facts["reasons"][0].startswith("This window")


def test_killed_between_ledger_and_report_nothing_more_is_spent(
    home: WatchedHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    calm(home)
    home.answer(WINDOW.start, WINDOW.end, 600, seed=9, moved=0.9)
    home.seal()

    def killed(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("nethical_assets.core.drift.watch_report.watch_report", killed)
    with pytest.raises(KeyboardInterrupt):
        home.watch()
    monkeypatch.undo()
    entries = budget_ledger(home.open()).entries()
    assert len(entries) == 2
    facts = home.watch()
    assert facts["verdict"] == "drift" and facts["look"] == 1
    assert budget_ledger(home.open()).entries() == entries


@pytest.mark.parametrize(
    ("moment", "step"),
    [("replace", 11), *(pytest.param(*one, marks=pytest.mark.slow) for one in (("fsync", 9), ("unlink", 2)))],
)
def test_killed_anywhere_from_sealing_to_the_report_each_row_counts_and_each_look_is_paid_once(
    home: WatchedHome, tmp_path: Path, moment: str, step: int
) -> None:
    home.answer(WINDOW.start - 2 * HOUR, WINDOW.start + 2 * HOUR, 600, seed=22, moved=0.9)
    shutil.copytree(home.settings.home, tmp_path / "untouched")
    expected = home.watch()
    assert expected["look"] == 1 and len(spent(home)) == 2
    paid = (home.settings.home / "serving" / "watch" / "budget.jsonl").read_bytes()
    survived, wrong = 0, []
    while True:
        copy = WatchedHome(replace(home.settings, home=tmp_path / f"{moment}-{survived}"))
        shutil.copytree(tmp_path / "untouched", copy.settings.home)
        killed = in_child(copy.watch, moment, survived)
        facts = copy.watch()
        ledger = (copy.settings.home / "serving" / "watch" / "budget.jsonl").read_bytes()
        if (facts, ledger, len(sketches_of(copy)), copy.problems()) != (expected, paid, 4, []):
            wrong.append(f"{moment} {survived}: {facts['verdict']} {facts['rows']} {copy.problems()}")
        shutil.rmtree(copy.settings.home)
        if not killed:
            break
        survived += 1 if COMPLETE else step
    assert wrong == [] and survived > 2


def test_two_processes_judge_a_window_once(home: WatchedHome) -> None:
    calm(home)
    home.answer(WINDOW.start, WINDOW.end, 400, seed=10)
    watchers = [start_child(lambda: home.watch()) for _ in range(2)]
    assert [watcher() for watcher in watchers] == [0, 0]
    assert sorted(spent(home)) == [("2026-03-04T00", "trailing", 1), ("2026-03-04T00", "window", 1)]
    said = [one.event for one in home.open().audit_log.find_events(event_type=EventType.DRIFT_JUDGED)]
    assert len(said) == 2 and len({one.subjects[0].digest for one in said}) == 1, "and say the same"
    assert home.problems() == []


def test_windows_that_were_not_calm_teach_nothing(home: WatchedHome, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[Window]] = []
    real = watch._remembered

    def seen(workspace: Workspace, family: str) -> list[Window]:
        asked.append(real(workspace, family))
        return asked[-1]

    monkeypatch.setattr(watch, "_remembered", seen)
    calm(home)
    home.answer(WINDOW.start, WINDOW.end, 600, seed=11, moved=1.0)
    following = Window(WINDOW.end, WINDOW.end + 6 * HOUR)
    home.answer(following.start, following.end, 600, seed=12)
    # A report that was not published is none.
    home.watch(publish=False)
    home.watch(following)
    home.watch()
    facts = home.watch(following)
    assert asked == [[], [], [], [WINDOW]]
    assert facts["periods"][0]["name"] == "window"
    (kept,) = (home.settings.home / "serving" / "watch" / FAMILY).glob("*.json")
    # Where it cannot be read, nothing is learnt from its window all the same.
    kept.write_text("{")
    assert home.watch(following) == facts and asked[-1] == [WINDOW]


def test_what_is_on_hold_says_why_and_spends_nothing(settings: Settings) -> None:
    home = WatchedHome(settings)
    nobody = home.watch()
    assert (nobody["verdict"], nobody["model"], nobody["reference"]) == ("hold", "", "")
    assert nobody["reasons"] == ["family logistic has no champion to watch"] and "nethical run" in nobody["what_next"]
    home.promote()
    silent = home.watch()
    assert (silent["verdict"], silent["drift_score"], silent["look"], silent["level"]) == ("hold", None, 0, 0.0)
    assert silent["reasons"] == [
        "the champion scored nothing since it was promoted at 2026-03-01 00:00 UTC; after 24 hours without traffic an "
        "alert is filed"
    ]
    assert len(silent["rates"]) == 13 and silent["histograms"] == {}
    before = home.watch(Window.at(PROMOTED - HOUR, 6))
    assert before["verdict"] == "hold" and "ended before the champion was promoted" in before["reasons"][0]
    coming = home.watch(Window.at(home.open().now() + timedelta(days=2), 6))
    assert coming["verdict"] == "hold" and "there is nothing to judge yet" in coming["reasons"][0]
    assert not coming["window"]["complete"]
    home.answer(PROMOTED, PROMOTED + HOUR, 300, seed=13)
    long_ago = home.watch(Window.at(PROMOTED + timedelta(days=30), 6))
    assert long_ago["verdict"] == "hold" and "newest requests is 2026-03-01 00:00 UTC" in long_ago["reasons"][0]
    few = home.watch(Window.at(PROMOTED + timedelta(days=6), 6))
    assert few["verdict"] == "hold" and few["rows"] == 0, "the days before the window are judged"
    assert {one["outcome"] for one in few["monitors"] if one["period"] == "trailing"} <= {
        "unremarkable",
        "needs_more_data",
    }
    for facts in (nobody, silent, before, coming, long_ago):
        assert set(facts) == FIELDS and facts["what_next"]
    assert [period for _, period, _ in spent(home)] == ["trailing"]


def test_a_window_is_judged_by_who_was_champion_in_it(home: WatchedHome) -> None:
    calm(home)
    ids = home.answer(WINDOW.start, WINDOW.end, 600, seed=21, moved=1.0)
    first, model = home.watch(), home.model
    home.replace(WINDOW.end + HOUR, "sha256:" + "b" * 64)
    home.label(ids, WINDOW.end + 2 * HOUR)
    again = home.watch()
    assert (first["verdict"], again["verdict"]) == ("drift", "drift")
    assert (again["model"], again["rows"], again["labelled_rows"]) == (model, 600, 600), "late labels are judged"
    following = Window(WINDOW.end, WINDOW.end + 6 * HOUR)
    home.answer(following.start + 2 * HOUR, following.end, 300, seed=22)
    after = home.watch(following)
    assert (after["model"], after["rows"]) == (home.model, 300), "the newest of two champions"


def test_of_what_retention_took_part_nothing_is_decided(home: WatchedHome, monkeypatch: pytest.MonkeyPatch) -> None:
    calm(home)
    home.answer(WINDOW.start, WINDOW.end, 600, seed=23)
    asked: list[tuple[datetime, datetime]] = []

    def removed(workspace: Workspace, family: str, since: datetime, until: datetime) -> int:
        asked.append((since, until))
        return 3

    monkeypatch.setattr(watch, "removed_batches", removed)
    facts = home.watch()
    assert (facts["verdict"], facts["rows"], spent(home)) == ("hold", 0, [])
    assert "retention removed 3 batches" in facts["reasons"][0]
    assert asked == [(PROMOTED, WINDOW.end)], "the trailing period counts too"


def test_a_verdict_that_was_not_published_hides_no_earlier_one(home: WatchedHome) -> None:
    home.answer(WINDOW.start, WINDOW.end, 600, seed=11, moved=1.0)
    assert home.watch()["verdict"] == "drift"
    home.promote()
    kept = watch._remembered(home.open(), FAMILY)
    assert kept == [WINDOW]
    facts = {**home.watch(publish=False), "verdict": "stable"}
    watch._remember(home.open(), FAMILY, WINDOW, facts)
    assert watch._remembered(home.open(), FAMILY) == [WINDOW], "its writer was killed before it published"


def test_few_rows_need_more_data_and_spend_nothing(home: WatchedHome) -> None:
    home.answer(WINDOW.start, WINDOW.end, 40, seed=14, moved=3.0)
    facts = home.watch()
    assert (facts["verdict"], facts["drift_score"], facts["look"]) == ("needs_more_data", None, 0)
    assert spent(home) == []


def test_rows_of_before_the_promotion_are_not_the_champions(settings: Settings) -> None:
    home = WatchedHome(settings)
    promoted = WINDOW.start + 2 * HOUR + timedelta(minutes=7)
    home.promote(promoted)
    home.answer(WINDOW.start, promoted, 300, seed=15, moved=3.0)
    home.answer(promoted, WINDOW.end, 300, seed=16)
    facts = home.watch()
    assert (facts["verdict"], facts["rows"]) == ("stable", 300)
    assert sum(one["rows"] for one in facts["rates"]) == 300


def test_a_reference_of_an_older_version_is_judged_by_what_it_has(settings: Settings) -> None:
    home = WatchedHome(settings)
    home.promote(of=reference(labelled=False))
    ids = home.answer(WINDOW.start, WINDOW.end, 400, seed=17)
    home.label(ids, WINDOW.end)
    facts = home.watch()
    assert facts["verdict"] == "stable" and outcomes(facts, "window")["accuracy", "accuracy"] == "needs_more_data"
    said = {one["monitor"]["measurement"]["reason"] for one in facts["periods"][0]["report"]["outcomes"]}
    assert "the reference has no labelled rows" in said
    assert facts["rates"][-1]["estimated_accuracy"] is None and facts["rates"][-1]["accuracy"] is not None


def sketches_of(home: WatchedHome) -> list[Path]:
    return sorted((home.settings.home / "serving" / "sketches").rglob("*.sketches"))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("harm", [Path.unlink, flip])
def test_sketches_that_are_gone_or_changed_change_nothing(
    home: WatchedHome, harm: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    calm(home)
    home.answer(WINDOW.start, WINDOW.end, 600, seed=18, moved=0.9)
    home.seal()
    assert len(sketches_of(home)) == 16
    leaf = next(iter(home.open().audit_log.find_events(event_type=EventType.BATCH_SCORED))).event
    named = [subject.name for subject in leaf.subjects]
    assert sum(name.startswith("sketches/logistic/") for name in named) == sum(
        name.startswith("scores/logistic/") for name in named
    )
    facts = home.watch()
    for path in sketches_of(home)[::3]:
        harm(path)
    assert home.watch() == facts
    assert home.problems() == [], "rows are what is evidence"


def test_sealed_before_there_was_a_reference_rows_are_counted_when_asked(settings: Settings) -> None:
    home = WatchedHome(settings)
    home.answer(WINDOW.start, WINDOW.end, 400, seed=19)
    home.seal()
    assert sketches_of(home) == []
    home.promote()
    assert home.watch()["rows"] == 400


def test_a_reference_that_is_damaged_stops_no_sealing(home: WatchedHome, caplog: pytest.LogCaptureFixture) -> None:
    workspace = home.open()
    champion = workspace.registry.champion(FAMILY)
    assert champion is not None
    Path(str(workspace.objects.path(champion.reference))).write_bytes(b"{}")
    home.answer(WINDOW.start, WINDOW.end, 300, seed=20)
    assert home.seal().rows == 300 and sketches_of(home) == []
    assert "no sketches are kept" in caplog.text
    with pytest.raises(IntegrityError, match="do not match their digest"):
        home.watch()


def test_a_damaged_batch_of_weeks_ago_stops_no_judgement_and_labels_that_it_may_answer_are_not_counted(
    home: WatchedHome,
) -> None:
    home.answer(PROMOTED - 240 * HOUR, PROMOTED - 239 * HOUR, 5)
    home.seal()
    (old,) = (home.settings.home / "serving" / "inference").rglob("*.parquet")
    home.answer(WINDOW.start, WINDOW.end, 300, seed=21)
    home.truth["logistic-77"] = 1
    home.label(["logistic-77"], WINDOW.start + HOUR)
    flip(old)
    facts = home.watch()
    assert (facts["rows"], facts["labels_given"], facts["labels_unknown"]) == (300, 1, None)
    assert facts["verdict"] != "hold"
    assert facts["labels_not_counted"] == "a batch of requests cannot be read; nethical audit verify names it"
    assert any(old.name in problem for problem in home.problems())


def test_a_damaged_batch_or_ledger_stops_the_watch_with_one_line(home: WatchedHome) -> None:
    home.answer(WINDOW.start, WINDOW.end, 300, seed=21)
    home.watch()
    ledger = home.settings.home / "serving" / "watch" / "budget.jsonl"
    whole = ledger.read_bytes()
    flip(ledger)
    with pytest.raises(IntegrityError, match="line 1 was changed"):
        home.watch()
    (told,) = home.problems()
    assert "budget.jsonl: line 1 was changed" in told
    ledger.write_bytes(whole)
    for path in sketches_of(home):
        path.unlink()
    batch = min((home.settings.home / "serving" / "inference").rglob("*.parquet"))
    flip(batch)
    with pytest.raises(IntegrityError, match="does not match its name"):
        home.watch()
