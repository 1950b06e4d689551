"""Every format of a card shows the card's numbers, all of the important ones, and no others."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from typing import Any

import yaml
from hypothesis import given, settings

from nethical_assets.core.cards import FORMATS, card_digest, render_all
from nethical_assets.core.cards.annex_iv import DISCLAIMER, annex_rows
from nethical_assets.core.cards.figures import clean

from .examples import cards
from .pages import Page, leaves, split_front_matter

NUMBER = re.compile(r"\d+(?:\.\d+)*(?:e[-+]\d+)?")
DIGEST = re.compile(r"\b[0-9a-f]{64}\b|urn:uuid:[0-9a-f-]+")
# Numbers of the layout: names of standards and metrics, ticks of axes, the confidence of intervals.
FIXED = ("95 %", "F1", "Annex IV", "SHA-256", "sha256", "http://cyclonedx.org/schema/bom-1.6.schema.json")
TICKS = {"0", "0.25", "0.5", "0.75", "1"}
FORMAT_VERSIONS = {"cdx.json": {"1.6", "1"}}


def numbers_of(text: str) -> set[str]:
    for fixed in FIXED:
        text = text.replace(fixed, " ")
    return set(NUMBER.findall(DIGEST.sub(" ", text)))


def numbers_in_card(card: dict[str, Any]) -> set[str]:
    """Every number of the card in each form in which a format may write it."""
    allowed = numbers_of(card_digest(card))
    for leaf in leaves(card):
        if isinstance(leaf, str):
            allowed |= numbers_of(leaf) | numbers_of(clean(leaf))
        elif isinstance(leaf, int | float):
            allowed |= {f"{leaf:.{places}f}" for places in (2, 3, 4)} | numbers_of(json.dumps(leaf))
    return allowed


def shown(suffix: str, data: bytes) -> str:
    """What a reader of the format sees, without its escaping."""
    text = data.decode()
    if suffix == "html":
        return Page(text).text
    if suffix == "cdx.json":
        return "\n".join(str(leaf) for leaf in leaves(json.loads(text)))
    if suffix == "hugging_face.md":
        front, body = split_front_matter(text)
        return "\n".join(map(str, leaves(yaml.safe_load(front)))) + unescaped(body)
    return unescaped(text)


def unescaped(markdown: str) -> str:
    return re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", markdown)


def requirements(card: dict[str, Any]) -> list[str]:
    return [DISCLAIMER, *(row.required for row in annex_rows(card)), *(f"{row.point}" for row in annex_rows(card))]


@settings(max_examples=40, deadline=None)
@given(cards())
def test_no_format_shows_a_number_that_the_card_does_not_hold(card: dict[str, Any]) -> None:
    allowed = numbers_in_card(card)
    for sentence in requirements(card):
        allowed |= numbers_of(sentence)
    for suffix, data in render_all(card).items():
        extra = TICKS if suffix == "html" else FORMAT_VERSIONS.get(suffix, set())
        assert numbers_of(shown(suffix, data)) - allowed - extra == set(), suffix


@settings(max_examples=40, deadline=None)
@given(cards())
def test_every_format_that_shows_metrics_shows_all_of_them(card: dict[str, Any]) -> None:
    rendered = {suffix: shown(suffix, data) for suffix, data in render_all(card).items()}
    for metric in card["metrics"].values():
        for name in ("value", "low", "high"):
            number = metric[name]
            if number is None:
                continue
            for suffix in ("md", "html", "hugging_face.md"):
                assert f"{number:.4f}" in rendered[suffix]
            assert json.dumps(number) in rendered["cdx.json"]
            assert str(number) in rendered["hugging_face.md"]
            if "evaluation" in card["digests"]:
                assert f"{number:.4f}" in rendered["annex_iv.md"]
    for count in (card["evaluation"]["confusion"] or {}).values():
        assert all(str(count) in rendered[suffix] for suffix in ("md", "html", "cdx.json"))


def spread(value: Any, fresh: Iterator[int]) -> Any:
    """``value`` with every number replaced by one that occurs nowhere else."""
    if isinstance(value, dict):
        return {key: spread(inner, fresh) for key, inner in value.items()}
    if isinstance(value, list):
        return [spread(inner, fresh) for inner in value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return next(fresh) if isinstance(value, int) else next(fresh) / 10**7


def test_changing_any_metric_or_count_changes_every_format_that_shows_it(example: dict[str, Any]) -> None:
    card = spread(example, iter(range(1_000_003, 9_000_000, 7919)))
    before = render_all(card)
    for path in (
        ("metrics", "accuracy", "value"),
        ("metrics", "ece", "high"),
        ("evaluation", "test_rows"),
        ("dataset_info", "train_samples"),
        ("governance_summary", "rows_masked"),
        ("governance_summary", "records_screened"),
    ):
        changed = copy.deepcopy(card)
        target = changed
        for name in path[:-1]:
            target = target[name]
        target[path[-1]] *= 2
        after = render_all(changed)
        blind = {form.suffix for form in FORMATS if figures(form.suffix, after) == figures(form.suffix, before)}
        assert blind == ({"cdx.json"} if path[-1] == "train_samples" else set()), path


def figures(suffix: str, rendered: dict[str, bytes]) -> str:
    """What a format shows, without digests: they change with everything."""
    return DIGEST.sub("", shown(suffix, rendered[suffix]))


def test_a_card_renders_the_same_before_and_after_it_was_stored(example: dict[str, Any]) -> None:
    shuffled = dict(reversed(list(example.items())))
    assert render_all(shuffled) == render_all(example)


def test_every_format_says_which_drift_report_asked_for_the_model(example: dict[str, Any]) -> None:
    digest = "sha256:" + "5f" * 32
    window = {"start": "2026-11-21T06:00:00+00:00", "end": "2026-11-21T12:00:00+00:00"}
    card = {**example, "retrained_because": {"drift_report": digest, "window": window}}
    said = f"Retrained because: drift report {digest} of window 2026-11-21 06:00 to 2026-11-21 12:00 UTC."
    for suffix, data in render_all(card).items():
        assert said in shown(suffix, data), suffix
    for suffix, data in render_all({**card, "retrained_because": {"drift_report": digest, "window": None}}).items():
        assert f"Retrained because: drift report {digest}." in shown(suffix, data), suffix


def test_a_card_that_no_report_asked_for_says_nothing_of_it_and_neither_does_one_of_an_older_version(
    example: dict[str, Any],
) -> None:
    assert example["retrained_because"] is None
    older = {name: value for name, value in example.items() if name != "retrained_because"}
    for card in (example, older):
        rendered = render_all(card)
        assert not [suffix for suffix, data in rendered.items() if "Retrained because" in shown(suffix, data)]
    assert figures("md", render_all(older)) == figures("md", render_all(example))
