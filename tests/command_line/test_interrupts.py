"""Signals that end a command: which of them are heard, whatever runs meanwhile."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from dagster._utils.interrupts import capture_interrupts

from nethical_assets.command_line.interrupts import exit_code, interruptible


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    for each in before:
        signal.signal(each, signal.SIG_DFL)
    yield
    for each, handler in before.items():
        signal.signal(each, handler)


def test_a_command_in_the_background_is_ended_by_the_system_before_and_after_a_step() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with interruptible():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        with capture_interrupts():  # a step, to Dagster
            pass
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        assert exit_code() == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_each_signal_is_an_interruption_with_its_own_exit_code(sent: signal.Signals) -> None:
    with interruptible(), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(sent)
    assert exit_code() == 128 + sent
    assert signal.getsignal(sent) is signal.SIG_DFL


def test_a_closed_terminal_that_is_ignored_stays_so() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with interruptible():
        signal.raise_signal(signal.SIGHUP)
        with capture_interrupts():
            pass
        signal.raise_signal(signal.SIGHUP)
