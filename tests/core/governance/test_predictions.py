"""Outputs of a model: every column is looked at, what is protected is counted, and nothing is quoted."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nethical_assets.core.governance.predictions import screen_numbers, screen_outputs
from nethical_assets.core.governance.screener import Screener
from nethical_assets.core.ground.documents import to_document

CARD = "4111 1111 1111 1111"


def table(**columns: list[object]) -> pd.DataFrame:
    return pd.DataFrame(columns)


def explained(*texts: str) -> pd.DataFrame:
    return table(explanation=list(texts))


def test_ordinary_predictions_have_no_findings(screener: Screener) -> None:
    random = np.random.default_rng(0)
    ordinary = pd.DataFrame(
        {
            "row_id": [hashlib.sha256(str(row).encode()).hexdigest() for row in range(500)],
            "source": "collection_one",
            "label": random.integers(0, 2, 500),
            "probability": random.random(500),
            "score": random.normal(0, 1e6, 500),
        }
    )
    found = screen_outputs(ordinary, screener)
    assert (found.rows, found.columns, found.by_kind) == (500, ("row_id", "source"), {})


@pytest.mark.parametrize(
    ("column", "bad"),
    [
        ("label", [2, -1, None, 0.5, "a@example.com"]),
        ("probability", [1.1, -0.1, float("nan"), float("inf"), None, "a@example.com"]),
        ("score", [float("nan"), float("-inf"), None, "a@example.com"]),
    ],
)
def test_what_is_no_label_probability_or_score_is_counted(screener: Screener, column: str, bad: list[object]) -> None:
    for value in bad:
        values = table(**{column: [0, value, 1, value]})
        assert screen_outputs(values, screener).by_kind == {f"malformed_{column}": 2}
    assert screen_outputs(table(**{column: [0, 1, 0.0, 1.0]}), screener).by_kind == {}


def test_every_text_an_output_carries_is_screened_wherever_it_stands(screener: Screener) -> None:
    for column in ("explanation", "source", "row_id", "anything"):
        found = screen_outputs(
            table(**{column: ["write to a@example.com", "fine", "write to a@example.com"]}), screener
        )
        assert found.by_kind == {"EMAIL": 2}
    assert screen_outputs(table(customer=[4111111111111111]), screener).by_kind == {"CREDIT_CARD": 1}


@pytest.mark.parametrize("spelling", [CARD, "4\u200b111 1111 1111 1111"])
def test_an_output_that_repeats_what_is_protected_in_its_input_is_counted(screener: Screener, spelling: str) -> None:
    inputs = pd.Series([f"my card is {CARD}, call 212-555-0143", "nothing", f"my card is {CARD}"], index=[7, 8, 9])
    outputs = explained(f"flagged because of {spelling!s}", f"flagged because of {spelling!s}", "a payment card")
    found = screen_outputs(outputs, screener, inputs)
    assert found.by_kind["repeats_input"] == 1, "the second row's input holds no card, the third output none"
    assert "4111" not in str(to_document(found))


def test_a_clean_explanation_has_no_findings(screener: Screener) -> None:
    found = screen_outputs(explained("flagged: a payment card and a phone number"), screener, pd.Series([CARD]))
    assert found.by_kind == {}


def test_missing_values_and_categories_are_fine(screener: Screener) -> None:
    frame = table(explanation=[None, "x", np.nan]).astype("category").assign(label=[0, 1, 0])
    assert screen_outputs(frame, screener).by_kind == {}
    assert screen_outputs(frame.iloc[:0], screener, pd.Series([], dtype="str")).by_kind == {}


def test_inputs_and_outputs_belong_together(screener: Screener) -> None:
    with pytest.raises(ValueError, match="1 outputs for 2 inputs"):
        screen_outputs(explained("a"), screener, pd.Series(["a", "b"]))


@given(
    label=st.integers(-1, 2),
    probability=st.floats(-0.5, 1.5) | st.sampled_from([0.0, 1.0, float("nan"), float("inf")]),
    score=st.floats(allow_nan=True, allow_infinity=True),
)
def test_one_output_is_judged_as_a_table_of_one(
    screener: Screener, label: int, probability: float, score: float
) -> None:
    frame = pd.DataFrame({"label": [label], "probability": [probability], "score": [score]})
    assert screen_numbers(label, probability, score) == screen_outputs(frame, screener).by_kind
