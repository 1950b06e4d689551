"""Signed git tags of checkpoints: pushed to a server, they are a copy that others hold.

What belongs here: making and reading tags with the ``git`` command. What does not: pushing them (the caller's remote).
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from nethical_assets.core.audit.reader import LogReader
from nethical_assets.core.ground.errors import AuditError

TAG_PREFIX = "audit/"


def tag_head(log: LogReader, repository: Path, signing_key: Path) -> str:
    """Create a tag ``audit/<size>``, signed with an SSH key, whose message is the newest checkpoint; return its name.

    The tag is on HEAD of ``repository``. Tagging the same checkpoint again changes nothing.

    Raises:
        AuditError: nothing was signed yet, the tag exists with another checkpoint, or git refuses.
    """
    head = log.head()
    if head is None:
        raise AuditError(f"{log.folder}: nothing was signed yet; finalise a run first")
    name = f"{TAG_PREFIX}{head.size}"
    text = head.checkpoint.text()
    if _git(repository, "tag", "--list", name).strip():
        if tagged_text(repository, name) != text:
            raise AuditError(f"git tag {name}: it holds another checkpoint of this size; the log was forked")
        return name
    options = ["-c", "gpg.format=ssh", "-c", f"user.signingkey={signing_key}"]
    _git(repository, *options, "tag", "--sign", "--cleanup=verbatim", "--file=-", name, given=head.text)
    return name


def tagged_checkpoints(repository: Path, allowed_signers: Path) -> list[str]:
    """The checkpoints (signed notes) in all audit tags, each tag's signature verified; for ``known_checkpoints``.

    ``allowed_signers`` is a file in the format of ``ssh-keygen`` that names who may sign tags.

    Raises:
        AuditError: a tag is not signed by an allowed signer.
    """
    found = []
    for name in _git(repository, "tag", "--list", f"{TAG_PREFIX}*").split():
        _git(repository, "-c", f"gpg.ssh.allowedSignersFile={allowed_signers}", "tag", "--verify", name)
        found.append(_note(repository, name))
    return found


def tagged_text(repository: Path, name: str) -> str:
    """The signed part of the checkpoint in a tag (cosignatures may have been added to the log since)."""
    return _note(repository, name).rpartition("\n\n")[0] + "\n"


def _note(repository: Path, name: str) -> str:
    message = _git(repository, "cat-file", "tag", name).partition("\n\n")[2]
    return message.partition("-----BEGIN SSH SIGNATURE-----")[0]


def _git(repository: Path, *arguments: str, given: str | None = None) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=repository, input=given, capture_output=True, encoding="utf-8", check=False
        )
    except OSError as error:
        raise AuditError(f"{repository}: git cannot be run there ({error.strerror})") from None
    if done.returncode != 0:
        raise AuditError(f"{repository}: git {arguments[-1]} failed: {done.stderr.strip()[-300:]}")
    return done.stdout
