"""What happened before each event in its group (an organisation, a network segment): strictly earlier events only.

What belongs here: the two history quantities that mappings share. What does not: what an event or a group is.

Events of the same instant do not see each other, so the result does not depend on the order of rows.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nethical_assets.core.rows.columns import FloatArray

Groups = npt.NDArray[np.int64]


def seconds_since_previous(group: Groups, time: FloatArray) -> FloatArray:
    """Seconds from the latest earlier event of the same group; infinite where there is none."""
    order, key = _sorted(group, time, 0.0)
    previous = np.searchsorted(key, key, side="left") - 1
    here, there = order, order[np.maximum(previous, 0)]
    known = (previous >= 0) & (group[there] == group[here])
    result = np.full(len(time), np.inf)
    result[here[known]] = time[here[known]] - time[there[known]]
    return result


def earlier_within(group: Groups, time: FloatArray, window_seconds: float) -> FloatArray:
    """How many events of the same group lie in the ``window_seconds`` before each event."""
    order, key = _sorted(group, time, window_seconds)
    result = np.zeros(len(time))
    result[order] = np.searchsorted(key, key, side="left") - np.searchsorted(key, key - window_seconds, side="left")
    return result


def _sorted(group: Groups, time: FloatArray, window_seconds: float) -> tuple[Groups, FloatArray]:
    """The order by group and time, and one rising key: groups are moved apart by more than the longest window."""
    order = np.lexsort((time, group))
    if len(time) == 0:
        return order, time
    stride = float(time.max() - time.min()) + 2.0 * window_seconds + 1.0
    return order, (group * stride + (time - time.min()))[order]
