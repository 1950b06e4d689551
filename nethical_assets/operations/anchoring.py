"""Checkpoints kept elsewhere: putting them there, and what a verifier is told of them.

What belongs here: opening what a policy names, and the client of the object store. What does not: an anchor itself
(``core.audit.anchors``), or verifying the log (``verification``).
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nethical_assets.core.audit import LogReader
from nethical_assets.core.audit.policy import Policy, read_checkpoints
from nethical_assets.core.ground.errors import SettingsError
from nethical_assets.core.tlog.note import Note, NoteError
from nethical_assets.home.settings import Settings

if TYPE_CHECKING:
    from cryptography.x509 import Certificate


def lock_head(settings: Settings, bucket: str, prefix: str, until: datetime) -> str:
    """Put the newest checkpoint into a bucket with Object Lock, where nobody can change it until then; its key.

    Raises:
        AuditError: nothing was signed yet, or the bucket refuses.
        SettingsError: boto3 is not installed or not configured.
    """
    from nethical_assets.core.audit.anchors.object_lock import ObjectLockAnchor

    return ObjectLockAnchor(_s3(), bucket, prefix).anchor(LogReader(settings.home / "audit"), until)


@dataclass(frozen=True)
class Anchored:
    """What a policy knows from elsewhere: checkpoints, what is wrong with others, and the trusted authorities."""

    checkpoints: tuple[str, ...]
    problems: tuple[str, ...]
    authorities: tuple[Certificate, ...] | None

    @classmethod
    def read(cls, policy: Policy) -> Anchored:
        """Read it all, so that what is wrong with the policy is said before anything is verified.

        Raises:
            AuditError: the bucket refuses.
            SettingsError: something that is named cannot be read, or holds no checkpoint at all; boto3 is not installed
                or not configured.
        """
        from nethical_assets.core.audit.anchors.git_tag import tagged_checkpoints
        from nethical_assets.core.audit.anchors.object_lock import ObjectLockAnchor
        from nethical_assets.core.audit.anchors.timestamp import read_roots

        named: dict[str, str] = {}
        problems: list[str] = []
        if (tags := policy.known_tags) is not None:
            tagged, problems = tagged_checkpoints(Path(tags.repository), Path(tags.allowed_signers))
            named |= {f"{tags.repository}: tag {name}": note for name, note in tagged.items()}
        if (bucket := policy.known_bucket) is not None:
            named |= ObjectLockAnchor(_s3(), bucket.name, bucket.prefix).checkpoints()
        checkpoints = read_checkpoints(policy)
        for name, note in named.items():
            try:
                Note.parse(note.encode())
                checkpoints.append(note)
            except NoteError as error:
                problems.append(f"{name}: no checkpoint ({error})")
        roots = policy.timestamp_roots
        authorities = None if roots is None else tuple(read_roots(Path(roots)))
        return cls(tuple(checkpoints), tuple(problems), authorities)

    def timestamps(self, log: LogReader) -> tuple[list[str], list[str]]:
        """What is wrong with the timestamps beside the log, and what can be said of the others."""
        from nethical_assets.core.audit.anchors import timestamp

        there = any((log.folder / timestamp.ANCHORS).glob(f"*{timestamp.SUFFIX}"))
        if self.authorities is None:
            return [], ["timestamps were not looked at: no policy names timestamp_roots"] if there else []
        if not there:
            return [], [f"{log.folder / timestamp.ANCHORS}: holds no timestamp to look at"]
        return timestamp.look_at_timestamps(log, self.authorities)


def _s3() -> Any:
    """The client; credentials, region and endpoint come from the environment, as boto3 documents."""
    try:
        client = importlib.import_module("boto3").client
    except ImportError:
        raise SettingsError("a locked bucket needs the package boto3; install it and try again") from None
    try:
        return client("s3")
    except Exception as error:  # boto3 makes its exception types at run time
        raise SettingsError(
            f"the S3 client cannot be made ({error}); correct AWS_PROFILE, AWS_ENDPOINT_URL or AWS_DEFAULT_REGION"
        ) from None
