"""DSSE envelopes (Dead Simple Signing Envelope 1.0) around in-toto statements, signed with ECDSA.

What belongs here: signing and opening an envelope. What does not: what statements say
(``core.lineage.provenance``, ``signatures``), or where keys are (``keys``).

Signatures are deterministic (RFC 6979): the same statement signed by the same key is the same bytes.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from nethical_assets.core.ground.errors import IntegrityError
from nethical_assets.core.signing.keys import PublicKeys

PAYLOAD_TYPE = "application/vnd.in-toto+json"
MAXIMUM_DOCUMENT_BYTES = 4 << 20
_HASHES: Mapping[int, hashes.HashAlgorithm] = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}


def sign_payload(payload: bytes, key: ec.EllipticCurvePrivateKey, *, identifier: str) -> dict[str, Any]:
    """The envelope of ``payload`` as a JSON document; ``identifier`` becomes the signature's ``keyid``."""
    algorithm = ec.ECDSA(_HASHES[key.curve.key_size], deterministic_signing=True)
    signature = key.sign(pre_authentication_encoding(payload), algorithm)
    return {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"keyid": identifier, "sig": base64.b64encode(signature).decode()}],
    }


def open_envelope(envelope: Any, trusted: PublicKeys, where: str, *, identifier: str | None = None) -> tuple[Any, str]:
    """The JSON payload of an envelope whose signature verifies, and the id of the key that made it.

    Args:
        where: what the message of an error names.
        identifier: which key signed, where the envelope does not say it itself.

    Raises:
        IntegrityError: the envelope is malformed, its key is not trusted, or its signature does not verify.
    """
    if not isinstance(envelope, dict) or set(envelope) != {"payload", "payloadType", "signatures"}:
        raise IntegrityError(f"{where}: not a DSSE envelope; restore it from a backup")
    if envelope["payloadType"] != PAYLOAD_TYPE:
        raise IntegrityError(f"{where}: holds {str(envelope['payloadType'])[:80]!r}, expected {PAYLOAD_TYPE}")
    signatures = envelope["signatures"]
    single = isinstance(signatures, list) and len(signatures) == 1 and isinstance(signatures[0], dict)
    if not single or set(signatures[0]) != {"keyid", "sig"}:
        raise IntegrityError(f"{where}: expected exactly one signature; restore it from a backup")
    named = signatures[0]["keyid"]
    if identifier is not None and named not in ("", identifier):
        raise IntegrityError(f"{where}: the envelope names another key than the file does; restore it from a backup")
    signer = str(named) if identifier is None else identifier
    key = trusted.get(signer)
    if key is None:
        raise IntegrityError(
            f"{where}: signed by key {signer[:16] or '(unnamed)'}, which is not trusted "
            f"(trusted: {', '.join(sorted(known[:16] for known in trusted)) or 'none'})"
        )
    payload = _decode(envelope["payload"], where)
    try:
        key.verify(
            _decode(signatures[0]["sig"], where),
            pre_authentication_encoding(payload),
            ec.ECDSA(_HASHES[key.curve.key_size]),
        )
    except InvalidSignature:
        raise IntegrityError(
            f"{where}: the signature does not verify; the file was changed, restore it from a backup"
        ) from None
    return parse_json(payload, where), signer


def pre_authentication_encoding(payload: bytes) -> bytes:
    """What is signed for ``payload``: DSSE's PAE, which binds the payload's type."""
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)


def parse_json(data: bytes, where: str) -> Any:
    """``data`` as a JSON document of reasonable size.

    Raises:
        IntegrityError: it is too large, or not JSON.
    """
    if len(data) > MAXIMUM_DOCUMENT_BYTES:
        raise IntegrityError(f"{where}: {len(data)} bytes, at most {MAXIMUM_DOCUMENT_BYTES} are allowed")
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise IntegrityError(f"{where}: not a JSON document; restore it from a backup") from None


def _decode(text: Any, where: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error):
        data = b""
    if base64.b64encode(data).decode() != text:
        raise IntegrityError(f"{where}: payload or signature is not base64; restore it from a backup")
    return data
