from __future__ import annotations

import json
from pathlib import Path

import pytest

from nethical_assets.core.evaluation import error_card
from nethical_assets.core.evaluation.error_card import build_error_card, render_error_card
from nethical_assets.core.governance.screener import Screener
from nethical_assets.core.ground.errors import DatasetError
from tests.sweeping import COMPLETE


@pytest.mark.slow
def test_the_aims_are_met_on_the_half_that_was_not_tuned_on(
    shared_data: Path, screener: Screener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the numeric tables every tenth part, and all of them in the complete sweep."""
    if not COMPLETE:
        monkeypatch.setattr(error_card, "_NUMERIC_ROWS", error_card._NUMERIC_ROWS // 10)
    card = build_error_card(shared_data, screener)
    assert [aim for aim in card["aims"] if not aim["met"]] == []
    assert card["half"] == "held_out"
    assert card["ruleset"] == screener.ruleset.digest
    assert all(entry["findings_written_as_text"] == 0 for entry in card["numeric"].values())
    assert card["attacks"]["injection prompts"]["prompt_injection"]["value"] > 0.25
    json.dumps(card, allow_nan=False)
    page = render_error_card(card)
    for kind in ("EMAIL", "PHONE", "CREDIT_CARD", "IBAN", "SSN", "IP_ADDRESS"):
        assert f"| {kind} |" in page


def test_a_missing_corpus_is_named(tmp_path: Path, screener: Screener) -> None:
    with pytest.raises(DatasetError, match="synth_dataset_v2"):
        build_error_card(tmp_path, screener)
    with pytest.raises(ValueError, match="half"):
        build_error_card(tmp_path, screener, half="all")
