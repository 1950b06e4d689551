"""Issues on GitHub: the target that mirrors the tracker's issues into one repository, through PyGithub.

What belongs here: which requests a change of an issue becomes, and what each answer means. What does not: which changes
there are (``outbox``), or when they are sent again (``delivery``): the client itself never sends anything twice.

An issue is recognised by the line ``nethical-fingerprint`` of its body and a comment by the line ``nethical-delivery``,
both exact, in what the platform or somebody with rights in the repository wrote: GitHub's search index is late, and
anybody may open an issue in a public repository.

Source: GitHub REST API, version 2022-11-28: issues, labels, rate limits, timeouts.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from nethical_assets.core.alerts.body import fingerprint_marker, sanitise
from nethical_assets.core.alerts.delivery import (
    LONGEST_ASKED,
    DeliveryRefusedError,
    TargetRefusedError,
    TargetUnavailableError,
    parse_wait,
)
from nethical_assets.core.alerts.outbox import Delivery
from nethical_assets.core.ground.errors import SettingsError

if TYPE_CHECKING:
    from github.Issue import Issue as GitHubIssue
    from github.Repository import Repository

REPOSITORY_VARIABLE = "NETHICAL_GITHUB_REPOSITORY"
TOKEN_VARIABLE = "NETHICAL_GITHUB_TOKEN"  # noqa: S105 the name of a variable
PUBLIC_ADDRESS = "https://api.github.com"

_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,38}/[A-Za-z0-9._-]{1,100}")
_TIMEOUT_SECONDS = 10
_PAUSE_SECONDS = 1.0
"""Between two writes, as GitHub asks of integrations."""
_LONGEST_REQUEST_SECONDS = 10.0
"""GitHub ends a request that it works on for longer: what somebody sent who died is there after it, or never."""
_SECONDARY_WAIT = timedelta(minutes=1)
"""How long GitHub asks to wait at a secondary limit that names no time."""
_CLOCKS_APART = timedelta(days=1)
_TRUSTED = ("OWNER", "MEMBER", "COLLABORATOR")
_LABEL_COLOUR = "5319e7"
_PLATFORM_LABEL = "nethical"
_GONE = (404, 410)
_LATEST_RESET = 253_402_300_799
"""The end of the year 9999."""


class GitHubTarget:
    """The issues of ``repository`` (``owner/name``). Implements ``delivery.Target``.

    Args:
        token: a fine-grained token with "Issues: read and write" on that repository, and nothing else.
        address: of the API; another one for GitHub Enterprise.
        wait: sleeps for seconds. A target waits once at most: make another one for another round.

    Raises:
        SettingsError: the repository's name is malformed.
    """

    def __init__(
        self,
        repository: str,
        token: str,
        address: str = PUBLIC_ADDRESS,
        *,
        pause_seconds: float | None = _PAUSE_SECONDS,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        if not _REPOSITORY.fullmatch(repository):
            raise SettingsError(f"{REPOSITORY_VARIABLE} is not a repository; give it as owner/name")
        self._repository_name = repository
        self._token = token
        self._address = address
        self._pause_seconds = pause_seconds
        self._wait, self._waited = wait, False

    @property
    def name(self) -> str:
        """``github:owner/name``."""
        return f"github:{self._repository_name}"

    def send(self, delivery: Delivery) -> str:
        """Make one change to the issue on GitHub, which is opened if it is not there; its number."""
        with self._failures():
            issue = self._known(delivery) or self._found(delivery)
            if issue is None and self._waits(delivery):
                issue = self._found(delivery)
            issue = issue or self._opened(delivery)
            if delivery.change != "opened":
                # Also where it is locked and takes no comment.
                self._set_state(issue, delivery)
                if not self._has(issue, delivery):
                    issue.create_comment(f"{delivery.body.rstrip()}\n\n{_signed(delivery)}\n{delivery.marker}")
            return str(issue.number)

    def test(self) -> str:
        """Open an issue, comment on it and close it."""
        with self._failures():
            self._label(_PLATFORM_LABEL)
            issue = self._repository.create_issue(
                "Test of nethical alerts", "Sent by `nethical alerts test`.", labels=[_PLATFORM_LABEL]
            )
            issue.create_comment("The platform may comment and close.")
            issue.edit(state="closed", state_reason="completed")
        return f"issue {issue.number} of {self._repository_name} was opened, commented on and closed"

    @functools.cached_property
    def _repository(self) -> Repository:
        import github

        # Without retries: what a request that was not answered did is looked up before it is sent again.
        client = github.Github(
            auth=github.Auth.Token(self._token),
            base_url=self._address,
            timeout=_TIMEOUT_SECONDS,
            retry=None,
            seconds_between_requests=None,
            seconds_between_writes=self._pause_seconds,
        )
        return client.get_repo(self._repository_name)

    def _known(self, delivery: Delivery) -> GitHubIssue | None:
        """The issue by the number that it had; None where a person has deleted it since, or given it to another
        repository, in which that number is another issue's."""
        if delivery.known_as is None:
            return None
        import github

        try:
            issue = self._repository.get_issue(int(delivery.known_as))
        except github.GithubException as error:
            if error.status in _GONE:
                return None
            raise
        return issue if issue.url == f"{self._repository.url}/issues/{delivery.known_as}" else None

    def _found(self, delivery: Delivery) -> GitHubIssue | None:
        """The issue by its marker: among those with our label, whenever they say they were opened, and among all that
        were opened since it was. Our clock may have been ahead when it was, or somebody took the label away."""
        marker = fingerprint_marker(delivery.issue.fingerprint)
        oldest = datetime.fromisoformat(delivery.issue.created_at) - _CLOCKS_APART
        ours = self._repository.get_issues(state="all", sort="created", direction="desc", labels=[_PLATFORM_LABEL])
        newer = itertools.takewhile(
            lambda issue: issue.created_at >= oldest,
            self._repository.get_issues(state="all", sort="created", direction="desc"),
        )
        found = (one for one in itertools.chain(ours, newer) if _holds(one, marker) and one.pull_request is None)
        return next(found, None)

    def _opened(self, delivery: Delivery) -> GitHubIssue:
        labels = [*delivery.issue.labels, _PLATFORM_LABEL]
        for label in labels:
            self._label(label)
        return self._repository.create_issue(delivery.issue.title, delivery.issue.body, labels=labels)

    def _label(self, name: str) -> None:
        import github

        try:
            self._repository.get_label(name)
        except github.UnknownObjectException:
            with contextlib.suppress(_ExistsError):
                self._create_label(name)

    def _create_label(self, name: str) -> None:
        import github

        try:
            self._repository.create_label(name, _LABEL_COLOUR)
        except github.GithubException as error:
            if error.status == 422:
                raise _ExistsError from None
            raise

    def _has(self, issue: GitHubIssue, delivery: Delivery) -> bool:
        def found() -> bool:
            # Of any time: our clock may have been ahead when it was written.
            return any(_holds(comment, delivery.marker) for comment in issue.get_comments())

        return delivery.uncertain and (found() or (self._waits(delivery) and found()))

    def _waits(self, delivery: Delivery) -> bool:
        """Wait, once, until everything that others sent has arrived; whether it makes sense to look again."""
        if self._waited or not delivery.attempted:
            return False
        self._wait(_LONGEST_REQUEST_SECONDS)
        self._waited = True
        return True

    def _set_state(self, issue: GitHubIssue, delivery: Delivery) -> None:
        if delivery.change == "closed" and issue.state != "closed":
            issue.edit(state="closed", state_reason="completed")
        if delivery.change == "reopened" and issue.state != "open":
            issue.edit(state="open", state_reason="reopened")

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        """Say in one line what an answer means, without what was sent or who we are."""
        import github
        import requests

        try:
            yield
        except github.GithubException as error:
            raise self._meaning(error) from None
        except (requests.RequestException, OSError) as error:
            raise TargetUnavailableError(f"{self.name} cannot be reached ({type(error).__name__})") from None
        except (AssertionError, RuntimeError):
            # The client's ways to refuse an answer that leads to another host.
            raise TargetRefusedError(f"{self.name}: the API answered with another server's address") from None

    def _meaning(self, error: Any) -> TargetUnavailableError | TargetRefusedError | DeliveryRefusedError:
        import github

        status, now = error.status, datetime.now(UTC)
        headers = {key.lower(): value for key, value in (error.headers or {}).items()}
        said = sanitise(error.data.get("message") if isinstance(error.data, dict) else None)
        if status == 429 or isinstance(error, github.RateLimitExceededException):
            asked = parse_wait(headers.get("retry-after"), now) or _reset(headers, now) or now + _SECONDARY_WAIT
            return TargetUnavailableError(f"{self.name} limits our requests until {asked:%Y-%m-%d %H:%M} UTC", asked)
        if status >= 500:
            return TargetUnavailableError(f"{self.name} does not work (status {status})")
        if status == 422 or (status == 403 and "locked" in said.lower()):
            return DeliveryRefusedError(f"{self.name} did not take a change (status {status}: {said})")
        words = {
            401: f"does not know the token; set a valid one in {TOKEN_VARIABLE}",
            403: f"the token in {TOKEN_VARIABLE} may not do this; it needs Issues: read and write ({said})",
            404: "no such repository for this token",
            410: "the repository has its issues switched off",
        }
        return TargetRefusedError(f"{self.name}: {words.get(status, f'status {status}: {said}')}")


class _ExistsError(Exception):
    """Somebody made it in between."""


def _holds(written: Any, marker: str) -> bool:
    """Whether a line of what somebody with rights wrote is ``marker``."""
    trusted = written.author_association in _TRUSTED or (written.user and written.user.type == "Bot")
    return bool(trusted) and marker in (written.body or "").splitlines()


def _signed(delivery: Delivery) -> str:
    return f"({delivery.actor}, {delivery.at})"


def _reset(headers: dict[str, str], now: datetime) -> datetime | None:
    """When the primary limit is over, at most a day ahead."""
    reset = headers.get("x-ratelimit-reset", "")
    if headers.get("x-ratelimit-remaining") != "0" or not reset.isdigit():
        return None
    return min(datetime.fromtimestamp(min(int(reset[:12]), _LATEST_RESET), UTC), now + LONGEST_ASKED)
