"""Stage records: what a stage of the pipeline produced, from what, and whether that work can be reused.

What belongs here: the record type, the cache of finished stages, Parquet tables as content-addressed objects, and
digests of the code a stage runs. What does not: what any stage does.
"""

from __future__ import annotations

import functools
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from upath import UPath

from nethical_assets.core.ground.digests import digest_bytes, digest_json, pretty_json
from nethical_assets.core.ground.errors import IntegrityError
from nethical_assets.core.ground.storage import ObjectStore, read_json, write_json

if TYPE_CHECKING:
    import pandas as pd

_CORE = Path(__file__).parents[1] / "core"


@dataclass(frozen=True)
class StageOutput:
    """What a stage computed: named objects already in the store, and JSON facts about them."""

    objects: Mapping[str, str]
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class StageRecord:
    """One finished stage.

    Attributes:
        stage, subject: which stage (``splits``) of which dataset or family.
        fingerprint: digest of everything the result depends on: inputs, parameters and code.
        digest: digest of the result (its objects and facts); the data version shown by the orchestrator.
        inputs: name -> digest of what it was computed from.
        objects: name -> digest of a stored object.
        facts: JSON facts about the result.
        reused: whether this record was found instead of computed.
    """

    stage: str
    subject: str
    fingerprint: str
    digest: str
    inputs: Mapping[str, str]
    objects: Mapping[str, str]
    facts: Mapping[str, Any] = field(default_factory=dict)
    reused: bool = False

    def to_json(self) -> dict[str, Any]:
        """The record as a JSON document, without ``reused`` (which is about a run, not about the result)."""
        document = asdict(self)
        del document["reused"]
        return document

    def with_facts(self, **facts: Any) -> StageRecord:
        """The record with facts about this cycle added; the digest still names what was computed."""
        return replace(self, facts={**self.facts, **facts})

    @classmethod
    def from_json(cls, document: Mapping[str, Any], *, reused: bool = False) -> StageRecord:
        """The inverse of :meth:`to_json`.

        Raises:
            IntegrityError: keys are missing or unknown, or hold something else than a table where one belongs.
        """
        try:
            record = cls(**document, reused=reused)
        except TypeError as error:
            raise IntegrityError(f"not a stage record ({error}); remove it and run again") from None
        for name in ("inputs", "objects", "facts"):
            if not isinstance(getattr(record, name), dict):
                raise IntegrityError(f"not a stage record ({name!r} is not a table); remove it and run again")
        return record


class StageCache:
    """Finished stages by fingerprint, and the objects they refer to."""

    def __init__(self, base: UPath | Path | str, objects: ObjectStore) -> None:
        self.base = UPath(base)
        self.objects = objects

    def run(
        self,
        stage: str,
        subject: str,
        *,
        inputs: Mapping[str, str],
        parameters: Mapping[str, Any],
        code: str,
        compute: Callable[[], StageOutput],
        force: bool = False,
    ) -> StageRecord:
        """The stage's record: found when the same inputs, parameters and code were seen before, computed otherwise."""
        fingerprint = digest_json(
            {"stage": stage, "subject": subject, "inputs": dict(inputs), "parameters": dict(parameters), "code": code}
        )
        if not force and (found := self._lookup(fingerprint)) is not None:
            return found
        output = compute()
        record = StageRecord(
            stage=stage,
            subject=subject,
            fingerprint=fingerprint,
            digest=_result_digest(output.objects, output.facts),
            inputs=dict(inputs),
            objects=dict(output.objects),
            facts=dict(output.facts),
        )
        write_json(self._path(fingerprint), record.to_json())
        return record

    def _lookup(self, fingerprint: str) -> StageRecord | None:
        """The stored record, unless it is damaged or an object of it is gone: then the stage has to run again."""
        try:
            record = StageRecord.from_json(read_json(self._path(fingerprint)), reused=True)
            intact = record.fingerprint == fingerprint and record.digest == _result_digest(record.objects, record.facts)
            complete = intact and all(digest in self.objects for digest in record.objects.values())
        except (FileNotFoundError, IntegrityError):
            return None
        return record if complete else None

    def _path(self, fingerprint: str) -> UPath:
        return self.base / f"{fingerprint.partition(':')[2]}.json"


def _result_digest(objects: Mapping[str, str], facts: Mapping[str, Any]) -> str:
    """The digest of a result as it reads back from JSON, so that a stored record can be checked against it."""
    result = json.loads(pretty_json({"objects": dict(objects), "facts": dict(facts)}))
    return digest_bytes(pretty_json(result))


def put_table(objects: ObjectStore, table: pd.DataFrame) -> str:
    """Store a frame as Parquet (zstd, no index) and return its digest; the same frame gives the same digest."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    arrow = pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata(None)
    pq.write_table(arrow, buffer, compression="zstd")
    return objects.put(buffer.getvalue())


def get_table(objects: ObjectStore, digest: str) -> pd.DataFrame:
    """The frame stored as ``digest``, verified.

    Raises:
        IntegrityError: the bytes are missing or were changed.
    """
    import pandas as pd

    return pd.read_parquet(io.BytesIO(objects.get(digest)))


@functools.cache
def code_digest(*parts: str) -> str:
    """The digest of the source files below ``core``: each part is a module file or a package folder."""
    files: list[Path] = []
    for part in parts:
        path = _CORE / part
        files += sorted(path.rglob("*.py")) if path.is_dir() else [path]
    return digest_json({str(path.relative_to(_CORE)): digest_bytes(path.read_bytes()) for path in sorted(set(files))})
