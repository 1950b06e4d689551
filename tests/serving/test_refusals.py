"""Every door that refuses: its status, its code, the field and the reason, and never the value."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import struct
import threading
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from nethical_assets.core.drift import segments
from nethical_assets.core.governance.scoring import RecordScorer
from nethical_assets.core.governance.values import Reading, find_in
from nethical_assets.core.ground.errors import SegmentError
from nethical_assets.home.options import CycleOptions
from nethical_assets.home.workspace import Workspace
from nethical_assets.serving import gateway as gateways
from nethical_assets.serving.application import application
from nethical_assets.serving.payloads import ARROW, _series, check_records
from nethical_assets.serving.refusals import RefusedError
from nethical_assets.serving.repeated_names import repeated_name
from tests.serving.conftest import make_gateway, post, serving
from tests.serving.homes import SIGNALS, ServedHome, signal_records
from tests.serving.test_scoring import arrow

SCORE, INFER = "/v1/score/logistic", "/v2/models/logistic/infer"
SECRET = "anna-4111111111111111"
JSON = {"content-type": "application/json"}


def refused(answer: Any, status: int, code: str, field: str = "", **headers: str) -> str:
    """The reason of a refusal, which has to be this one and to say nothing of the value."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert list(answer.json()) == ["error"]
    error = answer.json()["error"]
    assert (error["code"], error["field"]) == (code, field), error
    assert error["reason"]
    assert SECRET not in answer.text
    for name, value in headers.items():
        assert answer.headers[name.replace("_", "-")] == value
    return str(error["reason"])


def nested(inner: Any) -> Any:
    """Lists and objects of what there is."""
    return st.one_of(st.lists(inner), st.dictionaries(st.text(), inner))


def _is_member(body: bytes, at: int) -> bool:
    """Whether the first member of an object begins there."""
    if body[at - 1 : at] != b"{" or body[at : at + 1] != b'"':
        return False
    try:
        json.loads(body[:at] + b'"":1,' + body[at:])
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({**SIGNALS, "severity_max": SECRET}, "severity_max"),
        ({**SIGNALS, "severity_max": [SECRET]}, "severity_max"),
        ({**SIGNALS, "severity_max": {"a": SECRET}}, "severity_max"),
        ({**SIGNALS, "severity_max": True}, "severity_max"),
        ({**SIGNALS, "severity_max": 10**400}, None),
        ({**SIGNALS, "another": SECRET}, "another"),
        ({"violation_count": 1.0}, "severity_max"),
        ({}, "duration"),
        ([SIGNALS], ""),
        (SECRET, ""),
        ({"records": []}, ""),
        ({"records": [SIGNALS, SECRET]}, "records[1]"),
        ({"records": [SIGNALS, {**SIGNALS, "more": SECRET}]}, "records[1].more"),
        ({"records": [SIGNALS, {"severity_max": 0.1}]}, "records[1].context_risk"),
        ({"records": [SIGNALS, {**SIGNALS, "severity_max": SECRET}]}, "severity_max"),
        ({"columns": {}}, ""),
        ({"columns": {"severity_max": []}}, ""),
        ({"columns": {"severity_max": SECRET}}, "columns.severity_max"),
        ({"columns": {"severity_max": [1, 2], "violation_count": [1]}}, "violation_count"),
    ],
)
def test_a_record_that_is_none_is_422_with_field_and_reason(door: TestClient, body: Any, field: str | None) -> None:
    answer = door.post(SCORE, json=body)
    refused(answer, 422, "invalid", answer.json()["error"]["field"] if field is None else field)


def test_a_document_that_is_no_object_is_422(door: TestClient) -> None:
    for body in (b"null", b"1", b"true"):
        refused(door.post(SCORE, content=body, headers=JSON), 422, "invalid")


@pytest.mark.parametrize("value", ["plain", "with: a colon", 'quoted \\" : "', "\u003a"])
def test_a_field_that_is_there_twice_is_422(door: TestClient, value: str) -> None:
    signals = json.dumps(SIGNALS)
    whole = '"text": ' + json.dumps(value)
    tensor = json.dumps({"name": "text", "datatype": "BYTES", "shape": [1], "data": [value]})
    label = json.dumps({"request_id": f"logistic-{'0' * 32}", "label": 1})
    texts = "/v1/score/prompt_injection"
    for path, body, field in (
        (SCORE, f'{signals[:-1]}, "severity_max": 0.1}}', "severity_max"),
        (SCORE, f'{{"severity\\u005fmax": 0.1, {signals[1:]}', "severity_max"),
        (SCORE, f'{{"records": [{signals}, {signals[:-1]}, "severity_max": 0.1}}]}}', "severity_max"),
        (SCORE, '{"columns": {"a": [1], "a": [2]}}', "a"),
        (texts, f"{{{whole}, {whole}}}", "text"),
        (texts, f'{{"records": [{{{whole}}}], "records": [{{{whole}}}]}}', "records"),
        (texts, f'{{"records": [{{{whole}}}, {{"other": {{{whole}, {whole}}}}}]}}', "text"),
        ("/v1/feedback", f'{{"labels": [{label[:-1]}, "label": 0}}]}}', "label"),
        ("/v2/models/prompt_injection/infer", f'{{"inputs": [{tensor[:-1]}, "shape": [1]}}]}}', "shape"),
    ):
        json.loads(body)
        refused(door.post(path, content=body, headers=JSON), 422, "invalid", field)
    for path, body in (
        (texts, f"{{{whole}}}"),
        (texts, f'{{"records": [{{{whole}}}, {{{whole}}}]}}'),
        ("/v2/models/prompt_injection/infer", f'{{"inputs": [{tensor}], "parameters": {{"a": {{"a": 1}}}}}}'),
    ):
        assert door.post(path, content=body, headers=JSON).status_code == 200, body


@given(st.recursive(st.one_of(st.none(), st.floats(allow_nan=False), st.text()), nested, max_leaves=12), st.data())
def test_a_name_that_is_there_twice_is_found_wherever_it_is(document: Any, data: st.DataObject) -> None:
    body = msgspec.json.encode(document)
    assert repeated_name(body, document) is None
    objects = [at for at in range(len(body)) if _is_member(body, at)]
    if not objects:
        return
    at = data.draw(st.sampled_from(objects))
    name = json.JSONDecoder().raw_decode(body[at:].decode())[0]
    twice = body[:at] + json.dumps(name).encode() + b":1," + body[at:]
    assert repeated_name(twice, msgspec.json.decode(twice)) == name


@pytest.mark.parametrize("body", [{"text": 3.5}, {"text": None}, {"text": ""}, {"text": ["a"]}, {"text": False}, {}])
def test_a_text_that_is_none_is_422(door: TestClient, body: Any) -> None:
    answer = door.post("/v1/score/prompt_injection", json=body)
    if body == {"text": 3.5}:
        assert answer.status_code == 200, "a number is the text it is written as, as in files"
    else:
        refused(answer, 422, "invalid", "text")


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[1,", b"\xff\xfe", b'{"a": NaN}', b'{"a": "\\ud800"}', b"[" * 100_000, b"nothing " * 9]
)
@pytest.mark.parametrize("path", [SCORE, INFER, "/v1/feedback"])
def test_what_is_no_json_is_400(door: TestClient, body: bytes, path: str) -> None:
    refused(door.post(path, content=body, headers=JSON), 400, "malformed")


def test_what_is_no_arrow_stream_is_400_and_what_cannot_be_read_422(door: TestClient) -> None:
    whole = arrow(pd.DataFrame(signal_records(3)))

    def sent(body: bytes) -> Any:
        return door.post(SCORE, content=body, headers={"content-type": ARROW})

    for body in (b"", b"ARROW1", whole[:100], whole[:-20], whole[8:]):
        refused(sent(body), 400, "malformed")
    refused(sent(arrow(pd.DataFrame({"severity_max": pd.Categorical(["a"])}))), 422, "invalid", "severity_max")
    refused(sent(arrow(pd.DataFrame({"severity_max": []}, dtype="float64"))), 422, "invalid")
    table = pa.table({name: [0.5] * 9000 for name in SIGNALS})
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table)
    assert "uncompressed" in refused(sent(sink.getvalue()), 422, "invalid")


def test_the_offsets_of_an_arrow_stream_are_not_trusted(door: TestClient) -> None:
    body = bytearray(arrow(pd.DataFrame({"text": ["a text that is long enough"] * 4})))
    at = body.index((26).to_bytes(8, "little"))  # the second of the offsets of large strings
    body[at : at + 8] = (1 << 40).to_bytes(8, "little")
    answer = door.post("/v1/score/prompt_injection", content=bytes(body), headers={"content-type": ARROW})
    refused(answer, 400, "malformed")


@pytest.mark.parametrize("kind", ["", "text/plain", "application/json; charset=latin-1", "application/xml"])
@pytest.mark.parametrize("path", [SCORE, INFER, "/v1/feedback"])
def test_another_content_type_is_415(door: TestClient, path: str, kind: str) -> None:
    refused(door.post(path, content=b"{}", headers={"content-type": kind}), 415, "media_type", "content-type")
    encoded = door.post(path, content=b"{}", headers={**JSON, "content-encoding": "gzip"})
    refused(encoded, 415, "media_type", "content-encoding")


def test_what_is_not_there_is_404_and_another_method_405(door: TestClient) -> None:
    assert SECRET not in refused(door.post(f"/v1/score/{SECRET}", json=SIGNALS), 404, "unknown_family", "family")
    refused(door.post("/v1/score/anomaly", json=SIGNALS), 404, "no_model", "family")
    refused(door.get("/v2/models/anomaly"), 404, "no_model", "family")
    for path in ("/", "/v1", f"/{SECRET}", "/v1/score", "/v1/score/logistic/", "/docs/"):
        refused(door.get(path), 404, "not_found")
    refused(door.get(SCORE), 405, "method_not_allowed", allow="POST")
    for path in ("/v1/models", "/healthz", "/readyz", "/metrics", "/docs", "/openapi.json"):
        refused(door.post(path), 405, "method_not_allowed")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"inputs": []}, "inputs"),
        ({"inputs": [{"name": "a"}]}, "inputs[0]"),
        ({"inputs": SECRET}, "inputs"),
        ({"shape": [2]}, "inputs[0].data"),
        ({"shape": [1, 2]}, "inputs[0].shape"),
        ({"shape": [-1]}, "inputs[0].shape[0]"),
        ({"datatype": "FP128"}, "inputs[0].datatype"),
        ({"datatype": "INT64"}, "inputs[0].data"),
        ({"data": [SECRET]}, "inputs[0].data"),
        ({"data": [True]}, "inputs[0].data"),
        ({"name": "severity_max"}, "inputs[1].name"),
        ({"name": "another"}, "violation_count"),
    ],
)
def test_open_inference_is_as_strict(door: TestClient, changes: dict[str, Any], field: str) -> None:
    inputs = [{"name": name, "datatype": "FP64", "shape": [1], "data": [0.5]} for name in SIGNALS]
    document: dict[str, Any] = {"inputs": [{**inputs[0], **changes}, *inputs[1:]]}
    if "inputs" in changes:
        document = changes
    refused(door.post(INFER, json=document), 422, "invalid", field)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, ""),
        ({"labels": []}, "labels"),
        ({"labels": [{"request_id": SECRET, "label": 1}]}, "labels[0].request_id"),
        ({"labels": [{"request_id": f"nobody-{'0' * 32}", "label": 1}]}, "labels[0].request_id"),
        ({"labels": [{"request_id": f"logistic-{'0' * 32}", "label": 2}]}, "labels[0].label"),
        ({"labels": [{"request_id": f"logistic-{'0' * 32}", "label": True}]}, "labels[0].label"),
        ({"labels": [{"request_id": f"logistic-{'0' * 32}", "label": 1, "who": SECRET}]}, "labels[0]"),
        ({"labels": [], "more": SECRET}, None),
    ],
)
def test_labels_are_read_as_strictly(module_home: ServedHome, door: TestClient, body: Any, field: str | None) -> None:
    answer = door.post("/v1/feedback", json=body)
    refused(answer, 422, "invalid", answer.json()["error"]["field"] if field is None else field)
    assert not any("nobody" in str(row) or hasattr(row, "actor") for row in module_home.logged())


def test_a_name_of_a_request_that_is_a_story_is_refused(door: TestClient) -> None:
    headers = {"x-request-id": SECRET + "x" * 200}
    refused(door.post(SCORE, json=SIGNALS, headers=headers), 422, "invalid", "x-request-id")


def test_columns_that_share_their_bytes_are_refused(door: TestClient) -> None:
    sink = pa.BufferOutputStream()
    batch = pa.record_batch({name: pa.array(np.arange(5000.0)) for name in "abc"})
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    body = bytearray(sink.getvalue().to_pybytes())
    size = 5000 * 8
    for offset in (size, 2 * size):
        at = body.rindex(struct.pack("<qq", offset, size))
        body[at : at + 8] = struct.pack("<q", 0)
    at = body.index(struct.pack("<q", 3 * size))
    body[at : at + 8] = struct.pack("<q", size)
    shared = bytes(body[: -8 - 2 * size] + body[-8:])
    assert len(pa.ipc.open_stream(shared).read_all()) == 5000, "a third of the bytes, and the library reads them"
    refused(door.post(SCORE, content=shared, headers={"content-type": ARROW}), 400, "malformed")


def test_too_many_records_are_refused_before_anything_is_made_of_them() -> None:
    for document in ({"records": [{}] * 4}, {"columns": {"a": [1.0], "b": [1.0] * 4}}):
        with pytest.raises(RefusedError) as caught:
            check_records(document, 3)
        assert caught.value.status == 413
    check_records({"records": [{}] * 3}, 3)


def test_a_payment_card_is_found_whatever_stands_beside_it(module_home: ServedHome) -> None:
    screener = Workspace(module_home.settings, CycleOptions(), "look").screener
    card = 4111111111111111.0
    for cells in ([card], [card, None], [card, "text"], [card, 0.5], [6304000000000000000, 0.5]):
        found = find_in(_series(cells).rename("a"), Reading.VALUES, screener, alone=True)
        assert found.findings.names("kind").tolist() == ["CREDIT_CARD"], cells


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        ([1, 2], "int64"),
        ([1, (1 << 64) - 1], "uint64"),
        ([-1, 1 << 70], "object"),
        ([1, 0.5], "float64"),
        ([1 << 53, 0.5], "float64"),
        ([(1 << 53) + 1, 0.5], "object"),
        ([10**400, 0.5], "object"),
        ([0.5, 1e300], "float64"),
        ([True, 1], "object"),
        ([None, 1.0], "object"),
        (["a", "b"], "str"),
    ],
)
def test_cells_become_what_holds_them_exactly(cells: list[Any], kind: str) -> None:
    made = _series(cells)
    assert str(made.dtype) == kind and made.tolist() == cells


def test_more_than_a_request_may_hold_is_413(make_home: Callable[..., ServedHome]) -> None:
    with serving(make_home(serving={"body_bytes_max": 2048, "batch_records_max": 3})) as client:
        assert client.post(SCORE, json={"records": [SIGNALS] * 3}).status_code == 200
        refused(client.post(SCORE, json={"records": [SIGNALS] * 4}), 413, "too_large")
        refused(client.post(SCORE, json={"columns": {name: [0.5] * 4 for name in SIGNALS}}), 413, "too_large")
        labels = [{"request_id": f"logistic-{'0' * 32}", "label": 1}] * 4
        refused(client.post("/v1/feedback", json={"labels": labels}), 413, "too_large")
        small = arrow(pd.DataFrame({"severity_max": [0.5] * 4}))
        refused(client.post(SCORE, content=small, headers={"content-type": ARROW}), 413, "too_large")
        for body in (b"x" * 2049, iter([b"x" * 1500, b"x" * 1500])):  # declared, and in pieces
            refused(client.post(SCORE, content=body, headers=JSON), 413, "too_large", connection="close")
        refused(client.post(SCORE, content=b"x" * 2048, headers=JSON), 400, "malformed")


def ask(app: Any, receive: Any, path: str = SCORE) -> tuple[int, Any]:
    """One request without a client: what ``receive`` gives is its body."""
    return asyncio.run(post(app, path, None, receive=receive))


def test_a_body_that_does_not_arrive_is_408(make_home: Callable[..., ServedHome]) -> None:
    gateway = make_gateway(make_home(serving={"body_seconds": 0.1}))
    gateway.champions.look()
    parts = [{"type": "http.request", "body": b'{"a": ', "more_body": True}]

    async def slow() -> Any:
        if parts:
            return parts.pop()
        await asyncio.sleep(60)

    status, document = ask(application(gateway), slow)
    assert (status, document["error"]["code"]) == (408, "timeout")
    gateway.close()


def test_a_client_that_left_is_counted_and_not_answered(home: ServedHome) -> None:
    gateway = make_gateway(home)
    gateway.champions.look()

    async def left() -> Any:
        return {"type": "http.disconnect"}

    assert ask(application(gateway), left) == (0, None)
    assert b'status="499"} 1.0' in gateway.metrics.text()
    gateway.close()


def test_more_than_a_worker_takes_at_once_is_503_and_nothing_is_lost(make_home: Callable[..., ServedHome]) -> None:
    home = make_home(serving={"requests_in_flight_max": 2, "batches_in_flight_max": 1, "retry_after_seconds": 7})
    with serving(home) as client:
        gateway = client.app.router.routes[0].app._in_flight  # type: ignore[attr-defined]
        gateway.count = 2
        assert "too many" in refused(client.post(SCORE, json=SIGNALS), 503, "busy", retry_after="7")
        assert client.get("/healthz").status_code == 200, "whoever watches is answered all the same"
        gateway.count = 0
        assert client.post(SCORE, json=SIGNALS).status_code == 200
    assert len(home.logged()) == 1


def test_batches_have_a_bound_of_their_own(make_home: Callable[..., ServedHome]) -> None:
    gateway = make_gateway(make_home(serving={"batches_in_flight_max": 1}))
    gateway.champions.look()
    app = application(gateway)

    async def body() -> Any:
        return {"type": "http.request", "body": json.dumps({"records": [SIGNALS]}).encode()}

    gateway._begin_batch()
    assert ask(app, body)[1]["error"]["code"] == "busy"
    gateway._end_batch()
    assert ask(app, body)[0] == 200
    gateway.close()


def test_what_takes_too_long_is_503_and_not_in_the_log_and_the_next_is_answered(
    make_home: Callable[..., ServedHome],
) -> None:
    home = make_home(serving={"answer_seconds": 0.2, "batches_in_flight_max": 1, "retry_after_seconds": 3})
    gateway = make_gateway(home)
    gateway.champions.look()
    app, going_on = application(gateway), threading.Event()
    score_many = RecordScorer.score_many

    def slowly(self: RecordScorer, frame: pd.DataFrame) -> Any:
        assert going_on.wait(30)
        return score_many(self, frame)

    slow_text = {"text": "write to anna@example.org"}
    labels = {"labels": [{"request_id": f"logistic-{'0' * 32}", "label": 1}] * 300}

    async def work() -> None:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(RecordScorer, "score_many", slowly)
            patched.setattr(RecordScorer, "score", lambda self, record: slowly(self, pd.DataFrame([record])))
            late = await asyncio.gather(
                post(app, SCORE, {"records": [SIGNALS]}),
                post(app, "/v1/score/prompt_injection", slow_text),
                post(app, SCORE, SIGNALS),
            )
            assert [status for status, _ in late] == [503, 503, 200]
            assert {document["error"]["code"] for _, document in late[:2]} == {"late"}
            assert (await post(app, "/v1/feedback", labels))[1]["error"]["code"] == "busy", "its thread is at it still"
            going_on.set()
        while gateway._batches_in_flight:
            await asyncio.sleep(0.01)
        for path, body, status in ((SCORE, {"records": [SIGNALS]}, 200), ("/v1/feedback", labels, 202)):
            assert (await post(app, path, body))[0] == status

    asyncio.run(work())
    gateway.close()
    assert len(home.logged()) == 1 + 1 + 300, "nothing of what was given up"


def test_the_bytes_that_a_worker_holds_have_a_bound(make_home: Callable[..., ServedHome]) -> None:
    """Many large bodies at once do not add up to all the memory there is; small ones are taken all the same."""
    home = make_home(serving={"body_bytes_max": 200_000, "batches_in_flight_max": 2})
    with serving(home) as client:
        in_flight = client.app.router.routes[0].app._in_flight  # type: ignore[attr-defined]
        large = {"text": "word " * 30_000}
        assert client.post("/v1/score/prompt_injection", json=large).status_code == 200
        assert (in_flight.count, in_flight.bytes) == (0, 0), "what was answered is held no more"
        in_flight.bytes = 390_000
        refused(client.post("/v1/score/prompt_injection", json=large), 503, "busy", connection="close")
        assert client.post(SCORE, json=SIGNALS).status_code == 200
        assert in_flight.bytes == 390_000


def test_what_the_log_cannot_hold_is_not_answered_as_scored(
    home: ServedHome, client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(self: Any, rows: Any) -> None:
        raise SegmentError("the folder: the rows were not logged; free space")

    with monkeypatch.context() as patched:
        patched.setattr(segments.SegmentWriter, "append", full)
        for body in (SIGNALS, {"records": [SIGNALS]}):
            refused(client.post(SCORE, json=body), 503, "log_unavailable", retry_after="1")
        labels = {"labels": [{"request_id": f"logistic-{'0' * 32}", "label": 1}]}
        refused(client.post("/v1/feedback", json=labels), 503, "log_unavailable")
    assert len([one for one in caplog.messages if "not logged" in one]) == 1, "told once, not for every request"
    assert client.post(SCORE, json=SIGNALS).status_code == 200
    assert len(home.logged()) == 1


def test_a_fault_of_the_gateway_is_told_by_kind_and_place_only(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*arguments: Any) -> Any:
        raise ValueError(f"could not convert {SECRET}")

    monkeypatch.setattr(gateways, "screen_numbers", fails)
    with caplog.at_level(logging.DEBUG):
        refused(client.post(SCORE, json=SIGNALS), 500, "unexpected")
    assert "unexpected ValueError at serving/gateway.py" in caplog.text
    assert SECRET not in caplog.text


def test_what_is_no_prediction_is_not_answered(
    home: ServedHome, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateways, "screen_numbers", lambda *numbers: {"malformed_probability": 1})
    refused(client.post(SCORE, json=SIGNALS), 500, "no_prediction")
    assert home.logged() == []
