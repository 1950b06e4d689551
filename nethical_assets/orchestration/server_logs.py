"""What Dagster's daemon and code servers would warn of although it is as it should be.

What belongs here: making it not happen, or leaving out the one line that says it. What does not: any level of logging,
which ``command_line.ui`` sets: whatever else is worth a warning is shown.
"""

from __future__ import annotations

import logging

import dagster as dg

CODE_SERVER = "dagster.code_server"
_REPLACED = "No heartbeat received in"


def begin_consuming(instance: dg.DagsterInstance) -> None:
    """Give the daemon the place in the event log from which it looks for runs to try again, where it has none yet: the
    end of the log, which it would take itself, with a warning for each kind of event."""
    from dagster._daemon.auto_run_reexecution import event_log_consumer as consumer

    keys = {consumer._create_cursor_key(event_type) for event_type in consumer.DAGSTER_EVENT_TYPES}
    missing = keys - instance.daemon_cursor_storage.get_cursor_values(keys).keys()
    if missing:
        newest = str(instance.event_log_storage.get_maximum_record_id() or 0)
        instance.daemon_cursor_storage.set_cursor_values(dict.fromkeys(missing, newest))


def expect_replacement() -> None:
    """Have the code server that this process may be say nothing when it ends because nobody asks it any more.

    The daemon starts a new one every minute, so that new code is seen, and lets the old one end like that. A daemon
    that is gone is said by the command that runs it.
    """
    logger = logging.getLogger(CODE_SERVER)
    if _is_news not in logger.filters:
        logger.addFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(_REPLACED)
