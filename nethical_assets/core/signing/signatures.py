"""Signatures of models in the OpenSSF model-signing (OMS) format, version 1.0, with an offline elliptic-curve key.

What belongs here: the signature file of a model: a Sigstore bundle (v0.3, public key without certificate or log entry)
whose DSSE envelope holds an in-toto statement with the SHA-256 of every file. What does not: the files themselves
(``core.models.registry``).

Written here instead of with the ``model-signing`` package because a model must be verified as the very bytes that are
loaded, and may lie in an object store: the package reads a local folder by itself. The package verifies these files,
and files that it made are accepted here (tests/core/lineage/test_signatures.py). Signatures lie outside the model's
folder, so that they do not change its digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from upath import UPath

from nethical_assets.core.ground.digests import canonical_json, check_digest, digest_bytes
from nethical_assets.core.ground.errors import IntegrityError
from nethical_assets.core.ground.storage import write_atomically
from nethical_assets.core.signing.dsse import MAXIMUM_DOCUMENT_BYTES, open_envelope, parse_json, sign_payload
from nethical_assets.core.signing.keys import ModelKeys, PublicKeys, key_id

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"
BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
SUFFIX = ".sig"


class ModelSignatures:
    """The signatures of all models, one ``<hexadecimal model digest>.sig`` each under ``base``."""

    def __init__(self, base: UPath | Path | str, keys: ModelKeys) -> None:
        self.base = UPath(base)
        self.keys = keys

    def path(self, model: str) -> UPath:
        """Where the signature of ``model`` is, or would be."""
        return self.base / f"{_hexadecimal(model)}{SUFFIX}"

    def sign(self, model: str, files: Mapping[str, bytes]) -> None:
        """Sign the files of a model folder, its manifest included; a signature that still verifies is kept.

        Raises:
            SettingsError: the signing key cannot be used.
        """
        key = self.keys.private
        if self.path(model).exists():
            try:
                self.verify(model, files)
            except IntegrityError:
                pass
            else:
                return
        identifier = key_id(key.public_key())
        bundle = {
            "mediaType": BUNDLE_TYPE,
            "verificationMaterial": {"publicKey": {"hint": identifier}, "tlogEntries": []},
            # The format names the key beside the envelope and leaves the envelope's own key id empty.
            "dsseEnvelope": sign_payload(canonical_json(_statement(model, files)), key, identifier=""),
        }
        write_atomically(self.path(model), canonical_json(bundle))

    def verify(self, model: str, files: Mapping[str, bytes], trusted: PublicKeys | None = None) -> str:
        """Check the signature of ``model`` over exactly ``files`` and return the id of the key that made it.

        Args:
            trusted: the keys to trust instead of the pinned ones.

        Raises:
            IntegrityError: there is no signature, it is malformed, by a key that is not trusted, does not verify, or
                is of another model; the message names the file.
        """
        path = self.path(model)
        bundle = parse_json(_read(path, model), str(path))
        if not isinstance(bundle, dict) or bundle.get("mediaType") != BUNDLE_TYPE:
            raise IntegrityError(f"{path}: not a Sigstore bundle {BUNDLE_TYPE}; restore it from a backup")
        envelope, hint = _parts(bundle, str(path))
        keys = self.keys.trusted() if trusted is None else trusted
        statement, signer = open_envelope(envelope, keys, str(path), identifier=hint)
        _check_statement(statement, model, files, str(path))
        return signer

    def remove(self, model: str) -> None:
        """Delete the signature of a model that was deleted."""
        self.path(model).unlink(missing_ok=True)


def _statement(model: str, files: Mapping[str, bytes]) -> dict[str, Any]:
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": _hexadecimal(model), "digest": {"sha256": _root(files)}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": False, "ignore_paths": []},
            "resources": [
                {"algorithm": "sha256", "digest": hashlib.sha256(content).hexdigest(), "name": name}
                for name, content in sorted(files.items())
            ],
        },
    }


def _root(files: Mapping[str, bytes]) -> str:
    """SHA-256 over the SHA-256 digests of the files in order of name, as the format defines it."""
    return hashlib.sha256(b"".join(hashlib.sha256(files[name]).digest() for name in sorted(files))).hexdigest()


def _check_statement(statement: Any, model: str, files: Mapping[str, bytes], where: str) -> None:
    try:
        kind = (statement["_type"], statement["predicateType"])
        names = [subject["name"] for subject in statement["subject"]]
        roots = [subject["digest"]["sha256"] for subject in statement["subject"]]
        resources = statement["predicate"]["resources"]
        signed = {one["name"]: f"{one['algorithm']}:{one['digest']}" for one in resources}
    except (KeyError, TypeError):
        raise IntegrityError(f"{where}: the signed statement is malformed; restore it from a backup") from None
    if kind != (STATEMENT_TYPE, PREDICATE_TYPE):
        raise IntegrityError(f"{where}: signs a {str(kind[1])[:80]!r}, expected {PREDICATE_TYPE}")
    if names != [_hexadecimal(model)]:
        raise IntegrityError(f"{where}: is the signature of another model, {str(names)[:80]}; restore it")
    actual = {name: digest_bytes(content) for name, content in files.items()}
    wrong = sorted(name for name in signed.keys() | actual.keys() if signed.get(name) != actual.get(name))
    if not wrong and (len(resources) != len(signed) or roots != [_root(files)]):
        wrong = ["the list is inconsistent"]
    if wrong:
        raise IntegrityError(f"{where}: signs other files than the model has: {', '.join(wrong)}; restore it")


def _parts(bundle: dict[str, Any], where: str) -> tuple[Any, str]:
    """The envelope and the key id of a bundle that has nothing else in it."""
    material = bundle.get("verificationMaterial")
    public = material.get("publicKey") if isinstance(material, dict) else None
    hint = public.get("hint") if isinstance(public, dict) else None
    if not isinstance(hint, str):
        raise IntegrityError(f"{where}: the bundle names no public key; restore it from a backup")
    expected = {
        "mediaType": BUNDLE_TYPE,
        "verificationMaterial": {"publicKey": {"hint": hint}, "tlogEntries": []},
        "dsseEnvelope": bundle.get("dsseEnvelope"),
    }
    if bundle != expected:
        raise IntegrityError(f"{where}: the bundle has more than an envelope and a public key; restore it")
    return bundle["dsseEnvelope"], hint


def _read(path: UPath, model: str) -> bytes:
    if isinstance(path, Path) and path.is_symlink():
        raise IntegrityError(f"{path}: is a symbolic link, which a signature never is; restore it from a backup")
    try:
        size = path.stat().st_size
        if size > MAXIMUM_DOCUMENT_BYTES:
            raise IntegrityError(f"{path}: {size} bytes, at most {MAXIMUM_DOCUMENT_BYTES} are allowed")
        return path.read_bytes()
    except FileNotFoundError:
        raise IntegrityError(
            f"{path}: model {model} has no signature; restore it from a backup, or train the model again"
        ) from None


def _hexadecimal(model: str) -> str:
    return check_digest(model).partition(":")[2]
