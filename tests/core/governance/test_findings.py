from __future__ import annotations

import pandas as pd

from nethical_assets.core.governance.findings import SCHEMA, Findings, concatenate, mask
from nethical_assets.core.governance.screener import Screener


def test_masking_replaces_each_span_by_its_kind_and_keeps_the_rest(screener: Screener) -> None:
    texts = pd.Series(
        ["plain", "mail a@example.com, b@example.com", "\u00fc 4111 1111 1111 1111!", None], index=[5, 6, 7, 7]
    )
    masked = mask(texts, screener.screen(texts))
    assert masked.tolist()[:3] == ["plain", "mail [EMAIL], [EMAIL]", "\u00fc [CREDIT_CARD]!"]
    assert pd.isna(masked.iloc[3])
    assert masked.index.tolist() == [5, 6, 7, 7]
    assert masked.dtype == texts.dtype
    assert texts.iloc[1] == "mail a@example.com, b@example.com"


def test_masked_text_has_no_findings_left(screener: Screener) -> None:
    texts = pd.Series([text for rule in screener.ruleset.rules if rule.pack == "pii" for text in rule.must_match])
    masked = mask(texts, screener.screen(texts))
    left = screener.screen(masked)
    assert [record for record in left.to_records() if record["rule"].startswith("pii.")] == []


def test_empty_findings_have_the_documented_columns() -> None:
    assert Findings.empty().table.schema == SCHEMA
    assert concatenate([]).table.schema == SCHEMA
    assert Findings.empty().to_records() == []


def test_counts_are_sorted_by_value(screener: Screener) -> None:
    findings = screener.screen(["b@example.com 93.184.216.34", "a@example.com"])
    assert findings.counts_by("kind") == {"EMAIL": 2, "IP_ADDRESS": 1}
    assert findings.table.schema == SCHEMA


def test_categories_and_bytes_are_masked_as_text(screener: Screener) -> None:
    categories = pd.Series(["a@example.com", "b", "a@example.com"], dtype="category")
    assert mask(categories, screener.screen(categories)).tolist() == ["[EMAIL]", "b", "[EMAIL]"]
    raw = pd.Series([b"a@example.com", "b"], dtype=object)
    assert mask(raw, screener.screen(raw)).tolist() == ["[EMAIL]", "b"]
