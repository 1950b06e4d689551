"""Signed webhooks: the target that posts each change to an address, for a pager, a chat or another tracker.

What belongs here: what is posted and how it is signed. What does not: which changes there are (``outbox``), or when
they are sent again (``delivery``). Nobody can be asked whether a post arrived, so one that may have arrived is posted
again under the same identifier, by which the receiver tells that it is the same.

Source: Standard Webhooks 1.0.0 (headers ``webhook-id``, ``webhook-timestamp``, ``webhook-signature``); HMAC: RFC 2104
with SHA-256. The form ``slack`` is the body that Slack's incoming webhooks take.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
from datetime import UTC, datetime
from typing import Any, Literal

from nethical_assets.core.alerts.delivery import (
    DeliveryRefusedError,
    TargetRefusedError,
    TargetUnavailableError,
    parse_wait,
)
from nethical_assets.core.alerts.local_issues import PLATFORM
from nethical_assets.core.alerts.outbox import Delivery
from nethical_assets.core.ground.errors import SettingsError

URL_VARIABLE = "NETHICAL_WEBHOOK_URL"
SECRET_VARIABLE = "NETHICAL_WEBHOOK_SECRET"  # noqa: S105 the name of a variable
Form = Literal["standard", "slack"]

_PREFIX = "whsec_"
_SECRET_BYTES = 24
_TIMEOUT_SECONDS = (5, 10)
_KEPT_FOR_PEOPLE = re.compile(r"<!--.*?-->|\\(?=[\\`*\[\]|~_])", re.DOTALL)
_EMPTY_LINES = re.compile(r"\n{3,}")


class WebhookTarget:
    """Posts to ``url``. Implements ``delivery.Target``.

    Args:
        secret: what posts are signed with: 24 bytes or more, or ``whsec_`` and as many in base64; None signs nothing,
            which only the form ``slack`` allows, whose address is the secret.
        form: what is posted.

    Raises:
        SettingsError: the secret is too short, not base64 after its prefix, or missing.
    """

    def __init__(self, url: str, secret: str | None, form: Form = "standard") -> None:
        if secret is None and form != "slack":
            raise SettingsError(f"{SECRET_VARIABLE} is not set; posts are signed with it: set 24 bytes or more")
        self._url = url
        self._key = None if secret is None else _key(secret)
        self._form = form

    @property
    def name(self) -> str:
        """``webhook:`` and the beginning of the digest of its address, which may be a secret."""
        return f"webhook:{hashlib.sha256(self._url.encode()).hexdigest()[:12]}"

    def send(self, delivery: Delivery) -> str:
        """Post one change; the identifier that it was posted under.

        A problem that somebody works on pages nobody when it occurs again.
        """
        known_as = hashlib.sha256(delivery.marker.encode()).hexdigest()[:32]
        if delivery.issue.acknowledged_by and delivery.change == "commented" and delivery.actor == PLATFORM:
            return known_as
        issue = delivery.issue
        self._post(
            known_as,
            f"alert.{delivery.change}",
            {
                "number": issue.number,
                "fingerprint": issue.fingerprint,
                "kind": issue.kind,
                "subject": issue.subject,
                "check": issue.check,
                "title": issue.title,
                "severity": issue.severity,
                "labels": list(issue.labels),
                "state": issue.state,
                "at": delivery.at,
                "actor": delivery.actor,
                "text": delivery.body or issue.body,
            },
        )
        return known_as

    def test(self) -> str:
        """Post a test."""
        said = {"title": "Test of nethical alerts", "severity": "low", "text": "Sent by `nethical alerts test`."}
        self._post(f"test-{datetime.now(UTC):%Y%m%dT%H%M%S%f}", "alert.test", said)
        return f"{self.name} took a test"

    def _post(self, identifier: str, kind: str, said: dict[str, Any]) -> None:
        import requests

        now = datetime.now(UTC)
        document = {"type": kind, "timestamp": now.isoformat(timespec="seconds"), "data": said}
        if self._form == "slack":
            document = {"text": _slack_text(kind, said)}
        body = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
        headers = {"content-type": "application/json", "user-agent": "nethical", "webhook-id": identifier}
        if self._key is not None:
            headers |= signature(self._key, identifier, int(now.timestamp()), body)
        try:
            # An address that leads elsewhere would be given what was signed for this one.
            answer = requests.post(
                self._url, data=body, headers=headers, timeout=_TIMEOUT_SECONDS, allow_redirects=False
            )
        except requests.RequestException as error:
            raise TargetUnavailableError(f"{self.name} cannot be reached ({type(error).__name__})") from None
        status = answer.status_code
        if 200 <= status < 300:
            return
        if status in (408, 425, 429) or status >= 500:
            asked = parse_wait(answer.headers.get("retry-after"), now)
            raise TargetUnavailableError(f"{self.name} does not take posts now (status {status})", asked)
        if status in (400, 413, 422):
            raise DeliveryRefusedError(f"{self.name} did not take a post (status {status})")
        raise TargetRefusedError(f"{self.name} takes no posts (status {status}); check {URL_VARIABLE}")


def signature(key: bytes, identifier: str, seconds: int, body: bytes) -> dict[str, str]:
    """The headers that sign ``body``: HMAC-SHA256 over identifier, seconds since 1970 and body, joined by dots."""
    signed = b".".join((identifier.encode(), str(seconds).encode(), body))
    digest = base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
    return {"webhook-timestamp": str(seconds), "webhook-signature": f"v1,{digest}"}


def _key(secret: str) -> bytes:
    if secret.startswith(_PREFIX):
        try:
            key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
        except binascii.Error:
            raise SettingsError(f"{SECRET_VARIABLE}: what follows {_PREFIX} is not base64") from None
    else:
        key = secret.encode()
    if len(key) < _SECRET_BYTES:
        raise SettingsError(f"{SECRET_VARIABLE} has {len(key)} bytes; at least {_SECRET_BYTES} are needed")
    return key


def _slack_text(kind: str, said: dict[str, Any]) -> str:
    """For people in a chat: without the escapes and markers of Markdown; ``&``, ``<`` and ``>`` are escaped already, as
    Slack wants them."""
    text = _EMPTY_LINES.sub("\n\n", _KEPT_FOR_PEOPLE.sub("", said["text"])).strip()
    title = _KEPT_FOR_PEOPLE.sub("", said["title"])
    return f"[{said['severity']}] {title} ({kind.removeprefix('alert.')})\n{text}"
