"""Work that the process which starts the workers does beside them, again and again, in a thread.

What belongs here: when it is done, and that what goes wrong is said once until it works again. What does not: the work.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from nethical_assets.core.ground.errors import NethicalError
from nethical_assets.core.ground.unexpected import describe_unexpected


class Repeated:
    """``work`` every ``seconds``; ``said`` is told in one line, which begins with ``problem``, where it fails."""

    def __init__(
        self, name: str, work: Callable[[], object], seconds: float, said: Callable[[str], None], *, problem: str
    ) -> None:
        self._name = name
        self._work = work
        self._seconds = seconds
        self._said = said
        self._problem = problem
        self._told = ""
        self._ending = threading.Event()

    @contextlib.contextmanager
    def going_on(self) -> Iterator[None]:
        """It is done until the context is left."""
        thread = threading.Thread(target=self._go_on, name=self._name, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ending.set()
            thread.join()

    def once(self) -> None:
        """Do it now; never raises."""
        try:
            self._work()
        except (NethicalError, OSError) as error:
            self._tell(str(error))
        except Exception as error:
            self._tell(describe_unexpected(error))
        else:
            self._told = ""

    def _go_on(self) -> None:
        while not self._ending.wait(self._seconds):
            self.once()

    def _tell(self, fault: str) -> None:
        if fault != self._told:
            self._said(f"{self._problem}: {fault}")
        self._told = fault
