"""Each family on real records, on rows it never saw: it must be useful where it can be, and honest where it cannot."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from nethical_assets.core.detectors.artifact import choose_golden_inputs, pack, unpack
from nethical_assets.core.detectors.base import Detector, LabelledRows
from nethical_assets.core.detectors.registry import family_names, load_family
from nethical_assets.core.rows.columns import COMMON_COLUMNS

RealFrame = Callable[[str], pd.DataFrame]
Fitted = Callable[[str, pd.DataFrame], Detector]

# Well below what was measured, so that only a real loss of quality fails: family -> (accuracy, AUC, largest ECE).
EXPECTED = {
    "heuristic": (0.88, 0.93, 0.06),
    "logistic": (0.96, 0.99, 0.03),
    "prompt_injection": (0.92, 0.98, 0.06),
    "anomaly": (0.88, 0.93, 0.08),
    "correlation": (0.88, 0.93, 0.06),
}


def rows(frame: pd.DataFrame, chosen: pd.Series) -> LabelledRows:
    part = frame[chosen]
    inputs = part.drop(columns=[*COMMON_COLUMNS, "split"]).reset_index(drop=True)
    return LabelledRows(inputs, part["label"].to_numpy(dtype=np.int8))


def fit_on(family: str, frame: pd.DataFrame) -> Detector:
    return load_family(family).fit(
        rows(frame, frame["split"] == "train"), rows(frame, frame["split"] == "validation"), 42
    )


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    """Family and its whole frame -> its detector, fitted once for all tests."""
    known: dict[str, Detector] = {}

    def fit(family: str, frame: pd.DataFrame) -> Detector:
        if family not in known:
            known[family] = fit_on(family, frame)
        return known[family]

    return fit


@pytest.mark.parametrize("family", family_names())
@pytest.mark.slow
def test_out_of_sample_figures(family: str, real_frame: RealFrame, fitted: Fitted) -> None:
    frame = real_frame(family)
    detector = fitted(family, frame)
    test = rows(frame, frame["split"] == "test")
    probability = detector.probability(test.inputs)
    accuracy, auc, ece = EXPECTED.get(family, (0.6, 0.6, 0.15))
    assert ((probability >= 0.5) == test.labels).mean() >= accuracy
    assert roc_auc_score(test.labels, detector.score(test.inputs)) >= auc
    bins = np.minimum((probability * 10).astype(int), 9)
    gaps = [abs(probability[bins == b].mean() - test.labels[bins == b].mean()) * (bins == b).mean() for b in set(bins)]
    assert sum(gaps) <= ece


@pytest.mark.slow
@pytest.mark.parametrize("family", family_names())
def test_artifacts_of_real_models_are_small_and_load(family: str, real_frame: RealFrame, fitted: Fitted) -> None:
    frame = real_frame(family)
    spec = load_family(family)
    detector = fitted(family, frame)
    validation = rows(frame, frame["split"] == "validation")
    files = pack(spec, detector, choose_golden_inputs(spec, validation.inputs, 1))
    assert sum(map(len, files.values())) < 20 << 20
    loaded = unpack(spec, files)
    np.testing.assert_array_equal(loaded.probability(validation.inputs), detector.probability(validation.inputs))


@pytest.mark.slow
def test_prompts_of_a_source_it_never_saw_are_ranked_hardly_better_than_chance(real_frame: RealFrame) -> None:
    frame = real_frame("prompt_injection")
    ranked = 0
    for source in frame.loc[frame["split"] == "test", "source"].unique():
        others = frame[frame["source"] != source]
        unseen = rows(frame, (frame["source"] == source) & (frame["split"] == "test"))
        if len(set(unseen.labels)) == 2:
            ranked += 1
            # Each source has attacks of its own kind, and the family learns little that holds in the other: the
            # evaluation says so on the card. What leaves this range is news, good or bad.
            assert 0.45 < roc_auc_score(unseen.labels, fit_on("prompt_injection", others).score(unseen.inputs)) < 0.65
    assert ranked == 2


@pytest.mark.slow
def test_ordinary_texts_of_a_source_it_never_saw_are_rarely_flagged(real_frame: RealFrame, fitted: Fitted) -> None:
    """Without ordinary messages among the training rows nearly all tweets would be."""
    frame = real_frame("prompt_injection")
    tweets = rows(frame, frame["source"] == "hate_speech")
    assert (fitted("prompt_injection", frame).probability(tweets.inputs) >= 0.5).mean() < 0.2


def test_random_labels_stay_at_chance(real_frame: RealFrame, fitted: Fitted) -> None:
    """The labels of cyber_attacks do not depend on its columns; a figure far from chance would mean a leak."""
    frame = real_frame("heuristic")
    if not (frame["source"] == "cyber_attacks").any():
        pytest.skip("cyber_attacks is not among the shared records")
    random = rows(frame, frame["source"] == "cyber_attacks")
    assert 0.38 < roc_auc_score(random.labels, fitted("heuristic", frame).score(random.inputs)) < 0.62


def test_no_single_input_gives_the_label_away(real_frame: RealFrame) -> None:
    """Leak probe: within GUIDE, where identifiers would, no input alone separates the classes."""
    for family in ("heuristic", "correlation"):
        frame = real_frame(family)
        guide = frame[frame["source"] == "guide"]
        for column in load_family(family).input_columns:
            assert 0.3 < roc_auc_score(guide["label"], guide[column]) < 0.75, column


def test_incidents_hold_all_their_evidence(real_frame: RealFrame) -> None:
    """The GUIDE sample has 6 435 different pairs of organisation and incident."""
    for family in ("heuristic", "correlation"):
        assert (real_frame(family)["source"] == "guide").sum() == 6435
