"""The Kaggle client, contained: imported, signed in and called without printing, exiting, hanging or leaking.

What belongs here: what the unmodified ``kaggle`` package needs around it. What does not: retries and archives
(``kaggle_source``).

The package signs in (over the network when a token is set) and prints help when it is imported, creates its
configuration folder, prints credentials when VERBOSE is set, calls ``exit`` when there are none, and sends requests
without a time limit. So it is imported only after its host was seen to be reachable, with output caught, and every
session gets a time limit.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

PRODUCTION = "https://api.kaggle.com"
LOCAL = "http://localhost"
CONNECT_SECONDS = 3.0
ANSWER_SECONDS = 15.0
READ_SECONDS = 60.0
_IMPORT_SECONDS = 60.0
_FAILURE_REMEMBERED_SECONDS = 300.0
_PRINTING_ARGUMENTS = ("--verbose", "-v")

Result = TypeVar("Result")
_import_lock = threading.Lock()
_probe_lock = threading.Lock()
_probes: dict[tuple[str, int], tuple[float, str | None]] = {}


class TooSlowError(Exception):
    """A step outlived its time limit."""


@dataclass(frozen=True)
class Client:
    """A ready client, and whether it has credentials."""

    api: Any
    anonymous: bool

    @contextlib.contextmanager
    def session(self) -> Iterator[Any]:
        """An open ``kagglesdk`` client whose every request has a time limit."""
        with self.api.build_kaggle_client() as opened:
            session = opened.http_client()._session  # the client has no setting for time limits
            for prefix in ("http://", "https://"):
                session.mount(prefix, _TimeLimitAdapter())
            yield opened


class _TimeLimitAdapter(HTTPAdapter):
    def send(self, request: Any, **options: Any) -> requests.Response:  # type: ignore[override]
        if options.get("timeout") is None:
            options["timeout"] = (CONNECT_SECONDS, ANSWER_SECONDS)
        return super().send(request, **options)


def service_address() -> str:
    """The address the client will call, as it decides itself from KAGGLE_API_ENVIRONMENT."""
    return LOCAL if os.environ.get("KAGGLE_API_ENVIRONMENT") == "LOCALHOST" else PRODUCTION


def unreachable_reason(address: str) -> str | None:
    """Why ``address`` (or the proxy in front of it) does not accept a connection; nothing when it does.

    One connection attempt of at most a few seconds, name resolution included. A success is remembered for the life
    of the process, a failure for five minutes.
    """
    host, port = _endpoint(address)
    with _probe_lock:
        known = _probes.get((host, port))
        if known is None or (known[1] is not None and time.monotonic() - known[0] > _FAILURE_REMEMBERED_SECONDS):
            known = _probes[(host, port)] = (time.monotonic(), _try_connection(host, port))
    return known[1]


def remember_unreachable(address: str, reason: str) -> None:
    """Spare the next callers a service that accepts connections but answers nothing, for five minutes."""
    with _probe_lock:
        _probes[_endpoint(address)] = (time.monotonic(), reason)


def _endpoint(address: str) -> tuple[str, int]:
    """Host and port that a request to ``address`` connects to."""
    proxy = requests.utils.select_proxy(address, requests.utils.get_environ_proxies(address))
    parts = urlsplit(proxy if proxy and "://" in proxy else f"http://{proxy}" if proxy else address)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def load_client() -> Client:
    """The real client with the user's credentials, or anonymous when there are none.

    Credentials: KAGGLE_API_TOKEN, KAGGLE_USERNAME and KAGGLE_KEY, ``kaggle.json``, an access token file, or the
    sign-in of ``kaggle auth login``; the client looks for them itself.

    Raises:
        TooSlowError: the service accepted a connection but never answered the client.
        requests.RequestException: the service refused the sign-in.
    """
    with _import_lock, _contained():
        api_class = within(_IMPORT_SECONDS, _import_api)
        api = api_class()
        api.args = [argument for argument in api.args if argument not in _PRINTING_ARGUMENTS]
        api.already_printed_version_warning = True
        api.config_values = api.read_config_environment(api.read_config_file(quiet=True))
        signed_in = _has_key(api) or _has_token()
        if not signed_in and _has_oauth_sign_in():
            with contextlib.suppress(SystemExit):
                within(READ_SECONDS, api.authenticate)
            signed_in = bool(api.config_values.get(api.CONFIG_NAME_TOKEN))
        return Client(api, anonymous=not signed_in)


def within(seconds: float, step: Callable[[], Result]) -> Result:
    """The result of ``step``, run in a thread that is left behind when it takes longer.

    Raises:
        TooSlowError: it did; anything else: what ``step`` raised.
    """
    outcome: list[Result] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(step())
        except BaseException as error:
            failure.append(error)

    worker = threading.Thread(target=run, daemon=True)
    worker.start()
    worker.join(seconds)
    if failure:
        raise failure[0]
    if not outcome:
        raise TooSlowError(f"no answer within {seconds:.0f} s")
    return outcome[0]


def _try_connection(host: str, port: int) -> str | None:
    try:
        within(CONNECT_SECONDS + 1.0, lambda: socket.create_connection((host, port), timeout=CONNECT_SECONDS)).close()
    except (OSError, TooSlowError) as error:
        why = getattr(error, "strerror", None) or str(error)
        return f"{host}:{port} cannot be reached ({why})"
    return None


def _import_api() -> Any:
    with _without_new_folder():
        from kaggle.api.kaggle_api_extended import KaggleApi
    return KaggleApi


@contextlib.contextmanager
def _contained() -> Iterator[None]:
    """Catch what the package prints, and undo what it does to logging."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        root.setLevel(level)
        root.handlers[:] = handlers


@contextlib.contextmanager
def _without_new_folder() -> Iterator[None]:
    """Keep the import from creating a configuration folder in the user's home: lend it one that is removed again."""
    home = Path.home()
    configured = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    if os.environ.get("KAGGLE_CONFIG_DIR") or (home / ".kaggle").exists() or (configured / "kaggle").exists():
        yield
        return
    with tempfile.TemporaryDirectory() as lent:
        os.environ["KAGGLE_CONFIG_DIR"] = lent
        try:
            yield
        finally:
            del os.environ["KAGGLE_CONFIG_DIR"]


def _has_key(api: Any) -> bool:
    values = api.config_values
    return bool(values.get(api.CONFIG_NAME_USER) and values.get(api.CONFIG_NAME_KEY))


def _has_token() -> bool:
    from kagglesdk import get_access_token_from_env

    return bool(get_access_token_from_env()[0])


def _has_oauth_sign_in() -> bool:
    from kagglesdk import KaggleCredentials

    return Path(KaggleCredentials.DEFAULT_CREDENTIALS_FILE).expanduser().is_file()
