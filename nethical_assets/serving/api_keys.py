"""API keys of the gateway: made, kept as digests, and checked.

What belongs here: the key file and the variable, which keys hold now and for which families. What does not: reading
headers, or any other secret of the product.

A key is 32 random bytes, so its SHA-256 is kept and nothing slower: a slow hash (scrypt, RFC 7914) protects what people
can guess, and there is nothing to guess in 2**256 keys; it would cost every request what it costs an attacker. Several
keys hold at once, so one is replaced without an interruption: add the new one, change the clients, remove the old one.
The file is read again when it changes; what cannot be read leaves the keys as they were, and is told.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec

from nethical_assets.core.detectors.registry import check_family
from nethical_assets.core.ground.digests import pretty_json
from nethical_assets.core.ground.errors import NethicalError, SettingsError
from nethical_assets.core.ground.given_files import read_given
from nethical_assets.core.ground.paths import path_named_by
from nethical_assets.core.ground.storage import exclusive_lock, write_atomically

KEYS_FILE_VARIABLE = "NETHICAL_API_KEYS_FILE"
KEYS_VARIABLE = "NETHICAL_API_KEYS"
EVERY_FAMILY = "*"
_ADVICE = f"make one with: nethical serve keys new --families FAMILY --file FILE, or unset {KEYS_FILE_VARIABLE}"
_LOCK_SECONDS = 30.0
_KEY = re.compile(r"nk_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_LOGGER = logging.getLogger(__name__)


class KeyEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key as it is kept: everything but the key.

    ``families``: those it may ask about, ``*`` for all; ``not_before``, ``expires``: ISO 8601 with a time zone, open
    where null; ``note``: whose it is, for people.
    """

    id: str
    sha256: str
    families: tuple[str, ...]
    not_before: datetime | None = None
    expires: datetime | None = None
    note: str = ""

    def holds(self, now: datetime) -> bool:
        """Whether the key is valid at a time."""
        return (self.not_before is None or self.not_before <= now) and (self.expires is None or now < self.expires)

    def allows(self, family: str) -> bool:
        """Whether the key may ask about a family."""
        return EVERY_FAMILY in self.families or family in self.families


class _KeyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    keys: tuple[KeyEntry, ...]


@dataclass(frozen=True)
class NewKey:
    """A key that was just made; ``key`` is not kept anywhere."""

    key: str
    entry: KeyEntry


class KeyRing:
    """The keys that hold, of a file and of the environment; None of both means that nobody is asked for one.

    Args:
        environment: read once; a file that it names is read again by ``look``.

    Raises:
        SettingsError: the file or the variable cannot be used.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._path = path_named_by(KEYS_FILE_VARIABLE, environment)
        self._given = _from_variable(environment.get(KEYS_VARIABLE, ""))
        self.required = self._path is not None or bool(self._given)
        self._stamp: tuple[int, int, int] | None = None
        self._told = ""
        self._entries: dict[str, KeyEntry] = dict(self._given)
        if self._path is not None:
            self._stamp = _stamp_of(self._path)
            self._entries |= _read(self._path)

    def look(self) -> None:
        """Read the file again if it changed."""
        if self._path is None:
            return
        stamp = _stamp_of(self._path)
        if stamp == self._stamp:
            return
        try:
            self._entries = {**self._given, **_read(self._path)}
            # Only now: rights that are mended later change nothing that could be seen.
            self._stamp = stamp
            self._told = ""
        except NethicalError as error:
            if str(error) != self._told:
                self._told = str(error)
                _LOGGER.error("the API keys stay as they were: %s", error)

    def find(self, key: str, now: datetime) -> KeyEntry | None:
        """The entry of a key that holds now; None for any other text."""
        shape = _KEY.fullmatch(key)
        entry = None if shape is None else self._entries.get(shape[1])
        if entry is None or not hmac.compare_digest(entry.sha256, _digest(key)) or not entry.holds(now):
            return None
        return entry


def make_key(
    families: Sequence[str], *, not_before: datetime | None = None, expires: datetime | None = None, note: str = ""
) -> NewKey:
    """A new key for ``families`` (``*``: all).

    Raises:
        UnknownFamilyError: a family is not registered.
        SettingsError: it would never hold.
    """
    for family in families:
        if family != EVERY_FAMILY:
            check_family(family)
    if not_before is not None and expires is not None and expires <= not_before:
        raise SettingsError("a key that expires before it begins never holds; give a later --expires")
    identity = secrets.token_hex(6)
    key = f"nk_{identity}_{base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b'=').decode()}"
    return NewKey(key, KeyEntry(identity, _digest(key), tuple(families), not_before, expires, note))


def add_key(path: Path, entry: KeyEntry) -> None:
    """Add an entry to the key file, which is made if it is missing and readable by its owner only.

    Raises:
        SettingsError: the file is something else, or a link, in whose place a file would be put.
    """
    if path.is_symlink() or path.is_dir():
        what = "a link" if path.is_symlink() else "a folder"
        raise SettingsError(f"{path}: is {what}; {_ADVICE}")
    with exclusive_lock(path.with_name(f".{path.name}.lock"), waiting_seconds=_LOCK_SECONDS, what=str(path)):
        known = _read(path).values() if path.exists() else ()
        write_atomically(path, pretty_json(msgspec.to_builtins(_KeyFile((*known, entry)))), private=True)


def _read(path: Path) -> dict[str, KeyEntry]:
    data = read_given(path, _ADVICE)
    try:
        entries = msgspec.json.decode(data, type=_KeyFile).keys
    except (msgspec.DecodeError, RecursionError) as error:
        raise SettingsError(f"{path}: no file of API keys ({error}); {_ADVICE}") from None
    return _by_id(str(path), entries)


def _by_id(what: str, entries: Iterable[KeyEntry]) -> dict[str, KeyEntry]:
    found: dict[str, KeyEntry] = {}
    for entry in entries:
        if entry.id in found:
            raise SettingsError(f"{what}: key {entry.id!r} is there twice; remove one")
        if not _DIGEST.fullmatch(entry.sha256):
            raise SettingsError(f"{what}: key {entry.id!r}: sha256 is not 64 hexadecimal digits; {_ADVICE}")
        if any(moment is not None and moment.tzinfo is None for moment in (entry.not_before, entry.expires)):
            raise SettingsError(f"{what}: key {entry.id!r}: a time has no time zone; add Z for UTC")
        for family in entry.families:
            if family != EVERY_FAMILY:
                check_family(family)
        found[entry.id] = entry
    return found


def _from_variable(text: str) -> dict[str, KeyEntry]:
    """Keys in the clear, separated by white space; ``KEY=family,family`` is for these families, ``KEY`` for all."""
    entries = []
    for position, item in enumerate(text.split(), 1):
        key, _, families = item.partition("=")
        shape = _KEY.fullmatch(key)
        if shape is None:
            # Not shown: what somebody put there may be a secret all the same.
            raise SettingsError(f"{KEYS_VARIABLE}: item {position} is no key that nethical serve keys new made")
        entries.append(KeyEntry(shape[1], _digest(key), tuple(families.split(",")) if families else (EVERY_FAMILY,)))
    return _by_id(KEYS_VARIABLE, entries)


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _stamp_of(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
