"""Signed git tags of checkpoints: pushed to a server, they are a copy that others hold.

What belongs here: making and reading tags with the ``git`` command. What does not: pushing them (the caller's remote).
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from nethical_assets.core.audit.reader import LogReader
from nethical_assets.core.ground.errors import AuditError, InputFileError, SettingsError
from nethical_assets.core.ground.given_files import read_given

TAG_PREFIX = "audit/"
_SSH_KEYS = (b"ssh-", b"ecdsa-", b"sk-")
"""How a line with a public key begins; its private half is then with an agent."""


def tag_head(log: LogReader, repository: Path, signing_key: Path) -> str:
    """Create a tag ``audit/<size>``, signed with an SSH key, whose message is the newest checkpoint; return its name.

    The tag is on HEAD of ``repository``. Tagging the same checkpoint again changes nothing.

    Raises:
        SettingsError: there is no repository, or the key file holds no SSH key.
        AuditError: nothing was signed yet, the tag exists with another checkpoint, or git refuses.
    """
    head = log.head()
    if head is None:
        raise AuditError(f"{log.folder}: nothing was signed yet; finalise a run first")
    _check_repository(repository)
    _check_signing_key(signing_key)
    name = f"{TAG_PREFIX}{head.size}"
    text = head.checkpoint.text()
    if _git(repository, "tag", "--list", name).strip():
        if tagged_text(repository, name) != text:
            raise AuditError(f"git tag {name}: it holds another checkpoint of this size; the log was forked")
        return name
    options = ["-c", "gpg.format=ssh", "-c", f"user.signingkey={signing_key.absolute()}"]
    _git(repository, *options, "tag", "--sign", "--cleanup=verbatim", "--file=-", name, given=head.text)
    return name


def tagged_checkpoints(repository: Path, allowed_signers: Path) -> tuple[dict[str, str], list[str]]:
    """The checkpoints (signed notes) in all audit tags, by the tag's name, and what is wrong with the other tags: each
    has to be signed by somebody whom ``allowed_signers`` (a file in the format of ``ssh-keygen``) names.

    Raises:
        SettingsError: there is no repository, no such file, or no audit tag at all.
    """
    read_given(allowed_signers, "name the file of those who may sign tags, as ssh-keygen has them")
    _check_repository(repository)
    names = _git(repository, "tag", "--list", f"{TAG_PREFIX}*").split()
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


def _check_repository(repository: Path) -> None:
    if not repository.is_dir():
        raise SettingsError(f"{repository}: is no folder; name a git repository")
    try:
        _git(repository, "rev-parse", "--git-dir")
    except AuditError as error:
        raise SettingsError(f"{error}; name a git repository") from None


def _check_signing_key(path: Path) -> None:
    advice = "name an SSH key, as ssh-keygen makes it"
    first = read_given(path, advice).split(b"\n", 1)[0].strip()
    if not first.startswith(_SSH_KEYS) and not first.endswith(b"PRIVATE KEY-----"):
        raise InputFileError(f"{path}: holds no SSH key; {advice}")


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
