"""What all fits share, so that the same rows give the same model.

What belongs here: row order by content, one thread, the check that there is something to learn. What does not: any
model (``families``) or calibration.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd

from nethical_assets.core.detectors.base import LabelledRows
from nethical_assets.core.ground.errors import TrainingError


def in_content_order(rows: LabelledRows) -> LabelledRows:
    """The same rows sorted by a hash of their content, so that fitting cannot depend on the order they came in."""
    columns = sorted(map(str, rows.inputs.columns))
    keys = pd.util.hash_pandas_object(rows.inputs[columns], index=False, categorize=False).to_numpy()
    order = np.lexsort((rows.labels, keys))
    features = None if rows.features is None else rows.features.take(order)
    return LabelledRows(rows.inputs.iloc[order].reset_index(drop=True), rows.labels[order], features)


def require_both_classes(labels: npt.NDArray[np.int8], family: str) -> None:
    """Check that there is something to learn.

    Raises:
        TrainingError: fewer than two classes.
    """
    positives = int((labels == 1).sum())
    if positives in (0, len(labels)):
        raise TrainingError(
            f"family {family} needs training rows of both classes, got {len(labels)} rows with {positives} positive; "
            "check the label values in the catalog"
        )


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Keep linear algebra on one thread: sums are then added in one order, and small fits are faster."""
    # Only libraries that are loaded can be limited.
    import scipy.linalg  # noqa: F401
    import sklearn.utils  # noqa: F401
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with threadpool_limits(limits=1):
        yield
