"""What the gateway offers, as an OpenAPI 3.1 document and as a page that needs nothing from elsewhere.

What belongs here: both. What does not: answering anything else. The schemas of answers are those that they are encoded
by (msgspec); a record's fields are its family's business and are described in words.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from nethical_assets.core.detectors.registry import family_names
from nethical_assets.home.settings import Settings
from nethical_assets.serving.answers import (
    AliveAnswer,
    FeedbackAnswer,
    FeedbackRequest,
    ManyAnswer,
    ModelsAnswer,
    OneAnswer,
    ReadyAnswer,
)
from nethical_assets.serving.open_inference import InferAnswer, InferRequest, MetadataAnswer
from nethical_assets.serving.payloads import ARROW, JSON
from nethical_assets.serving.refusals import ErrorAnswer

_REFERENCE = "#/components/schemas/{name}"
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#1a1a1a;"
    "background:#fff}h2{margin-top:2.5rem;border-top:1px solid #ccc;padding-top:1rem}code,pre{font:14px/1.4 monospace;"
    "background:#f4f4f4;padding:.1rem .3rem}pre{padding:.8rem;overflow-x:auto}table{border-collapse:collapse}"
    "td,th{border:1px solid #ccc;padding:.25rem .6rem;text-align:left;vertical-align:top}"
)
_REASONS = {
    "400": "The body is not what its type says.",
    "401": "An API key is needed, or this one does not hold.",
    "403": "The API key is not for this family.",
    "404": "No such family, or it has no promoted model yet.",
    "405": "Another method is needed.",
    "408": "The body did not arrive in time.",
    "413": "More than a request may hold.",
    "415": "Another content type, or an encoding, that is not read.",
    "422": "A field is not what it should be; the error names it and the reason, never the value.",
    "500": "The gateway failed; its log says where.",
    "503": "Too much at once, too late, no verified model, or the log cannot be written; try again after Retry-After.",
}
_FOR_RECORDS = ("400", "401", "403", "404", "408", "413", "415", "422", "500", "503")


def describe(settings: Settings) -> dict[str, Any]:
    """The OpenAPI document."""
    from importlib.metadata import version

    schemas: dict[str, Any]
    _, schemas = msgspec.json.schema_components(
        [
            OneAnswer, ManyAnswer, FeedbackRequest, FeedbackAnswer, ModelsAnswer, ReadyAnswer, AliveAnswer,
            InferRequest, InferAnswer, MetadataAnswer, ErrorAnswer,
        ],
        ref_template=_REFERENCE,
    )  # fmt: skip
    cell = {"type": ["string", "number", "boolean", "null"]}
    record = {
        "type": "object",
        "description": "One raw record, in a layout that the family knows (its datasets in the catalog). A wrong type, "
        "an unknown field or a missing one is 422.",
        "additionalProperties": cell,
    }
    limit = settings.file.serving.batch_records_max
    schemas |= {
        "Record": record,
        "Records": _object(records={"type": "array", "minItems": 1, "maxItems": limit, "items": _ref("Record")}),
        "Columns": _object(
            columns={"type": "object", "minProperties": 1, "additionalProperties": {"type": "array", "items": cell}}
        ),
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Nethical Assets: scoring gateway",
            "version": version("nethical-assets"),
            "description": "Scores raw records with the verified champion of a family. Every answer names the digest "
            "of the model it was scored with.",
        },
        "paths": _paths(),
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
        # Where the gateway was started without keys, nobody is asked for one.
        "security": [{}, {"bearer": []}, {"header": []}],
    }


def _paths() -> dict[str, Any]:
    family = {
        "name": "family",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "enum": list(family_names())},
    }
    identity = {
        "name": "X-Request-Id",
        "in": "header",
        "required": False,
        "description": "A UUID that a retry sends again, so that it is not counted twice.",
        "schema": {"type": "string", "format": "uuid", "pattern": "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"},
    }
    stream = {"schema": {"type": "string", "contentMediaType": ARROW}}
    one_of = {"schema": {"anyOf": [_ref("Record"), _ref("Records"), _ref("Columns")]}}
    scores = {"schema": {"anyOf": [_ref("OneAnswer"), _ref("ManyAnswer")]}}
    of_keys = ("401", "500")
    return {
        "/v1/score/{family}": {
            "post": {
                "summary": "Score one raw record, or many as records, columns or an Arrow stream.",
                "operationId": "score",
                "parameters": [family, identity],
                "requestBody": {"required": True, "content": {JSON: one_of, ARROW: stream}},
                "responses": {"200": _answer("The scores.", {JSON: scores, ARROW: stream}), **_errors(*_FOR_RECORDS)},
            }
        },
        "/v1/feedback": {
            "post": {
                "summary": "Give the labels of requests, later and in any order.",
                "operationId": "feedback",
                "requestBody": {"required": True, "content": _json("FeedbackRequest")},
                "responses": {
                    "202": _answer("They are in the inference log.", _json("FeedbackAnswer")),
                    **_errors(*(status for status in _FOR_RECORDS if status != "404")),
                },
            }
        },
        "/v1/models": _get("served_models", "What is served, and why not what is promoted.", "ModelsAnswer", of_keys),
        "/healthz": _get("alive", "The process answers.", "AliveAnswer", ("500",)),
        "/readyz": _get("ready", "Whether everything that was promoted is served.", "ReadyAnswer", ("500",), "503"),
        "/metrics": _get("metrics", "Metrics of all workers, for Prometheus.", "", of_keys),
        "/openapi.json": _get("openapi", "This document.", "object", ("500",)),
        "/docs": _get("docs", "This document as a page.", "html", ("500",)),
        "/v2/health/live": _get("v2_live", "The process answers.", "AliveAnswer", ("500",)),
        "/v2/health/ready": _get("v2_ready", "As /readyz.", "ReadyAnswer", ("500",), "503"),
        "/v2/models/{family}": _get(
            "v2_metadata",
            "What a family's model reads and gives (Open Inference).",
            "MetadataAnswer",
            ("401", "403", "404", "422", "500", "503"),
            parameters=[family],
        ),
        "/v2/models/{family}/infer": {
            "post": {
                "summary": "Score records as columns (Open Inference).",
                "operationId": "v2_infer",
                "parameters": [family, identity],
                "requestBody": {"required": True, "content": _json("InferRequest")},
                "responses": {
                    "200": _answer("The scores, a column each.", _json("InferAnswer")),
                    **_errors(*_FOR_RECORDS),
                },
            }
        },
    }


def _get(
    operation: str, summary: str, schema: str, errors: tuple[str, ...], also: str = "", parameters: Any = ()
) -> dict[str, Any]:
    contents: dict[str, Any] = {
        "": {"text/plain": {"schema": {"type": "string"}}},
        "html": {"text/html": {"schema": {"type": "string"}}},
        "object": {JSON: {"schema": {"type": "object"}}},
    }
    content = contents.get(schema) or _json(schema)
    more = {also: _answer("Not yet, or not any more.", content)} if also else {}
    described = {"200": _answer(summary, content), **more, **_errors(*errors)}
    return {
        "get": {"summary": summary, "operationId": operation, "parameters": list(parameters), "responses": described}
    }


def _errors(*statuses: str) -> dict[str, Any]:
    return {status: _answer(_REASONS[status], _json("ErrorAnswer")) for status in (*statuses, "405")}


def _answer(description: str, content: Mapping[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": dict(content)}


def _json(name: str) -> dict[str, Any]:
    return {JSON: {"schema": _ref(name)}}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": _REFERENCE.format(name=name)}


def _object(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def page(document: Mapping[str, Any]) -> bytes:
    """An OpenAPI document as one HTML page: no script, and nothing that is loaded."""
    return "\n".join(_page(document)).encode()


def _page(document: Mapping[str, Any]) -> Iterator[str]:
    info = document["info"]
    yield f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{html.escape(info['title'])}</title>"
    yield f"<style>{_STYLE}</style></head><body><h1>{html.escape(info['title'])} {html.escape(info['version'])}</h1>"
    yield f"<p>{html.escape(info['description'])} The same for programs: <a href='openapi.json'>openapi.json</a>.</p>"
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"<h2><code>{method.upper()} {html.escape(path)}</code></h2>"
            yield f"<p>{html.escape(operation['summary'])}</p>"
            for kind, content in operation.get("requestBody", {}).get("content", {}).items():
                yield f"<p>Body <code>{html.escape(kind)}</code>: {_schema(content['schema'])}</p>"
            yield "<table><tr><th>Status</th><th>Meaning</th><th>Body</th></tr>"
            for status, answer in operation["responses"].items():
                bodies = ", ".join(_schema(one["schema"]) for one in answer["content"].values())
                yield f"<tr><td>{status}</td><td>{html.escape(answer['description'])}</td><td>{bodies}</td></tr>"
            yield "</table>"
    yield "<h2>Schemas</h2>"
    for name, schema in document["components"]["schemas"].items():
        text = html.escape(json.dumps(schema, indent=2))
        yield f"<h3 id='{html.escape(name)}'>{html.escape(name)}</h3><pre>{text}</pre>"
    yield "</body></html>"


def _schema(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(map(_schema, schema["anyOf"]))
    name = schema.get("$ref", "").rpartition("/")[2]
    return f"<a href='#{name}'>{name}</a>" if name else html.escape(str(schema.get("contentMediaType", schema["type"])))
