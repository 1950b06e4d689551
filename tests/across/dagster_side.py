"""Dagster's side of a home, asked in a process of its own: runs, events, sensors, and runs as the daemon starts them.

What belongs here: questions to the public instance API and to the built definitions, each answered by one JSON document
on stdout. What does not: the questions of one test.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from tests.across import entry

_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
_STEPS = ("STEP_START", "STEP_SUCCESS", "STEP_FAILURE")


def main(arguments: Sequence[str]) -> None:
    """Answer one question: its name, then its arguments."""
    warnings.simplefilter("ignore")
    import dagster as dg

    with dg.DagsterInstance.get() as instance:
        answer = _QUESTIONS[arguments[0]](instance, *arguments[1:])
    json.dump(answer, sys.stdout, default=str)


def _runs(instance: Any) -> list[dict[str, Any]]:
    """Every run, oldest first."""
    return [
        {
            "run_id": record.dagster_run.run_id,
            "job": record.dagster_run.job_name,
            "status": record.dagster_run.status.value,
            "tags": record.dagster_run.tags_for_storage(),
            "assets": sorted(key.to_user_string() for key in record.dagster_run.asset_selection or ()),
            "origin": _origin(record.dagster_run.remote_job_origin),
        }
        for record in reversed(instance.get_run_records())
    ]


def _origin(origin: Any) -> dict[str, str] | None:
    if origin is None:
        return None
    repository = origin.repository_origin
    return {
        "location": repository.code_location_origin.location_name,
        "repository": repository.repository_name,
        "job": origin.job_name,
    }


def _steps(instance: Any, run_id: str) -> list[dict[str, Any]]:
    """When each step of a run began and ended, in order."""
    return [
        {"step": entry.step_key, "type": entry.dagster_event.event_type_value, "at": entry.timestamp}
        for entry in instance.all_logs(run_id)
        if entry.dagster_event is not None and entry.dagster_event.event_type_value in _STEPS
    ]


def _materializations(instance: Any, key: str) -> list[dict[str, Any]]:
    """The materializations of an asset, newest first: run, time and its plain metadata."""
    import dagster as dg

    found = instance.fetch_materializations(dg.AssetKey(key.split("/")), limit=20).records
    return [
        {
            "run_id": record.run_id,
            "at": record.timestamp,
            "metadata": {
                name: value.value
                for name, value in record.asset_materialization.metadata.items()
                if value.value is None or isinstance(value.value, str | int | float)
            },
        }
        for record in found
    ]


def _tag(instance: Any, run_id: str, key: str, value: str) -> None:
    """Tag an ended run anew, as a person does in the UI: its time of update changes."""
    instance.add_run_tags(run_id, {key: value})


def _tick(instance: Any, names: str, cursors: str) -> dict[str, Any]:
    """Evaluate sensors as the daemon does: those named (comma-separated), or all that file alerts.

    ``cursors`` is where each of them was, as JSON; the answer has the new ones, and the runs that were asked for.
    """
    import dagster as dg

    definitions = _definitions()
    repository = definitions.get_repository_def()
    known = json.loads(cursors)
    wanted = names.split(",") if names else [s.name for s in repository.sensor_defs if "alert" in s.name]
    requests = []
    for name in wanted:
        with dg.build_sensor_context(
            instance=instance,
            cursor=known.get(name) or None,
            repository_def=repository,
            sensor_name=name,
            resources=definitions.resources,
        ) as context:
            data = repository.get_sensor_def(name).evaluate_tick(context)
        known[name] = data.cursor or known.get(name)
        requests += [
            {
                "job": request.job_name,
                "assets": [key.to_user_string() for key in request.asset_selection or ()],
                "config": dict(request.run_config),
                "tags": dict(request.tags),
            }
            for request in data.run_requests or ()
        ]
    return {"cursors": known, "requests": requests}


def _schedules(instance: Any) -> list[dict[str, Any]]:
    """The runs that all schedules ask for now: their jobs, and the families they are for."""
    import datetime

    import dagster as dg

    repository = _definitions().get_repository_def()
    found = []
    for schedule in repository.schedule_defs:
        context = dg.build_schedule_context(
            instance=instance,
            scheduled_execution_time=datetime.datetime.now(datetime.UTC),
            repository_def=repository,
        )
        data = schedule.evaluate_tick(context)
        # A job of no name is what Dagster makes of a bare selection of assets.
        found += [
            {"job": request.job_name or schedule.job_name, "tags": dict(request.tags)}
            for request in data.run_requests or ()
        ]
    return found


def _execute(instance: Any, request: str) -> dict[str, Any]:
    """Execute what a request (as ``tick`` gives it) asks for."""
    import dagster as dg

    wanted = json.loads(request)
    repository = _definitions().get_repository_def()
    assets = wanted.get("assets") or []
    job = repository.get_job(wanted["job"]) if wanted.get("job") else repository.get_implicit_global_asset_job_def()
    result = job.execute_in_process(
        instance=instance,
        asset_selection=[dg.AssetKey(key.split("/")) for key in assets] or None,
        run_config={**wanted.get("config", {}), **_QUIET},
        tags=wanted.get("tags", {}),
        raise_on_error=False,
    )
    return {"run_id": result.run_id, "success": result.success}


def _definitions() -> Any:
    import importlib

    found = importlib.import_module(entry.code_location_module()).defs
    return found() if callable(found) else found


_QUESTIONS = {
    "runs": _runs,
    "steps": _steps,
    "materializations": _materializations,
    "tag": _tag,
    "schedules": _schedules,
    "tick": _tick,
    "execute": _execute,
}
