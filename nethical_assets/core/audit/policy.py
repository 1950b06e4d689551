"""A verification policy: whom a verifier trusts, read from a file.

What belongs here: the policy and its validation. What does not: verifying (``verify``).
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nethical_assets.core.ground.errors import SettingsError
from nethical_assets.core.ground.given_files import read_given_text, read_given_toml
from nethical_assets.core.ground.validation_errors import describe_validation_error
from nethical_assets.core.tlog.note import NoteError, VerifierKey


class SignedTags(BaseModel):
    """A git repository whose tags hold checkpoints, and the ``ssh-keygen`` file of who may sign them."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    repository: str
    allowed_signers: str


class LockedBucket(BaseModel):
    """An S3 bucket that holds checkpoints under Object Lock, below ``prefix``."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str
    prefix: str = "audit/"


class Policy(BaseModel):
    """Whom to trust.

    Attributes:
        log_keys: verifier keys of the log (vkey format); one suffices. Empty takes the key beside the log, which finds
            damage but not a log that was replaced together with its key.
        witness_keys: verifier keys of witnesses, and ``required_witnesses``, how many of them must have cosigned.
        known_checkpoints: files with signed checkpoints kept elsewhere. Paths are relative to the policy file.
        known_tags: where signed git tags hold checkpoints.
        known_bucket: where locked S3 objects hold checkpoints.
        timestamp_roots: PEM file with the root certificates of timestamp authorities whose statements count.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    log_keys: tuple[str, ...] = Field(default=(), strict=False)
    witness_keys: tuple[str, ...] = Field(default=(), strict=False)
    required_witnesses: int = Field(default=0, ge=0)
    known_checkpoints: tuple[str, ...] = Field(default=(), strict=False)
    known_tags: SignedTags | None = None
    known_bucket: LockedBucket | None = None
    timestamp_roots: str | None = None


def load_policy(path: Path) -> Policy:
    """Read and validate a policy file (TOML); the paths in it become absolute.

    Raises:
        SettingsError: it is missing, not TOML, has an unknown key, or asks for more witnesses than it names.
    """
    document = read_given_toml(path, "name a policy file")
    try:
        policy = Policy.model_validate(document)
    except ValidationError as error:
        raise SettingsError(f"{path}: {describe_validation_error(error, document, Policy)}") from None
    if policy == Policy():
        raise SettingsError(f"{path}: names nobody to trust; allowed are {', '.join(sorted(Policy.model_fields))}")
    if policy.required_witnesses > len(policy.witness_keys):
        raise SettingsError(
            f"{path}: required_witnesses = {policy.required_witnesses}, but only {len(policy.witness_keys)} "
            "witness_keys are named"
        )
    tags = policy.known_tags and SignedTags(
        repository=str(path.parent / policy.known_tags.repository),
        allowed_signers=str((path.parent / policy.known_tags.allowed_signers).absolute()),
    )
    roots = policy.timestamp_roots and str(path.parent / policy.timestamp_roots)
    found = tuple(str(path.parent / name) for name in policy.known_checkpoints)
    return policy.model_copy(update={"known_checkpoints": found, "known_tags": tags, "timestamp_roots": roots})


def check_keys(keys: tuple[str, ...]) -> tuple[str, ...]:
    """``keys`` themselves when each is a verifier key.

    Raises:
        SettingsError: one is not.
    """
    for key in keys:
        try:
            VerifierKey.parse(key)
        except NoteError as error:
            raise SettingsError(f"{key!r} is not a verifier key such as NAME+ID+BASE64: {error}") from None
    return keys


def read_checkpoints(policy: Policy) -> list[str]:
    """The known checkpoints of a policy.

    Raises:
        SettingsError: a file cannot be read.
    """
    return [read_given_text(Path(name), "correct known_checkpoints") for name in policy.known_checkpoints]
