from __future__ import annotations

import base64
import datetime
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from nethical_assets.core.governance.frames import screen_frame
from nethical_assets.core.governance.quarantine import (
    CONFIRMED,
    HELD,
    KEY_VARIABLE,
    RELEASED,
    QuarantineStore,
    quarantine_key,
)
from nethical_assets.core.governance.screener import Screener
from nethical_assets.core.governance.values import Reading
from nethical_assets.core.ground.digests import digest_bytes
from nethical_assets.core.ground.errors import DatasetError, IntegrityError, SettingsError

NOW = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
KEY = bytes(range(32))
TEXT = "key -----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA\n-----END RSA PRIVATE KEY-----"


def decide(store: QuarantineStore, row: str, status: str, reason: str) -> dict[str, Any]:
    """A decision, carried out as its act does."""
    said = store.decision("logistic", row, status, actor="dana", reason=reason, now=NOW)
    document = json.dumps(said).encode()
    for _ in range(2):
        store.decide(digest_bytes(document), document)
    return said


def released(store: QuarantineStore) -> frozenset[str]:
    return frozenset(entry.row_id for entry in store.entries("logistic", status=RELEASED))


@pytest.fixture
def frame() -> pd.DataFrame:
    return pd.DataFrame({"row_id": ["aa1", "ab2", "b3"], "text": [TEXT, TEXT + " ", "fine"], "label": [1, 0, 0]})


@pytest.fixture
def quarantined(frame: pd.DataFrame, screener: Screener) -> pd.DataFrame:
    return screen_frame(frame, {"text": Reading.PROSE}, screener).quarantined


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
    event = decide(store, "aa", RELEASED, "a published example key")
    assert event["event"] == "quarantine_released"
    assert (event["actor"], event["decision_reason"], event["row_id"]) == ("dana", "a published example key", "aa1")
    assert decide(store, "ab2", CONFIRMED, "real")["event"] == "quarantine_confirmed"
    assert released(store) == {"aa1"}
    assert [entry.row_id for entry in store.entries(status="confirmed")] == ["ab2"]
    following = screen_frame(frame, {"text": Reading.PROSE}, screener, released=released(store))
    assert following.frame["row_id"].tolist() == ["aa1", "b3"]
    assert "MIIEowIBAA" not in json.dumps([events, event])


def test_with_a_key_nothing_readable_is_on_disk(tmp_path: Path, quarantined: pd.DataFrame) -> None:
    QuarantineStore(tmp_path, KEY).add("logistic", quarantined, now=NOW)
    content = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"MIIEowIBAA" not in content
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
        store.decision("logistic", "zz", RELEASED, actor="dana", reason="r", now=NOW)
    with pytest.raises(DatasetError, match="more than one"):
        store.decision("logistic", "a", RELEASED, actor="dana", reason="r", now=NOW)
    with pytest.raises(DatasetError, match="actor and a reason"):
        store.decision("logistic", "aa1", RELEASED, actor=" ", reason="r", now=NOW)
    with pytest.raises(DatasetError, match="not allowed"):
        store.add("../escape", quarantined, now=NOW)
    assert released(store) == frozenset()


def test_a_decision_changes_nothing_before_it_is_carried_out(tmp_path: Path, quarantined: pd.DataFrame) -> None:
    store = QuarantineStore(tmp_path)
    store.add("logistic", quarantined, now=NOW)
    store.decision("logistic", "aa1", RELEASED, actor="dana", reason="r", now=NOW)
    assert released(store) == frozenset()


@pytest.mark.parametrize("document", [b"", b"{", b"[]", b"{}", b'{"family": "logistic", "row_id": "aa1"}'], ids=repr)
def test_what_is_no_decision_is_refused(tmp_path: Path, quarantined: pd.DataFrame, document: bytes) -> None:
    store = QuarantineStore(tmp_path)
    store.add("logistic", quarantined, now=NOW)
    with pytest.raises(IntegrityError, match="not a decision about a quarantined row"):
        store.decide(digest_bytes(document), document)
    assert {entry.status for entry in store.entries("logistic")} == {HELD}


def test_an_entry_that_shows_another_decision_than_it_names_is_refused(
    tmp_path: Path, quarantined: pd.DataFrame
) -> None:
    store = QuarantineStore(tmp_path)
    store.add("logistic", quarantined, now=NOW)
    said = decide(store, "aa1", CONFIRMED, "real")
    (entry,) = store.entries("logistic", status=CONFIRMED)
    store.check_decision(entry, json.dumps(said).encode())
    for forged in (replace(entry, status=RELEASED), replace(entry, row_id="ab2"), replace(entry, decided_at="")):
        with pytest.raises(IntegrityError, match="another decision than the one it names"):
            store.check_decision(forged, json.dumps(said).encode())


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
