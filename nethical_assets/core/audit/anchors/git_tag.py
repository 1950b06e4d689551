"""Signed git tags of checkpoints: pushed to a server, they are a copy that others hold.

What belongs here: making and reading tags with the ``git`` command. What does not: pushing them (the caller's remote).
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from nethical_assets.core.audit.reader import LogReader
from nethical_assets.core.ground.errors import AuditError, SettingsError

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


def tagged_checkpoints(repository: Path, allowed_signers: Path) -> tuple[dict[str, str], list[str]]:
    """The checkpoints (signed notes) in all audit tags, by the tag's name, and what is wrong with the other tags: each
    has to be signed by somebody whom ``allowed_signers`` (a file in the format of ``ssh-keygen``) names.

    Raises:
        SettingsError: there is no repository, no such file, or no audit tag at all.
    """
    if not allowed_signers.is_file():
        raise SettingsError(f"{allowed_signers}: no such file; name those who may sign tags, as ssh-keygen has them")
    try:
        names = _git(repository, "tag", "--list", f"{TAG_PREFIX}*").split()
    except AuditError as error:
        raise SettingsError(str(error)) from None
    if not names:
        raise SettingsError(f"{repository}: holds no tag {TAG_PREFIX}<size>; fetch its tags")
    found, problems = {}, []
    for name in names:
        try:
            _git(repository, "-c", f"gpg.ssh.allowedSignersFile={allowed_signers}", "tag", "--verify", name)
            found[name] = _note(repository, name)
        except AuditError as error:
            problems.append(str(error))
    return found, problems


def tagged_text(repository: Path, name: str) -> str:
    """The signed part of the checkpoint in a tag (cosignatures may have been added to the log since)."""
    return _note(repository, name).rpartition("\n\n")[0] + "\n"


def _note(repository: Path, name: str) -> str:
    message = _git(repository, "cat-file", "tag", name).partition("\n\n")[2]
    return message.partition("-----BEGIN SSH SIGNATURE-----")[0]


def _git(repository: Path, *arguments: str, given: str | None = None) -> str:
    # A plain folder inside another repository is not that repository.
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(repository.absolute().parent)}
    try:
        # Bytes that are no text make no checkpoint, whatever stands for them.
        done = subprocess.run(
            ["git", *arguments],
            cwd=repository,
            env=environment,
            input=given,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    except (OSError, ValueError) as error:
        raise AuditError(f"{repository}: git cannot be run there ({error})") from None
    if done.returncode != 0:
        raise AuditError(f"{repository}: git {' '.join(arguments[-3:])} failed: {done.stderr.strip()[-300:]}")
    return done.stdout
