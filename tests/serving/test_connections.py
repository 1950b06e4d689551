"""Connections as they are on the wire: what does not arrive, what is no HTTP, and what is kept open."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import struct
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from nethical_assets.serving.application import application
from nethical_assets.serving.connections import Connection, connections
from nethical_assets.serving.listening import listening_socket
from tests.serving.conftest import copied, make_gateway
from tests.serving.homes import SIGNALS

SECONDS = 0.3
BODY = json.dumps(SIGNALS).encode()
HEAD = b"POST /v1/score/logistic HTTP/1.1\r\nhost: g\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"


@pytest.fixture(scope="module")
def port(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A server in a thread of this process."""
    home = copied(built, tmp_path_factory.mktemp("connections") / "state", serving={"body_seconds": SECONDS})
    gateway = make_gateway(home)
    config = uvicorn.Config(
        application(gateway), http=connections(SECONDS), ws="none", log_config=None, access_log=False
    )
    server, bound = uvicorn.Server(config), listening_socket("127.0.0.1", 0)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started:
        assert time.monotonic() < deadline and thread.is_alive()
        time.sleep(0.01)
    yield bound.getsockname()[1]
    server.should_exit = True
    thread.join()


def answer_to(port: int, *parts: bytes) -> tuple[int, dict[str, str]]:
    """Send the parts, and read until the other side closes: the status, and the error."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        for part in parts:
            connection.sendall(part)
        data = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = data.partition(b"\r\n\r\n")
    assert b"connection: close" in head.lower()
    return int(head.split()[1]), json.loads(body)["error"]


@pytest.mark.parametrize("sent", [b"", b"GET", HEAD[:40], (HEAD % len(BODY))[:-2]])
def test_a_head_that_does_not_arrive_is_408_and_the_connection_ends(port: int, sent: bytes) -> None:
    status, error = answer_to(port, sent)
    assert (status, error["code"]) == (408, "timeout")
    assert "head" in error["reason"]


def test_a_body_that_does_not_arrive_is_408_and_the_connection_ends(port: int) -> None:
    status, error = answer_to(port, HEAD % len(BODY), BODY[:-1])
    assert (status, error["code"]) == (408, "timeout")
    assert "body" in error["reason"]


@pytest.mark.parametrize("sent", [b"nothing like it\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/9.9\r\n\r\n"])
def test_what_is_no_http_is_400_in_the_same_form(port: int, sent: bytes) -> None:
    status, error = answer_to(port, sent)
    assert (status, error["code"]) == (400, "malformed")


def test_a_body_that_is_too_large_is_not_waited_for(port: int) -> None:
    status, error = answer_to(port, HEAD % (1 << 40))
    assert (status, error["code"]) == (413, "too_large")


def test_a_connection_that_is_kept_open_may_rest(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        for _ in range(2):
            connection.sendall(HEAD % len(BODY) + BODY)
            data = b""
            while not data.endswith(b"}"):
                data += connection.recv(65536)
            assert data.startswith(b"HTTP/1.1 200 ")
            time.sleep(2 * SECONDS)


def test_an_answer_in_one_step_is_that_of_the_messages(port: int) -> None:
    """Which of the two ways a request goes depends on what is at hand: on the wire they are one."""
    closes = HEAD.replace(b"host: g", b"host: g\r\nconnection: close\r\nx-request-id: a")
    named = HEAD.replace(b"host: g", b"host: g\r\nx-request-id: a")
    answers = []
    for parts in ([named % len(BODY) + BODY], [named % len(BODY), BODY[:9], BODY[9:]], [closes % len(BODY) + BODY]):
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            for part in parts:
                connection.sendall(part)
                time.sleep(0.01)
            data = b""
            while not data.endswith(b"}"):
                data += connection.recv(65536)
        head, _, body = data.partition(b"\r\n\r\n")
        lines = [line for line in head.split(b"\r\n") if line != b"connection: close" and line[:5] != b"date:"]
        answers.append((lines, body))
    assert answers[0][0][0] == b"HTTP/1.1 200 OK"
    assert answers[1] == answers[2] == answers[0]


def test_requests_behind_each_other_are_answered_in_their_order(port: int) -> None:
    wrong = b"{}"
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(b"".join(HEAD % len(body) + body for body in (BODY, wrong, BODY)))
        data = b""
        while data.count(b"HTTP/1.1 ") < 3 or not data.endswith(b"}"):
            data += connection.recv(65536)
    assert [part[:3] for part in data.split(b"HTTP/1.1 ")[1:]] == [b"200", b"422", b"200"]


def test_a_client_that_waits_to_be_asked_for_the_body_is_asked(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(HEAD.replace(b"host: g", b"host: g\r\nexpect: 100-continue") % len(BODY))
        assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(BODY)
        data = b""
        while not data.endswith(b"}"):
            data += connection.recv(65536)
    assert data.startswith(b"HTTP/1.1 200 ")


def test_what_begins_no_request_does_not_keep_a_connection_open(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(HEAD % len(BODY) + BODY)
        while not connection.recv(65536).endswith(b"}"):
            pass
        connection.sendall(b"\r\n")
        data = b"".join(iter(lambda: connection.recv(65536), b""))
    assert data.startswith(b"HTTP/1.1 408")


def test_what_is_wrong_behind_a_request_is_not_its_answer(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(HEAD % len(BODY) + BODY + b"nothing like it\r\n\r\n")
        data = b"".join(iter(lambda: connection.recv(65536), b""))
    assert data.startswith(b"HTTP/1.1 200") and b"request_id" in data


def test_a_client_that_does_not_read_is_not_kept(port: int) -> None:
    many = json.dumps({"records": [SIGNALS] * 20_000}).encode()
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(60)
        connection.connect(("127.0.0.1", port))
        connection.sendall(HEAD % len(many) + many)
        deadline = time.monotonic() + 30
        while True:
            # Reading nothing, until the other side has ended the connection.
            time.sleep(0.2)
            try:
                connection.send(b"G")
            except (ConnectionResetError, BrokenPipeError):
                break
            assert time.monotonic() < deadline


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[weakref.ref[Connection]]]:
    """The connections that were made meanwhile; garbage is not collected."""
    seen: list[weakref.ref[Connection]] = []
    begun = Connection.connection_made

    def noted(self: Connection, transport: asyncio.Transport) -> None:
        seen.append(weakref.ref(self))
        begun(self, transport)

    monkeypatch.setattr(Connection, "connection_made", noted)
    gc.disable()
    yield seen
    gc.enable()


def until(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.01)
    return holds()


REQUEST = HEAD % len(BODY) + BODY
REFUSED = (HEAD % 20_000).replace(b"logistic", b"nothing") + b" " * 20_000
NO_METHOD = REFUSED.replace(b"POST", b"PUT")


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize(
    ("sent", "answers"),
    [
        (b"", 0),
        (REQUEST[:40], 0),
        (REQUEST[:-1], 0),
        (REQUEST, 1),
        (REQUEST.replace(b"host: g", b"connection: close"), 1),
        (REFUSED, 1),
        (NO_METHOD, 1),
        (REQUEST * 3, 0),
        (REQUEST * 3 + REQUEST[:40], 3),
        (REQUEST + b"nothing like it\r\n\r\n", 1),
    ],
)
def test_nothing_of_a_connection_that_ended_is_kept(
    port: int, made: list[weakref.ref[Any]], sent: bytes, answers: int, *, reset: bool
) -> None:
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            if reset:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.sendall(sent)
            data = b""
            while data.count(b"HTTP/1.1 ") < answers:
                data += connection.recv(65536)
    assert until(lambda: len(made) == 3 and all(one() is None for one in made))


@pytest.mark.parametrize("sent", [REFUSED, NO_METHOD])
def test_the_body_of_a_refused_request_is_not_kept_while_its_connection_rests(
    port: int, made: list[weakref.ref[Any]], sent: bytes
) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(sent)
        assert connection.recv(65536).startswith(b"HTTP/1.1 40")
        assert until(lambda: made[0]().cycle.response_complete)
        assert until(lambda: not made[0]().cycle.body)
