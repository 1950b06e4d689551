"""What a file is that is no table, by its first bytes, and what to do with it.

What belongs here: archives, workbooks and other formats that are often given in place of a table. What does not: text
encodings (``encodings``), the formats that are read.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

A_PARQUET_FILE = "a Parquet file"
_UNPACK = "unpack it and name a file that was in it"
_EXPORT = "save it as CSV (UTF-8) or Parquet"
_AS_PARQUET = "write it as Parquet or CSV"


@dataclass(frozen=True)
class OtherKind:
    """``what`` the file is, as it stands after "it is", and what to ``do``."""

    what: str
    do: str


_KINDS = (
    (b"\x1f\x8b", OtherKind("packed by gzip", _UNPACK)),
    (b"BZh", OtherKind("packed by bzip2", _UNPACK)),
    (b"\xfd7zXZ\x00", OtherKind("packed by xz", _UNPACK)),
    (b"\x28\xb5\x2f\xfd", OtherKind("packed by zstd", _UNPACK)),
    (b"7z\xbc\xaf\x27\x1c", OtherKind("a 7z archive", _UNPACK)),
    (b"Rar!\x1a\x07", OtherKind("a RAR archive", _UNPACK)),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", OtherKind("an old Office document, such as an .xls workbook", _EXPORT)),
    (b"SQLite format 3\x00", OtherKind("an SQLite database", _EXPORT)),
    (b"%PDF-", OtherKind("a PDF document", _EXPORT)),
    (b"ARROW1", OtherKind("an Arrow (Feather) file", _AS_PARQUET)),
    (b"FEA1", OtherKind("an old Feather file", _AS_PARQUET)),
    (b"ORC", OtherKind("an ORC file", _AS_PARQUET)),
    (b"Obj\x01", OtherKind("an Avro file", _AS_PARQUET)),
    (b"\x89HDF\r\n\x1a\n", OtherKind("an HDF5 file", _AS_PARQUET)),
    (b"\x89PNG\r\n\x1a\n", OtherKind("a picture", "name a table")),
    (b"\xff\xd8\xff", OtherKind("a picture", "name a table")),
    (b"version https://git-lfs.github.com/", OtherKind("a pointer of Git LFS to a file", "run: git lfs pull")),
    (b"PAR1", OtherKind(A_PARQUET_FILE, "name it .parquet")),
)
_ZIP = b"PK\x03\x04"
_WORKBOOK = (b"xl/", b"[Content_Types].xml", b"_rels/.rels")
_SPREADSHEET = b"mimetypeapplication/vnd.oasis.opendocument.spreadsheet"
_LOOKED_AT = 4096


def other_kind(first: bytes) -> OtherKind | None:
    """What the file of these first bytes is, where that is known and no text; a Parquet file is one too."""
    if first.startswith(_ZIP):
        head = first[:_LOOKED_AT]
        if _SPREADSHEET in head or any(head[30:].startswith(sign) for sign in _WORKBOOK):
            return OtherKind("a workbook", _EXPORT)
        return OtherKind("a zip archive", _UNPACK)
    return next((kind for sign, kind in _KINDS if first.startswith(sign)), None)


def other_kind_of(path: Path) -> OtherKind | None:
    """As :func:`other_kind`, of the file at ``path``; nothing where it cannot be read."""
    try:
        with open(path, "rb") as stream:
            return other_kind(stream.read(_LOOKED_AT))
    except OSError:
        return None
