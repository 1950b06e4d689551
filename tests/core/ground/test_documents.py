"""Documents of dataclasses: what was stored stays readable, and nothing else is read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from nethical_assets.core.ground.digests import pretty_json
from nethical_assets.core.ground.documents import from_document, to_document
from nethical_assets.core.ground.errors import IntegrityError

from .examples import PRINTED, STORED

RECORDED: Mapping[str, Any] = json.loads((Path(__file__).parent / "documents.json").read_text(encoding="utf-8"))
"""What the methods wrote that were written by hand, before there were generic ones."""
ADDED: Mapping[str, tuple[str, ...]] = {
    "quarantined": ("content", "decision"),
    "check": ("what_to_do", "undecided"),
    "drift": ("notes",),
    "drift_of_nothing": ("notes",),
    "evaluation": ("groups", "independent_rows", "missed_effect", "false_alarm_effect"),
    "evaluation_without_probabilities": ("groups",),
    "gate": ("groups",),
    "gate_without_numbers": ("groups",),
    "regression": ("groups",),
    "reading": ("notes",),
    "discovery": ("guessed_encoding",),
    "issue": ("acknowledged_at", "acknowledged_by"),
}
"""What documents say since then; an older one does without."""
WRONG: tuple[Any, ...] = ("text", 7, 0.5, True, None, [], {}, ["text"], {"key": None})


def written(value: Any) -> Any:
    return value.to_json() if hasattr(value, "to_json") else to_document(value)


@pytest.mark.parametrize("name", [*STORED, *PRINTED])
def test_documents_are_the_ones_that_stored_homes_hold(name: str) -> None:
    document = written({**STORED, **PRINTED}[name])
    added = list(taken_out(document, ADDED.get(name, ())))
    assert pretty_json(document) == pretty_json(RECORDED[name])
    assert {key for key, _ in added} == set(ADDED.get(name, ()))
    assert not any(value for _, value in added), "an older document reads as one that says nothing of it"


def taken_out(document: Any, keys: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """Take the keys out of a document, wherever they are in it; what they held."""
    if isinstance(document, dict):
        yield from [(key, document.pop(key)) for key in keys if key in document]
    for part in document.values() if isinstance(document, dict) else document if isinstance(document, list) else ():
        yield from taken_out(part, keys)


def readable(name: str) -> Any:
    """The recorded document without what is computed from it."""
    computed = {"positive_rate"} if name.startswith("reference") else set()
    return {key: value for key, value in RECORDED[name].items() if key not in computed}


@pytest.mark.parametrize("name", STORED)
def test_what_was_stored_is_read_back(name: str) -> None:
    value = STORED[name]
    assert from_document(type(value), {**readable(name), **unstored(value)}, "here") == value


def unstored(value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in fields(value) if field.name == "refreshed_at"}


def places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in a document."""
    yield path
    if isinstance(document, dict | list):
        for key in document if isinstance(document, dict) else range(len(document)):
            yield from places(document[key], (*path, key))


def same(one: Any, other: Any) -> bool:
    """Equal as JSON, where 7 and 7.0 are one number and true is none; ``other`` may have more keys (defaults)."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() <= other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def changed(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    copy = json.loads(json.dumps(document))
    target = copy
    for part in path[:-1]:
        target = target[part]
    target[path[-1]] = value
    return copy


@pytest.mark.parametrize("name", STORED)
def test_a_document_is_read_as_it_is_or_refused_in_one_line(name: str) -> None:
    """At every place, every other kind of value: never another error, never one value turned into another."""
    kind = type(STORED[name])
    for path in places(readable(name)):
        for value in WRONG:
            document = changed(readable(name), path, value)
            try:
                found = from_document(kind, document, "the place")
            except IntegrityError as error:
                assert str(error).startswith("the place: ")
            else:
                assert same(document, to_document(found))


@pytest.mark.parametrize("name", STORED)
def test_an_unknown_or_missing_key_is_refused_at_every_depth(name: str) -> None:
    kind, value = type(STORED[name]), STORED[name]
    for path, node in dataclasses_in(value):
        target = readable(name)
        for part in path:
            target = target[part]
        with pytest.raises(IntegrityError, match=r"here: .*more_of_it"):
            from_document(kind, changed(readable(name), (*path, "more_of_it"), 1), "here")
        required = [field.name for field in fields(node) if field.default is field.default_factory]
        for key in required:
            less = changed(readable(name), path, {name: item for name, item in target.items() if name != key})
            with pytest.raises(IntegrityError, match=rf"here: .*{key}: Field required"):
                from_document(kind, less, "here")


def dataclasses_in(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    if is_dataclass(value):
        yield path, value
        for field in fields(value):
            yield from dataclasses_in(getattr(value, field.name), (*path, field.name))
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from dataclasses_in(item, (*path, index))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from dataclasses_in(item, (*path, key))


@dataclass(frozen=True)
class Leaf:
    share: float
    kind: Literal["one", "two"] = "one"


@dataclass(frozen=True)
class Tree:
    leaves: tuple[Leaf, ...]
    named: Mapping[str, Leaf | None]
    pair: tuple[str, int]
    anything: Any = None


VALUE = Tree((Leaf(0.1), Leaf(2.0, "two")), {"a": Leaf(0.5), "b": None}, ("x", 3), {"deep": [1, 1.0, "1", None, True]})


def test_nested_tuples_mappings_and_numbers_come_back_with_their_types() -> None:
    found = from_document(Tree, json.loads(pretty_json(to_document(VALUE))), "here")
    assert found == VALUE
    assert [type(item) for item in found.anything["deep"]] == [int, float, str, type(None), bool]


@pytest.mark.parametrize("document", [None, [], "text", 3, float("nan"), {"anything": float("inf")}, {1: {2, 3}}])
def test_what_is_no_such_document_is_refused(document: Any) -> None:
    with pytest.raises(IntegrityError, match=r"^here: "):
        from_document(Tree, document, "here")


def test_values_are_not_named() -> None:
    document = {**to_document(VALUE), "pair": ["secret-value", "secret-value"], "leaves": "secret-value"}
    with pytest.raises(IntegrityError) as refusal:
        from_document(Tree, document, "here")
    assert "secret-value" not in str(refusal.value)


@pytest.mark.parametrize("leaf", [Leaf("secret-value"), Leaf(["secret-value"]), Leaf(object())])  # type: ignore[arg-type]
def test_what_could_not_be_read_back_is_not_written(leaf: Leaf) -> None:
    with pytest.raises(TypeError, match="Leaf") as refusal:
        to_document(leaf)
    assert "secret-value" not in str(refusal.value)
