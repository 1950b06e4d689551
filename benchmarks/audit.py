"""Speed of the audit log: ``python -m benchmarks.audit [LEAVES ...]`` prints one JSON document.

Rates are the best of several repetitions, so that other work on the machine disturbs them least; times of proofs and
of finalisation are medians.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from nethical_assets.core.audit import AuditLog, Event, EventType, LogReader, SigningKeys, Subject, prove, verify_log
from nethical_assets.core.audit.events import timestamp
from nethical_assets.core.audit.writer import LogWriter, utc_now
from nethical_assets.core.delivery.champion import newest_promotion
from nethical_assets.core.ground.digests import digest_bytes
from nethical_assets.core.tlog.merkle import MerkleTree, hash_leaf, verify_consistency, verify_inclusion

BATCH = 10_000
LEAVES = 200_000
PROOFS = 2_000
SIZES = [10_000, 100_000, 1_000_000]
CHUNK = 99
REPETITIONS = 20


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def tree_figures() -> dict[str, float]:
    entries = [f'{{"number":{number},"padding":"{"x" * 300}"}}'.encode() for number in range(BATCH)]
    rates = []
    tree = MerkleTree()
    while tree.size < LEAVES:
        rates.append(BATCH / seconds(lambda: tree.extend(map(hash_leaf, entries))))
    root = tree.root()
    indices = [number * 7919 % LEAVES for number in range(PROOFS)]
    inclusion = [(index, tree.inclusion_proof(index)) for index in indices]
    consistency = [(index + 1, tree.consistency_proof(index + 1)) for index in indices]
    roots = {size: tree.root(size) for size, _ in consistency}

    def median_microseconds(calls: list[Callable[[], object]]) -> float:
        return round(statistics.median(seconds(call) for call in calls) * 1e6, 1)

    return {
        "tree_leaves": tree.size,
        "tree_appends_per_second": round(max(rates)),
        "inclusion_proof_microseconds": median_microseconds([lambda i=i: tree.inclusion_proof(i) for i in indices]),
        "consistency_proof_microseconds": median_microseconds(
            [lambda i=i: tree.consistency_proof(i + 1) for i in indices]
        ),
        "verify_inclusion_microseconds": median_microseconds(
            [lambda i=i, p=p: verify_inclusion(i, LEAVES, tree.node(0, i), p, root) for i, p in inclusion]
        ),
        "verify_consistency_microseconds": median_microseconds(
            [lambda s=s, p=p: verify_consistency(s, LEAVES, roots[s], root, p) for s, p in consistency]
        ),
    }


def build(folder: Path, leaves: int) -> AuditLog:
    """A log of ``leaves`` leaves in chunks of 100, with promotions of five families among them."""
    log = AuditLog(folder, SigningKeys(folder / "keys", environment={}))
    writer = LogWriter(log, log.keys)
    with writer.locked():
        while True:
            view, private = writer.open()
            if view.size >= leaves:
                return log
            run_id = f"run-{view.size}"
            events = [
                Event(
                    run_id=run_id,
                    sequence=number,
                    time=timestamp(utc_now()),
                    type=EventType.MODEL_PROMOTED if number == 50 else EventType.DATA_FETCHED,
                    actor="benchmark",
                    subjects=(
                        Subject(
                            f"models/family-{view.size // 100 % 5}", digest_bytes(f"{view.size}/{number}".encode())
                        ),
                    ),
                )
                for number in range(min(CHUNK, leaves - view.size))
            ]
            writer.append(view, private, run_id, [event.leaf() for event in events])


def log_figures(folder: Path, leaves: int) -> dict[str, float]:
    """Times in milliseconds at a log of that size; a run of one event is measured with a fresh object, as a new process
    would be."""
    log = build(folder, leaves)
    size = log.view().size

    def median_milliseconds(calls: Iterable[Callable[[], object]]) -> float:
        return round(statistics.median(seconds(call) for call in calls) * 1e3, 2)

    def opened() -> AuditLog:
        return AuditLog(folder, log.keys)

    recorders = [opened().recorder(f"single-{number}") for number in range(REPETITIONS)]
    first = [seconds(lambda r=one: r.append("heartbeat", actor="benchmark")) for one in recorders]
    more = [seconds(lambda r=recorders[0]: r.append("heartbeat", actor="benchmark")) for _ in range(200)]
    finalise = median_milliseconds([lambda n=n: opened().finalize_run(f"single-{n}") for n in range(REPETITIONS)])
    digests = [log.view().event(index).event.subjects[0].digest for index in range(10, size - 200, size // 50)]
    started: list[tuple[str, int, int]] = []
    figures = {
        "leaves": size,
        "first_event_of_a_run_milliseconds": round(statistics.median(first) * 1e3, 2),
        "further_event_milliseconds": round(statistics.median(more) * 1e3, 2),
        "finalise_one_event_milliseconds": finalise,
        "prove_by_index_milliseconds": median_milliseconds(
            [lambda i=i: prove(folder, i) for i in range(0, size, size // 50)]
        ),
        "prove_by_digest_milliseconds": median_milliseconds([lambda d=d: prove(folder, d) for d in digests]),
        "newest_promotion_milliseconds": median_milliseconds(
            [lambda n=n: newest_promotion(LogReader(folder), f"family-{n % 5}") for n in range(50)]
        ),
        "verify_seconds": round(seconds(lambda: verify_log(folder, progress=lambda *now: started.append(now))), 2),
        "rebuild_index_seconds": 0.0,
    }
    log.index.path.unlink()
    writer = LogWriter(opened(), log.keys)
    with writer.locked():
        figures["rebuild_index_seconds"] = round(seconds(writer.open), 2)
    return figures


def main() -> None:
    figures: dict[str, Any] = dict(tree_figures())
    sizes = [int(size) for size in sys.argv[1:]] or SIZES
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            figures[f"log_of_{size}"] = log_figures(Path(folder) / "audit", size)
    smallest, largest = (figures[f"log_of_{size}"] for size in (sizes[0], sizes[-1]))
    figures["largest_to_smallest"] = {
        name: round(largest[name] / value, 2) for name, value in smallest.items() if value
    }
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
