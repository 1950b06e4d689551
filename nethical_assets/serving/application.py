"""The gateway's routes and its life.

What belongs here: which address answers what, in which form. What does not: what is done there (``gateway``).

Starlette routes and nothing more: a handler is an ASGI application of its own (``endpoints``), so that a request costs
no more than its body, its validation (msgspec) and its score.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial

import msgspec
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from nethical_assets.serving import open_inference
from nethical_assets.serving.answers import (
    AliveAnswer,
    FamilyState,
    FeedbackAnswer,
    ManyAnswer,
    ModelAnswer,
    ModelsAnswer,
    OneAnswer,
    ReadyAnswer,
    RecordAnswer,
)
from nethical_assets.serving.description import describe, page
from nethical_assets.serving.endpoints import Call, Endpoint, Handler, Reply
from nethical_assets.serving.gateway import Gateway, ScoredMany
from nethical_assets.serving.metrics import CONTENT_TYPE
from nethical_assets.serving.payloads import ARROW, JSON, check_records, frame_of, frame_of_arrow, is_batch, media_type
from nethical_assets.serving.refusals import RefusedError, unexpected

_STATUS_CODES = {404: "not_found", 405: "method_not_allowed"}
_NOTHING_FROM_ELSEWHERE = ((b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'"),)
_encode = msgspec.json.Encoder().encode


def application(gateway: Gateway) -> Starlette:
    """The ASGI application of one worker."""

    @asynccontextmanager
    async def life(app: Starlette) -> AsyncIterator[None]:
        await gateway.begin()
        try:
            yield
        finally:
            gateway.close()

    description = describe(gateway.settings)

    def route(path: str, method: str, handler: Handler, *, bounded: bool) -> Route:
        name = path.replace("/{family}", "").strip("/")
        endpoint = Endpoint(name, handler, gateway.limits, gateway.metrics, gateway.in_flight, bounded=bounded)
        return Route(path, endpoint, methods=[method], name=f"{method} {path}")

    posts: dict[str, Handler] = {
        "/v1/score/{family}": partial(_score, gateway),
        "/v1/feedback": partial(_feedback, gateway),
        "/v2/models/{family}/infer": partial(open_inference.infer, gateway),
    }
    gets: dict[str, Handler] = {
        "/v1/models": partial(_models, gateway),
        "/healthz": _alive,
        "/readyz": partial(_ready, gateway),
        "/metrics": partial(_metrics, gateway),
        "/openapi.json": partial(_document, Reply(_encode(description))),
        "/docs": partial(
            _document,
            Reply(
                page(description),
                content_type="text/html; charset=utf-8",
                headers=_NOTHING_FROM_ELSEWHERE,
            ),
        ),
        "/v2/health/live": _alive,
        "/v2/health/ready": partial(_ready, gateway),
        "/v2/models/{family}": partial(open_inference.metadata, gateway),
    }
    routes = [
        *(route(path, "POST", handler, bounded=True) for path, handler in posts.items()),
        *(route(path, "GET", handler, bounded=False) for path, handler in gets.items()),
    ]
    made = _Application(
        routes=routes, lifespan=life, exception_handlers={HTTPException: _no_route, Exception: _unexpected}
    )
    made.router.redirect_slashes = False
    made.direct = {
        ("POST", path.removesuffix("/{family}")): routed.app
        for path, routed in zip(posts, routes, strict=False)
        if path.endswith("/{family}")
    }
    return made


class _Application(Starlette):
    """Starlette, with a shorter way to the routes that are asked most: those of ``direct``, by method and path before
    the family. Their handlers answer whatever goes wrong themselves."""

    direct: Mapping[tuple[str, str], ASGIApp] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or begin and end with the server."""
        if scope["type"] == "http" and not scope.get("root_path"):
            before, _, family = scope["path"].rpartition("/")
            endpoint = self.direct.get((scope["method"], before))
            if endpoint is not None and family:
                scope["path_params"] = {"family": family}
                await endpoint(scope, receive, send)
                return
        await super().__call__(scope, receive, send)


async def _score(gateway: Gateway, call: Call) -> Reply:
    admitted = gateway.admit(call)
    served = admitted.served
    kind = media_type(call.header(b"content-type"), (JSON, ARROW))
    body = await call.body()
    admitted = admitted.with_body(body)
    records_max = gateway.serving.batch_records_max
    if kind == ARROW:
        read: Callable[[], pd.DataFrame] = partial(frame_of_arrow, body, records_max)
    else:
        document = await gateway.decoded(call, body)
        if not is_batch(document):
            scored = await gateway.score_one(call, admitted, document, len(body))
            return Reply(
                _encode(
                    OneAnswer(
                        admitted.request_id,
                        scored.label,
                        scored.probability,
                        scored.score,
                        served.family,
                        served.digest,
                        served.version,
                    )
                )
            )
        check_records(document, records_max)
        read = partial(frame_of, document, records_max)
    as_arrow = ARROW in (call.header(b"accept") or "")
    answer = await gateway.score_many(call, admitted, read, _as_arrow if as_arrow else _as_json)
    return Reply(answer, content_type=ARROW if as_arrow else JSON)


def _as_json(many: ScoredMany) -> bytes:
    predictions = many.predictions
    columns = [many.request_ids, *(predictions[name].tolist() for name in ("label", "probability", "score"))]
    if "incident" in predictions.columns:
        columns.append(predictions["incident"].astype(str).tolist())
    answers = [RecordAnswer(*cells) for cells in zip(*columns, strict=True)]
    return _encode(ManyAnswer(many.served.family, many.served.digest, many.served.version, answers))


def _as_arrow(many: ScoredMany) -> bytes:
    frame = many.predictions
    numbers = pa.array(range(len(frame)))
    table = pa.table(
        {
            "request_id": pc.binary_join_element_wise(many.request_id, numbers.cast(pa.string()), "-"),
            **({"incident": frame["incident"].astype(str).tolist()} if "incident" in frame.columns else {}),
            **{name: frame[name].to_numpy() for name in ("label", "probability", "score")},
        }
    ).replace_schema_metadata(
        {"family": many.served.family, "model": many.served.digest, "version": many.served.version}
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


async def _feedback(gateway: Gateway, call: Call) -> Reply:
    return Reply(_encode(FeedbackAnswer(await gateway.feedback(call))), 202)


async def _models(gateway: Gateway, call: Call) -> Reply:
    entry = gateway.authorised(call)
    found = []
    for family, standing in sorted(gateway.champions.standings().items()):
        model = standing.model
        shown = (model.digest, model.version, model.promoted_at, model.loaded_at) if model else ("", "", "", "")
        if entry is None or entry.allows(family):
            found.append(ModelAnswer(family, standing.state, *shown, standing.reason))
    return Reply(_encode(ModelsAnswer(found)))


async def _ready(gateway: Gateway, call: Call) -> Reply:
    """Ready also where a model is held: a pointer that cannot be verified must not take every gateway away at once.

    Whoever looks whether a gateway is ready mostly has no key, and is told that alone.
    """
    ready = gateway.champions.ready()
    families = {
        family: FamilyState(standing.state, standing.model.digest if standing.model else "")
        for family, standing in sorted(gateway.champions.standings().items())
        if gateway.may_know(call, family)
    }
    retry = ((b"retry-after", b"%d" % gateway.serving.retry_after_seconds),)
    return Reply(_encode(ReadyAnswer(ready, families)), 200 if ready else 503, headers=() if ready else retry)


async def _metrics(gateway: Gateway, call: Call) -> Reply:
    gateway.authorised(call)
    gateway.metrics.in_flight.set(gateway.in_flight.count)
    return Reply(gateway.metrics.text(), content_type=CONTENT_TYPE)


async def _alive(call: Call) -> Reply:
    return Reply(_encode(AliveAnswer()))


async def _document(answer: Reply, call: Call) -> Reply:
    return answer


async def _no_route(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    reason = "another method is needed" if status == 405 else "there is nothing here; /docs says what there is"
    refused = RefusedError(status, _STATUS_CODES.get(status, "refused"), reason)
    return Response(refused.body(), status, headers, JSON)


async def _unexpected(request: Request, error: Exception) -> Response:
    return Response(unexpected().body(), 500, media_type=JSON)
