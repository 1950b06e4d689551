"""Unpacking downloaded archives without trusting them.

What belongs here: safe, bounded extraction that notices damage. What does not: downloading (``kaggle_source``).
"""

from __future__ import annotations

import errno
import re
import stat
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from nethical_assets.core.rows.file_names import is_litter
from nethical_assets.core.rows.naming import shown_file

_PIECE_BYTES = 1 << 20
_LONGEST_NAME_BYTES = 255
_DRIVE = re.compile(r"[A-Za-z]:")
_OF_THE_NAME = (errno.ENAMETOOLONG, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.EILSEQ, errno.ELOOP)
"""What the file system answers where a name, not the disk, is the trouble: it may fold case, or allow fewer signs."""


class DamagedArchiveError(Exception):
    """The archive is cut short or its bytes are wrong: fetching it again may help."""


class RefusedArchiveError(Exception):
    """The archive is whole but not acceptable: a path outside its folder, a link, a decompression bomb."""


@dataclass(frozen=True)
class ExtractionLimits:
    """What an archive may hold.

    Attributes:
        total_bytes: all files together, unpacked.
        files: number of entries.
        ratio: unpacked to packed size of one file, looked at above ``ratio_from_bytes`` unpacked (deflate cannot
            exceed 1032; real tables stay below 100).
    """

    total_bytes: int = 32 << 30
    files: int = 20_000
    ratio: int = 400
    ratio_from_bytes: int = 64 << 20


DEFAULT_LIMITS = ExtractionLimits()


def extract(archive: Path, folder: Path, limits: ExtractionLimits = DEFAULT_LIMITS) -> None:
    """Unpack a zip archive into ``folder``, which exists and is empty, checking the CRC of every file.

    Litter that systems leave in archives (``core.rows.file_names.is_litter``) is left out.

    Raises:
        DamagedArchiveError: it is truncated, not a zip archive, or a CRC does not match.
        RefusedArchiveError: an entry is unsafe or a limit is exceeded; sizes are counted while unpacking, so that a
            header cannot lie about them.
        OSError: the disk is full or not writable.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            _extract_all(opened, folder, limits)
    except (zipfile.BadZipFile, zlib.error, EOFError, UnicodeDecodeError) as error:
        raise DamagedArchiveError(str(error)) from None


def _extract_all(opened: zipfile.ZipFile, folder: Path, limits: ExtractionLimits) -> None:
    entries = opened.infolist()
    if len(entries) > limits.files:
        raise RefusedArchiveError(f"{len(entries)} entries; at most {limits.files} are unpacked")
    files: set[PurePosixPath] = set()
    folders: set[PurePosixPath] = set()
    budget = limits.total_bytes
    for entry in entries:
        name = _safe_name(entry)
        if is_litter(str(name)):
            continue
        folder_only = entry.is_dir() or entry.filename.endswith("\\")
        if name in files or not files.isdisjoint(name.parents) or (name in folders and not folder_only):
            raise RefusedArchiveError(f"two entries claim the path {shown_file(str(name))}")
        folders.update(name.parents)
        (folders if folder_only else files).add(name)
        try:
            if folder_only:
                (folder / name).mkdir(parents=True, exist_ok=True)
                continue
            allowed = max(limits.ratio_from_bytes, entry.compress_size * limits.ratio)
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            budget -= _extract_one(opened, entry, target, budget, allowed)
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno not in _OF_THE_NAME:
                raise
            reason = error.strerror if isinstance(error, OSError) else "not a name of this system"
            raise RefusedArchiveError(
                f"the entry {shown_file(entry.filename)} cannot have this name here ({reason})"
            ) from None


def _safe_name(entry: zipfile.ZipInfo) -> PurePosixPath:
    # Some programs on Windows write its separator.
    name = PurePosixPath(entry.filename.replace("\\", "/"))
    shown = shown_file(entry.filename)
    parts = name.parts
    if not parts or name.is_absolute() or ".." in parts or _DRIVE.match(parts[0]):
        raise RefusedArchiveError(f"the entry {shown} leads outside the folder")
    if any(len(part.encode("utf-8", "surrogateescape")) > _LONGEST_NAME_BYTES for part in parts):
        raise RefusedArchiveError(f"the entry {shown} has a name of over {_LONGEST_NAME_BYTES} bytes")
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise RefusedArchiveError(f"the entry {shown} is a symbolic link")
    if entry.flag_bits & 1:
        raise RefusedArchiveError(f"the entry {shown} is encrypted")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        raise RefusedArchiveError(f"the entry {shown} has unknown compression {entry.compress_type}")
    return name


def _extract_one(opened: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path, budget: int, allowed: int) -> int:
    written = 0
    with opened.open(entry) as packed, open(target, "xb") as unpacked:
        while piece := packed.read(_PIECE_BYTES):
            written += len(piece)
            if written > budget:
                raise RefusedArchiveError("more data than the limit for one archive")
            if written > allowed:
                raise RefusedArchiveError(
                    f"the entry {shown_file(entry.filename)} unpacks to over "
                    f"{written // max(entry.compress_size, 1)} times its size (a decompression bomb)"
                )
            unpacked.write(piece)
    return written
