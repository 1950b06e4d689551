"""``nethical traffic``: held-out rows against a gateway.

What belongs here: arguments and printing. What does not: sending (``operations.traffic``).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nethical_assets.command_line.opening import load_home
from nethical_assets.command_line.output import JsonOption, print_json, tell
from nethical_assets.command_line.status_line import StatusLine

if TYPE_CHECKING:
    from nethical_assets.operations.traffic import Sent


def traffic(
    family: Annotated[str, typer.Argument(help="The family whose champion's held-out rows are sent.")],
    url: Annotated[str, typer.Option(help="The gateway.")] = "http://127.0.0.1:8420",
    rate: Annotated[float, typer.Option(min=0.01, max=10_000, help="Requests a second.")] = 20.0,
    minutes: Annotated[float, typer.Option(min=0.001, max=100_000, help="For how long.")] = 1.0,
    shift: Annotated[
        float,
        typer.Option(help="Numbers move by so many standard deviations; texts: so many more attacks (0-1)."),
    ] = 0.0,
    label_delay: Annotated[
        float | None, typer.Option(min=0, help="Give the labels so many seconds later; without it none are given.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="In which order rows are sent.")] = 0,
    keep: Annotated[
        Path | None,
        typer.Option(help="Write what was answered here, with request_id and label: .csv, .jsonl or .parquet."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Replay held-out rows against a gateway, as they are or shifted, so that monitoring has something to see."""
    state: list[Sent] = []

    def said() -> tuple[str, list[str]]:
        if not state:
            return "", ["reading held-out rows"]
        now = state[0]
        return "", [f"{now.answered} answered, {now.refused.total()} refused, {now.labels} labels given"]

    def told(sent: Sent) -> None:
        state[:] = [sent]

    with StatusLine(said).shown():
        from nethical_assets.operations.traffic import Traffic, send_traffic

        plan = Traffic(rate, minutes * 60.0, shift, label_delay, seed, keep)
        document: dict[str, Any] = send_traffic(load_home(), family, url, plan, told).to_json()
    if as_json:
        print_json({"family": family, **document})
        return
    tell(f"{document['answered']} answered, {sum(document['refused'].values())} refused, {document['labels']} labels")
    for status, count in document["refused"].items():
        tell(f"  status {status}: {count}")
    if document["answered"]:
        tell(f"Positive: {document['positive_rate']:.1%}; right: {document['accuracy']:.1%}")
        tell(f"Half within {document['p50_milliseconds']:.1f} ms, 99 % within {document['p99_milliseconds']:.1f} ms")
    for model, count in document["models"].items():
        tell(f"  {count} by model {model}")
