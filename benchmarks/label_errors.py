"""Cost of looking for wrong labels in every row of a table, and that of cleanlab's own recipe on the same rows.

Run ``python -m benchmarks.label_errors [ROWS]`` (default 1000000); prints one JSON document. The table is that of
``benchmarks.validation``, whose wrong labels are known. The recipe is cleanlab's documented one for a table:
probabilities of a logistic regression on standardised columns from five folds, then ``find_label_issues`` and
``num_label_issues``. Figures are processor seconds of one thread, after imports.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from cleanlab.count import num_label_issues  # type: ignore[import-untyped]
from cleanlab.filter import find_label_issues  # type: ignore[import-untyped]
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.validation import CATEGORIES, NUMBERS, make_frame
from nethical_assets.core.detectors.fitting import one_thread
from nethical_assets.core.quality.label_errors import find_label_errors


def main() -> None:
    """Measure and print."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    frame = make_frame(rows)
    inputs, labels = frame[[*NUMBERS, *CATEGORIES]], frame["label"].to_numpy()
    wrong = ((frame[NUMBERS[0]] + frame[NUMBERS[1]]) > 0).to_numpy() != (labels == 1)
    # Fits a model of each kind once, so that nothing is imported while the clock runs.
    find_label_errors(inputs.head(1000), labels[:1000], pd.Series([""] * 1000), "records")
    with one_thread():
        ours, seconds = _timed(lambda: find_label_errors(inputs, labels, pd.Series("", index=inputs.index), "records"))
        (issues, estimated), recipe_seconds = _timed(lambda: _recipe(inputs, labels.astype(np.int64)))
    suspects = np.zeros(0, dtype=np.int64) if ours is None else ours.suspects
    document = {
        "rows": rows,
        "wrong_labels": int(wrong.sum()),
        "product": _figures(seconds, suspects, wrong) | {"estimated": None if ours is None else ours.estimated},
        "cleanlab": _figures(recipe_seconds, issues, wrong) | {"estimated": estimated},
        "ratio_of_processor_seconds": round(seconds / recipe_seconds, 3),
    }
    print(json.dumps(document, indent=2))


def _recipe(inputs: pd.DataFrame, labels: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], int]:
    coded = inputs.assign(**{name: pd.factorize(inputs[name])[0] for name in CATEGORIES}).to_numpy(dtype=np.float64)
    model = make_pipeline(StandardScaler(), LogisticRegression())
    probabilities = cross_val_predict(model, coded, labels, cv=5, method="predict_proba")
    issues = find_label_issues(labels, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1)
    return issues, int(num_label_issues(labels, probabilities))


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    started = time.process_time()
    result = work()
    return result, time.process_time() - started


def _figures(
    seconds: float, suspects: npt.NDArray[np.int64], wrong: npt.NDArray[np.bool_]
) -> dict[str, float | int | None]:
    right = int(wrong[suspects].sum())
    return {
        "processor_seconds": round(seconds, 3),
        "suspects": len(suspects),
        "precision": round(right / max(len(suspects), 1), 4),
        "recall": round(right / max(int(wrong.sum()), 1), 4),
    }


if __name__ == "__main__":
    main()
