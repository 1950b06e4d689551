"""The Annex IV table: every point, nothing proven without a digest, nothing claimed that the card does not know."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings

from nethical_assets.core.cards.annex_iv import annex_rows, render_annex_iv
from nethical_assets.core.cards.html import render_html

from .examples import cards
from .pages import Page

POINTS = [f"1({letter})" for letter in "abcdefgh"] + [f"2({letter})" for letter in "abcdefgh"] + list("3456789")
ALWAYS_MISSING = ("1(b)", "1(d)", "1(e)", "1(f)", "1(g)", "1(h)", "2(c)", "2(e)", "2(f)", "2(h)", "4", "5", "7", "8")


def statuses(card: dict[str, Any]) -> dict[str, str]:
    return {f"{row.point} {row.required}": row.status for row in annex_rows(card)}


@settings(max_examples=40, deadline=None)
@given(cards())
def test_nothing_is_proven_without_evidence_of_the_card(card: dict[str, Any]) -> None:
    rows = annex_rows(card)
    assert list(dict.fromkeys(row.point for row in rows)) == POINTS
    known = {*card["digests"].items(), ("audit_merkle_root", card["audit_merkle_root"])}
    known.add(("drift_report_id", card["drift_report_id"]))
    assert not any("rollback" in row.statement for row in rows), "no card can know of one"
    for row in rows:
        assert (row.status == "proven") == bool(row.evidence)
        assert set(row.evidence) <= known
        assert row.statement.strip() or row.status == "missing"
        if row.point in ALWAYS_MISSING:
            assert row.status == "missing"


def test_a_complete_card_proves_what_the_pipeline_recorded(example: dict[str, Any]) -> None:
    found = statuses(example)
    assert {name for name, status in found.items() if status == "proven"} == {
        "1(a) Version, in relation to previous versions",
        "1(c) Versions of relevant software",
        "2(a) Methods and steps of the development",
        "2(d) Training data: provenance, scope, main characteristics",
        "2(d) Data cleaning",
        "2(g) Validation and testing data",
        "2(g) Metrics of accuracy",
        "2(g) Robustness: data of sources it did not learn from",
        "3 Overall level of accuracy for the intended purpose",
        "3 Specifications on input data",
        "6 Changes made through the lifecycle",
        "9 Evaluation of performance in the post-market phase",
    }
    assert {name for name, status in found.items() if status == "declared"} == {
        "1(a) Intended purpose",
        "2(b) General logic of the system",
        "2(d) Licences of the training data",
        "3 Capabilities and limitations",
    }


def test_synthetic_data_proves_no_accuracy(example: dict[str, Any]) -> None:
    example["dataset_info"]["synthetic"] = True
    assert statuses(example)["3 Overall level of accuracy for the intended purpose"] == "missing"
    assert "Synthetic rows, no real data" in render_annex_iv(example)


def test_what_is_gone_from_the_card_is_missing(example: dict[str, Any]) -> None:
    example |= {"digests": {}, "audit_merkle_root": None, "drift_report_id": None, "limits": [], "intended_use": " "}
    found = statuses(example)
    assert "proven" not in found.values()
    assert found["1(a) Intended purpose"] == found["3 Capabilities and limitations"] == "missing"


def test_markdown_and_page_hold_the_same_rows(example: dict[str, Any]) -> None:
    markdown = render_annex_iv(example).replace("\\", "")
    page = Page(render_html(example)).text
    for row in annex_rows(example):
        assert f"| {row.point} | {row.required} | **{row.status}** |" in markdown
        assert row.required in page
        for _, digest in row.evidence:
            assert f"`{digest}`" in markdown
            assert digest in page
