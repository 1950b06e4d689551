"""The Hugging Face card: metadata that the Hub's own library reads, whatever the card says."""

from __future__ import annotations

import importlib.util
import warnings
from typing import Any

import pytest
import yaml
from hypothesis import given, settings

from nethical_assets.core.cards.hugging_face import render_hugging_face
from nethical_assets.core.cards.markdown import render_markdown

from .examples import HOSTILE, cards, filled_with
from .pages import split_front_matter

KEYS = {"tags", "library_name", "pipeline_tag", "model_name", "metrics", "model-index", "nethical"}


def front_matter(card: dict[str, Any]) -> dict[str, Any]:
    """The metadata, after checking everything the Hub requires of it."""
    text = render_hugging_face(card)
    front, body = split_front_matter(text)
    assert body == "\n" + render_markdown(card)
    document = yaml.safe_load(front)
    assert set(document) <= KEYS
    assert all(isinstance(tag, str) and tag for tag in document["tags"])
    for model in document.get("model-index", []):
        assert isinstance(model["name"], str)
        assert model["results"]
        for result in model["results"]:
            assert set(result) == {"task", "dataset", "metrics"}
            assert all(isinstance(result["dataset"][key], str) for key in ("type", "name"))
            assert all(isinstance(metric["value"], float | int) for metric in result["metrics"])
            assert all(isinstance(metric["type"], str) for metric in result["metrics"])
    return dict(document)


@settings(max_examples=40, deadline=None)
@given(cards())
def test_any_card_has_metadata_of_the_right_form(card: dict[str, Any]) -> None:
    document = front_matter(card)
    defined = {name: metric["value"] for name, metric in card["metrics"].items() if metric["value"] is not None}
    if defined:
        first = document["model-index"][0]["results"][0]
        assert {metric["type"]: metric["value"] for metric in first["metrics"]} == defined


@pytest.mark.parametrize("word", [word for word in HOSTILE if word.strip()])
def test_hostile_text_stays_inside_its_value(word: str, example: dict[str, Any]) -> None:
    attacked, harmless = (front_matter(filled_with(text, example)) for text in (word, "word"))

    def shape(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: shape(inner) for key, inner in value.items()}
        return [shape(inner) for inner in value] if isinstance(value, list) else type(value)

    assert shape(attacked) == shape(harmless)


def test_task_and_tags_follow_the_card(example: dict[str, Any]) -> None:
    assert front_matter(example)["pipeline_tag"] == "tabular-classification"
    assert "synthetic-data" not in front_matter(example)["tags"]
    example["dataset_info"]["synthetic"] = True
    example["input_kind"] = "sequence"
    assert "pipeline_tag" not in front_matter(example)
    assert "synthetic-data" in front_matter(example)["tags"]


@pytest.mark.skipif(importlib.util.find_spec("huggingface_hub") is None, reason="huggingface_hub is not installed")
@pytest.mark.parametrize("word", ["word", *(word for word in HOSTILE if word.strip())])
def test_the_library_of_the_hub_reads_it_back(word: str, example: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from huggingface_hub import ModelCard
    card = ModelCard(render_hugging_face(filled_with(word, example)), ignore_metadata_errors=False)
    accuracy = next(result for result in card.data.eval_results if result.metric_type == "accuracy")
    assert accuracy.metric_value == example["metrics"]["accuracy"]["value"]
    assert accuracy.dataset_split == "test"
