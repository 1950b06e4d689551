"""What the gateway counts, for Prometheus, over all its workers.

What belongs here: the metrics, in a registry of their own. What does not: when they are counted, or what is watched on
them.

With PROMETHEUS_MULTIPROC_DIR set before this module is imported, every worker counts in files of that folder, and
whichever answers a scrape adds them all up, those of workers that ended included.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from nethical_assets.core.ground.storage import write_atomically
from nethical_assets.serving.ended_counts import CountedTogether

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_FILES = ("counter", "histogram", "gauge_livesum", "gauge_livemax", "gauge_livemin")
_FILE_BYTES = 1 << 20
"""As large as the library makes them: thousands of labels."""
_PREFIX = "nethical_gateway"


class GatewayMetrics:
    """The metrics of one process."""

    def __init__(self) -> None:
        """Raises ``OSError`` where the disk has no room for them."""
        if folder := os.environ.get(FOLDER_VARIABLE):
            _reserve(Path(folder))
        self.registry = registry = CollectorRegistry()
        self._requests = Counter(
            f"{_PREFIX}_requests", "Requests answered.", ("route", "family", "status"), registry=registry
        )
        self._refusals = Counter(
            f"{_PREFIX}_refusals",
            "Requests refused, by the code of the answer.",
            ("route", "family", "code"),
            registry=registry,
        )
        self._seconds = Histogram(
            f"{_PREFIX}_request_seconds",
            "From the first byte that was read to the answer.",
            ("route", "family"),
            buckets=_SECONDS,
            registry=registry,
        )
        self._predictions = Counter(f"{_PREFIX}_predictions", "Records scored.", ("family", "label"), registry=registry)
        self._labels = Counter(f"{_PREFIX}_feedback_labels", "Labels taken.", ("family",), registry=registry)
        self._inputs = Counter(
            f"{_PREFIX}_input_findings",
            "Personal data and secrets found in records, and masked before they were scored.",
            ("family", "kind"),
            registry=registry,
        )
        self._outputs = Counter(
            f"{_PREFIX}_output_findings", "What was found in answers.", ("family", "kind"), registry=registry
        )
        self.in_flight = Gauge(
            f"{_PREFIX}_requests_in_flight", "Requests at work.", registry=registry, multiprocess_mode="livesum"
        )
        self._served = Gauge(
            f"{_PREFIX}_model_served",
            "1 for the model that is served.",
            ("family", "model", "version"),
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._verified = Gauge(
            f"{_PREFIX}_champion_verified",
            "1 where the family's champion is the model that every worker serves, 0 where one could not verify it.",
            ("family",),
            registry=registry,
            multiprocess_mode="livemin",
        )
        self._shown: dict[str, tuple[str, str]] = {}
        # By what was answered: to look a metric up by its labels costs more than to count on it.
        self._counted: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._by_label: dict[tuple[str, str], Counter] = {}

    def answered(self, route: str, family: str, status: int, seconds: float) -> None:
        """Count one answer."""
        counted = self._counted.get((route, family, status))
        if counted is None:
            counted = self._requests.labels(route, family, str(status)), self._seconds.labels(route, family)
            self._counted[route, family, status] = counted
        requests, times = counted
        requests.inc()
        times.observe(seconds)

    def refused(self, route: str, family: str, code: str) -> None:
        """Count one refusal."""
        self._refusals.labels(route, family, code).inc()

    def scored(self, family: str, positives: int, negatives: int) -> None:
        """Count records by the label they got."""
        for label, count in (("1", positives), ("0", negatives)):
            if count:
                counter = self._by_label.get((family, label))
                if counter is None:
                    counter = self._by_label[family, label] = self._predictions.labels(family, label)
                counter.inc(count)

    def found(self, family: str, inputs: Mapping[str, int], outputs: Mapping[str, int]) -> None:
        """Count findings by kind."""
        for counter, findings in ((self._inputs, inputs), (self._outputs, outputs)):
            for kind, count in findings.items():
                counter.labels(family, kind).inc(count)

    def labelled(self, family: str, count: int) -> None:
        """Count labels that came later."""
        self._labels.labels(family).inc(count)

    def serves(self, family: str, model: tuple[str, str] | None, *, verified: bool) -> None:
        """Show which model (digest, version) of a family is served, and whether it is the champion."""
        before = self._shown.get(family)
        if before is not None and before != model:
            self._served.labels(family, *before).set(0)
        if model is not None:
            self._served.labels(family, *model).set(1)
            self._shown[family] = model
        self._verified.labels(family).set(1 if verified else 0)

    def text(self) -> bytes:
        """All metrics, in the text format of Prometheus."""
        folder = os.environ.get(FOLDER_VARIABLE)
        if not folder:
            return generate_latest(self.registry)
        together = CollectorRegistry()
        together.register(CountedTogether(Path(folder)))
        return generate_latest(together)


def _reserve(folder: Path) -> None:
    """Have the disk keep room for what this process counts.

    The library maps files with holes into memory. Where a hole is written to and the disk is full, the system ends the
    process (SIGBUS) in the middle of a request. Files that are there are used as they are; one that is made is there
    as a whole: whoever adds up files meanwhile cannot read half of one.
    """
    for kind in _FILES:
        path = folder / f"{kind}_{os.getpid()}.db"
        if not path.exists():
            write_atomically(path, bytes(_FILE_BYTES), durable=False)
