"""RFC 3161 timestamps of checkpoints: an authority states that a checkpoint existed at a time.

What belongs here: requesting and verifying timestamps. What does not: which authorities are trusted (the caller's).
Needs the ``rfc3161-client`` package.
"""

from __future__ import annotations

import http.client
import importlib
import urllib.parse
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography.x509 import Certificate, load_pem_x509_certificates

from nethical_assets.core.audit.reader import Head, LogReader
from nethical_assets.core.ground.errors import AuditError, SettingsError
from nethical_assets.core.ground.given_files import read_given
from nethical_assets.core.ground.storage import write_atomically
from nethical_assets.core.tlog.note import Note
from nethical_assets.core.tlog.tiles import make_durable_folder

ANCHORS = "anchors"
SUFFIX = ".tsr"
REQUEST_SECONDS = 30.0
MAXIMUM_RESPONSE_BYTES = 1 << 20

Sender = Callable[[bytes], bytes]
"""Sends a DER timestamp request to an authority and returns its DER response."""


def timestamp_head(log: LogReader, send: Sender, roots: Sequence[Certificate]) -> Path:
    """Have the newest checkpoint's text timestamped; keep the verified response as ``anchors/<size>.tsr``.

    Raises:
        AuditError: nothing was signed yet, the authority refuses, or its answer does not verify with ``roots``.
    """
    head = _head(log)
    client = _client()
    text = head.checkpoint.text().encode()
    request = client.TimestampRequestBuilder().data(text).hash_algorithm(client.HashAlgorithm.SHA256).build()
    response = send(request.as_bytes())
    _verify(response, text, roots, request.nonce)
    path = log.folder / ANCHORS / f"{head.size}{SUFFIX}"
    make_durable_folder(path.parent)
    write_atomically(path, response)
    return path


def verify_timestamp(response: bytes, checkpoint_text: str, roots: Sequence[Certificate]) -> datetime:
    """The time at which the authority saw the text (the signed part of a checkpoint).

    Raises:
        AuditError: the response is malformed, is about something else, or was not made by a trusted authority.
    """
    return _verify(response, checkpoint_text.encode(), roots, None)


def look_at_timestamps(log: LogReader, roots: Sequence[Certificate]) -> tuple[list[str], list[str]]:
    """What is wrong with the timestamps kept beside the log, and what the others state: one line each."""
    problems, notes = [], []
    for path in sorted((log.folder / ANCHORS).glob(f"*{SUFFIX}")):
        if not path.stem.isdecimal():
            problems.append(f"{path}: not named by the size of a checkpoint")
            continue
        try:
            text = Note.parse(log.signed_checkpoint(int(path.stem)).encode()).text
            moment = verify_timestamp(path.read_bytes(), text, roots)
        except (AuditError, ValueError, OSError) as error:
            problems.append(f"{path}: {error}")
        else:
            notes.append(f"{path.name}: the checkpoint of {path.stem} leaves existed at {moment.isoformat()}")
    return problems, notes


def read_roots(path: Path) -> list[Certificate]:
    """The trusted certificates in a PEM file.

    Raises:
        SettingsError: the file cannot be read or holds none.
    """
    data = read_given(path, "name a PEM file with the root certificates of timestamp authorities")
    try:
        return load_pem_x509_certificates(data)
    except ValueError:
        raise SettingsError(f"{path}: holds no readable PEM certificates of timestamp authorities") from None


def http_sender(url: str) -> Sender:
    """Sends requests to the authority at ``url`` (RFC 3161 section 3.4)."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or parts.hostname is None:
        raise AuditError(f"timestamp authority {url}: expected an http:// or https:// address")
    host = parts.hostname
    connect = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection

    def send(request: bytes) -> bytes:
        connection = connect(host, parts.port, timeout=REQUEST_SECONDS)
        try:
            connection.request("POST", parts.path or "/", request, {"Content-Type": "application/timestamp-query"})
            response = connection.getresponse()
            data = response.read(MAXIMUM_RESPONSE_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise AuditError(f"timestamp authority {url}: cannot be reached ({error})") from None
        finally:
            connection.close()
        if response.status != 200:
            raise AuditError(f"timestamp authority {url}: answered with status {response.status}")
        return data

    return send


def _head(log: LogReader) -> Head:
    head = log.head()
    if head is None:
        raise AuditError(f"{log.folder}: nothing was signed yet; finalise a run first")
    return head


def _verify(response: bytes, text: bytes, roots: Sequence[Certificate], nonce: int | None) -> datetime:
    client = _client()
    builder = client.VerifierBuilder()
    for root in roots:
        builder = builder.add_root_certificate(root)
    if nonce is not None:
        builder = builder.nonce(nonce)
    try:
        decoded = client.decode_timestamp_response(response)
        builder.build().verify_message(decoded, text)
    except (client.VerificationError, ValueError) as error:
        raise AuditError(f"timestamp: it does not verify ({error})") from None
    moment: datetime = decoded.tst_info.gen_time
    return moment


def _client() -> Any:
    try:
        return importlib.import_module("rfc3161_client")
    except ImportError:
        raise AuditError("timestamps need the package rfc3161-client; install it and try again") from None
