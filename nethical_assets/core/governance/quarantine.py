"""Rows that screening took out, kept for a person to decide about.

What belongs here: storing such rows (encrypted where a key is configured), listing them without their text, showing
one, and the two decisions, release and confirm. What does not: which rows are taken out (``policy``, ``frames``) and
the audit log, to which the caller hands the events returned here.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nethical_assets.core.ground.digests import canonical_json, digest_bytes
from nethical_assets.core.ground.documents import from_document, to_document
from nethical_assets.core.ground.errors import DatasetError, IntegrityError, SettingsError
from nethical_assets.core.ground.storage import exclusive_lock, read_json, write_atomically, write_json

if TYPE_CHECKING:
    import pandas as pd

KEY_VARIABLE = "NETHICAL_QUARANTINE_KEY"
KEY_BYTES = 32
REASONS_COLUMN = "quarantine_reasons"

HELD = "held"
RELEASED = "released"
CONFIRMED = "confirmed"
_DECIDED = ("status", "decided_at", "actor", "decision_reason")
"""What a decision says of a row."""
_NONCE_BYTES = 12
_MAGIC_PLAIN = b"plain1\n"
_MAGIC_SEALED = b"aesgcm1\n"


@dataclass(frozen=True)
class QuarantineEntry:
    """What may be listed about a row: no text. ``status`` is held, released or confirmed; times are ISO 8601 UTC;
    ``decision`` is the digest of the document that the log names, ``content`` of the sealed row."""

    row_id: str
    family: str
    reasons: tuple[str, ...]
    label: str
    status: str
    quarantined_at: str
    decided_at: str = ""
    actor: str = ""
    decision_reason: str = ""
    decision: str = ""
    content: str = ""


def quarantine_key(environment: Mapping[str, str] | None = None) -> bytes | None:
    """The key in ``NETHICAL_QUARANTINE_KEY`` (32 bytes, base64 or hexadecimal), or None where it is not set.

    Raises:
        SettingsError: it is set, but not such a key.
    """
    value = (os.environ if environment is None else environment).get(KEY_VARIABLE, "").strip()
    if not value:
        return None
    for decode in (bytes.fromhex, lambda text: base64.b64decode(text, validate=True)):
        try:
            key = decode(value)
        except ValueError:
            continue
        if len(key) == KEY_BYTES:
            return key
    raise SettingsError(
        f"{KEY_VARIABLE}: not a key; expected {KEY_BYTES} bytes in base64 or hexadecimal (openssl rand -base64 32)"
    )


def row_identity(values: Mapping[str, Any]) -> str:
    """A name for a row without ``row_id``: SHA-256 of its values as canonical JSON, hexadecimal."""
    return hashlib.sha256(canonical_json({str(name): str(value) for name, value in values.items()})).hexdigest()


class QuarantineStore:
    """Quarantined rows under ``folder``: one sealed file a row and one small index a family.

    With a key rows are sealed by AES-256-GCM, bound to their family and row; the index never holds text. A row may be
    put aside before it is listed: where what it holds must be in no other store.
    """

    def __init__(self, folder: Path, key: bytes | None = None) -> None:
        """``key``: 32 bytes, see ``quarantine_key``.

        Raises:
            SettingsError: the key has another length.
        """
        if key is not None and len(key) != KEY_BYTES:
            raise SettingsError(f"the quarantine key has {len(key)} bytes; it must have {KEY_BYTES}")
        self._folder = Path(folder)
        self._key = key

    def put_aside(self, family: str, rows: pd.DataFrame) -> None:
        """Store rows that screening will take out, as they came, before anything else is made of them.

        They are listed when they are added. Those that are listed or stored already stay as they are.
        """
        if not len(rows):
            return
        with self._locked(family):
            entries = self._entries(family)
            for values in rows.to_dict(orient="records"):
                named = {str(name): value for name, value in values.items()}
                row_id = str(named["row_id"])
                content = _content(named)
                if row_id not in entries and self._aside(family, row_id) != content:
                    write_atomically(
                        self._row_path(family, row_id), self._sealed(family, row_id, content), private=True
                    )

    def has_aside(self, family: str, rows: Iterable[str]) -> bool:
        """Whether each of ``rows`` is listed, or was put aside."""
        known = self._entries(family)
        return all(row in known or self._row_path(family, row).exists() for row in rows)

    def add(
        self, family: str, quarantined: pd.DataFrame, *, now: datetime.datetime, aside: Collection[str] = ()
    ) -> list[dict[str, Any]]:
        """Keep the rows of ``ScreeningResult.quarantined``; rows that are known already stay as they are.

        Of the rows ``aside``, what was put aside is kept, because here they are masked.

        Returns the audit events of the new rows.

        Raises:
            IntegrityError: a row was put aside and is not there any more.
        """
        events = []
        with self._locked(family):
            entries = self._entries(family)
            for values in quarantined.to_dict(orient="records"):
                named = {str(name): value for name, value in values.items()}
                reasons = str(named.pop(REASONS_COLUMN, ""))
                row_id = str(named["row_id"]) if "row_id" in named else row_identity(named)
                if row_id in entries:
                    continue
                path = self._row_path(family, row_id)
                content = self._aside(family, row_id) if row_id in aside else _content(named)
                if content is None:
                    raise IntegrityError(
                        f"{path}: what row {row_id} came with is missing or was stored with another {KEY_VARIABLE}; "
                        f"remove the file and run again: nethical run --families {family}"
                    )
                sealed = self._sealed(family, row_id, content)
                write_atomically(path, sealed, private=True)
                entries[row_id] = QuarantineEntry(
                    row_id=row_id,
                    family=family,
                    reasons=tuple(reasons.split(",")) if reasons else (),
                    label=str(named.get("label", "")),
                    status=HELD,
                    quarantined_at=_timestamp(now),
                    content=digest_bytes(sealed),
                )
                events.append(_event("row_quarantined", entries[row_id]))
            self._write(family, entries)
        return events

    def entries(self, family: str | None = None, *, status: str | None = None) -> list[QuarantineEntry]:
        """The rows of ``family`` (or all) with ``status`` (or any), oldest first."""
        families = [family] if family else sorted(path.stem for path in self._folder.glob("*.json"))
        found = [entry for name in families for entry in self._entries(name).values() if status in (None, entry.status)]
        return sorted(found, key=lambda entry: (entry.quarantined_at, entry.family, entry.row_id))

    def show(self, family: str, row_id: str) -> dict[str, Any]:
        """The content of one row: personal text, so for the screen of the person who decides and nowhere else.

        Raises:
            DatasetError: there is no such row.
            SettingsError: it is encrypted and no key is configured.
            IntegrityError: it is missing, was changed, or was sealed with another key.
        """
        entry = self._entry(self._entries(family), family, row_id)
        path = self._row_path(family, entry.row_id)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise IntegrityError(f"{path}: quarantined row {row_id} is missing; restore it from a backup") from None
        content: dict[str, Any] = json.loads(self._opened(family, entry.row_id, data, path))
        return content

    def decision(
        self, family: str, row_id: str, status: str, *, actor: str, reason: str, now: datetime.datetime
    ) -> dict[str, Any]:
        """The decision to release a row into the next cycle, or to confirm that it stays out, as a document.

        Nothing changes before :meth:`decide` is given it.

        Raises:
            DatasetError: there is no such row, or actor or reason is empty.
        """
        if not actor.strip() or not reason.strip():
            raise DatasetError(f"row {row_id} of {family}: a decision needs an actor and a reason")
        entry = self._entry(self._entries(family), family, row_id)
        decided = replace(
            entry, status=status, decided_at=_timestamp(now), actor=actor.strip(), decision_reason=reason.strip()
        )
        return _event(f"quarantine_{status}", decided)

    def decide(self, digest: str, document: bytes) -> None:
        """Carry a decision out; ``digest`` names its stored document. The same decision twice is the same as once.

        Raises:
            DatasetError: there is no such row.
            IntegrityError: the document is no decision.
        """
        try:
            said = json.loads(document)
            family, row_id = said["family"], said["row_id"]
            fields = {name: said[name] for name in _DECIDED}
        except (KeyError, TypeError, ValueError):
            raise IntegrityError(f"{digest}: not a decision about a quarantined row; restore it") from None
        with self._locked(family):
            entries = self._entries(family)
            entry = self._entry(entries, family, row_id)
            entries[entry.row_id] = replace(entry, **fields, decision=digest)
            self._write(family, entries)

    def problems(self, family: str) -> list[str]:
        """The rows of ``family`` whose content is missing or was changed, one line each."""
        found = []
        for entry in self._entries(family).values():
            path = self._row_path(family, entry.row_id)
            if not path.exists():
                found.append(f"{path}: quarantined row {entry.row_id} is missing; restore it from a backup")
            elif entry.content and digest_bytes(path.read_bytes()) != entry.content:
                found.append(f"{path}: quarantined row {entry.row_id} was changed; restore it from a backup")
        return found

    def check_decision(self, entry: QuarantineEntry, document: bytes) -> None:
        """Make sure that ``document``, which the entry names, is the decision that the entry shows.

        Raises:
            IntegrityError: it is another one.
        """
        try:
            said = json.loads(document)
            same = all(said[name] == getattr(entry, name) for name in ("family", "row_id", *_DECIDED))
        except (KeyError, TypeError, ValueError):
            same = False
        if not same:
            raise IntegrityError(
                f"row {entry.row_id} of {entry.family}: the index shows another decision than the one it names; "
                "restore data/quarantine from a backup"
            )

    @staticmethod
    def is_undecided(entry: QuarantineEntry) -> bool:
        """Whether the index shows no decision about a row."""
        return entry.status == HELD and not any((entry.decision, entry.decided_at, entry.actor, entry.decision_reason))

    def _entry(self, entries: Mapping[str, QuarantineEntry], family: str, row_id: str) -> QuarantineEntry:
        matching = [known for known in entries if known.startswith(row_id)] if row_id else []
        if len(matching) != 1:
            problem = "names more than one row" if matching else "is not in quarantine"
            raise DatasetError(f"row {row_id!r} of family {family!r} {problem}; see nethical quarantine list")
        return entries[matching[0]]

    def _entries(self, family: str) -> dict[str, QuarantineEntry]:
        path = self._index_path(family)
        if not path.exists():
            return {}
        listed = read_json(path)
        if not isinstance(listed, list):
            raise IntegrityError(f"{path}: not a quarantine index; restore it from a backup")
        read = [from_document(QuarantineEntry, item, f"{path}: entry {number}") for number, item in enumerate(listed)]
        return {entry.row_id: entry for entry in read}

    def _write(self, family: str, entries: Mapping[str, QuarantineEntry]) -> None:
        write_json(self._index_path(family), [to_document(entry) for entry in entries.values()])

    def _index_path(self, family: str) -> Path:
        return self._folder / f"{_safe_name(family)}.json"

    def _row_path(self, family: str, row_id: str) -> Path:
        return self._folder / _safe_name(family) / f"{hashlib.sha256(row_id.encode()).hexdigest()}.row"

    def _locked(self, family: str) -> Any:
        path = self._folder / f"{_safe_name(family)}.lock"
        return exclusive_lock(path, waiting_seconds=10, what=f"the quarantine of {family}")

    def _aside(self, family: str, row_id: str) -> bytes | None:
        """The stored content of a row; None where there is none that can be opened."""
        path = self._row_path(family, row_id)
        try:
            return self._opened(family, row_id, path.read_bytes(), path)
        except (FileNotFoundError, IntegrityError, SettingsError):
            return None

    def _sealed(self, family: str, row_id: str, content: bytes) -> bytes:
        if self._key is None:
            return _MAGIC_PLAIN + content
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = os.urandom(_NONCE_BYTES)
        return _MAGIC_SEALED + nonce + AESGCM(self._key).encrypt(nonce, content, f"{family}/{row_id}".encode())

    def _opened(self, family: str, row_id: str, data: bytes, path: Path) -> bytes:
        if data.startswith(_MAGIC_PLAIN):
            return data[len(_MAGIC_PLAIN) :]
        if not data.startswith(_MAGIC_SEALED):
            raise IntegrityError(f"{path}: not a quarantined row; restore it from a backup")
        if self._key is None:
            raise SettingsError(f"{path}: encrypted; set {KEY_VARIABLE} to the key it was stored with")
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        body = data[len(_MAGIC_SEALED) :]
        try:
            opened = AESGCM(self._key).decrypt(body[:_NONCE_BYTES], body[_NONCE_BYTES:], f"{family}/{row_id}".encode())
        except (InvalidTag, ValueError):
            raise IntegrityError(f"{path}: changed on disk, or stored with another {KEY_VARIABLE}") from None
        return bytes(opened)


def _content(named: Mapping[str, Any]) -> bytes:
    return json.dumps(named, default=str, ensure_ascii=True).encode()


def _safe_name(family: str) -> str:
    if not family.replace("_", "").replace("-", "").isalnum():
        raise DatasetError(f"family name {family!r} is not allowed; use letters, digits, _ and -")
    return family


def _timestamp(now: datetime.datetime) -> str:
    return now.astimezone(datetime.UTC).isoformat(timespec="seconds")


def _event(kind: str, entry: QuarantineEntry) -> dict[str, Any]:
    """An audit event: identifiers and reasons, never text."""
    # ``reasons`` is named even where there are none.
    fields = {name: value for name, value in _present(to_document(entry)) if name not in ("decision", "content")}
    return {"event": kind, **fields}


def _present(fields: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    return ((name, value) for name, value in fields.items() if value != "")
