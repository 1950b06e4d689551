"""The model registry: immutable model folders named by digest, and the small pointers that give them a stage.

What belongs here: storing and reading verified model files, and the pointers ``current``, ``candidates``, ``archived``
and ``metadata``. What does not: deciding which pointer moves (``core.delivery.release``), or what files mean
(``core.detectors``).

Layout below the base::

    store/<hexadecimal digest>/model_manifest.json and the artifact files   immutable
    signatures/<hexadecimal digest>.sig, keys/                        OpenSSF model signatures (``core.lineage``)
    current/<family>.json                                             the champion
    candidates/<family>/<digest prefix>.json                          trained, not promoted
    archived/<family>/<version>-<digest prefix>.json                  replaced champions
    metadata/<family>-<version>-<digest prefix>_card.json, .md, ...   model cards in every format
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from upath import UPath

from nethical_assets.core.ground.digests import canonical_json, check_digest, digest_bytes
from nethical_assets.core.ground.documents import to_document
from nethical_assets.core.ground.errors import IntegrityError
from nethical_assets.core.ground.storage import (
    TEMPORARY_PREFIX,
    exclusive_lock,
    local_path,
    read_json,
    write_json,
    write_object,
)
from nethical_assets.core.signing.signatures import ModelSignatures

MANIFEST = "model_manifest.json"
MAXIMUM_FILE_BYTES = 512 * 1024 * 1024
_LOCK_SECONDS = 60.0
# Formats that hold numbers and text only; in particular nothing that unpickles or unpacks.
_SUFFIXES = (".json", ".safetensors", ".onnx", ".txt")


@dataclass(frozen=True)
class ModelManifest:
    """What a model is and what it was made from. Its canonical JSON's digest is the model's name.

    Attributes:
        family: the detector family.
        files: artifact file name -> digest.
        training: digests and parameters that produced it: data, splits, code, settings, ruleset, seed.
        input_columns: what it reads.
        libraries: versions of the libraries that fitted it.
    """

    family: str
    files: Mapping[str, str]
    training: Mapping[str, Any]
    input_columns: tuple[str, ...]
    libraries: Mapping[str, str]

    def to_bytes(self) -> bytes:
        """Canonical JSON (RFC 8785)."""
        return canonical_json(to_document(self))


@dataclass(frozen=True)
class ModelPointer:
    """One model in one stage, and the decision that put it there.

    Attributes:
        version: semantic version, unique within the family's champions.
        decision: digest of the release decision; ``decided_at`` UTC, ISO 8601.
        evaluation: digest of the evaluation it was decided on; ``thresholds`` of the limits; ``compared_with`` the
            champion of that time, or empty.
        reference: digest of the drift reference, for champions.
        card: digest of the card that was issued for it.
        metrics: point estimates, for listings.
    """

    family: str
    model: str
    version: str
    decision: str
    decided_at: str
    run_id: str
    evaluation: str
    thresholds: str
    compared_with: str
    verdict: str
    reasons: tuple[str, ...]
    reference: str = ""
    card: str = ""
    replaced_at: str = ""
    metrics: Mapping[str, float | None] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The pointer as a JSON document."""
        return to_document(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> ModelPointer:
        """The inverse of :meth:`to_json`.

        Raises:
            IntegrityError: keys are missing or unknown, or a digest is malformed.
        """
        try:
            pointer = cls(**{**document, "reasons": tuple(document["reasons"])})
            named = (pointer.compared_with, pointer.reference, pointer.card)
            for digest in (
                pointer.model,
                pointer.decision,
                pointer.evaluation,
                pointer.thresholds,
                *filter(None, named),
            ):
                check_digest(digest)
        except (TypeError, KeyError, IntegrityError) as error:
            raise IntegrityError(f"not a model pointer ({error}); restore it from a backup") from None
        return pointer


class ModelRegistry:
    """Models and their stages under ``base`` (a folder or a URL).

    With ``signatures`` every model is signed when it is added and its signature verified when it is loaded.
    """

    def __init__(self, base: UPath | Path | str, *, signatures: ModelSignatures | None = None) -> None:
        self.base = UPath(base)
        self.signatures = signatures

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the registry while pointers are read, decided on and moved. Where the base is the URL of another file
        system, against the processes of this machine only.

        Raises:
            BusyError: another process held it for a minute.
        """
        folder = local_path(self.base)
        if folder is None:
            url = digest_bytes(str(self.base).encode()).partition(":")[2]
            folder = Path(tempfile.gettempdir()) / f"nethical-{url[:16]}"
        with exclusive_lock(folder / ".lock", waiting_seconds=_LOCK_SECONDS, what="the model registry"):
            yield

    def add(self, manifest: ModelManifest, files: Mapping[str, bytes]) -> str:
        """Store a model and return its digest; the manifest is written last, so a half-written model does not exist.

        Files of the same model that are there already are left alone, unless they were damaged.
        """
        data = manifest.to_bytes()
        digest = digest_bytes(data)
        folder = self._folder(digest)
        for name in files:
            _file_name(name)
        for name, content in files.items():
            write_object(folder / name, content)
        if self.signatures is not None:
            self.signatures.sign(digest, {**files, MANIFEST: data})
        write_object(folder / MANIFEST, data)
        return digest

    def is_intact(self, digest: str) -> bool:
        """Whether the files of a stored model are there and match its digest and signature."""
        try:
            self.load(digest)
        except IntegrityError:
            return False
        return True

    def load(self, digest: str) -> tuple[ModelManifest, dict[str, bytes]]:
        """A model's manifest and file bytes, every byte verified against the digest, and the digest's signature.

        Raises:
            IntegrityError: a file is missing, added, a link, too large or changed, or the signature is missing or not
                of these files; the message names it.
        """
        folder = self._folder(digest)
        try:
            data = (folder / MANIFEST).read_bytes()
        except FileNotFoundError:
            raise IntegrityError(f"{folder}: model {digest} is not in the store; restore it from a backup") from None
        if digest_bytes(data) != digest:
            raise IntegrityError(f"{folder / MANIFEST}: does not match the model digest {digest}; restore it")
        document = _parse(folder / MANIFEST, data)
        present = {path.name for path in folder.iterdir() if not path.name.startswith(TEMPORARY_PREFIX)} - {MANIFEST}
        if present != set(document.files):
            wrong = ", ".join(sorted(present ^ set(document.files)))
            raise IntegrityError(f"{folder}: files differ from the manifest: {wrong}; restore the folder")
        files = {name: _read_file(folder / name, expected) for name, expected in document.files.items()}
        if self.signatures is not None:
            self.signatures.verify(digest, {**files, MANIFEST: data})
        return document, files

    def champion(self, family: str) -> ModelPointer | None:
        """The promoted model of ``family``, or None."""
        return self._pointer(self._current(family))

    def candidate(self, family: str, model: str) -> ModelPointer | None:
        """The pointer of ``model`` among the candidates, or None."""
        return self._pointer(self._candidate(family, model))

    def candidates(self, family: str) -> list[ModelPointer]:
        """The candidates of ``family``, oldest decision first."""
        return self._pointers(self.base / "candidates" / family)

    def archived(self, family: str) -> list[ModelPointer]:
        """The replaced champions of ``family``, oldest decision first."""
        return self._pointers(self.base / "archived" / family)

    def pointers(self, families: Sequence[str]) -> list[ModelPointer]:
        """Every pointer of these families: champion, candidates, replaced champions."""
        found: list[ModelPointer] = []
        for family in families:
            champion = self.champion(family)
            found += [*([champion] if champion else []), *self.candidates(family), *self.archived(family)]
        return found

    def manifest_path(self, digest: str) -> UPath:
        """Where the manifest of a model is; its bytes have the model's digest."""
        return self._folder(digest) / MANIFEST

    def set_candidate(self, pointer: ModelPointer) -> None:
        """Put a model among the candidates."""
        write_json(self._candidate(pointer.family, pointer.model), pointer.to_json())

    def set_champion(self, pointer: ModelPointer) -> None:
        """Make a model the champion: no candidate, and no replaced champion, any more. The champion that it replaces
        has to be archived before, so that it is never without a pointer."""
        write_json(self._current(pointer.family), pointer.to_json())
        self.remove_candidate(pointer.family, pointer.model)
        for replaced in self.archived(pointer.family):
            if replaced.model == pointer.model:
                self.remove_archived(replaced)

    def set_archived(self, pointer: ModelPointer) -> None:
        """Put a champion that is about to be replaced into the archive."""
        write_json(self._archived(pointer), pointer.to_json())

    def attach_card(self, pointer: ModelPointer, card: str) -> None:
        """Note the digest of the card that was issued for a pointer."""
        carded = ModelPointer.from_json({**pointer.to_json(), "card": card})
        current = self.champion(pointer.family)
        is_champion = current is not None and current.model == pointer.model
        target = self._current(pointer.family) if is_champion else self._candidate(pointer.family, pointer.model)
        write_json(target, carded.to_json())

    def remove_candidate(self, family: str, model: str) -> None:
        """Take a model out of the candidates; its files stay until :meth:`remove_unreferenced`."""
        self._candidate(family, model).unlink(missing_ok=True)

    def remove_archived(self, pointer: ModelPointer) -> None:
        """Take a replaced champion out of the archive; its files stay until :meth:`remove_unreferenced`."""
        self._archived(pointer).unlink(missing_ok=True)

    def remove_unreferenced(self, model: str, families: tuple[str, ...]) -> bool:
        """Delete the files of ``model`` unless a pointer of a family still names it. Returns whether it was deleted.

        Killed anywhere, the same again deletes the rest.
        """
        folder = self._folder(model)
        if any(pointer.model == model for pointer in self.pointers(families)):
            return False
        there = folder.exists()
        if there:
            (folder / MANIFEST).unlink(missing_ok=True)
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()
        if self.signatures is not None:
            self.signatures.remove(model)
        return there

    def card_path(self, pointer: ModelPointer, suffix: str) -> UPath:
        """Where the card of one model is: ``suffix`` is ``json`` or that of another format (``core.cards.formats``)."""
        name = f"{pointer.family}-{pointer.version}-{_short(pointer.model)}_card.{suffix}"
        return self.base / "metadata" / name

    def _folder(self, digest: str) -> UPath:
        return self.base / "store" / check_digest(digest).partition(":")[2]

    def pointer_path(self, pointer: ModelPointer, stage: str) -> UPath:
        """Where a pointer is: ``stage`` is ``current``, ``candidates`` or ``archived``."""
        match stage:
            case "current":
                return self._current(pointer.family)
            case "candidates":
                return self._candidate(pointer.family, pointer.model)
            case _:
                return self._archived(pointer)

    def _current(self, family: str) -> UPath:
        return self.base / "current" / f"{family}.json"

    def _candidate(self, family: str, model: str) -> UPath:
        return self.base / "candidates" / family / f"{_short(model)}.json"

    def _archived(self, pointer: ModelPointer) -> UPath:
        return self.base / "archived" / pointer.family / f"{pointer.version}-{_short(pointer.model)}.json"

    @staticmethod
    def _pointer(path: UPath) -> ModelPointer | None:
        try:
            document = read_json(path)
        except FileNotFoundError:
            return None
        try:
            return ModelPointer.from_json(document)
        except IntegrityError as error:
            raise IntegrityError(f"{path}: {error}") from None

    def _pointers(self, folder: UPath) -> list[ModelPointer]:
        if not folder.exists():
            return []
        found = [self._pointer(path) for path in folder.iterdir() if path.suffix == ".json"]
        return sorted((p for p in found if p is not None), key=lambda pointer: (pointer.decided_at, pointer.model))


def _short(digest: str) -> str:
    return check_digest(digest).partition(":")[2][:16]


def _file_name(name: str) -> str:
    if not name or name == MANIFEST or name != Path(name).name or name.startswith("."):
        raise IntegrityError(f"model file name {name!r} is refused: a plain file name is expected")
    if not name.endswith(_SUFFIXES):
        raise IntegrityError(f"model file {name!r} is refused: allowed are {', '.join(_SUFFIXES)}, and never a pickle")
    return name


def _read_file(path: UPath, expected: str) -> bytes:
    if isinstance(path, Path) and path.is_symlink():
        raise IntegrityError(f"{path}: is a symbolic link, which a model never contains; restore the folder")
    if not path.is_file():
        raise IntegrityError(f"{path}: is not a regular file; restore the folder")
    if path.stat().st_size > MAXIMUM_FILE_BYTES:
        raise IntegrityError(f"{path}: larger than {MAXIMUM_FILE_BYTES} bytes; restore the folder")
    data = path.read_bytes()
    if digest_bytes(data) != expected:
        raise IntegrityError(f"{path}: bytes do not match their digest {expected}; restore the folder")
    return data


def _parse(path: UPath, data: bytes) -> ModelManifest:
    try:
        document = json.loads(data)
        manifest = ModelManifest(**{**document, "input_columns": tuple(document["input_columns"])})
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise IntegrityError(f"{path}: not a model manifest ({error}); restore the folder") from None
    if not isinstance(manifest.files, dict):
        raise IntegrityError(f"{path}: not a model manifest ('files' is not a table); restore the folder")
    for name in manifest.files:
        _file_name(name)
    return manifest
