"""Settings: the shipped file, what is refused and how, and that every setting is read by something."""

from __future__ import annotations

import ast
import json
import os
import re
import string
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from dagster._utils.schedules import is_valid_cron_schedule
from pydantic import BaseModel

from nethical_assets.core.audit.keys import SigningKeys
from nethical_assets.core.detectors.registry import family_names
from nethical_assets.core.ground.errors import NethicalError, SettingsError
from nethical_assets.core.ground.paths import path_named_by
from nethical_assets.core.rows.catalog import Catalog
from nethical_assets.core.signing.keys import ModelKeys
from nethical_assets.home.settings import DEFAULT_SETTINGS_FILE, ScheduleFile, load_settings, parse_duration
from nethical_assets.orchestration.instance import open_instance

CHECKOUT = Path(__file__).resolve().parents[2]
PACKAGE = CHECKOUT / "nethical_assets"
SPECIFICATION = CHECKOUT.parent / "shared" / "spec" / "mlops-architecture.md"

Loader = Callable[[Any], Any]


def leaves(model: BaseModel | type[BaseModel], prefix: str = "") -> Iterator[tuple[str, ...]]:
    """The path of every setting."""
    fields = model.model_fields if isinstance(model, type) else type(model).model_fields
    for name, field in fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from ((name, *rest) for rest in leaves(kind))
        else:
            yield (name,)


@pytest.fixture
def load(tmp_path: Path) -> Loader:
    """Load settings from a file with this content (text, bytes or a document)."""

    def load_file(content: Any) -> Any:
        path = tmp_path / "settings.json"
        if not isinstance(content, str | bytes):
            content = json.dumps(content)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return load_settings({"NETHICAL_CONFIG": str(path), "NETHICAL_HOME": str(tmp_path / "home")})

    return load_file


def refusal(load: Loader, content: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        load(content)
    message = str(caught.value)
    assert "\n" not in message
    assert "settings.json" in message
    assert caught.value.exit_code == 2
    return message


def test_every_default_is_what_the_shipped_file_says() -> None:
    shipped = json.loads(DEFAULT_SETTINGS_FILE.read_text())
    assert ScheduleFile().model_dump(mode="json") == shipped


def test_defaults_are_the_specification_s_example() -> None:
    if not SPECIFICATION.exists():
        pytest.skip("the specification is not beside this checkout")
    text = SPECIFICATION.read_text()
    block = re.search(r"```json\n(\{\s*\"default_schedule\".*?)```", text, re.DOTALL)
    assert block is not None
    example = json.loads(re.sub(r"//.*", "", block[1]))
    ours = ScheduleFile().model_dump(mode="json")
    assert example["default_schedule"] == ours["default_schedule"]
    for section in set(example) - {"default_schedule"}:
        assert {key: ours[section][key] for key in example[section]} == example[section]


def test_an_empty_document_is_all_defaults(load: Loader) -> None:
    assert load({}).file == ScheduleFile()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"default_scedule": "0 2 * * 0"}, ["default_scedule", "unknown key", "default_schedule, model_retention"]),
        (
            {"performance_thresholds": {"acuracy_min": 0.9}},
            ["performance_thresholds.acuracy_min = 0.9", "unknown key", "accuracy_min"],
        ),
        (
            {"performance_thresholds": {"accuracy_min": "0.9"}},
            ["performance_thresholds.accuracy_min = '0.9'", "number"],
        ),
        ({"performance_thresholds": {"accuracy_min": True}}, ["performance_thresholds.accuracy_min = True", "number"]),
        ({"performance_thresholds": {"accuracy_min": None}}, ["performance_thresholds.accuracy_min = None", "number"]),
        ({"performance_thresholds": {"accuracy_min": 1.01}}, ["accuracy_min = 1.01", "less than or equal to 1"]),
        ({"performance_thresholds": {"ece_max": -0.1}}, ["ece_max = -0.1", "greater than or equal to 0"]),
        ({"performance_thresholds": {"ece_policy": "lax"}}, ["ece_policy = 'lax'", "strict", "probs_only", "disable"]),
        ({"performance_thresholds": {"ece_bins": 1}}, ["ece_bins = 1", "greater than or equal to 2"]),
        ({"performance_thresholds": {"ece_bins": 10.5}}, ["ece_bins = 10.5", "integer"]),
        ({"performance_thresholds": [1]}, ["performance_thresholds", "dictionary"]),
        ({"default_schedule": "every sunday"}, ["default_schedule = 'every sunday'", "five fields", "0 2 * * 0"]),
        ({"default_schedule": "0 25 * * 0"}, ["default_schedule = '0 25 * * 0'", "cron"]),
        ({"default_schedule": "0 2 * * 0 0"}, ["default_schedule = '0 2 * * 0 0'", "five fields"]),
        ({"default_schedule": "@weekly"}, ["default_schedule = '@weekly'", "five fields"]),
        ({"default_schedule": "0 2 31 2 *"}, ["default_schedule = '0 2 31 2 *'", "never comes due"]),
        ({"default_schedule": 2}, ["default_schedule = 2", "string"]),
        ({"monitoring": {"validation_schedule": "0 8 * *"}}, ["monitoring.validation_schedule = '0 8 * *'"]),
        ({"monitoring": {"drift_interval_hours": 5}}, ["monitoring.drift_interval_hours = 5", "6", "24"]),
        ({"model_retention": {"candidates": "30"}}, ["model_retention.candidates = '30'", "12h, 30d or 52w"]),
        ({"model_retention": {"candidates": "0d"}}, ["model_retention.candidates = '0d'", "duration"]),
        ({"datasets": {"minimum_samples": 0}}, ["datasets.minimum_samples = 0", "greater than or equal to 1"]),
        ({"datasets": {"minimum_samples": "10000"}}, ["datasets.minimum_samples = '10000'", "integer"]),
        ({"training": {"seed": -1}}, ["training.seed = -1", "greater than or equal to 0"]),
        ({"training": {"train_ratio": 1.0}}, ["training.train_ratio = 1.0", "less than 1"]),
        (
            {"monitoring": {"inference_retention_days": 6}},
            ["monitoring", "inference_retention_days must be at least twice drift_window_hours"],
        ),
        ({"training": {"validation_ratio": 0.9}}, ["training", "validation_ratio must be smaller than train_ratio"]),
        ([], ["the document", "dictionary"]),
        ('{"training": {"seed": 1, "seed": 2}}', ["'seed'", "given twice"]),
        ('{"performance_thresholds": {"accuracy_min": NaN}}', ["accuracy_min = nan", "finite"]),
        ('{"performance_thresholds": {"ece_max": Infinity}}', ["ece_max = inf", "finite"]),
        ('{"training": {"seed": NaN}}', ["training.seed = nan"]),
        ("{", ["not readable as JSON"]),
        ("", ["is empty"]),
        ("seed: 42", ["not readable as JSON"]),
        (b"\xff\xfe{}", ["byte 0 is not UTF-8 text"]),
        (b"\xef\xbb\xbf{}", ["not readable as JSON", "BOM"]),
        ("[" * 100_000, ["not readable as JSON"]),
    ],
    ids=lambda value: re.sub(r"\W+", "-", str(value))[:60],
)
def test_a_wrong_setting_is_one_line_with_file_key_value_and_what_is_allowed(
    load: Loader, content: Any, expected: list[str]
) -> None:
    message = refusal(load, content)
    for part in expected:
        assert part in message


def test_a_whole_number_is_a_share(load: Loader) -> None:
    assert load({"performance_thresholds": {"accuracy_min": 1}}).file.performance_thresholds.accuracy_min == 1.0


@pytest.mark.parametrize("cron", ["0 2 * * 0", "0 2 * * 0,3", "*/15 * * * *", "0 2 29 2 *", "0 2 1 * *", "0 2 31 2 *"])
def test_accepts_exactly_the_schedules_that_the_orchestrator_accepts(load: Loader, cron: str) -> None:
    if is_valid_cron_schedule(cron):
        assert load({"default_schedule": cron}).file.default_schedule == cron
    else:
        refusal(load, {"default_schedule": cron})


@pytest.mark.parametrize(
    ("text", "length"), [("12h", timedelta(hours=12)), ("30d", timedelta(30)), ("2w", timedelta(14))]
)
def test_durations(text: str, length: timedelta) -> None:
    assert parse_duration(text) == length


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"absent\.json: no such file; unset NETHICAL_CONFIG"):
        load_settings({"NETHICAL_CONFIG": str(tmp_path / "absent.json")})


def test_a_folder_instead_of_a_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="is a folder; unset NETHICAL_CONFIG"):
        load_settings({"NETHICAL_CONFIG": str(tmp_path)})


@pytest.mark.parametrize("place", ["file", "file/below", "file/below/deeper", "x" * 300])
def test_a_home_that_cannot_be_a_folder_is_one_line(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(SettingsError, match=r"^NETHICAL_HOME = '.*' is not a folder; name a folder that can be"):
        load_settings({"NETHICAL_HOME": str(tmp_path / place)})


@pytest.mark.skipif(os.name != "posix", reason="paths are bytes on POSIX only")
def test_a_home_with_a_byte_that_is_no_utf_8_is_one_line_that_names_the_byte(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=re.escape(r"has the byte \xff in its path, which is not UTF-8")):
        load_settings({"NETHICAL_HOME": os.fsdecode(os.fsencode(tmp_path / "a") + b"\xffb")})


@pytest.mark.parametrize("part", ["a?b", "?", "a%20b", "a%e4", "%3F", "a[b]", "a*"])
def test_a_home_in_which_files_would_not_be_found_is_one_line_that_says_why(tmp_path: Path, part: str) -> None:
    found = re.search(r"[?*\[]|%..", part)
    assert found is not None
    with pytest.raises(SettingsError, match=re.escape(f"has {found[0]!r} in its path")):
        load_settings({"NETHICAL_HOME": str(tmp_path / part / "home")})


def test_a_home_with_every_other_sign_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signs = "".join(sorted(set(string.punctuation) - set("/?*[")))
    settings = load_settings({"NETHICAL_HOME": str(tmp_path / f"{signs}%zz% 2\n\u202e\u00e9")})
    monkeypatch.setenv("DAGSTER_HOME", "")
    for _ in ("created", "opened again"):
        with open_instance(settings) as instance:
            assert instance.get_runs() == []
            # The configuration was found too.
            assert instance.event_log_storage.get_concurrency_keys() >= set(family_names())


@pytest.mark.parametrize("url", ["s3://bucket/home", "memory://home", "file:///home"])
def test_a_url_is_no_home(url: str) -> None:
    with pytest.raises(SettingsError, match=r"is a URL; state is kept in a folder"):
        load_settings({"NETHICAL_HOME": url})


def test_environment_names_file_home_and_mirror(tmp_path: Path) -> None:
    config = tmp_path / "mine.json"
    config.write_text('{"training": {"seed": 7}}')
    settings = load_settings(
        {
            "NETHICAL_CONFIG": str(config),
            "NETHICAL_HOME": str(tmp_path / "state"),
            "NETHICAL_DATA_MIRROR": str(tmp_path / "mirror"),
        }
    )
    assert settings.file.training.seed == 7
    assert (settings.home, settings.mirror) == (tmp_path / "state", tmp_path / "mirror")
    assert not settings.home.exists(), "loading settings writes nothing"


def test_without_environment_everything_is_in_the_checkout() -> None:
    settings = load_settings({})
    assert settings.home == CHECKOUT / ".nethical"
    assert settings.mirror is None
    assert settings.file == ScheduleFile()


def test_relative_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_settings({"NETHICAL_HOME": "state", "NETHICAL_DATA_MIRROR": "mirror"})
    assert (settings.home, settings.mirror) == (tmp_path / "state", tmp_path / "mirror")


def test_a_catalog_beside_the_settings_file_is_used_and_checked(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text("{}")
    (tmp_path / "datasets.toml").write_text("dataset = []\n")
    environment = {"NETHICAL_CONFIG": str(tmp_path / "settings.json")}
    assert load_settings(environment).catalog == Catalog(dataset=())
    (tmp_path / "datasets.toml").write_text("dataset = [")
    with pytest.raises(NethicalError, match=r"datasets\.toml: not readable as TOML"):
        load_settings(environment)


def test_the_digest_follows_content_not_layout_or_place(load: Loader) -> None:
    base = load({})
    assert load('{\n  "training": {"seed": 42}\n}').digest() == base.digest()
    assert load({"training": {"seed": 43}}).digest() != base.digest()


def attribute_names() -> set[str]:
    """Every attribute that the package reads, outside settings.py."""
    found: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        if path.name != "settings.py":
            tree = ast.parse(path.read_text())
            found |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return found


def test_no_setting_is_read_by_nothing() -> None:
    paths = list(leaves(ScheduleFile))
    assert len(paths) == sum(1 for _ in re.finditer(r'": [^{]', DEFAULT_SETTINGS_FILE.read_text()))
    read = attribute_names()
    unread = {".".join(path) for path in paths if path[-1] not in read}
    assert unread == set()


@pytest.mark.parametrize("written", ["~/state", "~somebody/state"])
def test_home_folders_are_meant_where_no_shell_expanded_them(
    written: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "settings.json").write_text("{}")
    if written.startswith("~somebody"):
        with pytest.raises(SettingsError, match=r"NETHICAL_HOME = '~somebody/state': there is no such home folder"):
            load_settings({"NETHICAL_HOME": written})
        with pytest.raises(SettingsError, match=r"NETHICAL_CONFIG = .* no such home folder"):
            load_settings({"NETHICAL_CONFIG": written})
    else:
        settings = load_settings(
            {"NETHICAL_HOME": written, "NETHICAL_CONFIG": "~/settings.json", "NETHICAL_DATA_MIRROR": "~/mirror"}
        )
        assert settings.home == tmp_path / "state"
        assert settings.mirror == tmp_path / "mirror"
    assert not (tmp_path / "~").exists()


@pytest.mark.parametrize("variable", ["NETHICAL_MODEL_KEY_FILE", "NETHICAL_AUDIT_KEY_FILE"])
def test_key_files_may_be_in_a_home_folder(variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert path_named_by(variable, {variable: "~/keys/a.pem"}) == tmp_path / "keys" / "a.pem"
    keys = (
        SigningKeys(tmp_path, environment={variable: "~/keys/a.pem"})
        if variable.startswith("NETHICAL_AUDIT")
        else ModelKeys(tmp_path, Mock(), environment={variable: "~/keys/a.pem"})
    )
    assert keys.path == tmp_path / "keys" / "a.pem"
