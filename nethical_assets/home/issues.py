"""Issues in the audit log: what is opened, reopened or closed is an act, like every other change of state.

What belongs here: recording those acts, one after the other. What does not: issues (``core.alerts``), which problems
there are, or the order of leaf and change (``acts``).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from nethical_assets.core.alerts.local_rows import LATE
from nethical_assets.core.alerts.steps import Leaf, Record, Step, step_document
from nethical_assets.core.audit.events import EventType
from nethical_assets.core.delivery.expected import alert_subject
from nethical_assets.core.ground.errors import BusyError, NethicalError
from nethical_assets.core.ground.storage import exclusive_lock
from nethical_assets.home.acts import ACT_SUBJECT
from nethical_assets.home.changes import change_issue

if TYPE_CHECKING:
    from nethical_assets.home.workspace import Workspace

_LOGGER = logging.getLogger(__name__)
_LOCK_SECONDS = 120.0


class IssueJournal:
    """Implements ``core.alerts.steps.Journal`` for a home.

    Args:
        open_workspace: the stores of the home, with what they record under a run id that is new each time.
    """

    def __init__(self, open_workspace: Callable[[], Workspace]) -> None:
        self._open_workspace = open_workspace

    @contextmanager
    def changing(self) -> Iterator[Record]:
        """Alone with the issues; yields what records a leaf and has the step carried out.

        Raises:
            BusyError: another process changes issues, or acts, for more than two minutes.
            PostponedError: what a killed process left cannot be completed, because the tracker does not work.
        """
        workspace = self._open_workspace()
        lock = workspace.home / "alerts" / "changes.lock"
        with exclusive_lock(lock, waiting_seconds=_LOCK_SECONDS, what="the issues of this home"):
            acting = _Acting(workspace)
            acting.settle()
            try:
                yield acting.record
            finally:
                acting.end()


class _Acting:
    """The acts of one process that has the issues to itself, in one run of the log."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._usable = True
        self._recorded = False

    def settle(self) -> None:
        try:
            postponed = self._workspace.acts.settle()
        except BusyError:
            raise
        except NethicalError as error:
            self._give_up(error)
            return
        if postponed:
            raise postponed[0]

    def record(self, leaf: Leaf, step: Step) -> bool:
        if not self._usable:
            return False
        reached = False

        def write(intent: str) -> None:
            nonlocal reached
            self._write(leaf, intent)
            reached = self._recorded = True

        try:
            self._workspace.acts.act(change_issue(step_document(step)), write)
        except BusyError:
            raise
        except (NethicalError, OSError) as error:
            if reached:
                raise
            self._give_up(error)
        return reached

    def end(self) -> None:
        if self._recorded:
            try:
                self._workspace.seal()
            except NethicalError as error:
                _LOGGER.log(
                    _level(error), "what was recorded about issues enters the audit log with the next run: %s", error
                )
        self._workspace.end()

    def _write(self, leaf: Leaf, intent: str) -> None:
        document = dict(leaf.document)
        (known_as,) = alert_subject(document["kind"], leaf.fingerprint).values()
        if document.get("change") == LATE and self._workspace.evidence.named_by(known_as, EventType.ALERT_FILED):
            # What it said when it was opened is in the log: what it says now would make an edit good.
            del document["text"]
        subjects = alert_subject(document["kind"], leaf.fingerprint, document.get("text"))
        self._workspace.record_event(leaf.event, {**subjects, ACT_SUBJECT: intent}, payload=document)

    def _give_up(self, error: Exception) -> None:
        self._usable = False
        said = "the audit log takes no event; what the platform changes in issues it is told later: %s"
        _LOGGER.log(_level(error), said, error)


def _level(error: Exception) -> int:
    """How loud it is that the log waits for the next run. A full disk is told once, by what stops at it, and nothing is
    lost and nothing to be done about the log then; anything else is told here."""
    caused = error if isinstance(error, OSError) else error.__cause__ or error.__context__
    return logging.INFO if isinstance(caused, OSError) else logging.WARNING
