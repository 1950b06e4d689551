"""The page: self-contained, inert, well formed whatever the card says, and its pictures drawn from its numbers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from hashlib import sha256
from importlib.resources import files
from typing import Any

import pytest
from hypothesis import given, settings
from jinja2 import UndefinedError

from nethical_assets.core.cards import charts, render_all
from nethical_assets.core.cards.html import _environment, render_html

from .examples import HOSTILE, cards, filled_with
from .pages import Page

TAGS = {
    "html", "head", "meta", "title", "style", "body", "main", "header", "nav", "section", "h1", "h2", "h3", "p", "span",
    "strong", "small", "code", "pre", "br", "i", "ul", "li", "a", "div", "table", "caption", "thead", "tbody", "tr",
    "th", "td", "figure", "figcaption", "svg", "rect", "line", "polyline", "circle", "text",
}  # fmt: skip
EXPECTED = """
Security records 2.3.4
promoted
Accuracy is at least 0.85.
cite UNB
CDLA-Permissive-2.0
Skipped security_breach: no source has it
Triage of security records.
Sees single records only.
libraries.numpy
nethical audit verify
run-77
abababababababab
By source (test rows)
Sources left out of training
Sources never trained on
email
EU AI Act, Annex IV
""".strip().splitlines()
ACTIVE = {"src", "action", "formaction", "style", "srcdoc", "background", "data", "xlink:href", "ping"}


def check_inert(source: str) -> Page:
    page = Page(source)
    assert set(page.tags) <= TAGS
    assert page.comments == []
    names = {name for _, name, _ in page.attributes}
    assert not names & ACTIVE
    assert not any(name.startswith("on") for name in names)
    links = [value for _, name, value in page.attributes if name == "href"]
    assert len(links) == 9
    assert all(value.startswith("#") for value in links)
    targets = {value for _, name, value in page.attributes if name == "id"}
    assert {link[1:] for link in links} == targets
    style = source[source.index("<style>") : source.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    return page


@settings(max_examples=40, deadline=None)
@given(cards())
def test_any_card_gives_a_well_formed_page_that_does_and_loads_nothing(card: dict[str, Any]) -> None:
    check_inert(render_html(card))


@pytest.mark.parametrize("word", [word for word in HOSTILE if word.strip()])
def test_hostile_text_is_shown_and_changes_nothing_else(word: str, example: dict[str, Any]) -> None:
    attacked = check_inert(render_html(filled_with(word, example)))
    harmless = check_inert(render_html(filled_with("word", example)))
    assert attacked.tags == harmless.tags
    assert attacked.attributes == harmless.attributes
    for visible in re.findall(r"[!-~]+", word):
        assert visible in attacked.text
    assert not set(attacked.text) & set("\x00\x07\x1b\x7f\x85\u202e\u2066\u200b\ufeff\u2028")


def test_templates_cannot_forget_to_escape_or_misspell() -> None:
    """What every template of the page gets: cleaning and escaping that nobody has to ask for."""
    written = _environment().from_string("{{ word }}").render(word="<b>\u202e'\n\"")
    assert written == "&lt;b&gt;\ufffd&#39; &#34;"
    with pytest.raises(UndefinedError):
        _environment().from_string("{{ card['titel'] }}").render(card={"title": "a"})
    templates = sorted(files("nethical_assets.core.cards").joinpath("templates").iterdir(), key=str)
    assert len(templates) > 5
    for template in templates:
        assert not re.search(r"\|\s*safe\b|autoescape|Markup", template.read_text(encoding="utf-8")), template.name


def test_the_same_card_gives_the_same_bytes_in_another_process(example: dict[str, Any]) -> None:
    code = (
        "import json, sys; from nethical_assets.core.cards import render_all; from hashlib import sha256; "
        "print({k: sha256(v).hexdigest() for k, v in render_all(json.load(sys.stdin)).items()})"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            input=json.dumps(example),
            env={**os.environ, "PYTHONHASHSEED": seed, "TZ": zone},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed, zone in (("1", "UTC"), ("2", "Asia/Tokyo"))
    }
    assert seen == {str({name: sha256(data).hexdigest() for name, data in render_all(example).items()}) + "\n"}


def test_a_policy_forbids_scripts_and_requests(example: dict[str, Any]) -> None:
    page = Page(render_html(example))
    policy = next(value for tag, name, value in page.attributes if tag == "meta" and value.startswith("default-src"))
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'")


def test_everything_a_reader_needs_is_there(example: dict[str, Any]) -> None:
    text = Page(render_html(example)).text
    for part in EXPECTED:
        assert part in text
    for source in example["evaluation"]["by_source"]:
        for metric in source["metrics"].values():
            assert f"{metric['low']:.4f} to {metric['high']:.4f}" in text


def test_synthetic_data_is_warned_of(example: dict[str, Any]) -> None:
    assert "Synthetic data." not in Page(render_html(example)).text
    example["dataset_info"]["synthetic"] = True
    assert "Synthetic data." in Page(render_html(example)).text


def corners(svg: str, kind: str) -> list[tuple[float, float]]:
    """The corners of a drawn line in the units of its axes."""
    frame = re.search(r'class="frame" x="([\d.]+)" y="([\d.]+)" width="([\d.]+)"', svg)
    assert frame is not None
    left, top, size = map(float, frame.groups())
    found = re.search(rf'<polyline class="{kind}" points="([^"]+)"', svg)
    assert found is not None
    pairs = [tuple(map(float, pair.split(","))) for pair in found[1].split()]
    return [((x - left) / size, 1 - (y - top) / size) for x, y in pairs]


def test_curves_are_drawn_from_the_points_of_the_card(example: dict[str, Any]) -> None:
    points = example["evaluation"]["operating_points"]
    assert 20 < len(points["recall"]) <= 64
    expected = list(zip(points["false_positive_rate"], points["recall"], strict=True))
    for drawn, point in zip(corners(charts.roc_chart(example), "curve"), expected, strict=True):
        assert drawn == pytest.approx(point, abs=1e-3)
    expected = list(zip(points["recall"][1:], points["precision"][1:], strict=True))
    for drawn, point in zip(corners(charts.precision_recall_chart(example), "curve"), expected, strict=True):
        assert drawn == pytest.approx(point, abs=1e-3)
    bins = [row for row in example["evaluation"]["reliability"] if row["rows"]]
    for drawn, row in zip(corners(charts.reliability_chart(example), "curve"), bins, strict=True):
        assert drawn == pytest.approx((row["mean_probability"], row["observed_rate"]), abs=1e-3)


def test_the_confusion_matrix_shows_its_counts_in_their_places(example: dict[str, Any]) -> None:
    example["evaluation"]["confusion"] = {
        "true_positives": 11, "false_negatives": 22, "false_positives": 33, "true_negatives": 44,
    }  # fmt: skip
    counts = re.findall(r'class="count"[^>]* x="([\d.]+)" y="([\d.]+)">(\d+)<', charts.confusion_chart(example))
    by_place = sorted((float(y), float(x), count) for x, y, count in counts)
    assert [count for _, _, count in by_place] == ["11", "22", "33", "44"]


def test_without_predictions_the_page_says_so_instead_of_drawing(example: dict[str, Any]) -> None:
    example["evaluation"] |= {"operating_points": None, "confusion": None, "reliability": []}
    page = Page(render_html(example))
    assert "No usable predictions." in page.text
    assert page.text.count("No curve:") == 2
    assert "No probabilities" in page.text
