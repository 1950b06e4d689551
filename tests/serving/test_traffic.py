"""Held-out rows of a champion, sent to a gateway that listens."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import uvicorn

from nethical_assets.core.detectors.registry import load_family
from nethical_assets.core.drift.segments import FeedbackRow, LoggedRow
from nethical_assets.core.ground.errors import DatasetError, NoChampionError, SettingsError
from nethical_assets.core.ground.parquet import put_table
from nethical_assets.home.options import CycleOptions
from nethical_assets.home.workspace import Workspace
from nethical_assets.operations.traffic import GatewayUnreachableError, Sent, Traffic, send_traffic
from nethical_assets.serving.api_keys import KeyRing, make_key
from nethical_assets.serving.application import application
from tests.core.models.conftest import manifest_of
from tests.serving.conftest import make_gateway
from tests.serving.homes import ServedHome, fit, promote

A_SECOND = Traffic(rate=40.0, seconds=1.0)


def nothing(sent: Sent) -> None:
    pass


@pytest.fixture
def held_out(home: ServedHome) -> ServedHome:
    """A home whose champion knows its splits."""
    workspace = Workspace(home.settings, CycleOptions(), "splits")
    frame = load_family("logistic").synthesise(120, np.random.default_rng(5))
    splits = put_table(workspace.objects, frame.assign(split=["train", "test"] * 60))
    files = fit("logistic", 7)
    model = workspace.registry.add(manifest_of(files, "logistic", training={"seed": 7, "splits": splits}), files)
    workspace.end()
    promote(home.settings, "logistic", model, "1.1.0")
    return home


@contextmanager
def listening(home: ServedHome, keys: KeyRing | None = None) -> Iterator[str]:
    server = uvicorn.Server(uvicorn.Config(application(make_gateway(home, keys)), port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 30.0
    while not server.started:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def test_rows_are_answered_and_labels_come_later(held_out: ServedHome) -> None:
    states: list[int] = []
    with listening(held_out) as url:
        traffic = Traffic(rate=40.0, seconds=1.0, label_delay=0.2)
        sent = send_traffic(held_out.settings, "logistic", url, traffic, lambda now: states.append(now.answered))
    document = sent.to_json()
    assert document["answered"] == document["labels"] == 40 and document["refused"] == {}
    assert document["accuracy"] > 0.8 and 0.0 < document["p50_milliseconds"] <= document["p99_milliseconds"]
    assert len(document["models"]) == 1 and states[0] == 1 and states[-1] == 40
    rows = held_out.logged()
    scored = {row.request_id: row for row in rows if isinstance(row, LoggedRow)}
    labels = [row for row in rows if isinstance(row, FeedbackRow)]
    assert len(scored) == len(labels) == 40 and {label.request_id for label in labels} == set(scored)


def test_shifted_rows_are_other_rows(held_out: ServedHome) -> None:
    shares = []
    with listening(held_out) as url:
        for shift in (0.0, 3.0):
            plan = Traffic(rate=60.0, seconds=1.0, shift=shift)
            shares.append(send_traffic(held_out.settings, "logistic", url, plan, nothing).to_json()["positive_rate"])
    assert shares[1] > shares[0] + 0.2


def test_a_gateway_with_keys_is_asked_with_one(held_out: ServedHome, monkeypatch: pytest.MonkeyPatch) -> None:
    key = make_key(["*"], not_before=None, expires=None, note="").key
    with listening(held_out, KeyRing({"NETHICAL_API_KEYS": key})) as url:
        with pytest.raises(GatewayUnreachableError, match="status 401") as refused:
            send_traffic(held_out.settings, "logistic", url, A_SECOND, nothing)
        monkeypatch.setenv("NETHICAL_GATEWAY_KEY", key)
        assert send_traffic(held_out.settings, "logistic", url, A_SECOND, nothing).answered == 40
    assert key not in str(refused.value)


def test_nobody_there_and_no_champion_are_one_line_each(held_out: ServedHome) -> None:
    with pytest.raises(GatewayUnreachableError, match="nethical serve"):
        send_traffic(held_out.settings, "logistic", "http://127.0.0.1:9", A_SECOND, nothing)
    with pytest.raises(SettingsError, match="no address"):
        send_traffic(held_out.settings, "logistic", "127.0.0.1:9", A_SECOND, nothing)
    with pytest.raises(NoChampionError):
        send_traffic(held_out.settings, "heuristic", "http://127.0.0.1:9", A_SECOND, nothing)


def test_a_request_that_is_refused_for_load_is_sent_again(
    held_out: ServedHome, make_answers: Callable[[list[tuple[int, dict[str, str]]]], str]
) -> None:
    busy = (503, {"retry-after": "0"})
    url = make_answers([busy, busy, (200, {}), (422, {}), (200, {})])
    sent = send_traffic(held_out.settings, "logistic", url, Traffic(rate=100.0, seconds=0.03), nothing)
    assert (sent.answered, dict(sent.refused)) == (2, {422: 1})


@pytest.fixture
def make_answers() -> Iterator[Callable[[list[tuple[int, dict[str, str]]]], str]]:
    servers: list[HTTPServer] = []

    def make(answers: list[tuple[int, dict[str, str]]]) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                status, headers = answers.pop(0)
                body = b'{"request_id": "a", "label": 1, "model": "sha256:a"}' if status == 200 else b"{}"
                self.send_response(status)
                for name, value in {**headers, "content-length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield make
    for server in servers:
        server.shutdown()
        server.server_close()


def test_what_was_answered_is_kept_with_ids_and_labels_where_that_is_asked_for(
    held_out: ServedHome, tmp_path: Path
) -> None:
    kept = tmp_path / "rows.csv"
    with listening(held_out) as url:
        traffic = Traffic(rate=40.0, seconds=0.5, shift=1.0, keep=kept)
        sent = send_traffic(held_out.settings, "logistic", url, traffic, nothing)
        with pytest.raises(DatasetError, match=r"\.parquet"):
            send_traffic(held_out.settings, "logistic", url, replace(traffic, keep=tmp_path / "rows.xlsx"), nothing)
    rows = pd.read_csv(kept)
    logged = [row for row in held_out.logged() if isinstance(row, LoggedRow)]
    assert len(rows) == sent.answered == len(logged) > 0
    assert rows["request_id"].tolist() == [row.request_id for row in logged]
    assert set(rows["label"]) <= {0, 1} and "kept" not in sent.to_json()
    inputs = load_family("logistic").inputs_of(rows, held_out.settings.catalog.for_family("logistic"))
    assert len(inputs) == len(rows)
