"""The state of the log: what is newest of its kind, which keys are pinned, and where every run ends.

What belongs here: what the leaves up to a size say together, as a small document that the ``chunk_final`` leaf of every
chunk names by digest, so that a signed checkpoint commits to it. What does not: reading it back (``reader``), or the
index that makes it fast (``index``). Chunks older than these documents have none; their state follows from a replay.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nethical_assets.core.audit import subjects
from nethical_assets.core.audit.events import Event, EventType
from nethical_assets.core.audit.keyed_tree import EMPTY_MAP, DamagedIndexError, lookup, update
from nethical_assets.core.ground.digests import canonical_json, check_digest, digest_bytes
from nethical_assets.core.ground.errors import AuditError, IntegrityError
from nethical_assets.core.ground.validation_errors import describe_malformed

STATE_VERSION = 1
PROMOTIONS = (EventType.MODEL_PROMOTED,)
"""The events that make a model the champion of its family: the one definition of a promotion."""
PROMOTION, CARD, DRIFT_REPORT = "promotion", "card", "drift_report"
SETTINGS, RULES, CATALOG = "settings", "rules", "catalog"
_KINDS: Mapping[EventType, tuple[str, str]] = {
    **dict.fromkeys(PROMOTIONS, (PROMOTION, f"{subjects.MODELS}/")),
    EventType.CARD_ISSUED: (CARD, f"{subjects.MODEL_CARDS}/"),
    EventType.DRIFT_JUDGED: (DRIFT_REPORT, f"{subjects.DRIFT_REPORTS}/"),
    EventType.SETTINGS_CHANGED: (SETTINGS, "settings"),
    EventType.RULES_CHANGED: (RULES, "rules"),
    EventType.CATALOG_CHANGED: (CATALOG, "catalog"),
}
"""Event type -> kind, and the beginning of the subject names that it is kept for."""
AUDIT_KEY, MODEL_KEY = "audit verifier key", "model signing key"
"""By which subject names an event names the fingerprint of a key."""
_KEY_EVENTS = {EventType.KEY_CREATED, EventType.KEY_ROTATED, EventType.PROVENANCE_ISSUED}
STATEFUL = frozenset({*_KINDS, *_KEY_EVENTS})
"""The event types that change the state."""


@dataclass(frozen=True)
class Named:
    """A digest and the index of the leaf that names it."""

    leaf: int
    digest: str


@dataclass
class LogState:
    """What the leaves of a log say together.

    Attributes:
        newest: ``<kind> <subject name>`` -> the newest event of that kind about it.
        audit_keys: fingerprints (digests of vkey lines) of the keys that sign the log, oldest first; the last is in
            force. Empty while no leaf named one.
        model_keys: fingerprints of the keys that sign models, oldest first; the last is in force.
        runs: the hash of the map from run id to its newest ``chunk_final`` leaf.
        previous: the ``chunk_final`` leaf of the same run before this one, or None.
    """

    newest: dict[str, Named] = field(default_factory=dict)
    audit_keys: list[Named] = field(default_factory=list)
    model_keys: list[Named] = field(default_factory=list)
    runs: bytes = EMPTY_MAP
    previous: int | None = None

    def find(self, kind: str, subject: str) -> Named | None:
        """The newest event of ``kind`` about ``subject``."""
        return self.newest.get(f"{kind} {subject}")

    def take(self, index: int, event: Event) -> str | None:
        """Take in leaf ``index``; the answer says what is wrong with it, if anything (then it changes nothing)."""
        kind, prefix = _KINDS.get(event.type, ("", ""))
        for subject in event.subjects:
            if kind and subject.name.startswith(prefix):
                self.newest[f"{kind} {subject.name}"] = Named(index, subject.digest)
        if event.rotation is not None:
            old, new = (Named(index, digest_bytes(line.encode())) for line in (event.rotation.old, event.rotation.new))
            self.audit_keys += [new] if self.audit_keys else [old, new]
        if event.type in (EventType.KEY_CREATED, EventType.PROVENANCE_ISSUED):
            return self._take_keys(index, event)
        return None

    def _take_keys(self, index: int, event: Event) -> str | None:
        created = event.type is EventType.KEY_CREATED
        for subject in event.subjects:
            named = Named(index, subject.digest)
            if subject.name == AUDIT_KEY and created:
                if not self.audit_keys:
                    self.audit_keys.append(named)
                elif named.digest != self.audit_keys[-1].digest:
                    return f"key_created names audit key {named.digest}, the log pins {self.audit_keys[-1].digest}"
            elif subject.name == MODEL_KEY and named.digest not in {known.digest for known in self.model_keys}:
                if not self.model_keys or (created and self.model_keys[-1].digest in event.parents):
                    self.model_keys.append(named)
                elif created:
                    return f"key_created names model key {named.digest} without the one in force as its parent"
        return None

    def copy(self) -> LogState:
        """A state that can be changed without changing this one."""
        return copy.deepcopy(self)

    def to_bytes(self) -> bytes:
        """The canonical document."""
        return canonical_json(
            {
                "version": STATE_VERSION,
                "previous": self.previous,
                "runs": self.runs.hex(),
                "newest": {name: _encode(named) for name, named in self.newest.items()},
                "audit_keys": [_encode(named) for named in self.audit_keys],
                "model_keys": [_encode(named) for named in self.model_keys],
            }
        )

    @classmethod
    def parse(cls, data: bytes) -> LogState:
        """The inverse of :meth:`to_bytes`.

        Raises:
            AuditError: it is no such document.
        """
        try:
            document = json.loads(data)
            if document["version"] != STATE_VERSION:
                raise ValueError(f"version {document['version']!r}, this program knows {STATE_VERSION}")
            return cls(
                newest={name: _decode(value) for name, value in document["newest"].items()},
                audit_keys=[_decode(value) for value in document["audit_keys"]],
                model_keys=[_decode(value) for value in document["model_keys"]],
                runs=bytes.fromhex(document["runs"]),
                previous=document["previous"],
            )
        except (ValueError, KeyError, TypeError, AttributeError, IntegrityError) as error:
            raise AuditError(f"malformed state of the log: {describe_malformed(error)}") from None


class Replay:
    """The state after every chunk, from the leaves alone; ``nodes`` are those of the map of runs."""

    def __init__(self, state: LogState | None = None, nodes: dict[bytes, bytes] | None = None) -> None:
        self.state = state or LogState()
        self.nodes = nodes if nodes is not None else {}

    def take(self, index: int, event: Event) -> str | None:
        """Take in a leaf that is no ``chunk_final``."""
        return self.state.take(index, event)

    def close(self, index: int, run_id: str) -> bytes:
        """Take in the ``chunk_final`` leaf of a run; the document that it has to name."""
        state = self.state
        state.previous = lookup(state.runs, run_id, self.node)
        state.runs, added, removed = update(state.runs, {run_id: index}, self.node)
        self.nodes.update(added)
        for digest in removed:
            self.nodes.pop(digest, None)
        return state.to_bytes()

    def node(self, digest: bytes) -> bytes:
        """The node with this hash."""
        try:
            return self.nodes[digest]
        except KeyError:
            raise DamagedIndexError(f"node {digest.hex()} of the index is missing") from None


def _encode(named: Named) -> dict[str, Any]:
    return {"leaf": named.leaf, "digest": named.digest}


def _decode(value: Any) -> Named:
    if set(value) != {"leaf", "digest"} or not isinstance(value["leaf"], int):
        raise ValueError("an entry is not a leaf and a digest")
    return Named(value["leaf"], check_digest(value["digest"]))
