"""The model signing keys that the audit log pins.

What belongs here: reading the pinned fingerprints from the log, pinning the first key, and replacing it. What does not:
the key files (``core.signing.keys``), what the log's state is (``core.audit.state``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from nethical_assets.core.audit.events import EventType, Subject
from nethical_assets.core.audit.log import AuditLog
from nethical_assets.core.audit.reader import LogReader
from nethical_assets.core.audit.recorder import RunRecorder
from nethical_assets.core.audit.state import MODEL_KEY
from nethical_assets.core.audit.writer import ACTOR
from nethical_assets.core.ground.errors import SettingsError
from nethical_assets.core.signing.keys import ModelKeys


class LogPins:
    """The keys pinned by the log in ``folder``: by its state, and by verified leaves that wait to be finalised.

    ``recorder`` gives the recorder of the run that a first key is recorded in; without one, no key can be pinned.
    """

    def __init__(self, folder: Path, recorder: Callable[[], RunRecorder] | None = None) -> None:
        self._log = LogReader(folder)
        self._recorder = recorder

    def pinned(self) -> Sequence[str]:
        """The fingerprints, oldest first.

        Raises:
            AuditError: there is a log, and it is not what was signed.
        """
        waiting = self._log.pending_events(b'"key_created"')
        if self._log.checkpoint_bytes() is None:
            return []
        if not waiting:
            return [named.digest for named in self._log.view().state.model_keys]
        state = self._log.view().state.copy()
        for number, event in enumerate(waiting):
            state.take(self._log.view().size + number, event)
        return [named.digest for named in state.model_keys]

    def pin(self, digest: str) -> None:
        """Record the first key in this run.

        Raises:
            SettingsError: this is no run.
        """
        if self._recorder is None:
            raise SettingsError("the audit log pins no model signing key yet; run: nethical run")
        self._recorder().append(EventType.KEY_CREATED, actor=ACTOR, subjects=[Subject(MODEL_KEY, digest)])


def rotate_model_key(
    log: AuditLog, keys: ModelKeys, pins: LogPins, *, actor: str, reason: str, new_key_file: Path | None = None
) -> str:
    """Replace the model signing key; the fingerprint of the new one. Signatures by earlier keys go on to verify.

    The log gets a chunk with the new fingerprint, which names the one before it as its parent, before the new key takes
    the place of the old one. After a crash, the next run completes it, and so does calling it again.

    Raises:
        SettingsError: no key is pinned yet, the key is external and no file is named, or it is in force already.
        AuditError: the log cannot be extended.
    """
    # The pin of the key before may still wait: in the log it has to come first.
    log.seal_pending()
    digest, target = keys.replacement(new_key_file)
    pinned = pins.pinned()
    if digest != pinned[-1]:
        run_id = f"model-key-{digest.partition(':')[2][:16]}"
        recorder = log.recorder(run_id)
        if recorder.prefix_root()[0] == 0:
            recorder.append(
                EventType.KEY_CREATED,
                actor=actor,
                subjects=[Subject(MODEL_KEY, digest)],
                parents=[pinned[-1]],
                payload={"reason": reason},
            )
        log.finalize_run(run_id)
    keys.take_over(target)
    return digest
