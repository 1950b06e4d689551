from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from nethical_assets.core.audit.events import EventType
from nethical_assets.core.ground.errors import BusyError
from nethical_assets.home.options import CycleOptions
from nethical_assets.home.workspace import Workspace
from nethical_assets.serving import log_keeping
from nethical_assets.serving.log_keeping import Sealing
from tests.serving.conftest import serving
from tests.serving.homes import SIGNALS, ServedHome

SCORE = "/v1/score/logistic"


def test_what_was_answered_is_sealed_once_when_the_gateway_ends(home: ServedHome) -> None:
    retried = {"x-request-id": "7b0c1a52-9b0e-4a53-8f0e-0d5a6f3f2f11"}
    with Sealing(home.settings, pytest.fail).going_on(), serving(home) as client:
        for headers in ({}, {}, retried, retried):
            assert client.post(SCORE, json=SIGNALS, headers=headers).status_code == 200
        answered = client.post(SCORE, json={"records": [SIGNALS] * 3}).json()
        label = {"labels": [{"request_id": answered["predictions"][0]["request_id"], "label": 1}]}
        assert client.post("/v1/feedback", json=label).status_code == 202
    assert home.logged() == [], "nothing is left behind"
    workspace = Workspace(home.settings, CycleOptions(), "look")
    window = workspace.inference_log.window("logistic", datetime.now(UTC) - timedelta(hours=1))
    assert window.rows == 6, "a request that was sent again is one"
    assert len(list(workspace.audit_log.find_events(event_type=EventType.BATCH_SCORED))) == 1


def test_why_nothing_is_sealed_is_said_once_until_it_works_again(
    make_home: Callable[..., ServedHome], monkeypatch: pytest.MonkeyPatch
) -> None:
    home = make_home(serving={"log_seal_seconds": 1.0})
    said: list[str] = []
    outcomes: list[Exception | None] = [BusyError("another seals"), BusyError("another seals"), None]
    outcomes += [BusyError("another seals"), ValueError("words of a row")]

    def seal(settings: Any) -> None:
        outcome = outcomes.pop(0)
        if outcome is not None:
            raise outcome

    monkeypatch.setattr(log_keeping, "seal_segments", seal)
    keeping = Sealing(home.settings, said.append)
    for _ in range(4):
        keeping._passes.once()
    with keeping.going_on():
        pass
    assert said[:2] == ["the inference log waits to be sealed: another seals"] * 2
    assert len(said) == 3 and "ValueError" in said[2] and "words of a row" not in said[2]
