"""The scoring gateway as clients meet it: ``nethical serve`` with real processes, its clients on the same cores.

What belongs here: ``python -m benchmarks.gateway [--seconds S] [--only NAME ...]`` prints one JSON document with the
aim beside every figure. What does not: the parts of a score by themselves (``single_record``, ``inference_log``).

Models are of synthetic data: connections with 41 fields, and prompts of 74 to 235 characters. Processor time is user
and system time of all processes of the server; that of sealing the log, which a gateway does later, is measured when it
ends and told a row. The clients' own is told beside it and not in it. Rates and times need a quiet machine; processor
time a request, and its ratio to the plain endpoint that is asked in turn with the gateway, do not.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import pyarrow as pa
import uvloop

from benchmarks.http_clients import (
    Answers,
    children_of,
    closed_loop,
    connected,
    open_loop,
    processor_seconds,
    request_of,
)
from benchmarks.served_home import ServedHome, connection_records, make_home, promote, prompts
from nethical_assets.core.detectors.registry import load_family
from nethical_assets.core.governance.rules import load_ruleset
from nethical_assets.core.governance.scoring import RecordScorer
from nethical_assets.core.governance.screener import Screener
from nethical_assets.core.models.loading import load_detector
from nethical_assets.home.stores import open_registry
from nethical_assets.serving.answers import OneAnswer
from nethical_assets.serving.payloads import ARROW

TABULAR, TEXT = "logistic", "prompt_injection"
RECORDS, TABULAR_ROWS, TEXT_ROWS = 500, 20_000, 5_000
CONNECTIONS, SWAPS = 32, 20
_WARM_UP_SECONDS = 1.0
_SECONDS_BETWEEN_SWAPS = 1.0
_PATIENCE_SECONDS = 60.0
_MICROSECONDS = 1e6


@dataclass(frozen=True)
class Server:
    """A running server: the process that was started, and those that answer."""

    port: int
    process: subprocess.Popen[bytes]
    answering: tuple[int, ...]

    def processor_seconds(self) -> float:
        """Of all its processes so far."""
        return processor_seconds((*{self.process.pid, *self.answering},))


@contextlib.contextmanager
def gateway(home: ServedHome, workers: int) -> Iterator[Server]:
    """``nethical serve`` with so many workers, on any free port."""
    command = [str(Path(sys.executable).with_name("nethical")), "serve", "--port", "0", "--workers", str(workers)]
    with (
        tempfile.NamedTemporaryFile() as output,
        subprocess.Popen(command, env=home.environment, stdout=output, stderr=output) as process,
    ):
        try:
            yield _when_ready(process, Path(output.name), workers)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def _when_ready(process: subprocess.Popen[bytes], output: Path, workers: int) -> Server:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        said = output.read_text()
        # Every worker says that it serves a family before it listens for the first time, or soon after.
        if (at := re.search(r"gateway is at http://[\d.]+:(\d+)", said)) and said.count("serving 1.0.0") >= 2 * workers:
            return Server(int(at[1]), process, tuple(children_of(process.pid)))
        time.sleep(0.05)
    raise SystemExit(f"the gateway did not begin: {output.read_text()}")


@contextlib.contextmanager
def plain_endpoint(home: ServedHome) -> Iterator[Server]:
    """``benchmarks.plain_endpoint`` on any free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "benchmarks.plain_endpoint", str(port)]
    with subprocess.Popen(command, env={**home.environment, "OMP_NUM_THREADS": "1"}) as process:
        try:
            deadline = time.monotonic() + _PATIENCE_SECONDS
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                if time.monotonic() > deadline or process.poll() is not None:
                    raise SystemExit("the plain endpoint did not begin")
                time.sleep(0.05)
            yield Server(port, process, (process.pid,))
        finally:
            process.terminate()
            process.wait()


Load = Callable[[Sequence[Any]], Any]


def loaded(server: Server, connections: int, load: Load, *, rows: int = 1) -> dict[str, Any]:
    """What a load comes to, with processor microseconds a row of server and clients."""

    async def work() -> tuple[Answers, float, float]:
        opened = await connected(server.port, server.answering, connections)
        before, own = server.processor_seconds(), time.process_time()
        answers = await load(opened)
        spent = server.processor_seconds() - before, time.process_time() - own
        for one in opened:
            one.transport.close()
        return answers, *spent

    answers, served, own = uvloop.run(work())
    count = len(answers.seconds) * rows
    return {
        **answers.report(),
        "server_cpu_microseconds": round(served / count * _MICROSECONDS, 1),
        "client_cpu_microseconds": round(own / count * _MICROSECONDS, 1),
        **({"rows_a_second": round(count / answers.elapsed)} if rows > 1 else {}),
    }


def closed(requests: Sequence[bytes], seconds: float) -> Load:
    return lambda connections: closed_loop(connections, requests, seconds)


def opened(requests: Sequence[bytes], rate: float, seconds: float) -> Load:
    return lambda connections: open_loop(connections, requests, rate, seconds)


def single_record(home: ServedHome, seconds: float) -> dict[str, Any]:
    """One record a request: processor time through the whole gateway, beside the plain endpoint."""
    bodies = [json.dumps(record).encode() for record in connection_records(home.settings, RECORDS)]
    own = [request_of(f"/v1/score/{TABULAR}", body) for body in bodies]
    plain = [request_of("/score", body) for body in bodies]
    with plain_endpoint(home) as other, _sealed_at_the_end() as sealing:
        with gateway(home, 1) as server:
            for serving, requests in ((server, own), (other, plain)):
                loaded(serving, 4, closed(requests, _WARM_UP_SECONDS))
            through = loaded(server, 16, closed(own, seconds))
            beside = loaded(other, 4, closed(plain, seconds))
            sealing.before = server.processor_seconds()
        sealing.ended()
    log = _logged_rows(home)
    return {
        "gateway": through,
        "sealing_microseconds_a_row": round(sealing.spent / log * _MICROSECONDS, 1),
        "aim_server_cpu_microseconds": "<= 250",
        "plain_endpoint": beside,
        "times_cheaper_than_the_plain_endpoint": round(
            beside["server_cpu_microseconds"] / through["server_cpu_microseconds"], 1
        ),
        "aim_times_cheaper": ">= 20",
    }


@dataclass
class _Sealing:
    """Processor seconds that a server spends on its end."""

    reaped: float
    before: float = 0.0
    spent: float = 0.0

    def ended(self) -> None:
        """The server, its workers with it, was waited for."""
        self.spent = _reaped() - self.reaped - self.before


@contextlib.contextmanager
def _sealed_at_the_end() -> Iterator[_Sealing]:
    yield _Sealing(_reaped())


def _reaped() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _logged_rows(home: ServedHome) -> int:
    import pyarrow.parquet as pq

    paths = (home.settings.home / "serving" / "inference").rglob("*.parquet")
    return sum(pq.read_metadata(path).num_rows for path in paths)


def many_clients(home: ServedHome, seconds: float) -> dict[str, Any]:
    """One record a request, two workers."""
    requests = [
        request_of(f"/v1/score/{TABULAR}", json.dumps(record).encode())
        for record in connection_records(home.settings, RECORDS)
    ]
    with gateway(home, 2) as server:
        loaded(server, CONNECTIONS, closed(requests, _WARM_UP_SECONDS))
        return {
            "closed_loop": {**loaded(server, CONNECTIONS, closed(requests, seconds)), "aim": ">= 6000, p99 < 10"},
            "open_loop_of_1500": {
                **loaded(server, CONNECTIONS, opened(requests, 1500.0, seconds)),
                "aim": "p99 < 5",
            },
        }


def single_text(home: ServedHome, seconds: float) -> dict[str, Any]:
    """One short text a request, two workers."""
    # Many, so that what a model remembers of earlier texts is what it remembers of traffic.
    requests = [request_of(f"/v1/score/{TEXT}", json.dumps(one).encode()) for one in prompts(20 * RECORDS)]
    with gateway(home, 2) as server:
        loaded(server, CONNECTIONS, closed(requests, _WARM_UP_SECONDS))
        return {
            "closed_loop": {**loaded(server, CONNECTIONS, closed(requests, seconds)), "aim": ">= 2000"},
            "open_loop_of_500": {**loaded(server, CONNECTIONS, opened(requests, 500.0, seconds)), "aim": "p99 < 15"},
        }


def batches(home: ServedHome, seconds: float) -> dict[str, Any]:
    """Many records a request, two workers, four requests at a time."""
    records, texts = pd.DataFrame(connection_records(home.settings, TABULAR_ROWS)), pd.DataFrame(prompts(TEXT_ROWS))
    columns = {"columns": {str(name): cells.tolist() for name, cells in records.items()}}
    kinds = {
        "arrow_tabular": (TABULAR, TABULAR_ROWS, ">= 200000", _arrow(records), ARROW),
        "json_columns_tabular": (TABULAR, TABULAR_ROWS, ">= 100000", json.dumps(columns).encode(), "application/json"),
        "arrow_texts": (TEXT, TEXT_ROWS, ">= 20000", _arrow(texts), ARROW),
    }
    found: dict[str, Any] = {}
    with gateway(home, 2) as server:
        for name, (family, rows, aim, body, kind) in kinds.items():
            request = request_of(f"/v1/score/{family}", body, kind, "*/*" if kind != ARROW else ARROW)
            loaded(server, 4, closed([request], _WARM_UP_SECONDS), rows=rows)
            measured = loaded(server, 4, closed([request], seconds), rows=rows)
            found[name] = {**measured, "rows_a_request": rows, "aim_rows_a_second": aim}
    return found


def _arrow(frame: pd.DataFrame) -> bytes:
    table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def swaps(home: ServedHome, seconds: float) -> dict[str, Any]:
    """Promotions of one model after the other while clients ask: what failed, and when the last old answer was asked
    for."""
    del seconds  # as many as there are
    records = connection_records(home.settings, RECORDS)
    requests = [request_of(f"/v1/score/{TABULAR}", json.dumps(record).encode()) for record in records]
    truth = _scores(home, records)
    placed: list[tuple[float, str]] = []
    seen: list[tuple[float, str]] = []
    wrong = 0
    decode = msgspec.json.Decoder(OneAnswer).decode

    def check(number: int, status: int, asked: float, body: bytes) -> None:
        nonlocal wrong
        if status == 200:
            answer = decode(body)
            wrong += answer.score != truth[answer.model][number]
            seen.append((asked, answer.model))

    def promotions() -> None:
        for number in range(1, SWAPS + 1):
            time.sleep(_SECONDS_BETWEEN_SWAPS)
            model = home.models[TABULAR][number % 2]
            promote(home.settings, TABULAR, model, f"{number + 1}.0.0")
            placed.append((time.perf_counter(), model))

    async def load(connections: Sequence[Any]) -> Answers:
        promoting = asyncio.get_running_loop().run_in_executor(None, promotions)
        answers = Answers()
        began = time.perf_counter()
        while not promoting.done():
            part = await closed_loop(connections, requests, _SECONDS_BETWEEN_SWAPS, check)
            answers.seconds += part.seconds
            answers.statuses += part.statuses
        await promoting
        answers.elapsed = time.perf_counter() - began
        return answers

    with gateway(home, 2) as server:
        measured = loaded(server, 16, load)
    ends = [at for at, _ in placed[1:]]
    delays = [
        max((asked - at for asked, model in seen if at <= asked < until and model != new), default=0.0)
        for (at, new), until in zip(placed, [*ends, float("inf")], strict=True)
    ]
    return {
        "swaps": len(placed),
        **measured,
        "mixed": wrong,
        "aim_failed_or_mixed": 0,
        "largest_seconds_to_the_new_model": round(max(delays), 2),
        "aim_seconds": "<= 2",
    }


def _scores(home: ServedHome, records: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """Digest -> the score of each record, by every stored model."""
    settings, spec = home.settings, load_family(TABULAR)
    registry, screener = open_registry(settings.home), Screener(load_ruleset(settings.screening_rules))
    entries = settings.catalog.for_family(TABULAR)
    found = {}
    for digest in home.models[TABULAR]:
        scorer = RecordScorer(load_detector(registry, digest, spec), spec, entries, screener)
        found[digest] = [scorer.score(record).score for record in records]
    return found


MEASURED: dict[str, Callable[[ServedHome, float], dict[str, Any]]] = {
    "single_record": single_record,
    "many_clients": many_clients,
    "single_text": single_text,
    "batches": batches,
    "swaps": swaps,
}


def main(arguments: list[str]) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gateway")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each load (default 5)")
    parser.add_argument("--only", nargs="+", choices=MEASURED, default=list(MEASURED))
    given = parser.parse_args(arguments)
    found: dict[str, Any] = {}
    for name in given.only:
        with tempfile.TemporaryDirectory() as folder:
            home = make_home(Path(folder) / "home")
            waiting = os.getloadavg()[0]
            found[name] = {"load_before": round(waiting, 1), **MEASURED[name](home, given.seconds)}
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main(sys.argv[1:])
