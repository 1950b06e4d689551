"""Screening what a model puts out: numbers that are no predictions, and texts that hold or repeat what is protected.

What belongs here: checking a table of predictions and counting what is wrong with it, by kind. What does not: screening
of training rows (``frames``), or what follows from the counts.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from nethical_assets.core.governance.findings import Findings
from nethical_assets.core.governance.normalise import fold_characters
from nethical_assets.core.governance.rules import Role
from nethical_assets.core.governance.screener import Screener

LABEL, PROBABILITY, SCORE = "label", "probability", "score"
REPEATS_INPUT = "repeats_input"
"""Outputs that repeat personal data or a secret of their input, in any spelling that folds to the same characters."""
MALFORMED = "malformed_"
"""Before the name of a column: values that are no label, no probability or no score."""
MINIMUM_LEAK_CHARACTERS = 5
"""Shorter matched text is not looked for in outputs: it occurs there by chance."""


@dataclass(frozen=True)
class OutputScreening:
    """What was found in some outputs: counts, never text.

    ``rows``: outputs; ``columns``: the columns whose texts were screened; ``by_kind``: how many findings there are of
    each kind of the rules, of ``repeats_input``, and of ``malformed_<column>``; a kind without findings is left out.
    """

    rows: int
    columns: tuple[str, ...]
    by_kind: Mapping[str, int]


def screen_outputs(predictions: pd.DataFrame, screener: Screener, inputs: pd.Series | None = None) -> OutputScreening:
    """Check every value of a model's outputs, one row an output.

    A label is 0 or 1, a probability in [0, 1], a score finite. Every other column is screened as text, numbers
    included, because a number may be an identifier; equal texts are screened once and counted as often as they occur.

    Args:
        predictions: any of the columns ``label``, ``probability`` and ``score``, and whatever else an output carries
            (explanations, names).
        inputs: the text of each row's input, of the same length, where the family reads text.

    Raises:
        ValueError: ``inputs`` has another length.
    """
    if inputs is not None and len(inputs) != len(predictions):
        raise ValueError(f"{len(predictions)} outputs for {len(inputs)} inputs")
    counts: Counter[str] = Counter()
    numeric = [name for name in (LABEL, PROBABILITY, SCORE) if name in predictions.columns]
    for name in numeric:
        counts[f"{MALFORMED}{name}"] += int((~_well_formed(name, predictions[name])).sum())
    carried = [str(name) for name in predictions.columns if name not in numeric]
    protected = [] if inputs is None or not carried else _protected_texts(inputs, screener)
    for name in carried:
        texts = predictions[name].astype("string").fillna("")
        codes, distinct = pd.factorize(texts)
        occurrences = np.bincount(codes, minlength=len(distinct))
        found = screener.screen(pd.Series(distinct, dtype="str"))
        for kind, row in zip(found.names("kind").tolist(), found.rows.tolist(), strict=True):
            counts[str(kind)] += int(occurrences[row])
        counts[REPEATS_INPUT] += len({row for row, text in protected if text in _folded(str(texts.iloc[row]))})
    return OutputScreening(
        rows=len(predictions),
        columns=tuple(carried),
        by_kind={kind: count for kind, count in sorted(counts.items()) if count},
    )


def screen_numbers(label: int, probability: float, score: float) -> Mapping[str, int]:
    """What ``screen_outputs`` counts of one output that carries nothing but these, without a table."""
    well_formed = {LABEL: label in (0, 1), PROBABILITY: 0.0 <= probability <= 1.0, SCORE: math.isfinite(score)}
    return {f"{MALFORMED}{name}": 1 for name in sorted(well_formed) if not well_formed[name]}


def _well_formed(name: str, values: pd.Series) -> npt.NDArray[np.bool_]:
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    if name == LABEL:
        well_formed = (numbers == 0.0) | (numbers == 1.0)
    elif name == PROBABILITY:
        well_formed = (numbers >= 0.0) & (numbers <= 1.0)
    else:
        well_formed = np.isfinite(numbers)
    return np.asarray(well_formed, dtype=np.bool_)


def _protected_texts(inputs: pd.Series, screener: Screener) -> list[tuple[int, str]]:
    """(row, folded text) of the personal data and secrets in inputs."""
    rules = sorted(rule.id for rule in screener.ruleset.rules if rule.role in (Role.PERSONAL_DATA, Role.SECRET))
    found: Findings = screener.screen(inputs)
    found = found.where(np.isin(found.names("rule"), rules))
    columns = (found.table[name].to_pylist() for name in ("row", "start", "end"))
    return [
        (row, _folded(str(inputs.iloc[row])[start:end]))
        for row, start, end in zip(*columns, strict=True)
        if end - start >= MINIMUM_LEAK_CHARACTERS
    ]


def _folded(text: str) -> str:
    return fold_characters(text).casefold()
