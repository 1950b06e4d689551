"""Collected metrics on their way to Prometheus: as text, in a file for the node exporter, or pushed.

What belongs here: the three ways, and what is said where one does not work. What does not: what is collected
(``collecting``).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from prometheus_client import generate_latest
from prometheus_client.exposition import push_to_gateway

from nethical_assets.core.ground.errors import InputFileError, NethicalError, SettingsError
from nethical_assets.core.ground.storage import write_atomically
from nethical_assets.operations.declared_metrics import Collected

USER_VARIABLE = "NETHICAL_PUSHGATEWAY_USER"
PASSWORD_VARIABLE = "NETHICAL_PUSHGATEWAY_PASSWORD"  # noqa: S105 the name of a variable
JOB = "nethical_pipeline"
SUFFIX = ".prom"
_PUSH_SECONDS = 30.0


class PushError(NethicalError):
    """A Pushgateway could not be told; it keeps what it was told before."""

    exit_code = 1


def text(collected: Collected) -> bytes:
    """The metrics in the text format of Prometheus, version 0.0.4."""
    return generate_latest(collected)


def to_json(collected: Collected) -> dict[str, Any]:
    """The metrics as a JSON document, with what could not be read."""
    return {
        "metrics": [
            {
                "name": metric.name,
                "type": metric.type,
                "help": metric.documentation,
                "samples": [{"labels": dict(one.labels), "value": one.value} for one in metric.samples],
            }
            for metric in collected.collect()
        ],
        "problems": collected.problems,
    }


def check_textfile(path: Path) -> None:
    """Make sure that the node exporter would read ``path``.

    Raises:
        InputFileError: it would not, or there is no such folder.
    """
    if path.suffix != SUFFIX:
        raise InputFileError(f"{path}: the node exporter reads only files whose names end in {SUFFIX}; name one")
    if not path.parent.is_dir():
        raise InputFileError(f"{path.parent}: no such folder; name the one that the node exporter reads")


def write_textfile(collected: Collected, path: Path) -> None:
    """Replace ``path`` as a whole: whoever reads sees the old metrics or the new ones.

    Raises:
        OSError: the disk is full or not writable; the old ones are still there.
    """
    write_atomically(path, text(collected), durable=False)


def check_address(url: str) -> None:
    """Make sure that ``url`` is an address without a secret.

    Raises:
        SettingsError: it is not; nothing of it is shown.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not host or port == 0:
        raise SettingsError(
            "--push takes an address that begins with http:// or https://, such as http://127.0.0.1:9091"
        )
    if parts.username or parts.password or parts.query or parts.fragment:
        raise SettingsError(
            f"--push takes an address without user, password or query; set {USER_VARIABLE} and {PASSWORD_VARIABLE}"
        )


def push(collected: Collected, url: str, *, environment: Mapping[str, str] | None = None) -> None:
    """Replace what the Pushgateway at ``url`` holds of this machine's pipeline.

    Raises:
        SettingsError: only one of user and password is in the environment.
        PushError: it cannot be reached, or refuses.
    """
    given = os.environ if environment is None else environment
    user, password = given.get(USER_VARIABLE, ""), given.get(PASSWORD_VARIABLE, "")
    if bool(user) != bool(password):
        raise SettingsError(f"set both {USER_VARIABLE} and {PASSWORD_VARIABLE}, or neither")

    def handler(url: str, method: str, timeout: float | None, headers: Any, data: bytes) -> Callable[[], None]:
        auth = (user, password) if user else None
        return partial(_send, url, method, timeout, dict(headers), data, auth)

    grouping = {"instance": socket.gethostname()}
    push_to_gateway(url, JOB, collected, grouping, _PUSH_SECONDS, handler)


def _send(
    url: str, method: str, timeout: float | None, headers: Mapping[str, str], data: bytes, auth: tuple[str, str] | None
) -> None:
    import requests

    where = f"the Pushgateway at {urlsplit(url).netloc} was not told"
    try:
        # What was meant for one address, with its password, is not given to another.
        with requests.request(
            method, url, data=data, headers=headers, auth=auth, timeout=timeout, allow_redirects=False
        ) as answer:
            if answer.status_code >= 300:
                raise PushError(f"{where}: status {answer.status_code}; it keeps what it was told before")
    except requests.RequestException as error:
        reason = "it did not answer in time" if isinstance(error, requests.Timeout) else "it cannot be reached"
        raise PushError(f"{where}: {reason} ({type(error).__name__}); start it, or correct --push") from None
