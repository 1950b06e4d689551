"""GitHub's double as a process that may be killed: what it did is kept before it is answered.

python -m tests.across.github_server PORT STATE     (until it is killed)
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from tests.core.alerts.github_double import GitHubDouble

_SECONDS_BEFORE_AN_ANSWER = 0.02


class KeptDouble(GitHubDouble):
    """A double whose issues, comments and labels are in a file."""

    def __init__(self, state: Path) -> None:
        super().__init__()
        self._state, self._lock = state, threading.Lock()
        self.__dict__.update(state_of(state))

    def answer(self, method: str, target: str, body: Any, authorization: str) -> Any:
        with self._lock:
            answer = super().answer(method, target, body, authorization)
            if method != "GET":
                new = self._state.with_suffix(".new")
                kept = {"issues": self.issues, "comments": self.comments, "labels": sorted(self.labels)}
                new.write_text(json.dumps(kept))
                os.replace(new, self._state)
        # Whoever dies now did it, and nobody knows.
        time.sleep(_SECONDS_BEFORE_AN_ANSWER)
        return answer


def state_of(state: Path) -> dict[str, Any]:
    """``issues``, ``comments`` and ``labels`` as they were left."""
    found = json.loads(state.read_text()) if state.exists() else {"issues": {}, "comments": {}, "labels": []}
    numbered = {name: {int(number): one for number, one in found[name].items()} for name in ("issues", "comments")}
    return {**numbered, "labels": set(found["labels"])}


if __name__ == "__main__":
    with KeptDouble(Path(sys.argv[2])).serving(int(sys.argv[1])):
        threading.Event().wait()
