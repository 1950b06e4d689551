"""When schedules and sensors looked last, and when the daemon last said that it lives, as metrics.

What belongs here: asking Dagster's instance. What does not: the metrics of everything else (``operations.collecting``).
"""

from __future__ import annotations

from nethical_assets.home.settings import Settings
from nethical_assets.operations import declared_metrics as metrics
from nethical_assets.operations.collecting import reading
from nethical_assets.operations.declared_metrics import Collected
from nethical_assets.orchestration.instance import open_instance, storage_failures


def collect_looks(settings: Settings, found: Collected) -> None:
    """Add what Dagster knows of its daemon to ``found``; nothing in a home in which it never ran."""
    found.set(metrics.COLLECTION_FAILED, 0, metrics.ORCHESTRATOR)
    if not (settings.home / "dagster").exists():
        return
    with reading(found, metrics.ORCHESTRATOR), storage_failures(settings), open_instance(settings) as instance:
        for daemon, heartbeat in instance.get_daemon_heartbeats().items():
            found.set(metrics.HEARTBEAT_AT, heartbeat.timestamp, daemon.lower())
        for state in instance.all_instigator_state():
            for tick in instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1):
                found.set(metrics.TICK_AT, tick.timestamp, state.name)
