"""Speed of the audit log: ``python benchmarks/audit.py`` prints one JSON document.

Rates are the best of several repetitions, so that other work on the machine disturbs them least; times of proofs and
of finalisation are medians.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from nethical_assets.core.audit import AuditLog, SigningKeys, prove, verify_log
from nethical_assets.core.tlog.merkle import MerkleTree, hash_leaf, verify_consistency, verify_inclusion

BATCH = 10_000
LEAVES = 200_000
PROOFS = 2_000


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


def log_figures(folder: Path) -> dict[str, float]:
    log = AuditLog(folder, SigningKeys(folder / "keys", environment={}))
    figures: dict[str, float] = {}
    appends: list[float] = []
    for events, repetitions in ((1, 5), (500, 1), (2000, 1)):
        finalizations = []
        for repetition in range(repetitions):
            run_id = f"run-{events}-{repetition}"
            recorder = log.recorder(run_id)
            appends += [seconds(lambda r=recorder: r.append("heartbeat", actor="benchmark")) for _ in range(events)]
            finalizations.append(seconds(lambda run=run_id: log.finalize_run(run)))
        figures[f"finalize_{events}_events_milliseconds"] = round(statistics.median(finalizations) * 1e3, 1)
    figures["record_event_with_fsync_milliseconds"] = round(statistics.median(appends) * 1e3, 2)
    head = log.head()
    if head is None:
        raise SystemExit("the log is empty")
    figures["log_events"] = head.size
    figures["verify_log_events_per_second"] = round(
        head.size / min(seconds(lambda: verify_log(folder)) for _ in range(3))
    )
    figures["prove_from_disk_milliseconds"] = round(
        statistics.median(seconds(lambda i=i: prove(folder, i)) for i in range(0, head.size, 50)) * 1e3, 2
    )
    return figures


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        figures = {**tree_figures(), **log_figures(Path(folder) / "audit")}
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
