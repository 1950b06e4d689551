"""Issues told elsewhere: the targets that the environment names, and one round of telling them.

What belongs here: reading the environment, and that one process at a time tells. What does not: what is told, and what
becomes of it (``core.alerts``). Addresses and secrets come from the environment and are kept nowhere.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast, get_args
from urllib.parse import urlsplit

from nethical_assets.core.ground.errors import BusyError, NethicalError, SettingsError
from nethical_assets.core.ground.storage import exclusive_lock
from nethical_assets.core.ground.unexpected import describe_unexpected
from nethical_assets.home.workspace import utc_now

if TYPE_CHECKING:
    from pathlib import Path

    from nethical_assets.core.alerts import LocalIssueTracker
    from nethical_assets.core.alerts.delivery import Target, Told

ADDRESS_VARIABLE = "NETHICAL_GITHUB_URL"
FORM_VARIABLE = "NETHICAL_WEBHOOK_FORM"
_PERSON_WAITS_SECONDS = 30.0
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def targets(environment: Mapping[str, str] | None = None, *, problems: list[str] | None = None) -> tuple[Target, ...]:
    """The targets that the environment (``os.environ`` unless another is given) names; none by default.

    Where ``problems`` is given, what is wrong with one is added to it, and the others are there all the same.

    Raises:
        SettingsError: a variable is wrong, or one that belongs to it is missing; no secret is shown.
    """
    from nethical_assets.core.alerts.github import PUBLIC_ADDRESS, REPOSITORY_VARIABLE, TOKEN_VARIABLE, GitHubTarget
    from nethical_assets.core.alerts.webhook import SECRET_VARIABLE, URL_VARIABLE, Form, WebhookTarget

    given = os.environ if environment is None else environment

    def github() -> Target:
        token = given.get(TOKEN_VARIABLE)
        if not token:
            raise SettingsError(f"{REPOSITORY_VARIABLE} is set and {TOKEN_VARIABLE} is not; set both")
        address = given.get(ADDRESS_VARIABLE) or PUBLIC_ADDRESS
        _check_address(ADDRESS_VARIABLE, address)
        return GitHubTarget(given[REPOSITORY_VARIABLE], token, address.rstrip("/"))

    def webhook() -> Target:
        url, form = given[URL_VARIABLE], given.get(FORM_VARIABLE) or "standard"
        _check_address(URL_VARIABLE, url)
        if form not in get_args(Form):
            raise SettingsError(f"{FORM_VARIABLE} = {form!r}; allowed are {', '.join(get_args(Form))}")
        return WebhookTarget(url, given.get(SECRET_VARIABLE) or None, cast("Form", form))

    found: list[Target] = []
    for variable, make in ((REPOSITORY_VARIABLE, github), (URL_VARIABLE, webhook)):
        if given.get(variable):
            try:
                found.append(make())
            except SettingsError as error:
                if problems is None:
                    raise
                problems.append(f"not told elsewhere: {error}")
    return tuple(found)


def deliver_all(
    home: Path, tracker: LocalIssueTracker, told_to: Sequence[Target], *, patient: bool = True
) -> tuple[Told, ...]:
    """Tell every target what waits for it (``core.alerts.delivery.deliver``); nothing while another process does.

    Raises:
        TrackerError, IntegrityError, BusyError: the tracker cannot be used, or another process tells for long and the
            caller is a person (``patient=False``).
    """
    if not told_to:
        return ()
    try:
        waits = 0.0 if patient else _PERSON_WAITS_SECONDS
        with exclusive_lock(home / "alerts" / "delivery.lock", waiting_seconds=waits, what="the delivery of alerts"):
            return tuple(_told(tracker, target, patient) for target in told_to)
    except BusyError:
        if patient:
            return ()
        raise


def _told(tracker: LocalIssueTracker, target: Target, patient: bool) -> Told:
    """One target told; what nobody expected of it stops no other, and is told by kind and place."""
    from nethical_assets.core.alerts.delivery import Told, deliver, put_off

    outbox = tracker.outbox(target.name)
    try:
        return deliver(outbox, target, now=utc_now(), patient=patient)
    except NethicalError:
        raise
    except Exception as error:
        problem = f"{target.name}: {describe_unexpected(error)}"
        state = put_off(outbox, problem, utc_now())
        return Told.of(target.name, state, problem=problem)


def deliver_quietly(home: Path, tracker: LocalIssueTracker) -> list[str]:
    """One round of telling on the side of something else, which no failure of it stops: a line for every target that
    was told something or could not be told."""
    problems: list[str] = []
    try:
        told = deliver_all(home, tracker, targets(problems=problems))
    except NethicalError as error:
        return [f"not told elsewhere: {error}"]
    return [*problems, *(str(one) for one in told if one.delivered or one.problem)]


def _check_address(variable: str, address: str) -> None:
    try:
        parts = urlsplit(address)
        host = parts.hostname
    except ValueError:
        parts, host = urlsplit(""), None
    if host is None or parts.scheme not in ("http", "https"):
        raise SettingsError(f"{variable} is no address; give one that begins with https://")
    if parts.scheme == "http" and host not in _LOOPBACK:
        raise SettingsError(f"{variable} is not encrypted; give an address that begins with https://")
