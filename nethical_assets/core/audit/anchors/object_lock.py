"""Checkpoints in an S3 bucket with Object Lock: not even its owner can overwrite or delete them before a date.

What belongs here: storing and reading checkpoints. What does not: the client (a ``boto3`` S3 client, made by the
caller, who also decides about credentials and endpoint) and creating buckets.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Protocol

from nethical_assets.core.audit.reader import LogReader
from nethical_assets.core.ground.errors import AuditError, SettingsError

_CONFIGURATION = {"NoCredentialsError", "PartialCredentialsError", "ParamValidationError", "InvalidRegionError"}
"""Exceptions of the client that say that it, or what it was asked, is not as it should be."""


class S3Client(Protocol):
    """The part of boto3's S3 client that is used."""

    def put_object(self, **arguments: Any) -> dict[str, Any]: ...  # noqa: D102
    def get_object(self, **arguments: Any) -> dict[str, Any]: ...  # noqa: D102
    def get_object_lock_configuration(self, **arguments: Any) -> dict[str, Any]: ...  # noqa: D102
    def head_object(self, **arguments: Any) -> dict[str, Any]: ...  # noqa: D102
    def list_object_versions(self, **arguments: Any) -> dict[str, Any]: ...  # noqa: D102


class ObjectLockAnchor:
    """Checkpoints under ``prefix`` of a bucket that has Object Lock enabled."""

    def __init__(self, client: S3Client, bucket: str, prefix: str = "audit/") -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = prefix

    def anchor(self, log: LogReader, retain_until: datetime) -> str:
        """Store the newest checkpoint, locked in compliance mode until ``retain_until``; return its key.

        Raises:
            AuditError: nothing was signed yet, the bucket has no Object Lock, S3 refuses, or did not lock the object.
        """
        head = log.head()
        if head is None:
            raise AuditError(f"{log.folder}: nothing was signed yet; finalise a run first")
        key = f"{self._prefix}{head.size:012d}"
        self._require_lock()
        stored = self._call(
            "put_object",
            Key=key,
            Body=head.text.encode(),
            ContentType="text/plain; charset=utf-8",
            ChecksumAlgorithm="SHA256",
            ObjectLockMode="COMPLIANCE",
            ObjectLockRetainUntilDate=retain_until,
        )
        found = self._call("head_object", Key=key, VersionId=stored.get("VersionId", ""))
        until = found.get("ObjectLockRetainUntilDate")
        if found.get("ObjectLockMode") != "COMPLIANCE" or until is None or until < retain_until.replace(microsecond=0):
            raise AuditError(f"s3://{self._bucket}/{key}: it was stored but not locked until {retain_until}")
        return key

    def checkpoints(self) -> dict[str, str]:
        """Every version of every stored checkpoint, the hidden ones too, by key and version.

        Raises:
            AuditError: S3 refuses.
            SettingsError: the client has no credentials, or there is no checkpoint below the prefix.
        """
        found: dict[str, str] = {}
        marker: dict[str, str] = {}
        while True:
            page = self._call("list_object_versions", Prefix=self._prefix, **marker)
            for version in page.get("Versions", []):
                if not version["Key"].endswith("/"):  # what some tools make for a folder
                    name = f"s3://{self._bucket}/{version['Key']} ({version['VersionId']})"
                    found[name] = self._read(version["Key"], version["VersionId"])
            if not page.get("IsTruncated"):
                if not found:
                    raise SettingsError(f"s3://{self._bucket}/{self._prefix}: holds no checkpoint; correct the prefix")
                return found
            marker = {"KeyMarker": page["NextKeyMarker"], "VersionIdMarker": page["NextVersionIdMarker"]}

    def _read(self, key: str, version: str) -> str:
        answer = self._call("get_object", Key=key, VersionId=version)
        try:
            # Bytes that are no text make no checkpoint, whatever stands for them.
            return str(answer["Body"].read().decode(errors="replace"))
        except Exception as error:  # the body is read from the network
            raise AuditError(f"s3://{self._bucket}/{key}: cannot be read ({error})") from None

    def _require_lock(self) -> None:
        configuration = self._call("get_object_lock_configuration").get("ObjectLockConfiguration", {})
        if configuration.get("ObjectLockEnabled") != "Enabled":
            raise AuditError(f"s3://{self._bucket}: Object Lock is not enabled; it can only be when the bucket is made")

    def _call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = getattr(self._client, operation)(Bucket=self._bucket, **arguments)
        except Exception as error:  # boto3's errors are made at run time, and core does not import it
            kind = SettingsError if type(error).__name__ in _CONFIGURATION else AuditError
            raise kind(f"s3://{self._bucket}: {operation} failed ({error})") from None
        return answer
