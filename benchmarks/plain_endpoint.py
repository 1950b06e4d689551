"""What the gateway's cost is compared with: the same model behind a plain endpoint, as it is usually written.

What belongs here: ``python -m benchmarks.plain_endpoint PORT`` serves ``POST /score`` in one process with uvicorn,
validates a record with pydantic, makes a frame of it, and asks the model. What does not: screening, limits, keys,
metrics, a log: it has none of them. Starlette and pydantic are what FastAPI is made of; FastAPI's own share (about a
tenth of a millisecond for solving dependencies) is left out, in this endpoint's favour.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import pandas as pd
import uvicorn
from pydantic import BaseModel, create_model
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from benchmarks.served_home import FAMILIES, connection_records
from nethical_assets.core.detectors.registry import load_family
from nethical_assets.core.models.loading import DECISION_THRESHOLD, load_detector
from nethical_assets.home.settings import load_settings
from nethical_assets.home.stores import open_registry

FAMILY = next(iter(FAMILIES))


class Answer(BaseModel):
    """What one record got."""

    label: int
    probability: float
    score: float
    model: str


def endpoint() -> Starlette:
    """The application."""
    settings, spec = load_settings(), load_family(FAMILY)
    registry = open_registry(settings.home)
    champion = registry.champion(FAMILY)
    assert champion is not None
    detector = load_detector(registry, champion.model, spec)
    entries = settings.catalog.for_family(FAMILY)
    record_type = _type_of(connection_records(settings, 1)[0])

    async def score(request: Request) -> JSONResponse:
        record = record_type.model_validate_json(await request.body())
        frame = pd.DataFrame([record.model_dump()])
        said = detector.predict(spec.inputs_of(frame, entries))
        probability = float(said.probability[0])
        answer = Answer(
            label=int(probability >= DECISION_THRESHOLD),
            probability=probability,
            score=float(said.score[0]),
            model=champion.model,
        )
        return JSONResponse(answer.model_dump())

    return Starlette(routes=[Route("/score", score, methods=["POST"])])


def _type_of(record: Mapping[str, Any]) -> type[BaseModel]:
    fields: dict[str, Any] = {name: (type(value), ...) for name, value in record.items()}
    return create_model("Record", **fields)


if __name__ == "__main__":
    uvicorn.run(endpoint(), host="127.0.0.1", port=int(sys.argv[1]), access_log=False, log_level="error")
