"""Provenance: one signed in-toto statement for every finished stage, naming what it was made from.

What belongs here: the statement (in-toto Statement v1 with the SLSA provenance v1 predicate), and the store that issues
each statement once. What does not: which stages there are and what they cite (``stages.graph``), or verifying a
whole chain (``chain``).

A statement names its outputs as subjects, and as resolved dependencies the outputs *and the statements* of the stages
before it, so that the newest statement of a model commits to all earlier ones. But for the details of the run (who,
when), the same stage always gives the same statement.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from upath import UPath

from nethical_assets.core.ground.digests import ALGORITHM, canonical_json, check_digest, digest_json
from nethical_assets.core.ground.errors import IntegrityError
from nethical_assets.core.ground.storage import ObjectStore, read_json, write_json
from nethical_assets.core.ground.validation_errors import describe_malformed
from nethical_assets.core.signing.dsse import open_envelope, parse_json, sign_payload
from nethical_assets.core.signing.keys import ModelKeys, PublicKeys, key_id
from nethical_assets.core.signing.signatures import STATEMENT_TYPE

PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
ENVELOPE_TYPE = "application/vnd.dsse.envelope+json"
BUILDER = "https://nethical.local/builder/v1"
STATEMENT_PREFIX = "provenance/"
_BUILD_TYPES = "https://nethical.local/stages/"
_BUILD_VERSION = "/v1"


@dataclass(frozen=True)
class Statement:
    """What one stage made from what.

    Attributes:
        stage, name: which stage (``splits``) of which dataset or family.
        outputs: name -> digest of everything it made.
        dependencies: name -> digest of everything it was made from; ``provenance/<stage>/<name>`` are statements.
        parameters: what it was told, as JSON.
        platform: Python and machine it was made with; no part of the statement's identity, as ``metadata``.
        metadata: in which run and when it was finished.
    """

    stage: str
    name: str
    outputs: Mapping[str, str]
    dependencies: Mapping[str, str]
    parameters: Mapping[str, Any]
    platform: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The in-toto statement."""
        return {
            "_type": STATEMENT_TYPE,
            "subject": [_resource(name, digest) for name, digest in sorted(self.outputs.items())],
            "predicateType": PREDICATE_TYPE,
            "predicate": {
                "buildDefinition": {
                    "buildType": f"{_BUILD_TYPES}{self.stage}{_BUILD_VERSION}",
                    "externalParameters": {"name": self.name, **self.parameters},
                    "resolvedDependencies": [_resource(n, d) for n, d in sorted(self.dependencies.items())],
                },
                "runDetails": {
                    "builder": {"id": BUILDER, "version": dict(self.platform)},
                    "metadata": dict(self.metadata),
                },
            },
        }

    @property
    def identity(self) -> str:
        """The digest of everything but the details of the run."""
        document = self.to_json()
        return digest_json([document["subject"], document["predicate"]["buildDefinition"]])

    @classmethod
    def from_json(cls, document: Any, where: str) -> Statement:
        """The inverse of :meth:`to_json`.

        Raises:
            IntegrityError: it is not a provenance statement of a stage; the message names ``where``.
        """
        try:
            kind = (document["_type"], document["predicateType"])
            definition = document["predicate"]["buildDefinition"]
            stage = definition["buildType"].removeprefix(_BUILD_TYPES).removesuffix(_BUILD_VERSION)
            parameters = dict(definition["externalParameters"])
            details = document["predicate"]["runDetails"]
            statement = cls(
                stage=stage,
                name=parameters.pop("name"),
                outputs=_digests(document["subject"]),
                dependencies=_digests(definition["resolvedDependencies"]),
                parameters=parameters,
                platform=dict(details["builder"]["version"]),
                metadata=dict(details["metadata"]),
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise IntegrityError(f"{where}: not a provenance statement ({describe_malformed(error)})") from None
        if kind != (STATEMENT_TYPE, PREDICATE_TYPE) or statement.to_json() != document:
            raise IntegrityError(f"{where}: not a provenance statement in the form it is written in")
        return statement


class ProvenanceStore:
    """Issued statements: envelopes in ``objects``, and under ``base`` which one is of which output."""

    def __init__(self, base: UPath | Path | str, objects: ObjectStore, keys: ModelKeys) -> None:
        self.base = UPath(base)
        self.objects = objects
        self.keys = keys

    def issue(self, statement: Statement, output: str, announce: Callable[[str, str], None]) -> str:
        """Sign ``statement``, unless one of the same identity was issued for ``output`` before; its envelope's digest.

        A new envelope's digest and the id of its key are given to ``announce`` before it counts as issued, so that one
        that nobody heard of is issued again.

        Raises:
            SettingsError: the signing key cannot be used.
        """
        path = self._path(statement.stage, statement.name, output)
        try:
            entry = read_json(path)
        except (FileNotFoundError, IntegrityError):
            entry = {}
        if isinstance(entry, dict) and entry.get("identity") == statement.identity:
            known = str(entry.get("provenance"))
            if self._is_intact(known):
                return known
        key = self.keys.private
        signer = key_id(key.public_key())
        envelope = sign_payload(canonical_json(statement.to_json()), key, identifier=signer)
        digest = self.objects.put(canonical_json(envelope))
        announce(digest, signer)
        write_json(path, {"identity": statement.identity, "provenance": digest})
        return digest

    def complete(self, stage: str, name: str, output: str, digest: str) -> None:
        """Enter an announced statement about ``output`` whose writer ended before it could; not instead of another one.

        A statement that is lost or was changed is not entered: whoever misses it says so.
        """
        path = self._path(stage, name, output)
        if path.exists():
            return
        try:
            statement, _ = self.open(digest)
        except IntegrityError:
            return
        write_json(path, {"identity": statement.identity, "provenance": digest})

    def find(self, stage: str, name: str, output: str) -> str | None:
        """The digest of the newest statement about ``output``, or None.

        Raises:
            IntegrityError: the entry was damaged.
        """
        path = self._path(stage, name, output)
        try:
            return check_digest(str(read_json(path)["provenance"]))
        except FileNotFoundError:
            return None
        except (KeyError, TypeError):
            raise IntegrityError(f"{path}: not a provenance entry; remove it and run again") from None

    def open(self, digest: str, trusted: PublicKeys | None = None) -> tuple[Statement, str]:
        """The statement in an envelope, its bytes and signature verified, and the id of the key that signed it.

        Raises:
            IntegrityError: it is missing, was changed, is malformed, or is not signed by a trusted key.
        """
        where = f"provenance statement {digest}"
        envelope = parse_json(self.objects.get(digest), where)
        document, signer = open_envelope(envelope, self.keys.trusted() if trusted is None else trusted, where)
        return Statement.from_json(document, where), signer

    def _is_intact(self, digest: str) -> bool:
        try:
            self.open(digest)
        except IntegrityError:
            return False
        return True

    def _path(self, stage: str, name: str, output: str) -> UPath:
        return self.base / stage / name / f"{check_digest(output).partition(':')[2]}.json"


def statement_name(stage: str, name: str) -> str:
    """By which a later statement names the statement of a stage."""
    return f"{STATEMENT_PREFIX}{stage}/{name}"


def stage_of_statement(name: str) -> tuple[str, str] | None:
    """The stage and what it was about of a statement's name; None of another name."""
    if not name.startswith(STATEMENT_PREFIX):
        return None
    stage, _, about = name.removeprefix(STATEMENT_PREFIX).partition("/")
    return stage, about


def _resource(name: str, digest: str) -> dict[str, Any]:
    resource: dict[str, Any] = {"name": name, "digest": {ALGORITHM: check_digest(digest).partition(":")[2]}}
    return {**resource, "mediaType": ENVELOPE_TYPE} if name.startswith(STATEMENT_PREFIX) else resource


def _digests(resources: Any) -> dict[str, str]:
    return {one["name"]: check_digest(f"{ALGORITHM}:{one['digest'][ALGORITHM]}") for one in resources}
