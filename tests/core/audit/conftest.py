from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from nethical_assets.core.audit import AuditLog, SigningKeys, VerifierKey
from nethical_assets.core.audit.keys import default_origin, fingerprint, write_private_key
from nethical_assets.core.audit.writer import KEY_RUN_PREFIX
from nethical_assets.core.ground.digests import digest_bytes

SHARED = Path(__file__).parents[3].parent / "shared" / "vectors" / "tlog"


def private_key(number: int) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)


ORIGIN = default_origin(private_key(1))
KEY_RUN = KEY_RUN_PREFIX + fingerprint(VerifierKey.of(ORIGIN, private_key(1)))[7:23]
"""The run of the first chunk of a log of ``open_log``: leaf 0 pins its key, leaf 1 ends the chunk."""


def ticking_clock() -> Callable[[], datetime]:
    moment = datetime(2026, 1, 1, tzinfo=UTC)

    def tick() -> datetime:
        nonlocal moment
        moment += timedelta(seconds=1)
        return moment

    return tick


def open_log(folder: Path, key: int = 1) -> AuditLog:
    keys = SigningKeys(folder / "keys", environment={})
    if not keys.path.exists():
        write_private_key(keys.path, private_key(key))
    return AuditLog(folder, keys, clock=ticking_clock())


def record(log: AuditLog, run_id: str, events: int, *, finalize: bool = True) -> None:
    recorder = log.recorder(run_id)
    for number in range(events):
        subject = {"name": f"thing-{number}", "digest": digest_bytes(f"{run_id}/{number}".encode())}
        recorder.append("data_fetched", actor="tester", subjects=[subject], payload={"number": number, "run": run_id})
    if finalize:
        log.finalize_run(run_id)


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    return open_log(tmp_path / "audit")


@pytest.fixture(scope="session")
def vectors() -> Path:
    if not SHARED.is_dir():
        pytest.skip("the published test vectors (../shared/vectors/tlog) are not here")
    return SHARED
