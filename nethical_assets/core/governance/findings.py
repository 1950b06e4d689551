"""The table of findings and masking by it.

What belongs here: the columns a finding has, counting and filtering findings, replacing spans. What does not: how
findings are made (``screener``) and what is decided about them (``policy``). Matched text has no place in this table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

_NAME = pa.dictionary(pa.int16(), pa.string())
SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("kind", _NAME),
        ("rule", _NAME),
        ("start", pa.int64()),
        ("end", pa.int64()),
        ("severity", _NAME),
        ("decision", _NAME),
        ("confidence", pa.float64()),
        ("keyed_hash", pa.string()),
    ]
)
"""``row`` is the position in the screened texts (from 0), ``start`` and ``end`` are code points of the original text
(``end`` exclusive), ``keyed_hash`` is null unless a key is configured."""


@dataclass(frozen=True)
class Findings:
    """What screening found, ordered by row and start. ``table`` has the columns of ``SCHEMA``."""

    table: pa.Table

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @classmethod
    def empty(cls) -> Findings:
        """No findings."""
        return cls(SCHEMA.empty_table())

    @property
    def rows(self) -> npt.NDArray[np.int64]:
        """The row of each finding."""
        return np.asarray(self.table["row"].to_numpy(), dtype=np.int64)

    def names(self, column: str) -> npt.NDArray[np.object_]:
        """A text column (kind, rule, severity, decision) as an array of str."""
        return np.asarray(self.table[column].cast(pa.string()).to_numpy(zero_copy_only=False), dtype=object)

    def where(self, keep: npt.NDArray[np.bool_]) -> Findings:
        """The findings for which ``keep`` is true."""
        return Findings(self.table.filter(pa.array(keep)))

    def with_decisions(self, decisions: Sequence[str] | npt.NDArray[np.object_]) -> Findings:
        """The same findings with other decisions."""
        position = self.table.schema.get_field_index("decision")
        values = pa.array(decisions, pa.string()).cast(_NAME)
        return Findings(self.table.set_column(position, SCHEMA.field("decision"), values))

    def counts_by(self, column: str) -> dict[str, int]:
        """How many findings there are of each value of ``column``, sorted by value."""
        counted = pc.value_counts(self.table[column].cast(pa.string()).combine_chunks())
        return dict(sorted((item["values"], item["counts"]) for item in counted.to_pylist()))

    def to_pandas(self) -> pd.DataFrame:
        """The table as a frame, text columns as categories."""
        frame: pd.DataFrame = self.table.to_pandas()
        return frame

    def to_records(self) -> list[dict[str, Any]]:
        """The findings as JSON objects, without ``keyed_hash`` where there is none."""
        records: list[dict[str, Any]] = self.table.to_pylist()
        return [{key: value for key, value in record.items() if value is not None} for record in records]


def concatenate(parts: Iterable[Findings]) -> Findings:
    """All findings of ``parts``, in that order."""
    tables = [part.table for part in parts if len(part)]
    return Findings(pa.concat_tables(tables).unify_dictionaries().combine_chunks()) if tables else Findings.empty()


def moved(findings: Findings, rows: npt.NDArray[np.int64]) -> Findings:
    """Findings in some of the texts, with the ``rows`` these have among all."""
    if len(findings) == 0:
        return findings
    return Findings(findings.table.set_column(0, SCHEMA.field("row"), pa.array(rows[findings.rows], pa.int64())))


Token = Callable[[str, str], str]
"""``(kind, what was found) -> what is put in its place``."""


def kind_token(kind: str, found: str) -> str:
    """The kind in square brackets, for example ``[EMAIL]``: whatever was found."""
    return f"[{kind}]"


def mask(texts: pd.Series, findings: Findings, token: Token = kind_token) -> pd.Series:
    """``texts`` with every found span replaced by its ``token``, for example ``[EMAIL]``.

    Spans that overlap become one, named after the longest. ``findings.row`` is a position in ``texts``; a span
    without length is not replaced. Index, name and type of the series stay, except that categories become text, and
    numbers objects, where something is replaced.
    """
    spans: dict[int, list[tuple[int, int, str]]] = {}
    columns = (findings.table[name].to_pylist() for name in ("row", "start", "end", "kind"))
    for row, start, end, kind in zip(*columns, strict=True):
        if end > start:
            spans.setdefault(row, []).append((start, end, kind))
    if not spans:
        return texts
    positions = list(spans)
    masked = [
        _replace_spans(_as_text(value), spans[row], token)
        for row, value in zip(positions, texts.iloc[positions].tolist(), strict=True)
    ]
    result: pd.Series = texts.copy()
    if isinstance(texts.dtype, pd.CategoricalDtype):
        result = texts.astype("str")
    elif pd.api.types.is_numeric_dtype(texts.dtype):
        result = texts.astype("object")
    result.iloc[positions] = masked
    return result


def _as_text(value: object) -> str:
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)


def _replace_spans(text: str, spans: list[tuple[int, int, str]], token: Token) -> str:
    merged: list[tuple[int, int, str, int]] = []
    for start, end, kind in sorted(spans):
        if merged and start < merged[-1][1]:
            first, last, name, length = merged[-1]
            name, length = (kind, end - start) if end - start > length else (name, length)
            merged[-1] = (first, max(last, end), name, length)
        else:
            merged.append((start, end, kind, end - start))
    parts: list[str] = []
    position = 0
    for start, end, kind, _ in merged:
        parts += (text[position:start], token(kind, text[start:end]))
        position = end
    parts.append(text[position:])
    return "".join(parts)
