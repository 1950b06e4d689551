from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest

from nethical_assets.core.alerts import (
    IssueNotFoundError,
    IssueTracker,
    LocalIssueTracker,
    TrackerError,
    local,
    local_rows,
)
from nethical_assets.core.ground.errors import BusyError, IntegrityError
from tests.processes import in_child


def again(alert, number, **changes):
    when = alert().when + timedelta(hours=number)
    return alert(occurrence=f"run {number}", when=when, summary=f"{number} columns miss values", **changes)


def test_it_is_an_issue_tracker(tracker):
    backend: IssueTracker = tracker
    assert backend.list() == ()


def test_first_occurrence_opens_an_issue(tracker, alert):
    issue = tracker.file(alert())
    assert (issue.number, issue.state, issue.occurrences) == (1, "open", 1)
    assert issue.title == "Dataset Validation Issues: nslkdd - 2026-03-01"
    assert issue.labels == ("ml-ops", "data-quality", "needs-attention")
    assert issue.comments == () and issue.created_at == "2026-03-01T12:00:00+00:00"
    assert tracker.show(1) == tracker.find(alert().fingerprint) == issue
    assert json.loads(json.dumps(issue.to_json()))["severity"] == "medium"


def test_a_recurrence_counts_and_comments_only_when_it_says_something_new(tracker, alert):
    tracker.file(alert())
    assert tracker.file(alert(occurrence="run 2")).comments == ()
    issue = tracker.file(again(alert, 3))
    assert issue.occurrences == 3 and len(issue.comments) == 1
    assert "3 columns miss values" in issue.comments[0].body
    assert issue.title.endswith("2026-03-01") and issue.updated_at > issue.created_at


def test_an_occurrence_filed_twice_counts_once_even_after_closing(tracker, alert):
    tracker.file(alert())
    assert tracker.file(alert()).occurrences == 1
    tracker.close(1, "mended", "steward")
    assert tracker.file(alert()).state == "closed"


def test_closing_takes_reason_and_actor_and_a_recurrence_reopens(tracker, alert):
    tracker.file(alert(severity="critical"))
    closed = tracker.close(1, "restored from the mirror", "ada")
    assert (closed.state, closed.closed_by, closed.close_reason) == ("closed", "ada", "restored from the mirror")
    assert closed.closed_at and closed.comments[-1].body == "Closed: restored from the mirror"
    assert tracker.close(1, "again", "bob") == closed
    reopened = tracker.file(again(alert, 5))
    assert (reopened.number, reopened.state, reopened.occurrences) == (1, "open", 2)
    assert reopened.closed_at == reopened.closed_by == reopened.close_reason == ""
    assert reopened.severity == "medium"
    assert [comment.body.split()[0] for comment in reopened.comments] == ["Closed:", "Reopened:", "Seen"]


def test_severity_only_rises_while_open(tracker, alert):
    assert tracker.file(alert(severity="low")).severity == "low"
    assert tracker.file(again(alert, 2, severity="high")).severity == "high"
    assert tracker.file(again(alert, 3)).severity == "high"


def test_listing_by_state_and_label(tracker, alert):
    for kind in ("drift", "data_quality", "regression"):
        tracker.file(alert(kind=kind))
    tracker.close(2, "done", "ada")
    numbers = lambda **query: [issue.number for issue in tracker.list(**query)]  # noqa: E731
    assert numbers() == [1, 2, 3] and numbers(state="open") == [1, 3] and numbers(state="closed") == [2]
    assert numbers(label="regression") == [3] and numbers(state="open", label="ml-ops") == [1, 3]
    assert numbers(label="ml") == []


def test_comments_are_sanitised(tracker, alert):
    tracker.file(alert())
    comment = tracker.comment(1, "see <script> @team password=abc", "ada@example.org").comments[0]
    assert "<" not in comment.body and "abc" not in comment.body and "@team" not in comment.body
    assert "example" not in comment.actor


def test_unknown_numbers(tracker):
    for call in (tracker.show, lambda n: tracker.comment(n, "x", "a"), lambda n: tracker.close(n, "x", "a")):
        with pytest.raises(IssueNotFoundError, match="no issue 7"):
            call(7)
    assert tracker.find("0" * 64) is None


FILER = """
import sys
from pathlib import Path
from tests_alert import make_alert
from nethical_assets.core.alerts import LocalIssueTracker
tracker, who = LocalIssueTracker(Path(sys.argv[1])), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
for number in range(int(sys.argv[3])):
    tracker.file(make_alert(occurrence=f"{who} {number}", summary=f"{who} {number}"))
"""


def start_filer(tmp_path: Path, tracker: LocalIssueTracker, who: str, count: int) -> subprocess.Popen[bytes]:
    (tmp_path / "tests_alert.py").write_bytes((Path(__file__).parent / "conftest.py").read_bytes())
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])}
    arguments = [sys.executable, "-c", FILER, str(tracker.path), who, str(count)]
    process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
    assert process.stdout.readline() == b"ready\n"
    return process


def test_processes_filing_the_same_new_problem_at_once_give_one_issue(tmp_path, tracker):
    processes = [start_filer(tmp_path, tracker, who, 15) for who in ("a", "b", "c")]
    for process in processes:
        process.stdin.write(b"go\n")
        process.stdin.flush()
    for process in processes:
        with process:
            assert process.wait(timeout=60) == 0
    (issue,) = tracker.list()
    assert issue.occurrences == 45 and len(issue.comments) == 44


def test_threads_share_one_tracker(tracker, alert):
    failures = []

    def work(who):
        try:
            for number in range(5):
                tracker.file(alert(subject=f"dataset {number}", occurrence=who))
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(f"thread {n}",)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert [issue.occurrences for issue in tracker.list()] == [6] * 5


def test_killing_a_filer_leaves_a_consistent_tracker(tmp_path, tracker, alert):
    for attempt in range(3):
        with start_filer(tmp_path, tracker, f"filer {attempt}", 100_000) as process:
            process.stdin.write(b"go\n")
            process.stdin.flush()
            time.sleep(0.4)
            process.send_signal(signal.SIGKILL)
        (issue,) = tracker.list()
        assert issue.occurrences == len(issue.comments) + 1
    assert tracker.file(alert(occurrence="afterwards")).occurrences == issue.occurrences + 1


@pytest.mark.parametrize("junk", [b"not a database " * 100, b"SQLite format 3\x00" + b"\xff" * 5000])
def test_a_damaged_file_is_one_clear_line(tracker, alert, junk):
    tracker.path.parent.mkdir()
    tracker.path.write_bytes(junk)
    for call in (tracker.list, lambda: tracker.file(alert())):
        with pytest.raises(IntegrityError, match=r"issues\.sqlite: the issue tracker is damaged") as caught:
            call()
        assert "\n" not in str(caught.value)
    assert tracker.path.read_bytes() == junk


def test_damage_in_the_middle_is_found_not_hidden(tracker, alert):
    for number in range(200):
        tracker.file(alert(subject=f"dataset {number}", occurrence="x" * 200))
    with sqlite3.connect(tracker.path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    data = bytearray(tracker.path.read_bytes())
    for page in range(1, len(data) // 4096):
        data[page * 4096 : page * 4096 + 64] = b"\xff" * 64
    tracker.path.write_bytes(bytes(data))
    with pytest.raises(IntegrityError, match="damaged"):
        tracker.list()


def test_a_newer_schema_is_left_alone(tracker, alert):
    tracker.file(alert())
    with sqlite3.connect(tracker.path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(IntegrityError, match="schema version 99"):
        tracker.list()


def test_a_tracker_locked_for_long_says_so(tracker, alert, monkeypatch):
    tracker.file(alert())
    monkeypatch.setattr(local, "_BUSY_SECONDS", 0.1)
    blocker = sqlite3.connect(tracker.path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(BusyError, match="locked"):
            tracker.file(alert(occurrence="run 2"))
        assert tracker.list()[0].occurrences == 1
    finally:
        blocker.close()
    assert tracker.file(alert(occurrence="run 2")).occurrences == 2


def test_a_folder_that_cannot_be_is_one_clear_line(tmp_path, alert):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(TrackerError, match="cannot use the issue tracker"):
        LocalIssueTracker(tmp_path / "file" / "issues.sqlite").file(alert())
    (tmp_path / "folder").mkdir()
    with pytest.raises(TrackerError, match="cannot use the issue tracker"):
        LocalIssueTracker(tmp_path / "folder").list()


def reads(tracker, alert):
    return tracker.list(), tracker.find(alert().fingerprint), tracker.position("reader")


def test_reading_writes_nothing_also_where_nothing_was_ever_filed(tracker, alert):
    assert reads(tracker, alert) == ((), None, None)
    with pytest.raises(IssueNotFoundError):
        tracker.show(1)
    assert not tracker.path.parent.exists()

    tracker.record([alert()], reader="reader", position="here")
    files = {path: path.stat().st_mtime_ns for path in tracker.path.parent.iterdir()}
    issues, found, position = reads(tracker, alert)
    assert issues == (found,) == (tracker.show(1),) and position == "here"
    assert {path: path.stat().st_mtime_ns for path in tracker.path.parent.iterdir()} == files


def test_a_tracker_that_cannot_be_written_can_be_read(alert):
    with tempfile.TemporaryDirectory() as folder:
        tracker = LocalIssueTracker(Path(folder) / "alerts" / "issues.sqlite")
        tracker.record([alert()], reader="reader", position="here")
        filed = reads(tracker, alert)

        def read_as_somebody_else():
            if os.geteuid() == 0:  # whom no permission stops
                os.setuid(65_534)
            assert reads(tracker, alert) == filed
            with pytest.raises(TrackerError, match="cannot use the issue tracker"):
                tracker.file(again(alert, 2))

        Path(folder).chmod(0o755)
        tracker.path.chmod(0o444)
        tracker.path.parent.chmod(0o555)
        try:
            in_child(read_as_somebody_else)
        finally:
            tracker.path.parent.chmod(0o700)


def test_a_failure_inside_a_transaction_leaves_nothing(tracker, alert, monkeypatch):
    tracker.file(alert())
    monkeypatch.setattr(local_rows, "render_recurrence", lambda alert: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        tracker.file(again(alert, 2))
    monkeypatch.undo()
    assert tracker.show(1).occurrences == 1
    assert tracker.file(again(alert, 2)).occurrences == 2
