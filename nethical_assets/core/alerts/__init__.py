"""Problems as issues: alert kinds, sanitised bodies, and the trackers that file them."""

from nethical_assets.core.alerts.kinds import KINDS, Alert, AlertKind, Resolution, fingerprint
from nethical_assets.core.alerts.local import LocalIssueTracker
from nethical_assets.core.alerts.tracker import (
    Comment,
    Issue,
    IssueNotFoundError,
    IssueTracker,
    Recorded,
    TrackerError,
)

__all__ = [
    "KINDS",
    "Alert",
    "AlertKind",
    "Comment",
    "Issue",
    "IssueNotFoundError",
    "IssueTracker",
    "LocalIssueTracker",
    "Recorded",
    "Resolution",
    "TrackerError",
    "fingerprint",
]
