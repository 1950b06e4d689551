from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest

from nethical_assets.core.alerts import Alert, LocalIssueTracker
from nethical_assets.core.ground.errors import BusyError, SettingsError
from nethical_assets.core.ground.storage import exclusive_lock
from nethical_assets.home.deliveries import deliver_all, deliver_quietly, targets

TOKEN = "github_pat_for_a_test"
SECRET = "whsec_" + base64.b64encode(b"k" * 24).decode()
GITHUB = {"NETHICAL_GITHUB_REPOSITORY": "owner/watched", "NETHICAL_GITHUB_TOKEN": TOKEN}
WEBHOOK = {"NETHICAL_WEBHOOK_URL": "https://receiver.example/secret-part", "NETHICAL_WEBHOOK_SECRET": SECRET}


def test_nothing_is_told_elsewhere_unless_the_environment_says_so():
    assert targets({}) == ()
    assert targets({"NETHICAL_GITHUB_REPOSITORY": "", "NETHICAL_WEBHOOK_URL": ""}) == ()


def test_the_targets_that_the_environment_names():
    names = [target.name for target in targets(GITHUB | WEBHOOK)]
    assert names[0] == "github:owner/watched" and names[1].startswith("webhook:") and len(names) == 2
    slack = {"NETHICAL_WEBHOOK_URL": "http://127.0.0.1:9/hook", "NETHICAL_WEBHOOK_FORM": "slack"}
    assert len(targets(slack)) == 1


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        (GITHUB | {"NETHICAL_GITHUB_TOKEN": ""}, "NETHICAL_GITHUB_TOKEN is not; set both"),
        (GITHUB | {"NETHICAL_GITHUB_REPOSITORY": "watched"}, "owner/name"),
        (GITHUB | {"NETHICAL_GITHUB_URL": "http://github.example/api/v3"}, "not encrypted"),
        (GITHUB | {"NETHICAL_GITHUB_URL": "github.example"}, "no address"),
        (WEBHOOK | {"NETHICAL_WEBHOOK_URL": "http://receiver.example/secret-part"}, "not encrypted"),
        (WEBHOOK | {"NETHICAL_WEBHOOK_URL": "https://[secret-part"}, "no address"),
        (WEBHOOK | {"NETHICAL_WEBHOOK_URL": "ftp://receiver.example/secret-part"}, "no address"),
        (WEBHOOK | {"NETHICAL_WEBHOOK_FORM": "teams"}, "allowed are standard, slack"),
        (WEBHOOK | {"NETHICAL_WEBHOOK_SECRET": ""}, "NETHICAL_WEBHOOK_SECRET is not set"),
        (WEBHOOK | {"NETHICAL_WEBHOOK_SECRET": "too short"}, "9 bytes"),
    ],
)
def test_a_wrong_variable_is_one_line_without_secrets(environment, words, tmp_path):
    with pytest.raises(SettingsError) as refused:
        targets(environment)
    said = str(refused.value)
    assert words in said and "\n" not in said
    assert TOKEN not in said and "secret-part" not in said and "too short" not in said


class _Recorded:
    name = "recorded"

    def __init__(self):
        self.sent = []

    def send(self, delivery):
        self.sent.append(delivery.change)
        return "1"


@pytest.fixture
def tracker(tmp_path):
    tracker = LocalIssueTracker(tmp_path / "alerts" / "issues.sqlite")
    tracker.file(Alert("data_quality", "raw/nslkdd", "schema", "a column is missing", datetime.now(UTC), "run 1"))
    return tracker


def test_one_process_at_a_time_tells(tracker, tmp_path):
    target = _Recorded()
    with exclusive_lock(tmp_path / "alerts" / "delivery.lock", waiting_seconds=1, what="a test"):
        assert deliver_all(tmp_path, tracker, [target]) == ()
    assert target.sent == []
    assert [told.delivered for told in deliver_all(tmp_path, tracker, [target])] == [1]
    assert target.sent == ["opened"]
    assert deliver_all(tmp_path, tracker, []) == ()


def test_a_person_hears_that_another_process_tells(tracker, tmp_path, monkeypatch):
    monkeypatch.setattr("nethical_assets.home.deliveries._PERSON_WAITS_SECONDS", 0.1)
    held = exclusive_lock(tmp_path / "alerts" / "delivery.lock", waiting_seconds=1, what="a test")
    with held, pytest.raises(BusyError, match="delivery of alerts"):
        deliver_all(tmp_path, tracker, [_Recorded()], patient=False)


def test_what_is_done_on_the_side_fails_in_words(tracker, tmp_path, monkeypatch):
    assert deliver_quietly(tmp_path, tracker) == []
    monkeypatch.setenv("NETHICAL_GITHUB_REPOSITORY", "owner/watched")
    (line,) = deliver_quietly(tmp_path, tracker)
    assert line.startswith("not told elsewhere: NETHICAL_GITHUB_REPOSITORY is set and")
    monkeypatch.setenv("NETHICAL_GITHUB_TOKEN", TOKEN)
    monkeypatch.setenv("NETHICAL_GITHUB_URL", "http://127.0.0.1:9")
    (line,) = deliver_quietly(tmp_path, tracker)
    assert (
        line == "github:owner/watched: 0 delivered, 1 waiting; github:owner/watched cannot be reached (ConnectionError)"
    )
    assert TOKEN not in line


class _Broken(_Recorded):
    name = "broken"

    def send(self, delivery):
        raise ValueError("quoted from an answer")


def test_what_nobody_expected_of_one_target_stops_no_other(tracker, tmp_path):
    target = _Recorded()
    broken, told = deliver_all(tmp_path, tracker, [_Broken(), target])
    assert "ValueError" in broken.problem and "quoted from" not in broken.problem and broken.waiting == 1
    assert datetime.fromisoformat(broken.not_before) > datetime.now(UTC)
    assert told.delivered == 1 and target.sent == ["opened"]


def test_a_wrong_variable_of_one_target_stops_no_other():
    problems = []
    (target,) = targets(GITHUB | WEBHOOK | {"NETHICAL_WEBHOOK_FORM": "teams"}, problems=problems)
    assert target.name == "github:owner/watched"
    assert len(problems) == 1 and "NETHICAL_WEBHOOK_FORM" in problems[0]
