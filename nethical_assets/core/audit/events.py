"""Events: what the leaves of the log say.

What belongs here: the enumeration of event types, the leaf format (RFC 8785 canonical JSON without floats), salted
commitments. What does not: where events are written (``recorder``, ``log``).

A leaf names things by digest and says nothing personal: people's data enters only as a salted commitment. Details of an
event are its payload, a JSON document beside the log that the leaf names by digest.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import rfc8785

from nethical_assets.core.ground.digests import ALGORITHM, canonical_json, check_digest
from nethical_assets.core.ground.errors import AuditError, IntegrityError
from nethical_assets.core.tlog.tiles import MAXIMUM_ENTRY_BYTES

LEAF_VERSION = 1
MAXIMUM_RUN_ID = 128
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+)*")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
_TEXT = r'[^"\\\x00-\x1f]*'
_DIGEST = r'"sha256:[0-9a-f]{64}"'
_COUNT = r"0|[1-9][0-9]{0,14}"
_SUBJECT = rf'\{{"digest":({_DIGEST}),"name":"({_TEXT})"\}}'
_PLAIN_LEAF = re.compile(
    rf'\{{"actor":"(?P<actor>{_TEXT})"'
    rf'(?:,"chunk":\{{"first_index":(?P<first>{_COUNT}),"previous_checkpoint":"(?P<previous>{_TEXT})",'
    rf'"root":"(?P<root>{_TEXT})","size":(?P<size>{_COUNT})\}})?'
    rf',"parents":\[(?P<parents>(?:{_DIGEST}(?:,{_DIGEST})*)?)\],"payload_digest":(?P<payload>null|{_DIGEST})'
    rf'(?:,"rotation":\{{"new":"(?P<new>{_TEXT})","old":"(?P<old>{_TEXT})"\}})?'
    rf',"run_id":"(?P<run>{_RUN_ID.pattern})","sequence":(?P<sequence>{_COUNT})'
    rf',"subjects":\[(?P<subjects>(?:{_SUBJECT}(?:,{_SUBJECT})*)?)\]'
    rf',"time":"(?P<time>{_TIME.pattern})","type":"(?P<type>[a-z_]+)","version":{LEAF_VERSION}\}}'
)
"""A leaf whose texts need no escape: text of this form is canonical, so that nothing has to be encoded again."""
_SUBJECTS = re.compile(_SUBJECT)
_FIELDS = {"version", "run_id", "sequence", "time", "type", "actor", "subjects", "parents", "payload_digest"}


class EventType(StrEnum):
    """Every kind of event, over the whole life of data and models."""

    RUN_STARTED = "run_started"
    RUN_COMPLETED = "run_completed"
    RUN_FAILED = "run_failed"
    RUN_INTERRUPTED = "run_interrupted"
    DATA_FETCHED = "data_fetched"
    DATA_CONFIRMED = "data_confirmed"
    """A source delivered or named the content that was there already: its age counts from here."""
    DATA_VALIDATED = "data_validated"
    DATA_RESTORED = "data_restored"
    DATA_SCREENED = "data_screened"
    DATA_QUARANTINED = "data_quarantined"
    DATA_RELEASED = "data_released"
    DATA_SPLIT = "data_split"
    MODEL_TRAINED = "model_trained"
    MODEL_EVALUATED = "model_evaluated"
    GATE_DECIDED = "gate_decided"
    MODEL_PROMOTED = "model_promoted"
    MODEL_ARCHIVED = "model_archived"
    CARD_ISSUED = "card_issued"
    PROVENANCE_ISSUED = "provenance_issued"
    DRIFT_JUDGED = "drift_judged"
    BATCH_SCORED = "batch_scored"
    """Batches of predictions, or of labels that came later, entered the inference log; its subjects name the files and
    their bytes."""
    ALERT_FILED = "alert_filed"
    ALERT_ACKNOWLEDGED = "alert_acknowledged"
    ALERT_CLOSED = "alert_closed"
    SETTINGS_CHANGED = "settings_changed"
    RULES_CHANGED = "rules_changed"
    CATALOG_CHANGED = "catalog_changed"
    RETENTION_DELETED = "retention_deleted"
    """Subjects are what retention deleted; a payload named here may be missing from the payload store."""
    KEY_CREATED = "key_created"
    """Pins a key: subjects name the fingerprint of the audit verifier key, or of the model signing key, whose
    replacement names the fingerprint before it as a parent."""
    KEY_ROTATED = "key_rotated"
    """Carries the old and the new verifier key; the checkpoint over it is the last one signed by the old key."""
    HEARTBEAT = "heartbeat"
    CHUNK_FINAL = "chunk_final"
    """Ends the chunk of a run; carries the chunk's range and root and the digest of the previous checkpoint. Its
    payload is the state of the log (``state``)."""


_TYPES = {kind.value: kind for kind in EventType}
_PLAIN_TYPES = _TYPES.keys() - {EventType.CHUNK_FINAL.value, EventType.KEY_ROTATED.value}


@dataclass(frozen=True)
class Subject:
    """What an event is about: a name for people and the digest (``sha256:`` and 64 hexadecimal digits)."""

    name: str
    digest: str


@dataclass(frozen=True)
class Chunk:
    """What a ``chunk_final`` leaf says: the ``size`` leaves from ``first_index`` on have this root (hexadecimal)."""

    first_index: int
    size: int
    root: str
    previous_checkpoint: str


@dataclass(frozen=True)
class Rotation:
    """What a ``key_rotated`` leaf says: two verifier keys in vkey format."""

    old: str
    new: str


@dataclass(frozen=True)
class Event:
    """One leaf. ``sequence`` counts the leaves of the run from 0; ``time`` is UTC with microseconds, ending in Z."""

    run_id: str
    sequence: int
    time: str
    type: EventType
    actor: str
    subjects: tuple[Subject, ...] = ()
    parents: tuple[str, ...] = ()
    payload_digest: str | None = None
    chunk: Chunk | None = None
    rotation: Rotation | None = None

    def leaf(self) -> bytes:
        """The entry in the log.

        Raises:
            AuditError: it would be larger than an entry may be, or holds text that is not Unicode.
        """
        try:
            entry = canonical_json(self.to_json())
        except (rfc8785.CanonicalizationError, UnicodeEncodeError) as error:
            raise AuditError(f"event {self.type}: it has no canonical JSON form ({error})") from None
        if len(entry) > MAXIMUM_ENTRY_BYTES:
            raise AuditError(
                f"event {self.type}: {len(entry)} bytes, at most {MAXIMUM_ENTRY_BYTES} fit in a leaf; use the payload"
            )
        return entry

    def to_json(self) -> dict[str, Any]:
        """The event as a JSON object without floats."""
        document: dict[str, Any] = {
            "version": LEAF_VERSION,
            "run_id": self.run_id,
            "sequence": self.sequence,
            "time": self.time,
            "type": self.type.value,
            "actor": self.actor,
            "subjects": [{"name": subject.name, "digest": subject.digest} for subject in self.subjects],
            "parents": list(self.parents),
            "payload_digest": self.payload_digest,
        }
        for name, detail in (("chunk", self.chunk), ("rotation", self.rotation)):
            if detail is not None:
                document[name] = dict(vars(detail))
        return document

    @classmethod
    def parse(cls, entry: bytes) -> Event:
        """The event in a log entry.

        Raises:
            AuditError: it is not an event in its one canonical form; the message says what is wrong.
        """
        plain = _parse_plain(entry)
        if plain is not None:
            return plain
        try:
            document = json.loads(entry)
        except ValueError:
            raise AuditError("malformed leaf: it is not JSON") from None
        if not isinstance(document, dict) or not document.keys() >= _FIELDS:
            raise AuditError("malformed leaf: it lacks required fields")
        if document["version"] != LEAF_VERSION:
            raise AuditError(f"malformed leaf: version {document['version']!r}, this program knows {LEAF_VERSION}")
        try:
            event = _build(document)
            encoded = event.leaf()
        except (AttributeError, KeyError, TypeError, ValueError, IntegrityError) as error:
            raise AuditError(f"malformed leaf: {error}") from None
        if encoded != entry:
            raise AuditError("malformed leaf: it is not in canonical form, or has fields of the wrong type")
        return event


def leaf_fields(entry: bytes) -> tuple[str, int, str, str, str] | None:
    """Run id, sequence, time, type and payload digest (or empty) of a leaf in canonical form that neither ends a chunk
    nor rotates a key; None leaves it to :meth:`Event.parse`. For walking many leaves."""
    try:
        found = _PLAIN_LEAF.fullmatch(entry.decode())
    except UnicodeDecodeError:
        return None
    if (
        found is None
        or len(entry) > MAXIMUM_ENTRY_BYTES
        or len(found["run"]) > MAXIMUM_RUN_ID
        or found["type"] not in _PLAIN_TYPES
        or found["root"] is not None
        or found["new"] is not None
    ):
        return None
    payload = found["payload"]
    return (
        found["run"],
        int(found["sequence"]),
        found["time"],
        found["type"],
        "" if payload == "null" else payload[1:-1],
    )


def _parse_plain(entry: bytes) -> Event | None:
    """The event in an entry that needs no escapes; None leaves it, also what is wrong with it, to the full parser."""
    try:
        found = _PLAIN_LEAF.fullmatch(entry.decode())
    except UnicodeDecodeError:
        return None
    if found is None or len(entry) > MAXIMUM_ENTRY_BYTES:
        return None
    kind = _TYPES.get(found["type"])
    chunked, rotated = found["root"] is not None, found["new"] is not None
    if (
        kind is None
        or len(found["run"]) > MAXIMUM_RUN_ID
        or chunked != (kind is EventType.CHUNK_FINAL)
        or rotated != (kind is EventType.KEY_ROTATED)
    ):
        return None
    parents, subjects, payload = found["parents"], found["subjects"], found["payload"]
    return Event(
        run_id=found["run"],
        sequence=int(found["sequence"]),
        time=found["time"],
        type=kind,
        actor=found["actor"],
        subjects=tuple(Subject(name, digest[1:-1]) for digest, name in _SUBJECTS.findall(subjects)) if subjects else (),
        parents=tuple(parent[1:-1] for parent in parents.split(",")) if parents else (),
        payload_digest=None if payload == "null" else payload[1:-1],
        chunk=Chunk(int(found["first"]), int(found["size"]), found["root"], found["previous"]) if chunked else None,
        rotation=Rotation(found["old"], found["new"]) if rotated else None,
    )


def _build(document: Mapping[str, Any]) -> Event:
    chunk, rotation = document.get("chunk"), document.get("rotation")
    event = Event(
        run_id=check_run_id(document["run_id"]),
        sequence=document["sequence"],
        time=document["time"],
        type=EventType(document["type"]),
        actor=document["actor"],
        subjects=subjects_of(document["subjects"]),
        parents=tuple(check_digest(parent) for parent in document["parents"]),
        payload_digest=document["payload_digest"],
        chunk=None if chunk is None else Chunk(**chunk),
        rotation=None if rotation is None else Rotation(**rotation),
    )
    if event.payload_digest is not None:
        check_digest(event.payload_digest)
    if not _is_count(event.sequence) or not _TIME.fullmatch(event.time) or not isinstance(event.actor, str):
        raise ValueError("sequence, time or actor is malformed")
    if (event.chunk is None) == (event.type is EventType.CHUNK_FINAL):
        raise ValueError("exactly the chunk_final leaves carry a chunk")
    if (event.rotation is None) == (event.type is EventType.KEY_ROTATED):
        raise ValueError("exactly the key_rotated leaves carry a rotation")
    if event.chunk is not None and not (_is_count(event.chunk.first_index) and _is_count(event.chunk.size)):
        raise ValueError("the range of a chunk is malformed")
    return event


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def check_run_id(run_id: str) -> str:
    """``run_id`` itself when it may name a run (and a file).

    Raises:
        AuditError: it is empty, longer than 128 characters, or has characters other than letters, digits, ``_-.``.
    """
    if not isinstance(run_id, str) or len(run_id) > MAXIMUM_RUN_ID or not _RUN_ID.fullmatch(run_id):
        raise AuditError(
            f"malformed run id {str(run_id)[:140]!r}: 1 to {MAXIMUM_RUN_ID} letters, digits, underscores, hyphens, dots"
        )
    return run_id


def event_type(name: str) -> EventType:
    """The event type called ``name``.

    Raises:
        AuditError: there is none; the message lists them.
    """
    try:
        return EventType(name)
    except ValueError:
        raise AuditError(f"unknown event type {name!r}; known are {', '.join(EventType)}") from None


def subjects_of(values: Iterable[Subject | Mapping[str, str]]) -> tuple[Subject, ...]:
    """Subjects from objects or ``{"name", "digest"}`` mappings.

    Raises:
        IntegrityError: a digest is malformed.
        AuditError: a name or digest is missing, or is no text.
    """
    subjects = []
    for value in values:
        subject = value if isinstance(value, Subject) else _subject(value)
        check_digest(subject.digest)
        subjects.append(subject)
    return tuple(subjects)


def _subject(value: Mapping[str, str]) -> Subject:
    if set(value) != {"name", "digest"} or not all(isinstance(text, str) for text in value.values()):
        raise AuditError("a subject of an event has exactly the texts name and digest")
    return Subject(value["name"], value["digest"])


def timestamp(moment: datetime) -> str:
    """``moment`` (with a time zone) as it stands in leaves: UTC, microseconds, Z."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def payload_bytes(payload: Any) -> bytes:
    """The canonical JSON of an event's payload; floats become their shortest exact decimal text.

    Raises:
        AuditError: it is not JSON (an unknown type, NaN, an integer beyond 53 bits).
    """
    try:
        return canonical_json(_without_floats(payload))
    except (rfc8785.CanonicalizationError, UnicodeEncodeError) as error:
        raise AuditError(f"the payload of an event must be JSON: {error}") from None


def _without_floats(value: Any) -> Any:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise AuditError(f"the payload of an event must be JSON: {value} is not a number")
        return repr(float(value))
    if isinstance(value, Mapping):
        return {str(key): _without_floats(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_floats(item) for item in value]
    return value


def salted_commitment(text: str, salt: bytes) -> str:
    """A digest that commits to personal data without revealing it: HMAC-SHA256 of ``text`` under a secret ``salt``.

    Whoever keeps text and salt can open the commitment later; destroying the salt makes it anonymous for good.

    Raises:
        AuditError: the salt has fewer than 16 bytes, so that guessing could reveal the text.
    """
    if len(salt) < 16:
        raise AuditError(f"the salt of a commitment has {len(salt)} bytes, at least 16 are needed")
    return f"{ALGORITHM}:{hmac.new(salt, text.encode(), hashlib.sha256).hexdigest()}"
