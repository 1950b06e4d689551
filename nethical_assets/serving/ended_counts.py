"""What workers that ended had counted, in one kept file a kind, and the reading of it with what living ones count.

What belongs here: putting the files of ended workers together, and which files a scrape reads. What does not: the
metrics (``metrics``), or when a worker ended (``workers``).

A worker counts in files of its own (``prometheus_client``'s multiprocess mode), which would stay for as long as the
gateway runs: one that keeps dying would fill the disk. The process that starts the workers puts them together; any
worker may be scraped meanwhile. Which files count is said by one small file, replaced atomically: it names the kept
files, and the ended workers' files that these contain and that are about to be removed. Killed in between, what it
names is still right. A scrape reads it before and after, and reads again where it changed.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from prometheus_client.metrics_core import Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from nethical_assets.core.ground.digests import pretty_json
from nethical_assets.core.ground.documents import from_document, to_document
from nethical_assets.core.ground.storage import read_json, sweep_partial_files, write_atomically

_KINDS = ("counter", "histogram")
"""What adds up. What a worker was at, as gauges say, is over when it ended."""
_INDEX = "ended.json"
_HEAD_BYTES = 8
"""Of a file without any count."""
_DAMAGED = (struct.error, RuntimeError, ValueError, TypeError, AttributeError)
"""What the library raises at bytes that are no counts."""
_READ_AGAIN = 100
"""How often at most a scrape reads again: a merge takes milliseconds, and comes at most some times a second."""


@dataclass(frozen=True)
class _Index:
    """Which files are read: ``kept``, and all others but ``merged``. ``number`` is of the merge."""

    number: int = 0
    kept: tuple[str, ...] = ()
    merged: tuple[str, ...] = ()


class CountedTogether(Collector):
    """The metrics of all workers that count in ``folder``, those that ended included, each counted once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterator[Metric]:
        """The metrics, added up.

        Raises:
            FileNotFoundError: a file is missing that nobody says was put together with others.
        """
        for attempt in range(_READ_AGAIN):
            index = _index(self._folder)
            try:
                metrics = MultiProcessCollector.merge(_read_by(self._folder, index))  # type: ignore[no-untyped-call]
            except FileNotFoundError:
                if attempt == _READ_AGAIN - 1 or _index(self._folder) == index:
                    raise
                continue
            if _index(self._folder) == index:
                break
        yield from metrics


def keep_counts(folder: Path, living: Collection[int]) -> list[str]:
    """Put together what all workers counted that are not ``living`` (process ids), and forget what they were at.

    Returns:
        The names of files that cannot be read, as those that were damaged: they are left out, and removed.

    Raises:
        OSError: the disk is full or not writable; every file is as it was, and is read as before.
    """
    # One that was killed while it made room for what it would count.
    sweep_partial_files(folder)
    before = _index(folder)
    ended = []
    for path in sorted(folder.glob("*.db")):
        process = path.stem.rpartition("_")[2]
        if not process.isdecimal() or int(process) in living:
            continue
        if path.name.startswith(_KINDS):
            ended.append(path.name)
        else:
            mark_process_dead(int(process), path=str(folder))  # type: ignore[no-untyped-call]
    # After a merge that was not ended, its files are there yet, and count already.
    new = [name for name in ended if name not in before.merged]
    after, left_out = _merged(folder, before, new) if new else (before, [])
    over = {path.name for path in folder.glob("*_ended-*.db")} - {*after.kept}
    for name in over | ({*after.merged} & {*ended}):
        (folder / name).unlink(missing_ok=True)
    # A process that is started later may be given the number of one that ended.
    if after.merged:
        _write_index(folder, replace(after, merged=()))
    return left_out


def _merged(folder: Path, before: _Index, ended: Sequence[str]) -> tuple[_Index, list[str]]:
    """Have the index name files that contain the kept ones and those that ``ended``; which of them cannot be read."""
    number = before.number + 1
    kept: list[str] = []
    left_out: list[str] = []
    try:
        for kind in _KINDS:
            sources = [folder / name for name in (*before.kept, *ended) if name.startswith(kind)]
            if sources:
                kept.append(f"{kind}_ended-{number}.db")
                left_out += _put_together(sources, folder / kept[-1])
        after = _Index(number, tuple(kept), (*before.merged, *ended))
        _write_index(folder, after)
    except BaseException:
        # Who is interrupted may have replaced the index already.
        for name in {*kept} - {*_index(folder).kept}:
            (folder / name).unlink(missing_ok=True)
        raise
    return after, left_out


def _put_together(sources: Sequence[Path], target: Path) -> list[str]:
    """Write what files of one kind add up to; a histogram's buckets are kept each by itself, so they add up too. The
    names of those that cannot be read, of which nothing is in it."""
    values: dict[str, float] = {}
    left_out = []
    size = _HEAD_BYTES
    for path in sources:
        try:
            counted = _values(path)
        except _DAMAGED:
            left_out.append(path.name)
            continue
        size += path.stat().st_size
        for key, value in counted.items():
            values[key] = values.get(key, 0.0) + value
    # The library maps the file into memory: without room on the disk, the system would end this process.
    target.write_bytes(bytes(size))
    together = MmapedDict(str(target))  # type: ignore[no-untyped-call]
    try:
        for key, value in values.items():
            together.write_value(key, value, 0.0)  # type: ignore[no-untyped-call]
        used = together._used
    finally:
        together.close()  # type: ignore[no-untyped-call]
    os.truncate(target, used)
    return left_out


def _values(path: Path) -> dict[str, float]:
    """What a file has, or one of ``_DAMAGED`` where a scrape could not read it."""
    values: dict[str, float] = {}
    last = 0
    for key, value, _, position in MmapedDict.read_all_values_from_file(path):  # type: ignore[no-untyped-call]
        # A length below zero would lead back, and round for ever.
        if position <= last:
            raise ValueError(f"{path.name} leads back")
        last, values[key] = position, value
    MultiProcessCollector.merge([str(path)])  # type: ignore[no-untyped-call]
    return values


def _read_by(folder: Path, index: _Index) -> list[str]:
    others = {path.name for path in folder.glob("*.db") if "_ended-" not in path.name} - {*index.merged}
    return [str(folder / name) for name in (*index.kept, *sorted(others))]


def _index(folder: Path) -> _Index:
    path = folder / _INDEX
    try:
        return from_document(_Index, read_json(path), path.name)
    except FileNotFoundError:
        return _Index()


def _write_index(folder: Path, index: _Index) -> None:
    write_atomically(folder / _INDEX, pretty_json(to_document(index)), durable=False)
