"""A small stand-in for the Kaggle dataset API for the unmodified client, with faults; runs in this process."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.server
import io
import json
import threading
import time
import zipfile
from collections.abc import Mapping

USERNAME, KEY, TOKEN = "somebody", "the-secret-key", "the-secret-token"
LAST_MODIFIED = "Sun, 22 Nov 2026 00:00:00 GMT"


def zip_of(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


class KaggleDouble:
    """Serves ``archives`` (slug -> zip bytes). ``faults`` are consumed in order, one a request that can have it.

    Faults: a status such as "429"; "429:SECONDS" with Retry-After; "hang up" drops the connection of the request
    before the download; "drop", "truncate", "corrupt" (of the download); "slow" sends half of the archive, sets
    ``half_sent`` and then waits until ``go_on`` is set.
    """

    def __init__(self) -> None:
        self.archives: dict[str, bytes] = {}
        self.statuses: dict[str, int] = {}
        self.faults: list[str] = []
        self.requests: list[str] = []
        self.bodies_sent = 0
        self.half_sent = threading.Event()
        self.go_on = threading.Event()
        double = self

        class Handler(_Handler):
            service = double

        self.server = _QuietServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://localhost:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        self.go_on.set()
        self.server.shutdown()
        self.server.server_close()


class _QuietServer(http.server.ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is part of the tests."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    service: KaggleDouble

    def log_message(self, *arguments: object) -> None:
        """Quiet."""

    def reply(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def refuse(self, status: int, headers: Mapping[str, str] | None = None) -> None:
        self.reply(status, json.dumps({"code": status, "message": "refused"}).encode(), headers)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        self.service.requests.append(f"POST {self.path.rsplit('/', 1)[-1]}")
        fault = self.service.faults[0] if self.service.faults else ""
        if fault[:3].isdigit():
            self.service.faults.pop(0)
            status, _, seconds = fault.partition(":")
            return self.refuse(int(status), {"Retry-After": seconds} if seconds else None)
        if fault == "hang up":
            self.service.faults.pop(0)
            self.close_connection = True
            return self.connection.close()
        header = self.headers.get("Authorization", "")
        basic = "Basic " + base64.b64encode(f"{USERNAME}:{KEY}".encode()).decode()
        if header not in ("", basic, f"Bearer {TOKEN}"):
            return self.refuse(401)
        slug = f"{body.get('ownerSlug')}/{body.get('datasetSlug')}"
        if slug in self.service.statuses:
            return self.refuse(self.service.statuses[slug])
        if slug not in self.service.archives or not self.path.endswith("DownloadDataset"):
            return self.refuse(404)
        return self.reply(302, b"", {"Location": f"{self.service.url}/storage/{slug}", "Content-Type": "text/plain"})

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.service.requests.append("GET" if wanted is None else f"GET {wanted}")
        data = self.service.archives[self.path.removeprefix("/storage/")]
        fault = self.service.faults.pop(0) if self.service.faults else ""
        if fault == "drop":
            self.close_connection = True
            self.connection.close()
            return
        headers = {
            "Content-Type": "application/zip",
            "Last-Modified": LAST_MODIFIED,
            "ETag": f'"{hashlib.sha256(data).hexdigest()[:16]}"',
            "Accept-Ranges": "bytes",
        }
        status = 200
        if wanted and self.headers.get("If-Range", headers["ETag"]) == headers["ETag"]:
            start = int(wanted.removeprefix("bytes=").split("-")[0])
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            data, status = data[start:], 206
        if fault == "corrupt":
            data = bytes(value ^ 0xFF for value in data[: len(data) // 2]) + data[len(data) // 2 :]
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if fault in ("truncate", "slow"):
            self.wfile.write(data[: len(data) // 2])
            self.wfile.flush()
            if fault == "slow":
                self.service.half_sent.set()
                self.service.go_on.wait(30)
            self.close_connection = True
            return
        self.wfile.write(data)
        self.service.bodies_sent += 1


def point_client_at(url: str) -> None:
    """Make the client of this process, which takes its port from a constant, call ``url``."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        from kaggle.api.kaggle_api_extended import KaggleApi
        from kagglesdk import kaggle_env
    KaggleApi.args = ["--local"]
    kaggle_env._env_to_endpoint[kaggle_env.KaggleEnv.LOCAL] = url


def wait_for(condition: object, seconds: float = 20.0) -> None:
    """Poll until ``condition()`` is true."""
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        if time.monotonic() > deadline:
            raise AssertionError("the condition did not come true in time")
        time.sleep(0.01)
