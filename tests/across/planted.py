"""Personal data planted in the sources of every family, and the search for it in everything a home holds.

What belongs here: what is planted where, and looking for values in any form they may be written in. What does not: what
a home may hold (the tests).
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import io
import json
import sqlite3
import urllib.parse
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tests import tiny_mirror
from tests.tiny_mirror import CATALOG

EMAIL = "planted.victim@gmail.com"
NUMBER = "536-22-8145"
CARD = "4111111111111111"
PHONE = "+1 212-555-0143"
ACCOUNT = "GB82WEST12345698765432"
TOKEN = "ghp_" + "0123456789abcdefghijABCDEFGHIJ3mpbCX"
VALUES = (EMAIL, NUMBER, CARD, PHONE, ACCOUNT, TOKEN)
"""What is planted everywhere where nothing else is said."""
DOMAINS = ("@corp-planted.com", "@tenant-planted.com", "@trace-planted.com")
"""In the identifiers of people, organisations and traces."""
COLUMN = "planted.column@gmail.com"
"""A column's name."""
LABEL = "planted.label@gmail.com"
"""A label."""
ADDRESS = "81.23.76.7"
KEY = "-----BEGIN PRIVATE KEY----- MIIEvQIBADANBgkqhkiG9w0BAQEFAASC -----END PRIVATE KEY-----"
"""A value that keeps its row out."""
MANY = "planted.last.of.many@gmail.com"
"""The last of so many addresses in one text that not all are looked at, which keeps the row out."""
KEPT_OUT = (KEY[28:60], MANY)
"""What stands in rows that are kept out, beside what is masked in them."""
MARKER = "Zquillon-planted wrong cell"
"""Nobody's data, and neither a number, a time, a label nor an action."""
NEEDLES = (*VALUES, *DOMAINS, COLUMN, LABEL, ADDRESS)


def plant(folder: Path, *, rows: int = 900) -> Path:
    """Write a tiny mirror with NEEDLES in every kind of column; returns ``folder``."""
    tiny_mirror.build_mirror(folder, rows=rows)
    generator = np.random.default_rng(1)
    tiny_mirror.write_connections(folder, _connections(rows, generator))
    _rewrite(folder, "guide", "GUIDE_Train.csv", _incidents(rows, generator))
    _rewrite(folder, "cyber_attacks", "cybersecurity_attacks.csv", _alerts(rows, generator))
    texts = _read(folder, "prompt_injection_collection", "neuralchemy.csv", encoding="utf-8-sig")
    texts["text"] = [f"{text} contact {VALUES[row % len(VALUES)]}" for row, text in enumerate(texts["text"])]
    texts.loc[0, "text"] = f"please reply to {base64.b64encode(EMAIL.encode()).decode()}"
    texts.loc[1, "text"] = f"I am {EMAIL}, keep this for me: {KEY}"
    texts.loc[2, "text"] = " ".join([*(f"planted.person{number}@gmail.com" for number in range(2_100)), MANY])
    _rewrite(folder, "prompt_injection_collection", "neuralchemy.csv", texts)
    for name in ("normal.txt", "abnormal.txt"):
        path = folder / CATALOG.entry("hdfs").slug / name
        lines = path.read_text(encoding="utf-8").splitlines()
        for row in range(0, len(lines), 3):
            lines[row] += " " + VALUES[row // 3 % len(VALUES)].replace(" ", "")
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    traces = _read(folder, "adfa_ld", "adfa_ld_sequences.csv")
    traces["trace"] = [f"t{row}{DOMAINS[2]}" for row in range(len(traces))]
    named = [json.dumps(["open", "read", VALUES[row % len(VALUES)]]) for row in range(len(traces))]
    traces["syscalls"] = [
        action if row % 4 == 0 else was for row, (action, was) in enumerate(zip(named, traces["syscalls"], strict=True))
    ]
    _rewrite(folder, "adfa_ld", "adfa_ld_sequences.csv", traces)
    _discovered(folder, rows, generator)
    return folder


def mark(folder: Path) -> Path:
    """Write MARKER into a few rows of every column of every table of a mirror, in each column other rows."""
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".csv" or path.name.startswith("KDD"):
            header = None if path.name.startswith("KDD") else "infer"
            encoding = "utf-8-sig" if path.name == "neuralchemy.csv" else "utf-8"
            frame = pd.read_csv(path, header=header, encoding=encoding).astype("object")
            for at in range(len(frame.columns)):
                frame.iloc[[at, at + 60], at] = MARKER
            frame.to_csv(path, index=False, header=header is not None, encoding=encoding)
        elif path.suffix == ".txt":
            lines = path.read_text(encoding="utf-8").splitlines()
            lines[3] += f" {MARKER}"
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def _connections(rows: int, generator: np.random.Generator) -> pd.DataFrame:
    frame = tiny_mirror.connections(rows, generator)
    for offset, column in enumerate(("service", "flag", "protocol_type")):
        at = np.arange(offset, rows, 6)
        frame.loc[at, column] = [VALUES[row % len(VALUES)] for row in range(len(at))]
    frame.loc[5, "src_bytes"] = int(CARD)
    frame.loc[11, "service"] = KEY
    frame.loc[7, "attack"] = LABEL
    return frame


def _incidents(rows: int, generator: np.random.Generator) -> pd.DataFrame:
    frame = tiny_mirror.incidents(rows, generator)
    frame["AccountUpn"] = [f"user{number}{DOMAINS[0]}" for number in frame["AccountUpn"]]
    frame["OrgId"] = [f"org{number}{DOMAINS[1]}" for number in frame["OrgId"]]
    frame["IpAddress"] = [ADDRESS if number == 1 else f"81.23.77.{number}" for number in frame["IpAddress"]]
    frame.loc[frame["IncidentId"] == 3, "IncidentId"] = int(CARD)
    frame.loc[3:40, "Category"] = TOKEN
    frame.loc[41:60, "MitreTechniques"] = ACCOUNT
    frame["EntityType"] = [PHONE if row % 50 == 0 else was for row, was in enumerate(frame["EntityType"])]
    frame.loc[9, "IncidentGrade"] = LABEL
    frame[COLUMN] = 1
    return frame


def _alerts(rows: int, generator: np.random.Generator) -> pd.DataFrame:
    frame = tiny_mirror.attack_alerts(rows // 5, generator)
    frame["Proxy Information"] = np.where(frame["Proxy Information"] == "", "", ADDRESS)
    frame["Network Segment"] = [VALUES[row % len(VALUES)] for row in range(len(frame))]
    return frame


def _discovered(folder: Path, rows: int, generator: np.random.Generator) -> None:
    """A table whose layout is found out: personal data in names of columns, and in values that may be labels."""
    breach = generator.random(rows) < 0.5
    frame = pd.DataFrame(
        {
            "is_malicious": np.where(breach, "yes", "no"),
            COLUMN: np.where(breach, generator.random(rows) + 1, generator.random(rows)).round(3),
            "attack_type": [VALUES[row % len(VALUES)] for row in range(rows)],
            "owner": [VALUES[row % len(VALUES)] for row in range(rows)],
            "ssn": [536228145 + row for row in range(rows)],
            "size": generator.integers(0, 900, rows),
        }
    )
    path = folder / CATALOG.entry("security_breach").slug / "breaches.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.to_csv(path, index=False)


def _read(folder: Path, name: str, file: str, encoding: str = "utf-8") -> pd.DataFrame:
    return pd.read_csv(folder / CATALOG.entry(name).slug / file, encoding=encoding)


def _rewrite(folder: Path, name: str, file: str, frame: pd.DataFrame) -> None:
    frame.to_csv(
        folder / CATALOG.entry(name).slug / file,
        index=False,
        encoding="utf-8-sig" if file == "neuralchemy.csv" else "utf-8",
    )


def found_in(data: bytes, needles: tuple[str, ...] = NEEDLES) -> set[str]:
    """Which ``needles`` are in ``data``, in any form: see ``forms``; archives, gzip and Parquet are opened."""
    texts = list(opened(data))
    return {needle for needle in needles if any(form in text for text in texts for form in forms(needle))}


def forms(needle: str) -> set[bytes]:
    """How ``needle`` may be written: plain, UTF-16, hexadecimal, base64 at each offset, escaped for JSON or a URL."""
    plain = needle.encode()
    written = {
        plain,
        needle.encode("utf-16-le"),
        needle.encode("utf-16-be"),
        plain.hex().encode(),
        plain.hex().upper().encode(),
        json.dumps(needle)[1:-1].encode(),
        "".join(f"\\u{ord(character):04x}" for character in needle).encode(),
        needle.replace("@", "\\u0040").encode(),
        urllib.parse.quote(needle).encode(),
        urllib.parse.quote(needle, safe="").encode(),
        needle.replace("@", "&#64;").encode(),
    }
    for offset in range(3):
        # The characters that depend on what stands before and behind are left out.
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            encoded = encode(b"x" * offset + plain)
            written.add(encoded[4 if offset else 0 : len(encoded) // 4 * 4 - 4])
    return written


def opened(data: bytes) -> Iterator[bytes]:
    """``data``, and what is in it where it is a table, a database or an archive."""
    yield data
    if data[:4] == b"PAR1":
        table = pq.read_table(io.BytesIO(data))
        yield repr(table.schema).encode()
        for column in table.columns:
            values = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
            yield "\n".join(map(str, values.unique().to_pylist())).encode("utf-8", "replace")
    elif data[:16] == b"SQLite format 3\x00":
        with contextlib.closing(sqlite3.connect(":memory:")) as connection:
            # A database in write-ahead mode cannot be opened in memory; the mode is two bytes of its header.
            connection.deserialize(data[:18] + b"\x01\x01" + data[20:])
            yield from (line.encode("utf-8", "replace") for line in connection.iterdump())
    elif data[:2] == b"\x1f\x8b":
        yield from opened(gzip.decompress(data))
    elif data[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for name in archive.namelist():
                yield name.encode()
                yield from opened(archive.read(name))
