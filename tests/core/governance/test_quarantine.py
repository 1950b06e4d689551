from __future__ import annotations

import base64
import datetime
import json
from pathlib import Path

import pandas as pd
import pytest

from nethical_assets.core.governance import Screener, screen_frame
from nethical_assets.core.governance.quarantine import KEY_VARIABLE, QuarantineStore, quarantine_key
from nethical_assets.core.ground.errors import DatasetError, IntegrityError, SettingsError

NOW = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
KEY = bytes(range(32))
TEXT = "key -----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA\n-----END RSA PRIVATE KEY-----"


@pytest.fixture
def frame() -> pd.DataFrame:
    return pd.DataFrame({"row_id": ["aa1", "ab2", "b3"], "text": [TEXT, TEXT + " ", "fine"], "label": [1, 0, 0]})


@pytest.fixture
def quarantined(frame: pd.DataFrame, screener: Screener) -> pd.DataFrame:
    return screen_frame(frame, ["text"], screener).quarantined


@pytest.mark.parametrize("key", [None, KEY])
def test_a_row_goes_in_is_shown_and_decided_about(
    tmp_path: Path, frame: pd.DataFrame, quarantined: pd.DataFrame, screener: Screener, key: bytes | None
) -> None:
    store = QuarantineStore(tmp_path, key)
    events = store.add("logistic", quarantined, now=NOW)
    assert [event["event"] for event in events] == ["row_quarantined"] * 2
    assert store.add("logistic", quarantined, now=NOW) == []
    listed = store.entries("logistic")
    assert [(entry.row_id, entry.status, entry.reasons, entry.label) for entry in listed] == [
        ("aa1", "held", ("secrets.private_key",), "1"),
        ("ab2", "held", ("secrets.private_key",), "0"),
    ]
    assert store.show("logistic", "aa1") == {"row_id": "aa1", "text": TEXT, "label": 1}
    event = store.release("logistic", "aa", actor="dana", reason="a published example key", now=NOW)
    assert event["event"] == "quarantine_released"
    assert (event["actor"], event["decision_reason"], event["row_id"]) == ("dana", "a published example key", "aa1")
    assert store.confirm("logistic", "ab2", actor="dana", reason="real", now=NOW)["event"] == "quarantine_confirmed"
    assert store.released("logistic") == {"aa1"}
    assert [entry.row_id for entry in store.entries(status="confirmed")] == ["ab2"]
    following = screen_frame(frame, ["text"], screener, released=store.released("logistic"))
    assert following.frame["row_id"].tolist() == ["aa1", "b3"]
    assert "MIIE" not in json.dumps([events, event])


def test_with_a_key_nothing_readable_is_on_disk(tmp_path: Path, quarantined: pd.DataFrame) -> None:
    QuarantineStore(tmp_path, KEY).add("logistic", quarantined, now=NOW)
    content = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"MIIE" not in content
    assert b"PRIVATE KEY" not in content


def test_wrong_key_no_key_and_changed_bytes_are_told_apart(tmp_path: Path, quarantined: pd.DataFrame) -> None:
    QuarantineStore(tmp_path, KEY).add("logistic", quarantined, now=NOW)
    with pytest.raises(SettingsError, match=KEY_VARIABLE):
        QuarantineStore(tmp_path).show("logistic", "aa1")
    with pytest.raises(IntegrityError, match="another"):
        QuarantineStore(tmp_path, bytes(32)).show("logistic", "aa1")
    first, second = sorted(tmp_path.rglob("*.row"))
    first_bytes, second_bytes = first.read_bytes(), second.read_bytes()
    first.write_bytes(second_bytes)
    second.write_bytes(first_bytes)
    with pytest.raises(IntegrityError):  # a row cannot stand in for another
        QuarantineStore(tmp_path, KEY).show("logistic", "aa1")
    first.write_bytes(first_bytes[:-1] + bytes([first_bytes[-1] ^ 1]))
    second.unlink()
    for row in ("aa1", "ab2"):
        with pytest.raises(IntegrityError):
            QuarantineStore(tmp_path, KEY).show("logistic", row)


def test_decisions_need_a_row_an_actor_and_a_reason(tmp_path: Path, quarantined: pd.DataFrame) -> None:
    store = QuarantineStore(tmp_path)
    store.add("logistic", quarantined, now=NOW)
    with pytest.raises(DatasetError, match="is not in quarantine"):
        store.release("logistic", "zz", actor="dana", reason="r", now=NOW)
    with pytest.raises(DatasetError, match="more than one"):
        store.release("logistic", "a", actor="dana", reason="r", now=NOW)
    with pytest.raises(DatasetError, match="actor and a reason"):
        store.release("logistic", "aa1", actor=" ", reason="r", now=NOW)
    with pytest.raises(DatasetError, match="not allowed"):
        store.add("../escape", quarantined, now=NOW)
    assert store.released("logistic") == frozenset()


def test_rows_without_an_identifier_get_one_from_their_content(tmp_path: Path, quarantined: pd.DataFrame) -> None:
    store = QuarantineStore(tmp_path)
    anonymous = quarantined.drop(columns="row_id")
    assert len(store.add("logistic", anonymous, now=NOW)) == 2
    assert store.add("logistic", anonymous, now=NOW) == []


def test_a_broken_index_is_named(tmp_path: Path, quarantined: pd.DataFrame) -> None:
    store = QuarantineStore(tmp_path)
    store.add("logistic", quarantined, now=NOW)
    (tmp_path / "logistic.json").write_text("[{}]")
    with pytest.raises(IntegrityError, match=r"logistic\.json"):
        store.entries()


@pytest.mark.parametrize("value", [base64.b64encode(KEY).decode(), KEY.hex(), f" {KEY.hex()}\n"])
def test_the_key_comes_from_the_environment(value: str) -> None:
    assert quarantine_key({KEY_VARIABLE: value}) == KEY


def test_a_wrong_key_is_refused_without_repeating_it() -> None:
    assert quarantine_key({}) is None
    with pytest.raises(SettingsError) as caught:
        quarantine_key({KEY_VARIABLE: "hunter2"})
    assert "hunter2" not in str(caught.value)
    with pytest.raises(SettingsError, match="3 bytes"):
        QuarantineStore(Path(), b"abc")
