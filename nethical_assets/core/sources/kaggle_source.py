"""Datasets from Kaggle, through the unmodified client.

What belongs here: fetching one dataset: unchanged or not, retries, resuming, damaged archives, reasons. What does
not: containing the client (``kaggle_client``), unpacking (``archives``), other sources (``sources``).
"""

from __future__ import annotations

import random
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import requests
import urllib3

from nethical_assets.core.ground.disk import is_out_of_room
from nethical_assets.core.ground.errors import SourceUnavailableError
from nethical_assets.core.ground.storage import exclusive_lock
from nethical_assets.core.rows.catalog import DatasetEntry
from nethical_assets.core.sources import archives, kaggle_client
from nethical_assets.core.sources.source import (
    UNPACKED_PREFIX,
    CredentialsError,
    FetchedFiles,
    NotThereError,
    Unchanged,
    UnusableContentError,
    UpstreamState,
)

_MARKER_SUFFIX = ".kaggle-partial"
_ATTEMPTS_WITHOUT_ANSWER = 3
_CHUNK_BYTES = 1 << 16  # the client drops the chunk during which a connection breaks
_TEMPORARY_STATUSES = (408, 429)
"""Of the answers from 400 to 499 the only ones that another try can change (RFC 9110, 15.5; RFC 6585, 4)."""
_RANGE_NOT_SATISFIABLE = 416
_LOCK_SECONDS = 1800.0


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how patiently a request is repeated.

    Waits grow as ``base_seconds * 2**n`` with full jitter ("Exponential Backoff And Jitter", AWS, 2015), up to
    ``maximum_seconds``; a longer ``Retry-After`` of the service is honoured up to ``retry_after_seconds``, and beyond
    that the service counts as unavailable.
    """

    attempts: int = 8
    base_seconds: float = 0.5
    maximum_seconds: float = 10.0
    retry_after_seconds: float = 120.0


DEFAULT_RETRIES = RetryPolicy()


class _TemporaryError(Exception):
    """Worth another attempt, after the seconds the service asked for; ``slow`` when it took a time limit to notice.

    ``finally_raised``: what it is called when there is no attempt left.
    """

    def __init__(
        self,
        reason: str,
        wait_seconds: float = 0.0,
        *,
        slow: bool = False,
        finally_raised: type[SourceUnavailableError] = SourceUnavailableError,
    ) -> None:
        super().__init__(reason)
        self.wait_seconds = wait_seconds
        self.slow = slow
        self.finally_raised = finally_raised


class KaggleSource:
    """Kaggle datasets, with the user's credentials or anonymously (public datasets only).

    Args:
        retries: how often to try.
        sleep: called with seconds; replaced in tests.
        jitter: source of the waits' randomness.
        address: whose reachability is looked at first; the client's own by default.
        limits: what an archive may unpack to.
    """

    name = "kaggle"

    def __init__(
        self,
        *,
        retries: RetryPolicy = DEFAULT_RETRIES,
        sleep: Callable[[float], None] = time.sleep,
        jitter: random.Random | None = None,
        address: str | None = None,
        limits: archives.ExtractionLimits = archives.DEFAULT_LIMITS,
    ) -> None:
        self._retries = retries
        self._sleep = sleep
        self._jitter = jitter or random.Random()  # noqa: S311  # spreads load, protects nothing
        self._address = address
        self._limits = limits
        self._client: kaggle_client.Client | None = None
        self._answered = False

    @property
    def _service(self) -> str:
        return self._address or kaggle_client.service_address()

    def fetch(self, entry: DatasetEntry, folder: Path, known: UpstreamState | None) -> FetchedFiles | Unchanged:
        """Download and unpack the dataset into a new folder below ``folder``, unless ``known`` is still current.

        The archive is kept in ``folder`` while it is incomplete, so that the next call goes on where this one
        stopped, also after the process died. Calls for one folder wait for each other.

        Raises:
            SourceUnavailableError: unreachable, refused (401, 403, 404), or still failing after all attempts.
            BusyError: another process has been fetching the same dataset for half an hour.
            OSError: the disk is full or not writable.
        """
        reason = kaggle_client.unreachable_reason(self._service)
        if reason is not None:
            raise SourceUnavailableError(f"kaggle: {reason}")
        folder.mkdir(parents=True, exist_ok=True)
        with exclusive_lock(folder / "fetch.lock", waiting_seconds=_LOCK_SECONDS, what=f"the download of {entry.slug}"):
            return self._fetch_with_retries(entry, folder, known)

    def _fetch_with_retries(
        self, entry: DatasetEntry, folder: Path, known: UpstreamState | None
    ) -> FetchedFiles | Unchanged:
        attempt = 0
        while True:
            attempt += 1
            try:
                return self._attempt(entry, folder, known)
            except _TemporaryError as error:
                if not self._answered and error.slow and attempt >= _ATTEMPTS_WITHOUT_ANSWER:
                    reason = f"{self._service} accepts connections but does not answer ({error})"
                    kaggle_client.remember_unreachable(self._service, reason)
                    raise SourceUnavailableError(f"kaggle: {reason}") from None
                if attempt >= self._retries.attempts:
                    raise error.finally_raised(
                        f"kaggle: {entry.slug}: {error} (the last of {attempt} attempts)"
                    ) from None
                if error.wait_seconds > self._retries.retry_after_seconds:
                    raise SourceUnavailableError(
                        f"kaggle: {entry.slug}: {error}; it asks to come back in {error.wait_seconds:.0f} s"
                    ) from None
                self._sleep(max(error.wait_seconds, self._backoff(attempt)))

    def _backoff(self, attempt: int) -> float:
        ceiling = min(self._retries.maximum_seconds, self._retries.base_seconds * 2**attempt)
        return self._jitter.uniform(0.0, ceiling)

    def _attempt(self, entry: DatasetEntry, folder: Path, known: UpstreamState | None) -> FetchedFiles | Unchanged:
        archive = folder / "archive.zip"
        try:
            if self._client is None:
                self._client = kaggle_client.load_client()
            with self._client.session() as session:
                response = self._request(session, entry)
                self._answered = True
                with response:
                    upstream = _state(response)
                    if known is not None and upstream.same_as(known):
                        _discard(archive)
                        return Unchanged(upstream)
                    # Retrying is ours (max_retries=0): the client's own waits for minutes and cannot be tested.
                    self._client.api.download_file(
                        response,
                        str(archive),
                        session.http_client(),
                        quiet=True,
                        resume=True,
                        chunk_size=_CHUNK_BYTES,
                        max_retries=0,
                        timeout=kaggle_client.READ_SECONDS,
                    )
        except SystemExit:
            raise SourceUnavailableError("kaggle: the client gave up without saying why") from None
        except kaggle_client.TooSlowError as error:
            raise SourceUnavailableError(f"kaggle: {error}") from None
        except requests.HTTPError as error:
            if error.response is not None and error.response.status_code == _RANGE_NOT_SATISFIABLE and archive.exists():
                # What was downloaded before is of another edition: begin again.
                _discard(archive)
                raise _TemporaryError("what was downloaded before does not fit any more (416)") from None
            raise self._http_reason(entry, error) from None
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            slow = isinstance(error, requests.Timeout)
            raise _TemporaryError(f"the connection {'timed out' if slow else 'broke'}", slow=slow) from None
        except ValueError:
            # The client found another size than announced: an error page in place of the rest of the file.
            _discard(archive)
            raise _TemporaryError("the download had the wrong size") from None
        return self._unpack(entry, archive, folder, upstream)

    @staticmethod
    def _request(session: Any, entry: DatasetEntry) -> Any:
        """The open response of a download request: its headers say whether its body is needed."""
        from kagglesdk.datasets.types.dataset_api_service import ApiDownloadDatasetRequest

        request = ApiDownloadDatasetRequest()
        request.owner_slug, request.dataset_slug = entry.slug.split("/")
        return session.datasets.dataset_api_client.download_dataset(request)

    def _http_reason(self, entry: DatasetEntry, error: requests.HTTPError) -> Exception:
        self._answered = True
        status = None if error.response is None else error.response.status_code
        if status is None or not 400 <= status < 500 or status in _TEMPORARY_STATUSES:
            return _TemporaryError(f"the service answered {status}", _retry_after(error.response))
        kind: type[SourceUnavailableError] = CredentialsError
        anonymous = self._client is not None and self._client.anonymous
        if status == 401 and anonymous:
            reason = "needs credentials (401): set KAGGLE_USERNAME and KAGGLE_KEY, or KAGGLE_API_TOKEN"
        elif status == 401:
            reason = "the credentials were refused (401): correct KAGGLE_USERNAME and KAGGLE_KEY, or kaggle.json"
        elif status == 403:
            reason = "access is forbidden (403): accept its terms on its page, or use an account that may read it"
        elif status == 404:
            kind, reason = NotThereError, "there is no such dataset (404): correct 'slug' in datasets.toml"
        elif status == 410:
            kind, reason = NotThereError, "the dataset is gone for good (410): take its entry out of datasets.toml"
        elif status == 451:
            kind, reason = NotThereError, "it must not be served for legal reasons (451): use another dataset"
        else:
            kind, reason = SourceUnavailableError, f"the request was refused ({status})"
        return kind(f"kaggle: {entry.slug}: {reason}")

    def _unpack(self, entry: DatasetEntry, archive: Path, folder: Path, upstream: UpstreamState) -> FetchedFiles:
        unpacked = Path(tempfile.mkdtemp(prefix=UNPACKED_PREFIX, dir=folder))
        try:
            archives.extract(archive, unpacked, self._limits)
        except BaseException as error:
            shutil.rmtree(unpacked, ignore_errors=True)
            if not isinstance(error, KeyboardInterrupt | SystemExit) and not is_out_of_room(error):
                _discard(archive)
            if isinstance(error, archives.DamagedArchiveError):
                raise _TemporaryError(
                    f"the archive arrived damaged ({error})", finally_raised=UnusableContentError
                ) from None
            if isinstance(error, archives.RefusedArchiveError):
                raise UnusableContentError(f"kaggle: {entry.slug}: the archive is refused: {error}") from None
            raise
        _discard(archive)
        return FetchedFiles(
            folder=unpacked, upstream=upstream, temporary=True, upstream_date=_iso_date(upstream.last_modified)
        )


def _discard(archive: Path) -> None:
    archive.unlink(missing_ok=True)
    archive.with_name(archive.name + _MARKER_SUFFIX).unlink(missing_ok=True)


def _state(response: requests.Response) -> UpstreamState:
    return UpstreamState(etag=response.headers.get("ETag"), last_modified=response.headers.get("Last-Modified"))


def _iso_date(http_date: str | None) -> str | None:
    try:
        return None if http_date is None else parsedate_to_datetime(http_date).astimezone(UTC).isoformat()
    except ValueError:
        return None


def _retry_after(response: requests.Response | None) -> float:
    """The wait the service asks for in seconds (RFC 9110, 10.2.3), 0 when it does not."""
    value = None if response is None else response.headers.get("Retry-After")
    if value is None:
        return 0.0
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return 0.0
