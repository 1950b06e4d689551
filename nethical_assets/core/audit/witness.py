"""A witness (C2SP tlog-witness): another process with its own key that cosigns only checkpoints that extend the last.

What belongs here: the witness, its HTTP server, and obtaining a cosignature for a log. What does not: which witnesses a
reader demands (``verify``).

A log that shows different histories to different readers needs the witness to agree to both, which it does not.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import logging
import re
import struct
import time
import urllib.parse
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from nethical_assets.core.audit.reader import LogReader
from nethical_assets.core.ground.errors import AuditError, SettingsError
from nethical_assets.core.ground.storage import exclusive_lock, write_atomically
from nethical_assets.core.tlog.checkpoint import Checkpoint, open_checkpoint
from nethical_assets.core.tlog.merkle import EMPTY_ROOT, ProofError, consistency_proof, verify_consistency
from nethical_assets.core.tlog.note import (
    COSIGNATURE_ED25519,
    MAXIMUM_NOTE_BYTES,
    Note,
    NoteError,
    Signature,
    VerifierKey,
    cosignature_message,
    decode_base64,
    open_note,
    parse_signatures,
)

LOCK_SECONDS = 30.0
REQUEST_SECONDS = 30.0
MAXIMUM_PROOF_LINES = 63
_OLD_LINE = re.compile(r"old (0|[1-9][0-9]{0,18})")
_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answer:
    """An HTTP answer: status, body, content type."""

    status: int
    body: bytes
    content_type: str = "text/plain; charset=utf-8"


class Witness:
    """Cosigns checkpoints of the logs whose verifier keys it was given; remembers in ``folder`` what it cosigned.

    Raises:
        SettingsError: there is no such folder, and it cannot be made.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        private: Ed25519PrivateKey,
        log_keys: Iterable[VerifierKey],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.key = VerifierKey.of(name, private, COSIGNATURE_ED25519)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SettingsError(f"{folder}: cannot be a folder ({error.strerror}); name another") from None
        self._folder = folder
        self._private = private
        self._log_keys = list(log_keys)
        self._clock = clock

    def add_checkpoint(self, body: bytes) -> Answer:
        """The answer to one ``add-checkpoint`` request: 200 with a cosignature line, or 400, 403, 404, 409, 422."""
        try:
            old, proof, data = _parse_request(body)
            origin = Note.parse(data).text.partition("\n")[0]
        except NoteError as error:
            return _refusal(400, str(error))
        keys = [key for key in self._log_keys if key.name == origin]
        if not keys:
            return _refusal(404, "this witness does not know the log")
        try:
            checkpoint = open_checkpoint(data, keys).checkpoint
        except NoteError as error:
            return _refusal(403, str(error))
        if old > checkpoint.size:
            return _refusal(400, f"the old size {old} is larger than the checkpoint's {checkpoint.size}")
        with exclusive_lock(self._folder / "witness.lock", waiting_seconds=LOCK_SECONDS, what="the witness"):
            return self._consider(checkpoint, old, proof)

    def _consider(self, checkpoint: Checkpoint, old: int, proof: list[bytes]) -> Answer:
        last = self.last(checkpoint.origin)
        if old != last.size:
            return Answer(409, f"{last.size}\n".encode(), "text/x.tlog.size")
        if old == checkpoint.size and last.root != checkpoint.root:
            return _refusal(409, "another root was cosigned for this size")
        try:
            verify_consistency(old, checkpoint.size, last.root, checkpoint.root, proof)
        except ProofError as error:
            return _refusal(422, str(error))
        write_atomically(self._state(checkpoint.origin), checkpoint.text().encode())
        timestamp = int(self._clock())
        signature = self._private.sign(cosignature_message(checkpoint.text(), timestamp))
        line = Signature(self.key.name, self.key.key_id, struct.pack(">Q", timestamp) + signature).line()
        return Answer(200, line.encode())

    def last(self, origin: str) -> Checkpoint:
        """The newest checkpoint cosigned for a log; size 0 when there is none.

        Raises:
            NoteError: the record was changed on disk.
        """
        try:
            return Checkpoint.parse(self._state(origin).read_text())
        except FileNotFoundError:
            return Checkpoint(origin, 0, EMPTY_ROOT)

    def _state(self, origin: str) -> Path:
        return self._folder / "cosigned" / hashlib.sha256(origin.encode()).hexdigest()


def serve_witness(witness: Witness, host: str, port: int) -> ThreadingHTTPServer:
    """An HTTP server for ``POST /add-checkpoint``, not running yet (``serve_forever``); port 0 picks a free port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = REQUEST_SECONDS

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")
            if not length.isdecimal() or int(length) > MAXIMUM_NOTE_BYTES:
                self.close_connection = True
                self._answer(_refusal(400, f"a Content-Length of at most {MAXIMUM_NOTE_BYTES} is required"))
                return
            body = self.rfile.read(int(length))
            if self.path != "/add-checkpoint":
                self._answer(_refusal(404, "the only path is /add-checkpoint"))
                return
            self._answer(witness.add_checkpoint(body))

        def _answer(self, answer: Answer) -> None:
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.content_type)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the signature of http.server
            _LOGGER.info(format, *args)

    return ThreadingHTTPServer((host, port), Handler)


def request_cosignature(log: LogReader, url: str, witness_key: VerifierKey) -> Signature:
    """Ask the witness at ``url`` to cosign the newest checkpoint; return its verified signature line.

    Attach it with ``AuditLog.attach_cosignatures``.

    Raises:
        AuditError: nothing was signed yet, the witness cannot be reached, or refuses; the message has its reason.
    """
    head = log.head()
    if head is None:
        raise AuditError(f"{log.folder}: nothing was signed yet; finalise a run first")
    answer = _post(url, _request(log, head.text, 0, head.size))
    if answer.status == 409 and answer.content_type.startswith("text/x.tlog.size") and answer.body.strip().isdigit():
        old = int(answer.body)
        if old > head.size:
            raise AuditError(
                f"witness {url}: it cosigned size {old}, this log has {head.size}; the log was rolled back"
            )
        answer = _post(url, _request(log, head.text, old, head.size))
    if answer.status != 200:
        reason = answer.body[:200].decode(errors="replace")
        raise AuditError(f"witness {url}: refused to cosign size {head.size} with status {answer.status}: {reason}")
    for signature in parse_signatures(answer.body.decode(errors="replace")):
        if witness_key.made(signature):
            open_note(Note(head.checkpoint.text(), (signature,)).encode(), [witness_key])
            return signature
    raise AuditError(f"witness {url}: its answer has no cosignature by {witness_key.name}")


def _request(log: LogReader, checkpoint: str, old: int, size: int) -> bytes:
    proof = consistency_proof(old, size, log.tiles.reader(size).node)
    lines = [f"old {old}", *(base64.b64encode(one).decode() for one in proof), ""]
    return ("\n".join(lines) + "\n" + checkpoint).encode()


def _parse_request(body: bytes) -> tuple[int, list[bytes], bytes]:
    head, separator, checkpoint = body.partition(b"\n\n")
    lines = head.decode(errors="replace").split("\n")
    match = _OLD_LINE.fullmatch(lines[0])
    if not separator or match is None:
        raise NoteError("malformed request: expected 'old <size>', proof lines, an empty line and a checkpoint")
    if len(lines) - 1 > MAXIMUM_PROOF_LINES:
        raise NoteError(f"malformed request: more than {MAXIMUM_PROOF_LINES} proof lines")
    return int(match[1]), [decode_base64(line, "a proof line") for line in lines[1:]], checkpoint


def _refusal(status: int, reason: str) -> Answer:
    return Answer(status, f"{reason}\n".encode())


def _post(url: str, body: bytes) -> Answer:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or parts.hostname is None:
        raise AuditError(f"witness {url}: expected an http:// or https:// address")
    connect = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = connect(parts.hostname, parts.port, timeout=REQUEST_SECONDS)
    try:
        connection.request("POST", parts.path.rstrip("/") + "/add-checkpoint", body)
        response = connection.getresponse()
        data = response.read(MAXIMUM_NOTE_BYTES)
        return Answer(response.status, data, response.getheader("Content-Type", ""))
    except (OSError, http.client.HTTPException) as error:
        raise AuditError(f"witness {url}: cannot be reached ({error})") from None
    finally:
        connection.close()
