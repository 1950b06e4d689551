"""Lineage of a workspace: issuing provenance statements, tracing a model, retraining it.

What belongs here: joining ``core.lineage`` with stages, pointers and the log. What does not: formats, verification or
comparison (``core.lineage``).
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from nethical_assets.core.lineage.keys import key_digest
from nethical_assets.core.lineage.provenance import Statement, statement_name
from nethical_assets.core.records import StageRecord
from nethical_assets.pipeline.workspace import Workspace, utc_now


class Origin(NamedTuple):
    """The output of an earlier stage that a stage was made from."""

    stage: str
    name: str
    digest: str


def attest(
    workspace: Workspace,
    record: StageRecord,
    output: str,
    *,
    origins: Iterable[Origin] = (),
    materials: Mapping[str, str] | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> None:
    """Issue the provenance statement of a finished stage and record it, unless it was issued before.

    Args:
        output: digest of what the stage is known by; ``record.objects`` are named beside it.
        origins: the outputs of earlier stages, whose statements are cited too where they were issued.
        materials: name -> digest of what else it was made from: code, rules, limits.
        parameters: what it was told.
    """
    dependencies = dict(materials or {})
    for origin in origins:
        dependencies[f"{origin.stage}/{origin.name}"] = origin.digest
        cited = workspace.provenance.find(*origin)
        if cited is not None:
            dependencies[statement_name(origin.stage, origin.name)] = cited
    own = f"{record.stage}/{record.subject}"
    others = {f"{own}/{name}": digest for name, digest in record.objects.items() if digest != output}
    # Who made a result that was found, and when, is not known here.
    metadata = {} if record.reused else {"invocationId": workspace.run_id, "finishedOn": _now()}
    statement = Statement(
        stage=record.stage,
        name=record.subject,
        outputs={own: output, **others},
        dependencies=dependencies,
        parameters={"fingerprint": record.fingerprint, **(parameters or {})},
        platform={} if record.reused else machine(),
        metadata=metadata,
    )
    digest, signer = workspace.provenance.issue(statement, output)
    if signer is not None:
        workspace.record_event(
            "provenance_issued",
            {statement_name(record.stage, record.subject): digest, "model signing key": key_digest(signer)},
            parents=[output],
        )


def machine() -> dict[str, str]:
    """What kind of machine this is: same kind, same bytes."""
    return {
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
    }


def _now() -> str:
    return utc_now().isoformat(timespec="seconds").replace("+00:00", "Z")
