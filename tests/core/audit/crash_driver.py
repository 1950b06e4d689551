"""Kills a process at every write, fsync, rename and removal of the audit log, and looks at what it leaves.

Run as a program (``python crash_driver.py SCENARIO FOLDER STEP``): it forks one child for each STEP-th kill point. The
child does the scenario's work and sends itself SIGKILL there (for writes: before, and after half of the bytes). The
parent then verifies the log as it was left, lets a new process' work continue, verifies again, and checks that no
acknowledged event is lost or doubled. Prints one JSON line: the last kill point tried, and every violation.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nethical_assets.core.audit import AuditLog, SigningKeys, rotate_key, verify_log

RUN = "run-x"


class Bomb:
    """Counts operations and kills this process at one of them."""

    def __init__(self, point: int) -> None:
        self.left = point
        self.trace: list[str] = []

    def tick(self, what: str) -> bool:
        self.left -= 1
        self.trace.append(what)
        return self.left < 0

    def kill(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def wrap(self, name: str) -> Callable[..., Any]:
        original = getattr(os, name)

        def wrapped(*arguments: Any, **more: Any) -> Any:
            if self.tick(name):
                self.kill()
            return original(*arguments, **more)

        return wrapped

    def install(self) -> None:
        write, fdopen = os.write, os.fdopen

        def half_write(descriptor: int, data: bytes) -> int:
            if self.tick("write"):
                self.kill()
            if self.tick("half of a write"):
                write(descriptor, data[: len(data) // 2])
                self.kill()
            return write(descriptor, data)

        bomb = self

        class Stream:
            def __init__(self, stream: Any) -> None:
                self.stream = stream

            def write(self, data: bytes) -> int:
                if bomb.tick("write"):
                    bomb.kill()
                if bomb.tick("half of a write"):
                    self.stream.write(data[: len(data) // 2])
                    self.stream.flush()
                    bomb.kill()
                return int(self.stream.write(data))

            def __enter__(self) -> Stream:
                return self

            def __exit__(self, *problem: object) -> None:
                self.stream.close()

            def __getattr__(self, name: str) -> Any:
                return getattr(self.stream, name)

        os.fdopen = lambda *arguments, **more: Stream(fdopen(*arguments, **more))  # type: ignore[assignment]
        for name in ("fsync", "replace", "unlink", "ftruncate", "mkdir", "rmdir"):
            setattr(os, name, self.wrap(name))
        os.write = half_write  # type: ignore[assignment]


def open_log(folder: Path) -> AuditLog:
    return AuditLog(folder, SigningKeys(folder / "keys", environment={}))


def record(log: AuditLog, events: int, acknowledge: Callable[[int], None]) -> None:
    recorder = log.recorder(RUN)
    for number in range(events):
        acknowledge(recorder.append("heartbeat", actor="t", payload={"number": number}))


def work_first(folder: Path, acknowledge: Callable[[int], None]) -> None:
    record(open_log(folder), 2, acknowledge)
    open_log(folder).finalize_run(RUN)


def work_second(folder: Path, acknowledge: Callable[[int], None]) -> None:
    record(open_log(folder), 3, acknowledge)
    open_log(folder).finalize_run(RUN)


def work_rotation(folder: Path, acknowledge: Callable[[int], None]) -> None:
    rotate_key(open_log(folder), actor="t")


def prepare_nothing(folder: Path) -> None:
    folder.mkdir()


def prepare_nearly_full_tile(folder: Path) -> None:
    log = open_log(folder)
    for run, events in (("run-0", 1), ("run-1", 251)):
        recorder = log.recorder(run)
        for _ in range(events):
            recorder.append("heartbeat", actor="t")
        log.finalize_run(run)


SCENARIOS = {
    "first chunk": (prepare_nothing, work_first),
    "chunk over a tile boundary": (prepare_nearly_full_tile, work_second),
    "key rotation": (prepare_nearly_full_tile, work_rotation),
}


def look(folder: Path, acknowledged: int, before: int) -> list[str]:
    """What is wrong with the log as the killed process left it, and after somebody continued."""
    problems = [
        f"as left: {problem}"
        for problem in verify_log(folder).problems
        if not (before == 0 and problem.startswith("checkpoint: missing"))
    ]
    log = open_log(folder)
    log.finalize_abandoned(lambda run_id: False)
    log.recorder("run-after").append("heartbeat", actor="t")
    log.finalize_run("run-after")
    problems += [f"continued: {problem}" for problem in verify_log(folder).problems]
    sequences = [found.event.sequence for found in log.find_events(run_id=RUN, event_type="heartbeat")]
    if sequences[:acknowledged] != list(range(acknowledged)) or len(set(sequences)) != len(sequences):
        problems.append(f"acknowledged {acknowledged} events, the log has {sequences}")
    left = [path.name for path in (folder / "tile").rglob(".partial-*")] + log.pending_runs()
    return [*problems, *(f"left over: {name}" for name in left)]


def attempt(work: Callable[[Path, Callable[[int], None]], None], folder: Path, point: int) -> tuple[bool, int]:
    """Do the work in a child that dies at ``point``; whether it died, and how many events were acknowledged."""
    reading, writing = os.pipe()
    write = os.write
    child = os.fork()
    if child == 0:
        os.close(reading)
        Bomb(point).install()
        work(folder, lambda sequence: write(writing, b"x") and None)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        acknowledged = len(stream.read())
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status), acknowledged


def main() -> None:
    prepare, work = SCENARIOS[sys.argv[1]]
    # A killed process loses nothing that the kernel has: waiting for the disk would be the same, and slow.
    os.fsync = lambda descriptor: None  # type: ignore[assignment]
    base = Path(sys.argv[2]) / "base"
    prepare(base)
    before = verify_log(base).size
    violations = []
    point, step = 0, int(sys.argv[3])
    died = True
    while died:
        folder = shutil.copytree(base, base.with_name(f"point-{point}"))
        died, acknowledged = attempt(work, folder, point)
        violations += [f"killed at {point}: {problem}" for problem in look(folder, acknowledged, before)]
        shutil.rmtree(folder)
        point += step
    sys.stdout.write(json.dumps({"last": point - step, "violations": violations}))


if __name__ == "__main__":
    main()
