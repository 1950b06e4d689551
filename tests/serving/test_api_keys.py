"""API keys: kept as digests, for families and times, several at once, and read again when they change."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from nethical_assets.core.detectors.registry import family_names
from nethical_assets.core.ground.errors import NethicalError, SettingsError
from nethical_assets.home.workspace import utc_now
from nethical_assets.serving.api_keys import (
    KEYS_FILE_VARIABLE,
    KEYS_VARIABLE,
    KeyRing,
    add_key,
    make_key,
)
from tests.serving.conftest import serving
from tests.serving.homes import SIGNALS, ServedHome

NOW = datetime(2026, 11, 30, tzinfo=UTC)
DAY = timedelta(days=1)
SCORE = "/v1/score/logistic"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def ring(path: Path) -> KeyRing:
    return KeyRing({KEYS_FILE_VARIABLE: str(path)})


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def test_the_file_holds_digests_for_its_owner_only(path: Path) -> None:
    made = [make_key(["logistic"]), make_key(["*"], note="whose")]
    for one in made:
        add_key(path, one.entry)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    text = path.read_text()
    assert [entry["families"] for entry in json.loads(text)["keys"]] == [["logistic"], ["*"]]
    for one in made:
        assert one.key not in text and one.key.split("_", 2)[2] not in text
        assert ring(path).find(one.key, NOW) == one.entry
    assert ring(path).find(f"{made[0].key[:-1]}{'A' if made[0].key[-1] != 'A' else 'B'}", NOW) is None
    assert ring(path).find("", NOW) is None
    assert not list(path.parent.glob(".partial-*"))


def test_a_key_holds_from_its_beginning_until_its_end(path: Path) -> None:
    made = make_key(["logistic"], not_before=NOW, expires=NOW + DAY)
    add_key(path, made.entry)
    found = [ring(path).find(made.key, NOW + shift) for shift in (-DAY / 2, 0 * DAY, DAY / 2, DAY)]
    assert [one is not None for one in found] == [False, True, True, False]
    with pytest.raises(SettingsError, match="never holds"):
        make_key(["logistic"], not_before=NOW, expires=NOW)


def test_keys_are_rotated_without_a_gap_and_damage_changes_nothing(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old, new = make_key(["logistic"]), make_key(["logistic"])
    add_key(path, old.entry)
    keys = ring(path)
    add_key(path, new.entry)
    assert keys.find(new.key, NOW) is None
    keys.look()
    assert keys.find(old.key, NOW) and keys.find(new.key, NOW)
    whole = path.read_text()
    for damaged in ("{", '{"keys": 3}', '{"keys": [{"id": "a"}]}', "", '{"keys": [], "more": 1}'):
        path.write_text(damaged)
        keys.look()
        keys.look()
        assert keys.find(old.key, NOW) and keys.find(new.key, NOW)
        with pytest.raises(SettingsError):
            ring(path)
    path.unlink()
    keys.look()
    assert keys.find(old.key, NOW)
    assert "stay as they were" in caplog.text
    document = json.loads(whole)
    path.write_text(json.dumps({"keys": document["keys"][1:]}))
    keys.look()
    assert keys.find(old.key, NOW) is None and keys.find(new.key, NOW)
    path.write_text(json.dumps({"keys": []}))
    keys.look()
    assert keys.find(new.key, NOW) is None and keys.required


@pytest.mark.parametrize(
    "change",
    [{"sha256": "abc"}, {"families": ["nobody"]}, {"expires": "2026-01-01T00:00:00"}, {"id": 3}, {"more": 1}],
)
def test_an_entry_that_is_none_is_refused_with_one_line(path: Path, change: dict[str, Any]) -> None:
    add_key(path, make_key(["logistic"]).entry)
    document = json.loads(path.read_text())
    document["keys"][0] |= change
    path.write_text(json.dumps(document))
    with pytest.raises(NethicalError) as refused:
        ring(path)
    assert "\n" not in str(refused.value)
    document["keys"] = [document["keys"][0]] * 2


def test_the_same_key_twice_is_refused(path: Path) -> None:
    entry = make_key(["logistic"]).entry
    add_key(path, entry)
    add_key(path, entry)
    with pytest.raises(SettingsError, match="twice"):
        ring(path)


def test_keys_come_from_the_environment_too() -> None:
    some, every = make_key(["*"]), make_key(["*"])
    keys = KeyRing({KEYS_VARIABLE: f"{some.key}=logistic,anomaly  {every.key}\n"})
    assert keys.required
    found = keys.find(some.key, NOW), keys.find(every.key, NOW)
    assert [one.families for one in found if one] == [("logistic", "anomaly"), ("*",)]
    with pytest.raises(SettingsError, match="item 2 is no key") as refused:
        KeyRing({KEYS_VARIABLE: f"{some.key} my-secret"})
    assert "my-secret" not in str(refused.value)


@pytest.fixture
def guarded(home: ServedHome, path: Path) -> Iterator[tuple[TestClient, dict[str, str]]]:
    """A client of a gateway that asks for keys, and keys by what they are for."""
    made = {name: make_key([name]) for name in ("logistic", "anomaly", "*")}
    made["past"] = make_key(["*"], expires=utc_now() - DAY)
    for one in made.values():
        add_key(path, one.entry)
    with serving(home, ring(path)) as client:
        yield client, {name: one.key for name, one in made.items()}


def test_whoever_has_no_key_that_holds_is_401(guarded: tuple[TestClient, dict[str, str]]) -> None:
    client, keys = guarded
    for headers in ({}, bearer("x"), bearer(keys["past"]), {"authorization": keys["*"]}, {"x-api-key": "x"}):
        for method, url in (
            ("POST", SCORE),
            ("POST", "/v1/feedback"),
            ("POST", "/v2/models/logistic/infer"),
            ("GET", "/v1/models"),
            ("GET", "/v2/models/logistic"),
            ("GET", "/metrics"),
        ):
            answer = client.request(method, url, headers=headers)
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthorised"), url
            assert answer.headers["www-authenticate"] == "Bearer"
    for url in ("/healthz", "/readyz", "/v2/health/live", "/v2/health/ready", "/openapi.json", "/docs"):
        assert client.get(url).status_code == 200


def test_whether_it_is_ready_is_told_to_all_and_what_is_served_to_keys(
    home: ServedHome, guarded: tuple[TestClient, dict[str, str]]
) -> None:
    client, keys = guarded
    for url in ("/readyz", "/v2/health/ready"):
        for headers in ({}, bearer("x"), bearer(keys["past"])):
            assert client.get(url, headers=headers).json() == {"ready": True, "families": {}}
        shown = client.get(url, headers=bearer(keys["logistic"])).json()["families"]
        assert shown == {"logistic": {"state": "served", "model": home.models["logistic"][0]}}
        assert set(client.get(url, headers=bearer(keys["*"])).json()["families"]) == set(family_names())


def test_a_key_is_for_its_families_only(home: ServedHome, guarded: tuple[TestClient, dict[str, str]]) -> None:
    client, keys = guarded
    for name, status in (("logistic", 200), ("*", 200), ("anomaly", 403)):
        for headers in (bearer(keys[name]), {"x-api-key": keys[name]}):
            answer = client.post(SCORE, json=SIGNALS, headers=headers)
            assert answer.status_code == status
            if status == 403:
                assert answer.json()["error"]["code"] == "forbidden"
            labels = {"labels": [{"request_id": f"logistic-{'0' * 32}", "label": 1}]}
            assert client.post("/v1/feedback", json=labels, headers=headers).status_code == (
                403 if status > 200 else 202
            )
    shown = client.get("/v1/models", headers=bearer(keys["anomaly"])).json()["models"]
    assert [one["family"] for one in shown] == ["anomaly"]
    actors = {row.actor for row in home.logged() if hasattr(row, "actor")}
    assert actors == {f"key:{keys[name].split('_')[1]}" for name in ("logistic", "*")}


def test_a_running_gateway_takes_a_new_key(guarded: tuple[TestClient, dict[str, str]], path: Path) -> None:
    client, _ = guarded
    made = make_key(["logistic"])
    add_key(path, made.entry)
    deadline = utc_now() + timedelta(seconds=30)
    while client.post(SCORE, json=SIGNALS, headers=bearer(made.key)).status_code != 200:
        assert utc_now() < deadline
    assert os.environ.get(KEYS_FILE_VARIABLE) is None
