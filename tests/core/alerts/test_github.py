"""The real PyGithub client against a double of the API: every change once and in order, whatever goes wrong when."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sqlite3
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from nethical_assets.core.alerts import LocalIssueTracker, Resolution, local_schema
from nethical_assets.core.alerts.body import fingerprint_marker
from nethical_assets.core.alerts.delivery import AT_ONCE, TargetRefusedError, TargetUnavailableError, deliver
from nethical_assets.core.alerts.github import GitHubTarget
from nethical_assets.core.ground.errors import SettingsError
from tests.core.alerts.github_double import REPOSITORY, TOKEN, GitHubDouble
from tests.processes import in_child
from tests.sweeping import cases

NOW = datetime(2026, 3, 2, tzinfo=UTC)
MARKER = re.compile(r"^<!-- nethical-delivery: [0-9a-f]{32} -->$", re.MULTILINE)


@pytest.fixture
def double():
    with GitHubDouble().serving() as found:
        yield found


def target_of(double, token=TOKEN):
    return GitHubTarget(REPOSITORY, token, double.address, pause_seconds=None, wait=lambda seconds: None)


def tell(double, tracker, now=NOW, patient=True):
    target = target_of(double)
    return deliver(tracker.outbox(target.name), target, now=now, patient=patient)


def tell_all(double, tracker):
    """As a daemon does, each time when the target may be tried again."""
    now = NOW
    for _ in range(20):
        told = tell(double, tracker, now)
        if not told.waiting:
            return
        now += timedelta(hours=2)
    raise AssertionError(f"still waiting: {told}")


def a_history(tracker, alert, check="missing_values"):
    """Opened, occurred with other numbers, closed, reopened (two comments), closed: seven changes."""
    first = alert(check=check)
    tracker.file(first)
    tracker.file(alert(check=check, occurrence="run 2", summary="4 columns", when=first.when + timedelta(hours=1)))
    _resolve(tracker, first, 2)
    tracker.file(alert(check=check, occurrence="run 3", summary="5 columns", when=first.when + timedelta(hours=3)))
    _resolve(tracker, first, 4)


def _resolve(tracker, alert, hours):
    when = alert.when + timedelta(hours=hours)
    tracker.record(
        [Resolution(alert.kind, alert.subject, alert.check, f"passed at hour {hours}", when, "check sensor")]
    )


def the_history_is_there_once(double, number=1):
    texts = [re.sub(r"\s+", " ", text) for text in double.texts(number)]
    said = ["4 columns", "passed at hour 2", "Reopened", "5 columns", "passed at hour 4"]
    assert len(texts) == len(said), texts
    for text, expected in zip(texts, said, strict=True):
        assert expected in text
    markers = [marker for text in double.texts(number) for marker in MARKER.findall(text)]
    assert len(set(markers)) == len(said)
    assert double.issues[number]["state"] == "closed"


def test_each_change_is_told_once_and_in_order(double, tracker, alert):
    target = target_of(double)
    tracker.outbox(target.name).state()
    a_history(tracker, alert)
    assert tell(double, tracker).to_json() == {
        "target": "github:owner/watched",
        "delivered": 6,
        "waiting": 0,
        "not_before": "",
        "problem": "",
        "refused": 0,
        "last_refusal": "",
    }
    assert len(double.issues) == 1
    issue = double.issues[1]
    assert issue["title"] == "Dataset Validation Issues: nslkdd - 2026-03-01"
    assert {label["name"] for label in issue["labels"]} == {"ml-ops", "data-quality", "needs-attention", "nethical"}
    assert double.labels == {"ml-ops", "data-quality", "needs-attention", "nethical"}
    assert fingerprint_marker(alert().fingerprint) in issue["body"].splitlines()
    the_history_is_there_once(double)
    before = len(double.requests)
    assert tell(double, tracker).delivered == 0 and len(double.requests) == before


@pytest.mark.parametrize("fault", ["drop", "refuse"])
def test_an_answer_that_is_lost_at_any_request_doubles_and_loses_nothing(double, tmp_path, alert, fault):
    tracker = LocalIssueTracker(tmp_path / "whole.sqlite")
    tracker.outbox(target_of(double).name).state()
    a_history(tracker, alert)
    tell_all(double, tracker)
    requests = [(method, path) for method, path in double.requests]
    assert len(requests) > 12
    for number in cases(*range(2 if fault == "drop" else 5, len(requests), 6), more=range(len(requests))):
        again = LocalIssueTracker(tmp_path / f"{number}.sqlite")
        again.outbox(target_of(double).name).state()
        a_history(again, alert)
        with GitHubDouble().serving() as other:
            method, path = requests[number]
            skipped = sum(one == requests[number] for one in requests[:number])
            other.faults = [(method, re.escape(path), None)] * skipped + [(method, re.escape(path), fault)]
            tell_all(other, again)
            assert not other.faults
            assert len(other.issues) == 1, requests[number]
            the_history_is_there_once(other)


def test_killed_after_sending_and_before_noting_it(double, tracker, alert):
    target = target_of(double)
    tracker.outbox(target.name).state()
    a_history(tracker, alert)

    class Deadly(GitHubTarget):
        def send(self, delivery):
            super().send(delivery)
            os.kill(os.getpid(), signal.SIGKILL)

    for _ in range(6):
        deadly = Deadly(REPOSITORY, TOKEN, double.address, pause_seconds=None, wait=lambda seconds: None)
        with pytest.raises(AssertionError):
            # Killed from without, not at a call that was asked for.
            assert not in_child(lambda deadly=deadly: deliver(tracker.outbox(deadly.name), deadly, now=NOW))
        tell_one(double, tracker)
    tell_all(double, tracker)
    assert len(double.issues) == 1
    the_history_is_there_once(double)


@pytest.mark.parametrize("path", ["/issues", "/issues/1/comments"])
def test_what_a_dead_process_sent_and_arrives_late_is_there_once(double, tracker, alert, path):
    target = target_of(double)
    outbox = tracker.outbox(target.name)
    outbox.state()
    tracker.file(alert())
    if path != "/issues":
        tell(double, tracker)
        tracker.file(alert(occurrence="run 2", summary="4 columns", when=alert().when + timedelta(hours=1)))
    double.fail("POST", f"/repos/{REPOSITORY}{path}", "late")

    def sent(delivery):
        with contextlib.suppress(TargetUnavailableError):
            target.send(delivery)

    sender = threading.Thread(target=sent, args=(outbox.next(),))
    sender.start()
    assert double.holding.wait(60)
    waited = []

    def wait(seconds):
        waited.append(seconds)
        double.arriving.set()
        sender.join()

    other = GitHubTarget(REPOSITORY, TOKEN, double.address, pause_seconds=None, wait=wait)
    told = deliver(outbox, other, now=NOW)
    double.arriving.set()
    sender.join()
    assert (told.delivered, told.waiting) == (1, 0)
    assert (len(double.issues), len(double.texts())) == (1, 0 if path == "/issues" else 1)
    assert waited == [10.0], "longer than GitHub works on a request"


def tell_one(double, tracker):
    target = target_of(double)
    outbox = tracker.outbox(target.name)
    delivery = outbox.next()
    if delivery is not None:
        outbox.delivered(delivery, target.send(delivery))


def test_a_target_that_is_new_gets_what_is_open_with_its_history(double, tracker, alert):
    a_history(tracker, alert, check="closed long ago")
    tracker.file(alert(check="open"))
    tracker.file(alert(check="open", occurrence="run 9", summary="9 columns", when=alert().when + timedelta(hours=9)))
    tell_all(double, tracker)
    assert len(double.issues) == 1
    assert "9 columns" in double.texts(1)[0] and double.issues[1]["state"] == "open"
    # What was over is told when it comes back.
    tracker.file(alert(check="closed long ago", occurrence="run 8", when=alert().when + timedelta(days=1)))
    tell_all(double, tracker)
    assert len(double.issues) == 2 and double.issues[2]["state"] == "open"


def test_an_emptied_tracker_that_was_filled_again_tells_nothing_twice(double, tmp_path, alert):
    for name in ("first", "second"):
        tracker = LocalIssueTracker(tmp_path / f"{name}.sqlite")
        tracker.file(alert())
        tracker.file(alert(occurrence="run 2", summary="4 columns", when=alert().when + timedelta(hours=1)))
        tell_all(double, tracker)
    assert len(double.issues) == 1 and len(double.texts(1)) == 1


def test_the_issue_is_found_on_any_page_and_never_a_stranger_s(double, tracker, alert):
    body = f"mine\n{fingerprint_marker(alert().fingerprint)}\n"
    double.page_size = 1
    own = double.add_issue("of an earlier home", body)
    double.add_issue("quoted", f"> {fingerprint_marker(alert().fingerprint)}")
    double.add_issue("a stranger's", body, association="NONE")
    tracker.file(alert())
    tracker.file(alert(occurrence="run 2", summary="4 columns", when=alert().when + timedelta(hours=1)))
    tell_all(double, tracker)
    assert len(double.issues) == 3 and len(double.texts(own["number"])) == 1


def test_an_issue_that_a_person_deleted_is_opened_anew(double, tracker, alert):
    tracker.file(alert())
    tell_all(double, tracker)
    double.deleted.add(1)
    del double.issues[1]
    tracker.file(alert(occurrence="run 2", summary="4 columns", when=alert().when + timedelta(hours=1)))
    tell_all(double, tracker)
    assert list(double.issues) == [2] and "4 columns" in double.texts(2)[0]


@pytest.mark.parametrize(
    ("answer", "seconds", "words"),
    [
        ((503, {}, {"message": "busy"}), 60, "status 503"),
        ((500, {}, {}), 60, "status 500"),
        ((429, {"retry-after": "600"}, {"message": "wait"}), 600, "limits our requests"),
        ((403, {"retry-after": "900"}, {"message": "You have exceeded a secondary rate limit"}), 900, "limits"),
        ((403, {}, {"message": "You have exceeded a secondary rate limit"}), 60, "limits"),
        (
            (403, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "RESET"}, {"message": "API rate limit exceeded"}),
            1800,
            "limits",
        ),
        ("refuse", 60, "cannot be reached"),
        ((401, {}, {"message": "Bad credentials"}), 60, "NETHICAL_GITHUB_TOKEN"),
        ((403, {}, {"message": "Resource not accessible by personal access token"}), 60, "Issues: read and write"),
        ((404, {}, {"message": "Not Found"}), 60, "no such repository"),
        ((410, {}, {"message": "Issues are disabled for this repo"}), 60, "switched off"),
        ((301, {"location": "http://elsewhere.example/repos/a/b"}, {}), 60, "github:owner/watched"),
    ],
)
def test_what_fails_waits_for_as_long_as_was_asked_and_is_told_then(double, tracker, alert, answer, seconds, words):
    now = datetime.now(UTC).replace(microsecond=0)
    if isinstance(answer, tuple) and answer[1].get("x-ratelimit-reset"):
        answer = (answer[0], answer[1] | {"x-ratelimit-reset": str(int(time.time()) + seconds)}, answer[2])
    tracker.file(alert())
    double.fail("POST", f"/repos/{REPOSITORY}/issues", answer)
    told = tell(double, tracker, now)
    assert (told.delivered, told.waiting) == (0, 1)
    assert words in told.problem and "\n" not in told.problem and TOKEN not in told.problem
    wait = (datetime.fromisoformat(told.not_before) - now).total_seconds()
    assert seconds - 5 <= wait <= seconds + 5
    asked = len(double.requests)
    assert tell(double, tracker, now + timedelta(seconds=10)).problem == told.problem
    assert len(double.requests) == asked
    assert tell(double, tracker, now + timedelta(seconds=wait + 1)).delivered == 1
    assert len(double.issues) == 1


def test_a_target_that_stays_away_is_tried_ever_more_rarely(double, tracker, alert):
    tracker.file(alert())
    double.fail("GET", f"/repos/{REPOSITORY}", (502, {}, {}), times=20)
    now, waits = NOW, []
    for _ in range(9):
        told = tell(double, tracker, now)
        then = datetime.fromisoformat(told.not_before)
        waits.append((then - now) / timedelta(minutes=1))
        now = then
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert tell(double, tracker, NOW, patient=False).problem, "a person who asks is not made to wait"


@pytest.mark.parametrize(
    "answer",
    [(422, {}, {"message": "Validation Failed"}), (403, {}, {"message": "Unable to comment: issue is locked"})],
)
def test_a_change_that_is_never_taken_holds_up_no_other(double, tracker, alert, answer):
    tracker.file(alert())
    tell_all(double, tracker)
    tracker.file(alert(occurrence="run 2", summary="4 columns", when=alert().when + timedelta(hours=1)))
    tracker.file(alert(check="another"))
    double.fail("POST", f"/repos/{REPOSITORY}/issues/1/comments", answer)
    told = tell(double, tracker)
    assert (told.delivered, told.waiting) == (1, 0) and told.problem
    assert len(double.issues) == 2
    # What was told since does not hide it.
    tracker.file(alert(check="a third"))
    later = tell(double, tracker)
    assert (later.delivered, later.problem, later.refused) == (1, "", 1)
    assert later.last_refusal == told.problem and "1 never taken" in str(later) and told.problem in str(later)


@pytest.mark.parametrize("days", [3, -400], ids=["ahead", "behind"])
def test_what_was_sent_with_a_wrong_clock_is_not_sent_twice(double, tracker, alert, days):
    """GitHub dates what it is given by its own clock."""
    wrong = datetime.now(UTC) + timedelta(days=days)
    tracker.outbox(target_of(double).name).state()
    tracker.file(alert(when=wrong))
    double.fail("POST", f"/repos/{REPOSITORY}/issues", "drop")
    tell(double, tracker)
    tell(double, tracker, patient=False)
    assert len(double.issues) == 1
    tracker.file(alert(when=wrong + timedelta(hours=1), occurrence="run 2", summary="4 columns"))
    double.fail("POST", f"/repos/{REPOSITORY}/issues/1/comments", "drop")
    tell(double, tracker, patient=False)
    tell(double, tracker, patient=False)
    assert tell(double, tracker, patient=False).waiting == 0
    assert len(double.issues) == 1 and len(double.texts()) == 1


def test_an_issue_whose_label_somebody_took_away_is_found(double, tracker, alert):
    tracker.file(alert(when=datetime.now(UTC)))
    double.fail("POST", f"/repos/{REPOSITORY}/issues", "drop")
    tell(double, tracker)
    double.issues[1]["labels"] = []
    tell(double, tracker, patient=False)
    assert len(double.issues) == 1


def test_a_label_that_somebody_makes_at_the_same_time_is_no_failure(double, tracker, alert):
    tracker.file(alert())
    double.labels = {"ml-ops", "data-quality", "needs-attention", "nethical"}
    double.fail("GET", f"/repos/{REPOSITORY}/labels/ml-ops", (404, {}, {"message": "Not Found"}))
    assert tell(double, tracker).delivered == 1


def test_much_that_waits_is_told_in_parts(double, tracker, alert):
    for number in range(AT_ONCE + 3):
        tracker.file(alert(check=f"check {number}"))
    assert tell(double, tracker).waiting == 3
    assert tell(double, tracker).waiting == 0
    titles = [double.issues[number]["body"].splitlines()[0] for number in sorted(double.issues)]
    assert [title.split("check ")[1].split(":")[0] for title in titles] == [str(n) for n in range(AT_ONCE + 3)]


def test_a_test_shows_that_everything_is_permitted(double):
    assert "issue 1 of owner/watched" in target_of(double).test()
    assert double.issues[1]["state"] == "closed"
    with pytest.raises(TargetRefusedError, match="NETHICAL_GITHUB_TOKEN"):
        target_of(double, token="another").test()
    double.fail("POST", f"/repos/{REPOSITORY}/issues", (503, {}, {}))
    with pytest.raises(TargetUnavailableError):
        target_of(double).test()


def test_the_token_is_kept_and_said_nowhere(double, tracker, alert):
    tracker.file(alert())
    double.fail("GET", f"/repos/{REPOSITORY}", (403, {}, {"message": f"token {TOKEN} may not"}))
    told = tell(double, tracker)
    assert TOKEN not in json.dumps(told.to_json())
    tell_all(double, tracker)
    assert all(TOKEN.encode() not in path.read_bytes() for path in tracker.path.parent.iterdir() if path.is_file())
    assert TOKEN not in repr(vars(target_of(double)).keys())


def test_a_repository_is_owner_and_name():
    for wrong in ("", "owner", "owner/", "https://github.com/owner/name", "owner/name/more", "own er/name"):
        with pytest.raises(SettingsError, match="owner/name"):
            GitHubTarget(wrong, TOKEN)


def test_the_issues_of_an_older_tracker_are_told_too(double, tmp_path, alert):
    older = LocalIssueTracker(tmp_path / "issues.sqlite")
    older.file(alert())
    with sqlite3.connect(older.path) as connection:
        # As version 3 left it.
        for table in ("held", "refusals", "deliveries", "targets", "changes"):
            connection.execute(f"DROP TABLE {table}")
        for column in ("acknowledged_at", "acknowledged_by"):
            connection.execute(f"ALTER TABLE issues DROP COLUMN {column}")
        connection.execute("PRAGMA user_version = 3")
    connection.close()
    assert local_schema.SCHEMA_VERSION == 5
    tell_all(double, older)
    assert len(double.issues) == 1 and older.show(1).acknowledged_by == ""


def test_an_issue_that_was_given_to_another_repository_is_opened_anew(double, tracker, alert):
    tracker.file(alert())
    tell_all(double, tracker)
    double.moved.add(1)
    double.issues[1]["body"] = "it is somewhere else"
    tracker.file(alert(occurrence="run 2", summary="4 columns", when=alert().when + timedelta(hours=1)))
    tell_all(double, tracker)
    assert sorted(double.issues) == [1, 2] and "4 columns" in double.texts(2)[0] and double.texts(1) == []


def test_an_issue_that_is_locked_is_closed_all_the_same(double, tracker, alert):
    tracker.file(alert())
    tell_all(double, tracker)
    tracker.close(1, "mended", "person")
    locked = (403, {}, {"message": "Unable to create comment because issue is locked."})
    double.fail("POST", f"/repos/{REPOSITORY}/issues/1/comments", locked)
    assert "locked" in tell(double, tracker).problem
    assert double.issues[1]["state"] == "closed" and not tell(double, tracker).waiting


def test_a_clock_that_was_wrong_silences_no_target(double, tracker, alert):
    tracker.file(alert())
    double.fail("GET", f"/repos/{REPOSITORY}", (502, {}, {}))
    assert tell(double, tracker, NOW + timedelta(days=365)).waiting == 1
    assert tell(double, tracker, NOW).delivered == 1


@pytest.mark.parametrize("reset", ["99999999999999", "0"])
def test_a_limit_without_a_moment_is_waited_for_all_the_same(double, tracker, alert, reset):
    tracker.file(alert())
    limited = (403, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": reset}, {"message": "API rate limit exceeded"})
    double.fail("GET", f"/repos/{REPOSITORY}", limited)
    now = datetime.now(UTC)
    told = tell(double, tracker, now)
    wait = datetime.fromisoformat(told.not_before) - now
    assert "limits" in told.problem and timedelta(0) <= wait <= timedelta(days=1, seconds=5)
