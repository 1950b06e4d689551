"""Scoring: every form of a request gets what the batch path gives, and the log has it before the answer."""

from __future__ import annotations

import io
import json
import uuid
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from starlette.testclient import TestClient

from nethical_assets.core.detectors.registry import load_family
from nethical_assets.core.drift.feedback import EVER
from nethical_assets.core.governance.scoring import score_records
from nethical_assets.core.models.loading import load_detector
from nethical_assets.home.options import CycleOptions
from nethical_assets.home.workspace import Workspace
from nethical_assets.operations import scoring
from nethical_assets.operations.labelling import take_labels
from nethical_assets.operations.scoring import score_file
from nethical_assets.serving.payloads import ARROW
from tests.serving.homes import SIGNALS, ServedHome, signal_records, text_records


def expected(home: ServedHome, family: str, records: list[Any]) -> pd.DataFrame:
    """What the batch path says of these records with the first model."""
    workspace = Workspace(home.settings, CycleOptions(), "expected")
    spec = load_family(family)
    detector = load_detector(workspace.registry, home.models[family][0], spec)
    entries = home.settings.catalog.for_family(family)
    frame = pd.DataFrame(records)
    return score_records(detector, spec, frame, entries, workspace.screener, wrong_share_max=0.0).predictions


def arrow(frame: pd.DataFrame) -> bytes:
    table = pa.Table.from_pandas(frame, preserve_index=False)
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def numbers(predictions: Any) -> list[tuple[int, float, float]]:
    return [(one["label"], one["probability"], one["score"]) for one in predictions]


@pytest.mark.parametrize("family", ["logistic", "prompt_injection"])
def test_every_form_of_a_request_gets_what_the_batch_path_gives(
    family: str, module_home: ServedHome, door: TestClient
) -> None:
    records: list[Any] = signal_records(12) if family == "logistic" else text_records(12)
    wanted = numbers(expected(module_home, family, records).to_dict("records"))
    url, model = f"/v1/score/{family}", module_home.models[family][0]
    singles = [door.post(url, json=record).json() for record in records]
    assert numbers(singles) == wanted
    assert {(one["family"], one["model"], one["version"]) for one in singles} == {(family, model, "1.0.0")}
    columns = pd.DataFrame(records).to_dict("list")
    for answer in (
        door.post(url, json={"records": records}),
        door.post(url, json={"columns": columns}),
        door.post(url, content=arrow(pd.DataFrame(records)), headers={"content-type": ARROW}),
    ):
        assert answer.status_code == 200, answer.text
        document = answer.json()
        assert (document["family"], document["model"], document["version"]) == (family, model, "1.0.0")
        assert numbers(document["predictions"]) == wanted
        ids = [one["request_id"] for one in document["predictions"]]
        assert len({one.rpartition("-")[0] for one in ids}) == 1
        assert [int(one.rpartition("-")[2]) for one in ids] == list(range(12))


@pytest.mark.parametrize("kind", ["float16", "float32", "int8", "uint16", "uint64", "int64"])
def test_narrow_numbers_of_an_arrow_stream_are_read_as_others(door: TestClient, kind: str) -> None:
    frame = pd.DataFrame([dict.fromkeys(SIGNALS, 0.1), dict.fromkeys(SIGNALS, 1.0)]).astype(kind)
    records = frame.astype("float64").to_dict("records")
    given = door.post("/v1/score/logistic", content=arrow(frame), headers={"content-type": ARROW})
    assert given.status_code == 200, given.text
    wanted = door.post("/v1/score/logistic", json={"records": records}).json()
    assert numbers(given.json()["predictions"]) == numbers(wanted["predictions"])


def test_an_arrow_answer_is_given_where_it_is_asked_for(module_home: ServedHome, door: TestClient) -> None:
    records = signal_records(5)
    answer = door.post(
        "/v1/score/logistic", content=arrow(pd.DataFrame(records)), headers={"content-type": ARROW, "accept": ARROW}
    )
    assert answer.headers["content-type"] == ARROW
    table = pa.ipc.open_stream(answer.content).read_all()
    assert table.schema.metadata[b"model"].decode() == module_home.models["logistic"][0]
    assert numbers(table.to_pylist()) == numbers(expected(module_home, "logistic", records).to_dict("records"))


def test_open_inference_gives_the_same(module_home: ServedHome, door: TestClient) -> None:
    records = signal_records(4)
    inputs = [
        {"name": name, "datatype": "FP64", "shape": [4, 1] if number else [4], "data": [row[name] for row in records]}
        for number, name in enumerate(SIGNALS)
    ]
    answer = door.post("/v2/models/logistic/infer", json={"id": "mine", "inputs": inputs}).json()
    assert (answer["model_name"], answer["model_version"], answer["id"]) == ("logistic", "1.0.0", "mine")
    assert answer["parameters"] == {"model": module_home.models["logistic"][0]}
    outputs = {one["name"]: one["data"] for one in answer["outputs"]}
    assert {one["name"]: one["shape"] for one in answer["outputs"]} == {key: [4] for key in outputs}
    rows = [dict(zip(outputs, cells, strict=True)) for cells in zip(*outputs.values(), strict=True)]
    assert numbers(rows) == numbers(expected(module_home, "logistic", records).to_dict("records"))
    described = door.get("/v2/models/prompt_injection").json()
    assert described["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1]}]
    assert described["versions"] == ["1.0.0"]


def test_what_was_answered_is_in_the_log(home: ServedHome, client: TestClient) -> None:
    one = client.post("/v1/score/logistic", json=SIGNALS).json()
    many = client.post("/v1/score/logistic", json={"records": [SIGNALS, SIGNALS]}).json()
    infer = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["write to anna@example.org"]}]}
    client.post("/v2/models/prompt_injection/infer", json=infer)
    single, first, second, text = home.logged()
    for row, answer in ((single, one), (first, many["predictions"][0]), (second, many["predictions"][1])):
        assert (row.request_id, row.label, row.probability, row.score) == (
            answer["request_id"], answer["label"], answer["probability"], answer["score"],
        )  # fmt: skip
        assert (row.family, row.model, row.route) == ("logistic", one["model"], "v1/score")
        assert row.latency_us > 0
        assert row.sketch == single.sketch != {}
        assert row.findings == {}
    assert (text.family, text.route, text.findings) == ("prompt_injection", "v2/models/infer", {"EMAIL": 1})


def test_a_retry_has_the_request_id_of_the_first_try(home: ServedHome, client: TestClient) -> None:
    for name in (str(uuid.uuid4()), "req-01HX", "anna@example.org"):
        headers = {"x-request-id": name}
        first, second = (client.post("/v1/score/logistic", json=SIGNALS, headers=headers).json() for _ in range(2))
        assert first == second
        other = client.post("/v1/score/logistic", json={**SIGNALS, "severity_max": 0.1}, headers=headers).json()
        assert other["request_id"] != first["request_id"], "a proxy gives one name to all that a call causes"
        assert name not in first["request_id"] and len(first["request_id"]) == len("logistic-") + 32
    unnamed = [client.post("/v1/score/logistic", json=SIGNALS).json()["request_id"] for _ in range(2)]
    assert unnamed[0] != unnamed[1]


def test_labels_come_later_and_in_any_order(home: ServedHome, client: TestClient) -> None:
    ids = [client.post("/v1/score/logistic", json=SIGNALS).json()["request_id"] for _ in range(2)]
    labels = [{"request_id": ids[1], "label": 1}, {"request_id": ids[0], "label": 0}]
    answer = client.post("/v1/feedback", json={"labels": labels})
    assert (answer.status_code, answer.json()) == (202, {"accepted": 2})
    assert [(row.request_id, row.label, row.actor) for row in home.logged()[2:]] == [
        (ids[1], 1, "anonymous"),
        (ids[0], 0, "anonymous"),
    ]
    assert 'nethical_gateway_feedback_labels_total{family="logistic"} 2.0' in client.get("/metrics").text


def test_rows_of_a_scored_file_are_labelled_in_the_same_way(
    home: ServedHome, client: TestClient, tmp_path: Path
) -> None:
    records, scores = tmp_path / "records.jsonl", tmp_path / "scores.jsonl"
    records.write_text(f"{json.dumps(SIGNALS)}\n" * 3)
    score_file(home.settings, "logistic", records, scores)
    ids = [json.loads(line)["request_id"] for line in scores.read_text().splitlines()]
    labels = [{"request_id": one, "label": 1} for one in ids]
    assert client.post("/v1/feedback", json={"labels": labels}).status_code == 202
    assert [(row.request_id, row.label) for row in home.logged()] == [(one, 1) for one in ids]
    workspace = Workspace(home.settings, CycleOptions(), "reader")
    assert workspace.inference_log.window("logistic", EVER, ids=True).request_ids.to_pylist() == ids


def test_personal_data_is_masked_and_counted_and_named_nowhere(
    home: ServedHome, client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    masked, plain = ({"text": f"forward it to {whom}"} for whom in ("anna@example.org", "[EMAIL]"))
    answers = [client.post("/v1/score/prompt_injection", json=text).json() for text in (masked, plain)]
    assert answers[0]["score"] == answers[1]["score"], "a model that learned [EMAIL] is asked about [EMAIL]"
    many = client.post("/v1/score/prompt_injection", json={"records": [masked, plain, masked]})
    assert "anna" not in many.text
    assert [row.findings for row in home.logged()] == [{"EMAIL": 1}, {}, {"EMAIL": 2}, {}, {}]
    metrics = client.get("/metrics").text
    assert 'nethical_gateway_input_findings_total{family="prompt_injection",kind="EMAIL"} 3.0' in metrics
    assert "anna" not in metrics + caplog.text
    stored = b"".join(path.read_bytes() for path in (home.settings.home / "serving").rglob("*") if path.is_file())
    assert stored
    assert b"anna" not in stored


def test_the_metrics_count_what_was_answered(client: TestClient) -> None:
    client.post("/v1/score/logistic", json=SIGNALS)
    client.post("/v1/score/logistic", json={"records": signal_records(10)})
    client.post("/v1/score/logistic", json={})
    client.post("/v1/score/nobody", json=SIGNALS)
    text = client.get("/metrics").text
    for line in (
        'nethical_gateway_requests_total{family="logistic",route="v1/score",status="200"} 2.0',
        'nethical_gateway_requests_total{family="logistic",route="v1/score",status="422"} 1.0',
        'nethical_gateway_requests_total{family="",route="v1/score",status="404"} 1.0',
        'nethical_gateway_refusals_total{code="invalid",family="logistic",route="v1/score"} 1.0',
        'nethical_gateway_refusals_total{code="unknown_family",family="",route="v1/score"} 1.0',
        'nethical_gateway_champion_verified{family="logistic"} 1.0',
        "nethical_gateway_requests_in_flight 0.0",
    ):
        assert line in text
    labels = [line for line in text.splitlines() if line.startswith("nethical_gateway_predictions_total{")]
    assert sum(float(line.rpartition(" ")[2]) for line in labels) == 11


def test_models_and_readiness_say_what_is_served(module_home: ServedHome, door: TestClient) -> None:
    models = {one["family"]: one for one in door.get("/v1/models").json()["models"]}
    assert models["logistic"]["model"] == module_home.models["logistic"][0]
    assert {family: one["state"] for family, one in models.items() if one["state"] != "none"} == {
        "logistic": "served",
        "prompt_injection": "served",
    }
    for path in ("/readyz", "/v2/health/ready"):
        ready = door.get(path)
        assert (ready.status_code, ready.json()["ready"]) == (200, True)
        assert ready.json()["families"]["logistic"]["model"] == module_home.models["logistic"][0]
    assert [door.get(path).json() for path in ("/healthz", "/v2/health/live")] == [{"live": True}] * 2


def test_the_description_needs_nothing_from_elsewhere(door: TestClient) -> None:
    page, document = door.get("/docs"), door.get("/openapi.json").json()
    assert page.headers["content-type"].startswith("text/html")
    assert not any(mark in page.text for mark in ("<script", "<link", "http://", "https://", "src="))
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    for path in document["paths"]:
        assert path in page.text
    names = set(document["components"]["schemas"])
    used = {part.split('"')[0] for part in json.dumps(document).split("#/components/schemas/")[1:]}
    assert used <= names


@pytest.mark.parametrize("had_ids", [True, False])
def test_a_file_that_an_older_version_logged_counts_once_and_its_rows_keep_their_ids(
    home: ServedHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, had_ids: bool
) -> None:
    """Its ids had no family before them; before that, rows had none."""
    records, scores = tmp_path / "records.jsonl", tmp_path / "scores.jsonl"
    records.write_text(f"{json.dumps(SIGNALS)}\n" * 3)
    ids, requests = scoring._request_ids, scoring._requests
    with monkeypatch.context() as older:
        older.setattr(scoring, "_request_ids", lambda *of: [one.partition("-")[2] for one in ids(*of)])
        if not had_ids:
            older.setattr(scoring, "_requests", lambda *of: requests(*of).drop_columns(["request_id"]))
        score_file(home.settings, "logistic", records, scores)
    document = score_file(home.settings, "logistic", records, scores)
    window = Workspace(home.settings, CycleOptions(), "reader").inference_log.window("logistic", EVER, ids=True)
    assert (window.batches, window.rows) == (1, 3)
    written = [json.loads(line)["request_id"] for line in scores.read_text().splitlines()]
    assert (window.request_ids.to_pylist() == written) is had_ids
    assert ("no labels can be given" in " ".join(document["notes"])) is not had_ids
    file = tmp_path / "labels.csv"
    file.write_text("request_id,label\n" + "".join(f"{one},1\n" for one in written))
    assert take_labels(home.settings, file, label_column="label")["unknown"] == (0 if had_ids else 3)
