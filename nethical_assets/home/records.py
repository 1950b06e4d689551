"""Stage records: what a stage of the graph made from what, and which of them may be used again.

What belongs here: the record type, and keeping records as the newest of an asset, as those of one run, and by what they
were computed from. What does not: what any stage does (``stages``), or what a signed statement is (``core.lineage``).

A record is evidence only together with its signed statement, which a leaf of the audit log names: every way to get a
record goes through ``check``, so that an edited, forged or foreign one is never used.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from nethical_assets.core.ground.digests import digest_bytes, pretty_json
from nethical_assets.core.ground.documents import from_document, to_document
from nethical_assets.core.ground.errors import IntegrityError
from nethical_assets.core.ground.storage import parse_document, write_atomically, write_json


@dataclass(frozen=True)
class StageRecord:
    """One finished stage.

    Attributes:
        stage, subject: which stage of which dataset or family.
        fingerprint: digest of everything the result depends on: inputs, materials, parameters and code.
        digest: digest of the result (output, objects and facts); the data version shown by the orchestrator.
        output: digest of what the stage is known by: a table, a model, a decision.
        inputs: ``<stage>/<subject>`` -> output of the earlier stages it was made from.
        objects: name -> digest of a stored object.
        facts: JSON facts about the result.
        statement: digest of the signed statement about it; empty until it is issued.
        reused: whether this record was found instead of computed.
    """

    stage: str
    subject: str
    fingerprint: str
    digest: str
    output: str
    inputs: Mapping[str, str]
    objects: Mapping[str, str]
    facts: Mapping[str, Any] = field(default_factory=dict)
    statement: str = ""
    reused: bool = False

    @property
    def name(self) -> str:
        """``<stage>/<subject>``."""
        return f"{self.stage}/{self.subject}"

    @property
    def window_start(self) -> datetime | None:
        """When the window begins that the result is about; None where it is about no window."""
        window = self.facts.get("window")
        return datetime.fromisoformat(window["start"]) if isinstance(window, Mapping) and "start" in window else None

    def to_json(self) -> dict[str, Any]:
        """The record as a JSON document, without ``reused`` (which is about a run, not about the result)."""
        document = to_document(self)
        del document["reused"]
        return document

    @classmethod
    def from_json(cls, document: Any, *, reused: bool = False) -> StageRecord:
        """The inverse of :meth:`to_json`.

        Raises:
            IntegrityError: keys are missing or unknown, hold something else than a table where one belongs, or the
                digest is not that of the result.
        """
        try:
            record = replace(from_document(cls, document, "record"), reused=reused)
        except IntegrityError as error:
            raise IntegrityError(f"not a stage record ({error}); remove it and run again") from None
        if record.digest != result_digest(record.output, record.objects, record.facts):
            raise IntegrityError("a stage record that was changed after it was made; remove it and run again")
        return record


def result_digest(output: str, objects: Mapping[str, str], facts: Mapping[str, Any]) -> str:
    """The digest of a result as it reads back from JSON, so that a stored record can be checked against it."""
    result = json.loads(pretty_json({"output": output, "objects": dict(objects), "facts": dict(facts)}))
    return digest_bytes(pretty_json(result))


class StageRecords:
    """The records under ``folder``. ``check`` raises IntegrityError for a record without a verified statement."""

    def __init__(self, folder: Path, check: Callable[[StageRecord], None]) -> None:
        self.folder = folder
        self._check = check
        self._read: dict[bytes, StageRecord] = {}

    def find(self, fingerprint: str) -> StageRecord | None:
        """The result that was computed from what ``fingerprint`` names; None unless it is there and verifies."""
        try:
            record = replace(self._record(self._finished(fingerprint)), reused=True)
            if record.fingerprint != fingerprint:
                return None
            self._check(record)
        except (FileNotFoundError, IntegrityError):
            return None
        return record

    def keep(self, record: StageRecord) -> None:
        """Remember a finished stage by what it was computed from."""
        write_json(self._finished(record.fingerprint), record.to_json())

    def publish(self, record: StageRecord, run_id: str) -> None:
        """Make ``record`` the newest of its asset, and the one that later stages of the same run are handed. What is
        about an earlier window than the newest one is not the newest, however late it was judged."""
        data = pretty_json(record.to_json())
        # No other run ever reads the first of these.
        write_atomically(self._of_run(run_id, record.stage, record.subject), data, durable=False)
        newest = self._newest(record.stage, record.subject)
        if (not newest.exists() or newest.read_bytes() != data) and not self._is_earlier(record):
            write_atomically(newest, data)

    def _is_earlier(self, record: StageRecord) -> bool:
        """Whether there is a record about a later window."""
        if record.window_start is None:
            return False
        newest = self.newest(record.stage, record.subject)
        return newest is not None and newest.window_start is not None and newest.window_start > record.window_start

    def newest(self, stage: str, subject: str) -> StageRecord | None:
        """The newest record of a stage; None when it never finished, or what is there does not verify."""
        try:
            return self.load(stage, subject, "")
        except IntegrityError:
            return None

    def load(self, stage: str, subject: str, run_id: str) -> StageRecord:
        """The record of a stage in a run, or the newest where that run did not carry the stage out.

        Raises:
            IntegrityError: there is none, or it does not verify.
        """
        for path in (*((self._of_run(run_id, stage, subject),) if run_id else ()), self._newest(stage, subject)):
            try:
                record = self._record(path)
            except FileNotFoundError:
                continue
            except IntegrityError as error:
                raise IntegrityError(f"{path}: {error}") from None
            if (record.stage, record.subject) != (stage, subject):
                raise IntegrityError(f"{path}: is the record of {record.name}; materialize {stage}/{subject} again")
            self._check(record)
            return record
        raise IntegrityError(f"asset {stage}/{subject} has no record yet; materialize it first")

    def all_newest(self) -> list[Path]:
        """The files of the newest records, sorted."""
        return sorted(self.folder.joinpath("records", "newest").glob("*/*.json"))

    def forget_run(self, run_id: str) -> None:
        """Drop the records by which the stages of an ended run found each other."""
        shutil.rmtree(self.folder / "records" / "runs" / run_id, ignore_errors=True)

    def runs(self) -> list[str]:
        """The runs whose own records are still here."""
        return sorted(path.name for path in self.folder.joinpath("records", "runs").glob("*"))

    def _record(self, path: Path) -> StageRecord:
        """The record at ``path``; the same bytes are parsed and held against their digest once."""
        data = path.read_bytes()
        if data not in self._read:
            self._read[data] = StageRecord.from_json(parse_document(data, path))
        return self._read[data]

    def _finished(self, fingerprint: str) -> Path:
        return self.folder / "stages" / f"{fingerprint.partition(':')[2]}.json"

    def _newest(self, stage: str, subject: str) -> Path:
        return self.folder / "records" / "newest" / stage / f"{subject}.json"

    def _of_run(self, run_id: str, stage: str, subject: str) -> Path:
        return self.folder / "records" / "runs" / run_id / stage / f"{subject}.json"


def signed(record: StageRecord, statement: str) -> StageRecord:
    """``record`` with the digest of the statement that was issued about it."""
    return replace(record, statement=statement)
