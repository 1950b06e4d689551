from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from nethical_assets.core.audit import AuditLog, verify_log
from nethical_assets.core.audit.anchors.git_tag import tag_head, tagged_checkpoints
from nethical_assets.core.audit.anchors.object_lock import ObjectLockAnchor
from nethical_assets.core.audit.anchors.timestamp import http_sender, read_roots, timestamp_head, verify_timestamp
from nethical_assets.core.ground.errors import AuditError, SettingsError

from .attacks import KEY, keep_and_fork, keep_and_roll_back, make_base
from .authority import Authority, run
from .conftest import open_log, record

CONTRACT_BUCKET = "NETHICAL_S3_CONTRACT_BUCKET"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    pytest.importorskip("rfc3161_client", reason="rfc3161-client is not installed (optional extra)")
    return Authority(tmp_path_factory.mktemp("tsa") / "authority")


@pytest.fixture
def base(tmp_path: Path) -> AuditLog:
    make_base(tmp_path / "audit")
    return open_log(tmp_path / "audit")


def test_a_timestamp_by_an_openssl_authority_verifies_and_proves_nothing_else(
    base: AuditLog, authority: Authority, tmp_path: Path
) -> None:
    path = timestamp_head(base, authority.answer, authority.roots)
    assert path == base.folder / "anchors" / "7.tsr"
    head = base.head()
    assert head is not None
    moment = verify_timestamp(path.read_bytes(), head.checkpoint.text(), authority.roots)
    assert abs(datetime.now(UTC) - moment) < timedelta(minutes=10)
    with pytest.raises(AuditError, match=r"timestamp: it does not verify .*Mismatch"):
        verify_timestamp(path.read_bytes(), "another text\n", authority.roots)
    stranger = Authority(tmp_path / "stranger")
    with pytest.raises(AuditError, match="it does not verify"):
        verify_timestamp(path.read_bytes(), head.checkpoint.text(), stranger.roots)
    with pytest.raises(AuditError, match="it does not verify"):
        timestamp_head(base, stranger.answer, authority.roots)
    with pytest.raises(AuditError, match="Nonce mismatch"):
        timestamp_head(base, lambda request: path.read_bytes(), authority.roots)
    with pytest.raises(AuditError, match="it does not verify"):
        verify_timestamp(b"junk", head.checkpoint.text(), authority.roots)
    assert verify_log(base.folder, [KEY]).problems == []


def test_an_authority_is_asked_over_http(base: AuditLog, authority: Authority) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            fine = self.path == "/tsa" and self.headers["Content-Type"] == "application/timestamp-query"
            self.send_response(200 if fine else 404)
            self.end_headers()
            self.wfile.write(authority.answer(data) if fine else b"")

        def log_message(self, *arguments: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}"
        assert timestamp_head(base, http_sender(f"{url}/tsa"), authority.roots).exists()
        with pytest.raises(AuditError, match="answered with status 404"):
            timestamp_head(base, http_sender(url), authority.roots)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    with pytest.raises(AuditError, match="cannot be reached"):
        timestamp_head(base, http_sender("http://127.0.0.1:9"), authority.roots)
    with pytest.raises(AuditError, match="expected an http"):
        http_sender("file:///x")
    with pytest.raises(SettingsError, match="no readable PEM"):
        read_roots(base.folder / "checkpoint")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "tester")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "tester@example.com")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    folder = tmp_path / "repository"
    run(tmp_path, "git", "init", "-q", str(folder))
    run(folder, "git", "commit", "-q", "--allow-empty", "-m", "start")
    for name in ("signer", "stranger"):
        run(tmp_path, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", name)
        (tmp_path / f"{name}s").write_text(f"tester@example.com {(tmp_path / f'{name}.pub').read_text()}")
    return folder


def test_a_signed_tag_finds_a_log_that_was_rolled_back_or_forked(
    base: AuditLog, repository: Path, tmp_path: Path
) -> None:
    assert tag_head(base, repository, tmp_path / "signer") == "audit/7"
    assert tag_head(base, repository, tmp_path / "signer") == "audit/7", "again is no error"
    tagged, problems = tagged_checkpoints(repository, tmp_path / "signers")
    assert (tagged, problems) == ({"audit/7": (base.folder / "checkpoint").read_text()}, [])
    known = list(tagged.values())
    assert verify_log(base.folder, [KEY], known_checkpoints=known).problems == []
    tagged, (problem,) = tagged_checkpoints(repository, tmp_path / "strangers")
    assert tagged == {}
    assert "git tag --verify audit/7 failed" in problem
    keep_and_fork(base.folder)
    assert any("fork" in one for one in verify_log(base.folder, [KEY], known_checkpoints=known).problems)
    with pytest.raises(AuditError, match="the log was forked"):
        tag_head(base, repository, tmp_path / "signer")
    keep_and_roll_back(base.folder)
    assert any("rollback" in one for one in verify_log(base.folder, [KEY], known_checkpoints=known).problems)
    with pytest.raises(SettingsError, match="is no folder; name a git repository"):
        tag_head(base, tmp_path / "nowhere", tmp_path / "signer")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, str]]:
    """A bucket with Object Lock: simulated, or the real one that NETHICAL_S3_CONTRACT_BUCKET names."""
    boto3 = pytest.importorskip("boto3", reason="boto3 is not installed (optional extra)")
    real = os.environ.get(CONTRACT_BUCKET)
    if real:
        yield boto3.client("s3"), real
        return
    moto = pytest.importorskip("moto", reason="moto is not installed, and no real bucket is named")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with moto.mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket="locked", ObjectLockEnabledForBucket=True)
        client.create_bucket(Bucket="open")
        yield client, "locked"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_locked_checkpoint_cannot_be_deleted_and_finds_a_rollback(base: AuditLog, bucket: tuple[Any, str]) -> None:
    client, name = bucket
    prefix = f"contract/{datetime.now(UTC):%Y%m%dT%H%M%S%f}/"
    anchor = ObjectLockAnchor(client, name, prefix)
    key = anchor.anchor(base, datetime.now(UTC) + timedelta(minutes=2))
    assert key == f"{prefix}000000000007"
    (version,) = client.list_object_versions(Bucket=name, Prefix=prefix)["Versions"]
    with pytest.raises(client.exceptions.ClientError, match="AccessDenied"):
        client.delete_object(Bucket=name, Key=key, VersionId=version["VersionId"])
    client.put_object(Bucket=name, Key=key, Body=b"overwritten", ChecksumAlgorithm="SHA256")
    client.delete_object(Bucket=name, Key=key)
    known = list(anchor.checkpoints().values())
    assert (base.folder / "checkpoint").read_text() in known, "hidden behind a newer version and a delete marker"
    assert any("malformed" in one for one in verify_log(base.folder, [KEY], known_checkpoints=known).problems)
    keep_and_roll_back(base.folder)
    assert any("rollback" in one for one in verify_log(base.folder, [KEY], known_checkpoints=known).problems)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_bucket_without_object_lock_is_refused(base: AuditLog, bucket: tuple[Any, str]) -> None:
    client, name = bucket
    if name != "locked":
        pytest.skip("only the simulated service has a second bucket")
    with pytest.raises(AuditError, match=r"s3://open: "):
        ObjectLockAnchor(client, "open").anchor(base, datetime.now(UTC) + timedelta(minutes=2))


def test_nothing_is_anchored_before_something_was_signed(log: AuditLog, authority: Authority, tmp_path: Path) -> None:
    for anchor in (
        lambda: timestamp_head(log, authority.answer, authority.roots),
        lambda: tag_head(log, tmp_path, tmp_path / "key"),
        lambda: ObjectLockAnchor(None, "bucket").anchor(log, datetime.now(UTC)),  # type: ignore[arg-type]
    ):
        with pytest.raises(AuditError, match="nothing was signed yet"):
            anchor()
    record(log, "run-a", 1)
