"""Whatever is sent, the gateway answers it, and never with a fault of its own.

What belongs here: mutated bodies of every route, and what the description of the gateway promises (Schemathesis).
"""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import pandas as pd
import pytest

from nethical_assets.serving.application import application
from nethical_assets.serving.payloads import ARROW
from tests.serving.conftest import make_gateway
from tests.serving.homes import SIGNALS, ServedHome, text_records
from tests.serving.test_scoring import arrow
from tests.sweeping import cases

EXPECTED = {200, 202, 400, 404, 413, 415, 422}
PIECES = [
    b'"', b"{", b"}", b"[", b"]", b",", b":", b"null", b"true", b"-", b"1e999", b"0.0000000001", b"\\ud800", b"\\u0000",
    b"\xff", b"\xef\xbb\xbf", b"\x00", b"9" * 400, b"[" * 2000, b"records", b"columns", b'"text"', b"=cmd()", b"\\n",
]  # fmt: skip


def seeds() -> list[tuple[str, str, bytes]]:
    """Route, content type, and a body that is right."""
    tensor = {"name": "text", "datatype": "BYTES", "shape": [2], "data": ["one text", "another"]}
    numbers = [{"name": name, "datatype": "FP64", "shape": [1], "data": [0.5]} for name in SIGNALS]
    labels = {"labels": [{"request_id": f"logistic-{'0' * 32}", "label": 1}]}
    documents: list[tuple[str, Any]] = [
        ("/v1/score/logistic", SIGNALS),
        ("/v1/score/logistic", {"records": [SIGNALS] * 2}),
        ("/v1/score/logistic", {"columns": {name: [0.5, 1] for name in SIGNALS}}),
        ("/v1/score/prompt_injection", text_records(1)[0]),
        ("/v1/score/prompt_injection", {"records": text_records(2)}),
        ("/v1/feedback", labels),
        ("/v2/models/logistic/infer", {"inputs": numbers}),
        ("/v2/models/prompt_injection/infer", {"id": "x", "inputs": [tensor]}),
    ]
    found = [(path, "application/json", json.dumps(document).encode()) for path, document in documents]
    texts = pd.DataFrame(text_records(2))
    return [
        *found,
        ("/v1/score/logistic", ARROW, arrow(pd.DataFrame([SIGNALS] * 2))),
        ("/v1/score/prompt_injection", ARROW, arrow(texts)),
    ]


def mutated(body: bytes, chance: random.Random) -> bytes:
    """A body with a few of its bytes changed, cut out, doubled, or with something in between."""
    data = bytearray(body)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(5):
            case 0 if data:
                data[at % len(data)] = chance.randrange(256)
            case 1:
                del data[at : at + chance.randint(1, 30)]
            case 2:
                data[at:at] = chance.choice(PIECES)
            case 3:
                data[at:at] = data[at : at + chance.randint(1, 200)]
            case _ if data:
                data[at % len(data)] ^= 1 << chance.randrange(8)
    return bytes(data)


async def statuses(app: Any, requests: list[tuple[str, str, bytes]]) -> dict[int, int]:
    """How often each status was answered, many requests at a time."""
    counts: dict[int, int] = {}
    waiting = list(requests)

    async def client() -> None:
        while waiting:
            path, kind, body = waiting.pop()
            sent: list[Any] = []
            scope = {
                "type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"",
                "headers": [(b"content-type", kind.encode())], "root_path": "", "scheme": "http", "http_version": "1.1",
            }  # fmt: skip

            async def receive(body: bytes = body) -> Any:
                return {"type": "http.request", "body": body}

            async def send(message: Any, sent: list[Any] = sent) -> None:
                sent.append(message)

            await app(scope, receive, send)
            status = sent[0]["status"]
            assert status in EXPECTED, (status, path, body)
            if status >= 400:
                assert list(json.loads(sent[1]["body"])["error"]) == ["code", "field", "reason"]
            counts[status] = counts.get(status, 0) + 1

    await asyncio.gather(*(client() for _ in range(3)))
    return counts


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("count", cases(1500, more=[100_000]))
def test_mutated_bodies_break_nothing(count: int, module_home: ServedHome) -> None:
    chance, known = random.Random(20261130), seeds()
    requests = []
    for number in range(count):
        path, kind, body = known[number % len(known)]
        requests.append((path, kind, mutated(body, chance)))
    gateway = make_gateway(module_home)
    gateway.champions.look()
    before = len(module_home.logged())
    counts = asyncio.run(statuses(application(gateway), requests))
    gateway.close()
    assert sum(counts.values()) == count
    assert min(counts[200], counts[400], counts[422]) > count // 50, counts
    assert len(module_home.logged()) >= before + counts[200] + counts.get(202, 0)


@pytest.mark.slow
def test_the_description_is_kept(module_home: ServedHome) -> None:
    """What Schemathesis makes of ``/openapi.json`` is answered as the document says, and never with a 5xx."""
    import schemathesis
    from hypothesis import HealthCheck, Phase, given, settings
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

    gateway = make_gateway(module_home)
    gateway.champions.look()
    inner = application(gateway)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        """Lives as long as the test: the tool begins and ends an application for every request."""
        if scope["type"] != "lifespan":
            await inner(scope, receive, send)
            return
        for ended in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{ended}.complete"})

    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    checks = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
    seen, answered = set(), set()
    for operation in (result.ok() for result in schema.get_all_operations()):
        # What the document allows, and where there is a body what it does not.
        modes = (
            list(schemathesis.GenerationMode) if operation.method == "post" else [schemathesis.GenerationMode.POSITIVE]
        )
        for mode in modes:

            @settings(
                max_examples=25 if operation.method == "post" else 3,
                deadline=None,
                database=None,
                derandomize=True,
                phases=[Phase.explicit, Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.as_strategy(generation_mode=mode))
            def tried(case: Any) -> None:
                answered.add(case.call_and_validate(checks=checks).status_code)

            tried()
        seen.add((operation.method.upper(), operation.path))
    gateway.close()
    assert {path for _, path in seen} == set(schema.raw_schema["paths"]) - {"/openapi.json"}
    assert {200, 404, 422} <= answered
