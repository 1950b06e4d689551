"""Checkpoints kept elsewhere, as a policy file names them: whoever rolls the log back is found by each of them."""

from __future__ import annotations

import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from nethical_assets.core.audit import AuditLog
from nethical_assets.core.audit.anchors.git_tag import tag_head
from nethical_assets.core.audit.anchors.timestamp import timestamp_head
from nethical_assets.core.audit.policy import Policy, load_policy
from nethical_assets.core.ground.errors import AuditError, SettingsError
from nethical_assets.home.settings import Settings
from nethical_assets.home.stores import open_audit_log
from nethical_assets.operations import anchoring
from nethical_assets.operations.anchoring import lock_head
from nethical_assets.operations.verification import verify
from tests.core.audit.authority import Authority, run
from tests.tiny_mirror import CHECKOUT


@pytest.fixture
def log(settings: Settings) -> AuditLog:
    opened = open_audit_log(settings.home)
    opened.heartbeat("first")
    shutil.copytree(opened.folder, opened.folder.with_name("earlier"))
    opened.heartbeat("second")
    return opened


def verified(settings: Settings, folder: Path, policy: str) -> dict[str, Any]:
    """What ``audit verify`` answers with that policy file in ``folder``."""
    path = folder / "policy.toml"
    path.write_text(policy)
    return verify(settings, load_policy(path) if policy else Policy())


def rolled_back(settings: Settings, folder: Path, policy: str) -> list[str]:
    """What is found when the log is rolled back, which nothing is said of before."""
    assert verified(settings, folder, policy)["problems"] == []
    shutil.rmtree(settings.home / "audit")
    (settings.home / "earlier").rename(settings.home / "audit")
    return list(verified(settings, folder, policy)["problems"])


def test_a_timestamp_is_looked_at_by_whoever_names_its_authority(
    settings: Settings, log: AuditLog, tmp_path: Path
) -> None:
    pytest.importorskip("rfc3161_client", reason="rfc3161-client is not installed (optional extra)")
    assert verified(settings, tmp_path, "")["notes"] == []
    (run_root := tmp_path / "any.pem").write_bytes(b"none")
    with pytest.raises(SettingsError, match="no readable PEM"):
        verified(settings, tmp_path, f'timestamp_roots = "{run_root.name}"')
    authority, stranger = Authority(tmp_path / "authority"), Authority(tmp_path / "stranger")
    path = timestamp_head(log, authority.answer, authority.roots)
    assert verified(settings, tmp_path, "")["notes"] == [
        "timestamps were not looked at: no policy names timestamp_roots"
    ]
    report = verified(settings, tmp_path, 'timestamp_roots = "authority/ca.pem"')
    assert report["ok"]
    (note,) = report["notes"]
    size = path.stem
    assert note.startswith(f"{size}.tsr: the checkpoint of {size} leaves existed at {datetime.now(UTC):%Y-}")

    (problem,) = verified(settings, tmp_path, 'timestamp_roots = "stranger/ca.pem"')["problems"]
    assert problem.startswith(f"{path}: timestamp: it does not verify")
    response = path.read_bytes()
    path.unlink()
    report = verified(settings, tmp_path, 'timestamp_roots = "authority/ca.pem"')
    assert (report["ok"], report["notes"]) == (True, [f"{path.parent}: holds no timestamp to look at"])
    path.write_bytes(response)
    log.heartbeat("another")
    # The statement about one checkpoint proves nothing about another.
    path.rename(path.with_name(f"{log.view().size}.tsr"))
    path.with_name("soon.tsr").write_bytes(response)
    problems = verified(settings, tmp_path, 'timestamp_roots = "authority/ca.pem"')["problems"]
    assert len(problems) == 2
    assert stranger.roots != authority.roots


TAGS = 'known_tags = { repository = "tags", allowed_signers = "signers" }'


@pytest.fixture
def tags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository without tags, and a key that may sign some."""
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "tester")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "tester@example.com")
    run(tmp_path, "git", "init", "-q", "tags")
    run(tmp_path / "tags", "git", "commit", "-q", "--allow-empty", "-m", "start")
    run(tmp_path, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "signer")
    (tmp_path / "signers").write_text(f"tester@example.com {(tmp_path / 'signer.pub').read_text()}")
    return tmp_path / "tags"


def test_signed_tags_that_a_policy_names_find_a_rollback(
    settings: Settings, log: AuditLog, tmp_path: Path, tags: Path
) -> None:
    tag_head(log, tags, tmp_path / "signer")
    assert any("rollback" in problem for problem in rolled_back(settings, tmp_path, TAGS))


def test_a_tag_that_is_no_checkpoint_of_a_signer_is_a_problem_beside_the_others(
    settings: Settings, log: AuditLog, tmp_path: Path, tags: Path
) -> None:
    tag_head(log, tags, tmp_path / "signer")
    (tmp_path / "message").write_bytes(b"caf\xe9\n")
    run(tags, "git", "tag", "-a", "--cleanup=verbatim", "-F", "../message", "audit/1")
    run(tags, "git", "tag", "audit/2")
    signed = ("-c", "gpg.format=ssh", "-c", f"user.signingkey={tmp_path / 'signer'}", "tag", "--sign")
    run(tags, "git", *signed, "--cleanup=verbatim", "-F", "../message", "audit/3")
    damaged = next((settings.home / "audit" / "payloads").rglob("*/*"))
    damaged.chmod(0o644)
    damaged.write_bytes(b"damaged")
    problems = verified(settings, tmp_path, TAGS)["problems"]
    for what in ("audit/1", "audit/2", "audit/3: no checkpoint", damaged.name):
        assert any(what in problem for problem in problems), (what, problems)


@pytest.mark.parametrize("wrong", ["no tag", "no signers", "no repository", "a folder of another repository"])
def test_a_policy_that_finds_nothing_is_no_policy_that_holds(
    wrong: str, settings: Settings, log: AuditLog, tmp_path: Path, tags: Path
) -> None:
    if wrong != "no tag":
        tag_head(log, tags, tmp_path / "signer")
    if wrong == "no signers":
        (tmp_path / "signers").unlink()
    elif wrong == "no repository":
        shutil.rmtree(tags / ".git")
    elif wrong == "a folder of another repository":
        (tags / ".git").rename(tmp_path / ".git")
    with pytest.raises(SettingsError):
        verified(settings, tmp_path, TAGS)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    pytest.importorskip("boto3", reason="boto3 is not installed (optional extra)")
    moto = pytest.importorskip("moto", reason="moto is not installed")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with moto.mock_aws():
        client = anchoring._s3()
        client.create_bucket(Bucket="locked", ObjectLockEnabledForBucket=True)
        client.create_bucket(Bucket="open")
        yield "locked"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_locked_bucket_that_a_policy_names_finds_a_rollback(
    settings: Settings, log: AuditLog, tmp_path: Path, bucket: str
) -> None:
    until = datetime.now(UTC) + timedelta(days=1)
    assert lock_head(settings, bucket, "audit/", until) == f"audit/{log.view().size:012d}"
    with pytest.raises(AuditError, match="s3://open: "):
        lock_head(settings, "open", "audit/", until)
    policy = f'known_bucket = {{ name = "{bucket}" }}'
    with pytest.raises(SettingsError, match="holds no checkpoint; correct the prefix"):
        verified(settings, tmp_path, f'known_bucket = {{ name = "{bucket}", prefix = "other/" }}')
    for key, body in (("audit/", b""), ("audit/junk", b"caf\xe9")):
        anchoring._s3().put_object(Bucket=bucket, Key=key, Body=body, ChecksumAlgorithm="SHA256")
    (problem,) = verified(settings, tmp_path, policy)["problems"]
    assert problem.startswith(f"s3://{bucket}/audit/junk (") and "no checkpoint" in problem
    anchoring._s3().delete_object(Bucket=bucket, Key="audit/junk", VersionId=problem.split("(")[1].split(")")[0])
    assert any("rollback" in problem for problem in rolled_back(settings, tmp_path, policy))


def test_without_credentials_a_bucket_is_bad_configuration(
    settings: Settings, log: AuditLog, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("boto3", reason="boto3 is not installed (optional extra)")
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    with pytest.raises(SettingsError, match=r"s3://any: .*credentials"):
        lock_head(settings, "any", "audit/", datetime.now(UTC))
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(SettingsError, match="correct AWS_PROFILE"):
        lock_head(settings, "any", "audit/", datetime.now(UTC))


def test_without_boto3_a_bucket_is_one_line(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(SettingsError, match="needs the package boto3; install it"):
        verified(settings, tmp_path, 'known_bucket = { name = "any" }')


@pytest.mark.parametrize(
    "policy", ['known_tags = { repository = "x" }', "known_bucket = { bucket = 'x' }", "timestamp_roots = 3"]
)
def test_a_policy_that_says_half_is_refused(settings: Settings, tmp_path: Path, policy: str) -> None:
    with pytest.raises(SettingsError, match=r"policy.toml: (known_tags|known_bucket|timestamp_roots)"):
        verified(settings, tmp_path, policy)


def test_the_policy_of_the_docs_is_one_with_every_key(tmp_path: Path) -> None:
    (block,) = re.findall(r"(?:^    \w+ = .*\n)+", (CHECKOUT / "docs" / "audit.md").read_text(), re.MULTILINE)
    path = tmp_path / "policy.toml"
    path.write_text(textwrap.dedent(block))
    policy = load_policy(path)
    assert policy.model_fields_set == set(Policy.model_fields)
    assert policy.known_checkpoints == (str(tmp_path / "kept" / "checkpoint"),)
