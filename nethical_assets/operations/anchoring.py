"""Checkpoints kept elsewhere: putting them there, and what a verifier is told of them.

What belongs here: opening what a policy names, and the client of the object store. What does not: an anchor itself
(``core.audit.anchors``), or verifying the log (``verification``).
"""

from __future__ import annotations

import importlib
from datetime import datetime
from pathlib import Path
from typing import Any

from nethical_assets.core.audit import LogReader
from nethical_assets.core.audit.policy import Policy, read_checkpoints
from nethical_assets.core.ground.errors import SettingsError
from nethical_assets.home.settings import Settings


def lock_head(settings: Settings, bucket: str, prefix: str, until: datetime) -> str:
    """Put the newest checkpoint into a bucket with Object Lock, where nobody can change it until then; its key.

    Raises:
        AuditError: nothing was signed yet, or the bucket refuses.
        SettingsError: boto3 is not installed or not configured.
    """
    from nethical_assets.core.audit.anchors.object_lock import ObjectLockAnchor

    return ObjectLockAnchor(_s3(), bucket, prefix).anchor(LogReader(settings.home / "audit"), until)


def known_checkpoints(policy: Policy) -> list[str]:
    """The checkpoints that a policy knows from files, from signed tags and from a locked bucket.

    Raises:
        AuditError: a tag is not signed by an allowed signer, or the bucket refuses.
        SettingsError: a file cannot be read, or boto3 is not installed or not configured.
    """
    from nethical_assets.core.audit.anchors.git_tag import tagged_checkpoints
    from nethical_assets.core.audit.anchors.object_lock import ObjectLockAnchor

    found = read_checkpoints(policy)
    if (tags := policy.known_tags) is not None:
        found += tagged_checkpoints(Path(tags.repository), Path(tags.allowed_signers))
    if (bucket := policy.known_bucket) is not None:
        found += ObjectLockAnchor(_s3(), bucket.name, bucket.prefix).checkpoints()
    return found


def timestamps(log: LogReader, policy: Policy) -> tuple[list[str], list[str]]:
    """What is wrong with the timestamps beside the log, and what they state, by the authorities that a policy trusts.

    Raises:
        AuditError: the certificates cannot be read.
    """
    from nethical_assets.core.audit.anchors import timestamp

    if policy.timestamp_roots is not None:
        return timestamp.look_at_timestamps(log, timestamp.read_roots(Path(policy.timestamp_roots)))
    if any((log.folder / timestamp.ANCHORS).glob(f"*{timestamp.SUFFIX}")):
        return [], ["timestamps were not looked at: no policy names timestamp_roots"]
    return [], []


def _s3() -> Any:
    """The client; credentials, region and endpoint come from the environment, as boto3 documents."""
    try:
        client = importlib.import_module("boto3").client
    except ImportError:
        raise SettingsError("a locked bucket needs the package boto3; install it and try again") from None
    try:
        return client("s3")
    except Exception as error:  # boto3 makes its exception types at run time
        raise SettingsError(f"the S3 client cannot be made ({error}); set AWS_REGION and credentials") from None
