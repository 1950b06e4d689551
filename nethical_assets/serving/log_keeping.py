"""The gateway's part in the inference log: what its workers wrote becomes batches that the audit log knows.

What belongs here: when that is done, and what is said where it cannot be. What does not: how (``home.inference``). It
is done by the process that starts the workers, in a thread: a worker has requests to answer.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from nethical_assets.home.inference import seal_segments
from nethical_assets.home.settings import Settings
from nethical_assets.serving.repeating import Repeated


class Sealing:
    """A sealing pass every ``serving.log_seal_seconds``, and one when the workers have ended.

    What cannot be sealed now is sealed later, by this, by another gateway, by ``nethical score`` or by the drift watch;
    why is said once until it works again.
    """

    def __init__(self, settings: Settings, said: Callable[[str], None]) -> None:
        seconds, problem = settings.file.serving.log_seal_seconds, "the inference log waits to be sealed"
        self._passes = Repeated("sealing", lambda: seal_segments(settings), seconds, said, problem=problem)

    @contextlib.contextmanager
    def going_on(self) -> Iterator[None]:
        """Passes are made until the context is left, and one more then."""
        try:
            with self._passes.going_on():
                yield
        finally:
            self._passes.once()
