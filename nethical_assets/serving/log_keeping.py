"""The gateway's part in the inference log: what its workers wrote becomes batches that the audit log knows.

What belongs here: when that is done, and what is said where it cannot be. What does not: how (``home.inference``). It
is done by the process that starts the workers, in a thread: a worker has requests to answer.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from nethical_assets.core.ground.errors import NethicalError
from nethical_assets.core.ground.unexpected import describe_unexpected
from nethical_assets.home.inference import seal_segments
from nethical_assets.home.settings import Settings


class Sealing:
    """A sealing pass every ``serving.log_seal_seconds``, and one when the workers have ended.

    What cannot be sealed now is sealed later, by this, by another gateway, by ``nethical score`` or by the drift watch;
    why is said once until it works again.
    """

    def __init__(self, settings: Settings, said: Callable[[str], None]) -> None:
        self._settings = settings
        self._said = said
        self._ending = threading.Event()
        self._problem = ""

    @contextlib.contextmanager
    def going_on(self) -> Iterator[None]:
        """Passes are made until the context is left, and one more then."""
        thread = threading.Thread(target=self._go_on, name="sealing", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ending.set()
            thread.join()
            self._seal()

    def _go_on(self) -> None:
        while not self._ending.wait(self._settings.file.serving.log_seal_seconds):
            self._seal()

    def _seal(self) -> None:
        try:
            seal_segments(self._settings)
        except (NethicalError, OSError) as error:
            self._tell(str(error))
        except Exception as error:
            self._tell(describe_unexpected(error))
        else:
            self._problem = ""

    def _tell(self, problem: str) -> None:
        if problem != self._problem:
            self._said(f"the inference log waits to be sealed: {problem}")
        self._problem = problem
