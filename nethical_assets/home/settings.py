"""Typed settings: one JSON file, the dataset catalog beside it, and the NETHICAL_* environment variables.

What belongs here: what may be configured, its allowed range, and one-line errors. What does not: acting on a setting,
or secrets (credentials are read from the environment by the client that needs them, and never pass through here).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal, Self

from croniter import CroniterBadDateError, croniter
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from nethical_assets.core.detectors.registry import family_names
from nethical_assets.core.ground.digests import digest_json
from nethical_assets.core.ground.errors import SettingsError
from nethical_assets.core.ground.given_files import read_given_json
from nethical_assets.core.ground.paths import path_named_by
from nethical_assets.core.ground.validation_errors import describe_validation_error
from nethical_assets.core.quality.checks import BLOCKABLE
from nethical_assets.core.rows.catalog import Catalog, load_catalog

PROJECT_ROOT = Path(__file__).resolve().parents[2]
DEFAULT_SETTINGS_FILE = PROJECT_ROOT / "config" / "training-schedule.json"
_DURATION = re.compile(r"([1-9][0-9]{0,4})([dhw])")
_UNITS = {"h": "hours", "d": "days", "w": "weeks"}
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_UNUSABLE_IN_HOME = re.compile(r"[?*\[]|%[0-9A-Fa-f]{2}")
"""Dagster takes the path of its databases for a part of a URL, and that of its configuration for a pattern: with one of
these it would open other files, or run without the configuration and say nothing."""
_UNDECODABLE = re.compile("[\udc80-\udcff]")
"""How Python shows bytes of a path that are not UTF-8."""
_ANY_MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


def _cron(value: str) -> str:
    if len(value.split()) != 5 or not croniter.is_valid(value):
        raise ValueError("not a cron expression of five fields, such as '0 2 * * 0' (Sunday 02:00 UTC)")
    try:
        croniter(value, _ANY_MOMENT).get_next()
    except CroniterBadDateError:
        raise ValueError("a cron expression that never comes due, such as 31 February; name days that exist") from None
    return value


def _duration(value: str) -> str:
    if not _DURATION.fullmatch(value):
        raise ValueError("not a duration: a whole number and a unit, such as 12h, 30d or 52w")
    return value


def parse_duration(value: str) -> timedelta:
    """The length of a validated duration such as ``30d``."""
    number, unit = _DURATION.fullmatch(value).groups()  # type: ignore[union-attr]
    return timedelta(**{_UNITS[unit]: int(number)})


Cron = Annotated[str, AfterValidator(_cron)]
Duration = Annotated[str, AfterValidator(_duration)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class ModelRetention(_Strict):
    """How long models are kept: candidates are deleted after it, replaced champions are never deleted before it."""

    candidates: Duration = "30d"
    production: Duration = "365d"
    schedule: Cron = "0 4 * * 0"


class PerformanceThresholds(_Strict):
    """When a model may be promoted, and when a change is an alert."""

    accuracy_min: Share = 0.85
    ece_max: Share = 0.08
    drift_alert_threshold: Share = 0.15
    ece_policy: Literal["strict", "probs_only", "disable"] = "strict"
    ece_bins: int = Field(default=10, ge=2, le=100)
    regression_tolerance: Share = 0.02
    accuracy_drop_alert: Share = 0.05


class DatasetSettings(_Strict):
    """Quality thresholds of datasets, which checks stop a family, how much of a dataset is read and how often kept."""

    refresh_interval_days: int = Field(default=30, ge=1, le=3650)
    minimum_samples: int = Field(default=10_000, ge=1, le=1_000_000_000)
    maximum_rows: int = Field(default=100_000, ge=100, le=10_000_000)
    missing_share_max: Share = 0.2
    wrong_type_share_max: Share = 0.01
    minority_share_min: Share = 0.05
    duplicate_share_max: Share = 0.5
    near_duplicate_share_max: Share = 0.2
    newest_record_days_max: int = Field(default=365, ge=1, le=36500)
    label_error_share_max: Share = 0.05
    leakage_auc_max: Annotated[float, Field(ge=0.5, le=1.0)] = 0.99
    source_overlap_share_max: Share = 0.05
    backups_kept: int = Field(default=3, ge=0, le=1000)
    blocking_checks: tuple[str, ...] = Field(default=("schema",), strict=False)

    @field_validator("blocking_checks")
    @classmethod
    def _known_checks(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in BLOCKABLE:
                raise ValueError(f"{name!r} is no check that can stop a family; allowed are {', '.join(BLOCKABLE)}")
        return names


class TrainingSettings(_Strict):
    """Seeds, split ratios and sample sizes. ``train_ratio`` includes the validation rows used for calibration."""

    seed: int = Field(default=42, ge=0, le=2**32 - 1)
    train_ratio: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.8
    validation_ratio: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.1
    synthetic_samples: int = Field(default=20_000, ge=200, le=10_000_000)
    bootstrap_samples: int = Field(default=1000, ge=100, le=100_000)

    @model_validator(mode="after")
    def _room_to_fit(self) -> Self:
        if self.validation_ratio >= self.train_ratio:
            raise ValueError("validation_ratio must be smaller than train_ratio, which contains it")
        return self


class MonitoringSettings(_Strict):
    """When data and models are looked at again."""

    validation_schedule: Cron = "0 8 * * 1"
    drift_interval_hours: Literal[1, 2, 3, 4, 6, 8, 12, 24] = 6
    drift_window_hours: int = Field(default=168, ge=1, le=8760)
    drift_minimum_rows: int = Field(default=200, ge=30, le=10_000_000)
    drift_minimum_labelled_rows: int = Field(default=100, ge=30, le=10_000_000)
    sub_window_minutes: Literal[5, 10, 15, 20, 30, 60] = 15
    false_alerts_a_year: Annotated[float, Field(gt=0.0, le=1000.0)] = 1.0
    no_traffic_alert_hours: int = Field(default=24, ge=1, le=8760)
    drift_false_alarm_rate: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.01
    retraining_cooldown_hours: int = Field(default=24, ge=0, le=8760)
    retry_horizon_hours: int = Field(default=6, ge=0, le=720)
    inference_retention_days: int = Field(default=400, ge=1, le=36500)
    run_retention_days: int = Field(default=90, ge=1, le=3650)
    run_retention_runs: int = Field(default=50, ge=10, le=100_000)
    run_retention_schedule: Cron = "30 3 * * *"

    @model_validator(mode="after")
    def _window_is_kept(self) -> Self:
        if self.inference_retention_days * 24 < 2 * self.drift_window_hours:
            raise ValueError(
                "inference_retention_days must be at least twice drift_window_hours: a window is judged again, with "
                "the time before it, until it is as old as that"
            )
        return self


class ServingSettings(_Strict):
    """What the scoring gateway accepts and how long it waits; each limit is that of one worker."""

    body_bytes_max: int = Field(default=16_777_216, ge=1024, le=1_073_741_824)
    batch_records_max: int = Field(default=100_000, ge=1, le=10_000_000)
    body_seconds: Annotated[float, Field(ge=0.1, le=600.0)] = 10.0
    answer_seconds: Annotated[float, Field(ge=0.1, le=3600.0)] = 30.0
    requests_in_flight_max: int = Field(default=256, ge=1, le=100_000)
    batches_in_flight_max: int = Field(default=4, ge=1, le=1000)
    text_batch_records_max: int = Field(default=256, ge=1, le=100_000)
    retry_after_seconds: int = Field(default=1, ge=1, le=3600)
    champion_poll_seconds: Annotated[float, Field(ge=0.05, le=0.5)] = 0.25
    log_sync_seconds: Annotated[float, Field(ge=0.05, le=1.0)] = 1.0
    log_rotate_seconds: Annotated[float, Field(ge=1.0, le=86_400.0)] = 300.0
    log_seal_seconds: Annotated[float, Field(ge=1.0, le=86_400.0)] = 60.0
    shutdown_seconds: int = Field(default=20, ge=1, le=3600)


class ScheduleFile(_Strict):
    """The content of ``training-schedule.json``."""

    default_schedule: Cron = "0 2 * * 0"
    model_retention: ModelRetention = ModelRetention()
    performance_thresholds: PerformanceThresholds = PerformanceThresholds()
    datasets: DatasetSettings = DatasetSettings()
    training: TrainingSettings = TrainingSettings()
    monitoring: MonitoringSettings = MonitoringSettings()
    serving: ServingSettings = ServingSettings()


@dataclass(frozen=True)
class Settings:
    """Everything the product is configured with.

    ``home`` holds all state; ``mirror`` is a folder with the files of each dataset in ``OWNER/NAME/files/``, or None.
    """

    file: ScheduleFile
    catalog: Catalog
    home: Path
    mirror: Path | None
    screening_rules: Path

    def digest(self) -> str:
        """The digest of the settings file's validated content; where state is kept does not change it."""
        return digest_json(self.file.model_dump(mode="json"))

    def catalog_digest(self) -> str:
        """The digest of the validated dataset catalog."""
        return digest_json(self.catalog.model_dump(mode="json"))


def load_settings(environment: Mapping[str, str] | None = None, *, catalog: Catalog | None = None) -> Settings:
    """Read the settings file, the catalog and the environment (``os.environ`` unless another is given).

    Raises:
        SettingsError: the settings file or a NETHICAL_* variable is wrong.
        CatalogError: the catalog is wrong.
    """
    environment = os.environ if environment is None else environment
    path = path_named_by("NETHICAL_CONFIG", environment) or DEFAULT_SETTINGS_FILE
    named = environment.get("NETHICAL_HOME")
    if named and _URL.match(named):
        raise SettingsError(f"NETHICAL_HOME = {named!r} is a URL; state is kept in a folder, name one")
    home = (path_named_by("NETHICAL_HOME", environment) or PROJECT_ROOT / ".nethical").absolute()
    _check_home(home)
    file = _load_schedule_file(path)
    beside = path.parent / "datasets.toml"
    catalog_path = beside if beside.exists() else DEFAULT_SETTINGS_FILE.parent / "datasets.toml"
    mirror = path_named_by("NETHICAL_DATA_MIRROR", environment)
    return Settings(
        file=file,
        catalog=catalog or load_catalog(catalog_path, family_names()),
        home=home,
        mirror=mirror and mirror.absolute(),
        screening_rules=DEFAULT_SETTINGS_FILE.parent / "screening",
    )


def _check_home(home: Path) -> None:
    """Refuse a home that is not, and cannot become, a folder, or in which Dagster or SQLite would not find files."""
    if undecodable := _UNDECODABLE.search(str(home)):
        byte = f"\\x{ord(undecodable[0]) - 0xDC00:02x}"
        raise SettingsError(
            f"NETHICAL_HOME = {str(home)!r} has the byte {byte} in its path, which is not UTF-8 and which SQLite does "
            "not take; name another folder"
        )
    if unusable := _UNUSABLE_IN_HOME.search(str(home)):
        raise SettingsError(
            f"NETHICAL_HOME = {str(home)!r} has {unusable[0]!r} in its path, which Dagster takes for something "
            "else; name another folder"
        )
    try:
        nearest = next(place for place in (home, *home.parents) if place.exists())
        usable = nearest.is_dir()
    except OSError:
        usable = False
    if not usable:
        raise SettingsError(f"NETHICAL_HOME = {str(home)!r} is not a folder; name a folder that can be written")


def _load_schedule_file(path: Path) -> ScheduleFile:
    document = read_given_json(path, "unset NETHICAL_CONFIG or name an existing settings file")
    try:
        return ScheduleFile.model_validate(document)
    except ValidationError as error:
        raise SettingsError(f"{path}: {describe_validation_error(error, document, ScheduleFile)}") from None
