"""Which problems hold which alerts back: with stale data, that a model looks different says nothing new.

What belongs here: the rule, and what is said of an alert that is held back. What does not: keeping such alerts until
what holds them back is over (``local_held``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from nethical_assets.core.alerts.checks import KIND_OF_MODEL_CHECK
from nethical_assets.core.alerts.kinds import Alert, fingerprint

_INHIBITED = frozenset(KIND_OF_MODEL_CHECK.values())
_STALE = ("stale_dataset", "freshness")


def is_inhibited(kind: str) -> bool:
    """Whether alerts of this kind may be held back."""
    return kind in _INHIBITED


@dataclass(frozen=True)
class Inhibition:
    """What holds alerts back in one home.

    Attributes:
        data: family -> the assets with the data that its models learn from, such as ``raw/nslkdd``.
    """

    data: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def causes(self, alert: Alert) -> tuple[str, ...]:
        """The fingerprints of the problems of which any, while it is open, holds the alert back."""
        if not is_inhibited(alert.kind):
            return ()
        kind, check = _STALE
        family = alert.subject.rpartition("/")[2]
        return tuple(fingerprint(kind, asset, check) for asset in sorted(self.data.get(family, ())))


def remark(alert: Alert) -> str:
    """What is said on the issue that holds the alert back."""
    return (
        f"Holds back: {alert.declared.title} of {alert.subject} (severity {alert.effective_severity}): {alert.summary} "
        "It is filed when the data is fresh or this is closed, unless it is over by then."
    )
