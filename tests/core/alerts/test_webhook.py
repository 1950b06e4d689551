from __future__ import annotations

import base64
import hmac
import json
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from nethical_assets.core.alerts.delivery import deliver
from nethical_assets.core.alerts.webhook import WebhookTarget, signature
from nethical_assets.core.ground.errors import SettingsError

NOW = datetime(2026, 3, 2, tzinfo=UTC)
SECRET = "whsec_" + base64.b64encode(b"k" * 24).decode()


class Receiver:
    def __init__(self):
        self.posts = []
        self.answers = []
        self.port = 0

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/hooks/T000/secret-part-of-the-address"


@contextmanager
def receiving():
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            receiver.posts.append((dict(self.headers.items()), body))
            status, headers = receiver.answers.pop(0) if receiver.answers else (200, {})
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def receiver():
    with receiving() as found:
        yield found


def tell(receiver, tracker, now=NOW, **given):
    target = WebhookTarget(receiver.url, given.pop("secret", SECRET), **given)
    return deliver(tracker.outbox(target.name), target, now=now)


def test_the_signature_is_the_one_that_is_published():
    # The example of the Standard Webhooks libraries.
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_what_is_posted_can_be_verified_and_says_what_happened(receiver, tracker, alert):
    tracker.file(alert())
    tracker.file(alert(occurrence="run 2", summary="4 columns", when=alert().when + timedelta(hours=1)))
    tracker.close(1, "mended", "person")
    assert tell(receiver, tracker).delivered == 0, "what was over before the target was there is not told"
    tracker.file(alert(check="another"))
    tracker.close(2, "mended", "person")
    assert tell(receiver, tracker).delivered == 2
    types = []
    for headers, body in receiver.posts:
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        expected = base64.b64encode(hmac.digest(b"k" * 24, signed, "sha256")).decode()
        assert headers["webhook-signature"] == f"v1,{expected}"
        document = json.loads(body)
        types.append(document["type"])
        assert document["data"]["fingerprint"] == alert(check="another").fingerprint
    assert types == ["alert.opened", "alert.closed"]
    assert len({headers["webhook-id"] for headers, _ in receiver.posts}) == 2


def test_a_post_whose_answer_is_lost_is_posted_again_under_its_identifier(receiver, tracker, alert):
    tracker.file(alert())
    receiver.answers = [(503, {"retry-after": "120"})]
    now = datetime.now(UTC)
    told = tell(receiver, tracker, now)
    assert told.waiting == 1 and "status 503" in told.problem
    assert 115 <= (datetime.fromisoformat(told.not_before) - now).total_seconds() <= 180
    assert tell(receiver, tracker, now + timedelta(seconds=100)).delivered == 0
    assert tell(receiver, tracker, now + timedelta(seconds=181)).delivered == 1
    first, second = receiver.posts
    assert first[0]["webhook-id"] == second[0]["webhook-id"]


@pytest.mark.parametrize("status", [301, 302, 307, 401, 403, 404, 410])
def test_an_address_that_takes_no_posts_is_told_and_kept_for_later(receiver, tracker, alert, status):
    tracker.file(alert())
    receiver.answers = [(status, {"location": f"{receiver.url}/elsewhere"})]
    told = tell(receiver, tracker)
    assert told.waiting == 1 and f"status {status}" in told.problem
    assert len(receiver.posts) == 1, "what was signed for one address is not given to another"
    assert "secret-part" not in told.problem and "secret-part" not in told.target


def test_a_post_that_is_never_taken_holds_up_no_other(receiver, tracker, alert):
    tracker.file(alert())
    tracker.file(alert(check="another"))
    receiver.answers = [(422, {})]
    told = tell(receiver, tracker)
    assert (told.delivered, told.waiting) == (1, 0) and "status 422" in told.problem


def test_a_problem_that_somebody_works_on_pages_nobody_until_it_gets_graver(receiver, tracker, alert):
    tracker.file(alert())
    tracker.acknowledge(1, "restoring it", "person")
    again = [alert(occurrence=f"run {n}", summary=f"{n}", when=alert().when + timedelta(hours=n)) for n in (2, 3)]
    tracker.file(again[0])
    assert tell(receiver, tracker).delivered == 3
    assert [json.loads(body)["type"] for _, body in receiver.posts] == ["alert.opened", "alert.commented"]
    assert "restoring it" in json.loads(receiver.posts[1][1])["data"]["text"]
    graver = alert(occurrence="run 3", summary="3", when=again[1].when, severity="critical")
    assert tracker.file(graver).acknowledged_by == ""
    tell(receiver, tracker)
    assert len(receiver.posts) == 3


def test_what_a_chat_shows_is_plain(receiver, tracker, alert):
    tracker.file(alert(summary="<!channel> look at `x_y` & mail a@b.example <https://evil.example|here>"))
    assert tell(receiver, tracker, secret=None, form="slack").delivered == 1
    headers, body = receiver.posts[0]
    text = json.loads(body)["text"]
    assert "webhook-signature" not in headers
    assert text.startswith("[medium] Dataset Validation Issues: nslkdd - 2026-03-01 (opened)\n")
    assert "<" not in text and "nethical-fingerprint" not in text and "a@b.example" not in text and "\\" not in text


@pytest.mark.parametrize("secret", ["short", "whsec_" + base64.b64encode(b"short").decode(), "whsec_???", None])
def test_a_secret_that_protects_nothing_is_refused(secret):
    with pytest.raises(SettingsError, match="NETHICAL_WEBHOOK_SECRET") as refused:
        WebhookTarget("https://receiver.example/hook", secret)
    assert secret is None or secret not in str(refused.value)


def test_a_test_is_posted(receiver):
    assert "took a test" in WebhookTarget(receiver.url, SECRET).test()
    assert json.loads(receiver.posts[0][1])["type"] == "alert.test"


def test_nothing_secret_is_kept(receiver, tracker, alert):
    tracker.file(alert())
    tell(receiver, tracker)
    for path in tracker.path.parent.iterdir():
        if path.is_file():
            data = path.read_bytes()
            assert b"secret-part" not in data and SECRET.encode() not in data
