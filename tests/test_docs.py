"""What README and docs name exists: commands and their options, settings, checks, links, paths, modules in docstrings.

What belongs here: cheap facts that a text can be held against. What does not: whether a sentence is true.
"""

from __future__ import annotations

import ast
import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from pydantic import BaseModel

from nethical_assets.command_line.app import app
from nethical_assets.core.audit.events import EventType
from nethical_assets.core.governance.rules import load_ruleset
from nethical_assets.core.quality.checks import CHECKS
from nethical_assets.home.settings import ScheduleFile

CHECKOUT = Path(__file__).resolve().parents[1]
PACKAGE = CHECKOUT / "nethical_assets"
PAGES = (CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").glob("*.md")))
_CODE_BLOCK = re.compile(r"^(?: {4}|\t)(.+)$", re.MULTILINE)
_SPAN = re.compile(r"`([^`]+)`")
_OF_A_HOME = (
    "serving/inference/",
    "serving/segments/",
    "serving/feedback/",
    "serving/sketches/",
    "serving/watch/",
    "serving/gateways/",
    "serving/sealing.json",
)
"""Folders of a home whose names begin as that of a package does."""
_MODULE = r"[a-z_]+(?:\.[a-z_]+)*"


def commands_in(text: str) -> Iterator[str]:
    """Every ``nethical ...`` of a page: in backquotes, and in indented blocks."""
    for span in (*_SPAN.findall(text), *_CODE_BLOCK.findall(text)):
        found = re.match(r"(?:.*\s)?(?:\.venv/bin/)?nethical\s+(.+)", " ".join(span.split()))
        if found:
            yield found[1].partition(" #")[0].partition(" → ")[0]


def unknown_in(command: str) -> str:
    """The first word of a command that the command line does not have, or nothing.

    ``list / show`` names two commands; words in capitals stand for arguments.
    """
    words = shlex.split(command)
    node: Any = typer.main.get_command(app)
    while words and hasattr(node, "commands") and not words[0].startswith("-"):
        names = [words.pop(0)]
        while words and words[0] == "/":
            names.append(words[1])
            words = words[2:]
        if names[0].isupper():
            return ""
        for name in names:
            if name not in node.commands:
                return name
        node = node.commands[names[0]]
    options = {option for one in node.params for option in (*one.opts, *one.secondary_opts)} | {"--help"}
    return next((word for word in words if re.match(r"--?[a-z]", word) and word.partition("=")[0] not in options), "")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_that_a_page_names_exists_with_its_options(page: Path) -> None:
    assert {one: word for one in commands_in(page.read_text()) if (word := unknown_in(one))} == {}


def test_an_unknown_command_or_option_would_be_found() -> None:
    assert unknown_in("models list / burn") == "burn"
    assert unknown_in("score FAMILY FILE --outputs F") == "--outputs"
    assert list(commands_in("run `nethical status`\n\n    .venv/bin/nethical data list # all")) == [
        "status",
        "data list",
    ]


def test_every_command_is_in_the_table_of_the_readme() -> None:
    named = " ".join(commands_in((CHECKOUT / "README.md").read_text()))
    missing = [name for _, name in all_commands(typer.main.get_command(app)) if not re.search(rf"\b{name}\b", named)]
    assert missing == []


def all_commands(group: Any) -> Iterator[tuple[Any, str]]:
    """The name of every command and group below ``group``, with the group that it is in."""
    for name, node in group.commands.items():
        yield group, name
        if hasattr(node, "commands"):
            yield from all_commands(node)


def test_the_help_of_a_group_names_its_commands_and_a_command_is_described_in_one_line() -> None:
    program = typer.main.get_command(app)
    for group, name in all_commands(program):
        assert group is program or re.search(rf"[ :]{name}[,.]", group.help), name
        described = group.commands[name].help.split("\n\n")[0]
        assert "\n" not in described, "broken anew by whoever lists it"


def keys_of(model: type[BaseModel], prefix: str = "") -> dict[str, object]:
    """Dotted key -> default, of every setting."""
    found: dict[str, object] = {}
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found |= keys_of(field.annotation, f"{prefix}{name}.")
        else:
            found[prefix + name] = field.default
    return found


def test_the_page_of_settings_has_every_key_with_its_default_and_no_other() -> None:
    rows = re.findall(r"^\| `([a-z_.]+)` \| (.+?) \|", (CHECKOUT / "docs" / "settings.md").read_text(), re.MULTILINE)
    shown = {key: default.strip("`").replace('"', "'") for key, default in rows}
    expected = {
        key: str(list(default) if isinstance(default, tuple) else default)
        for key, default in keys_of(ScheduleFile).items()
    }
    assert shown == expected


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_to_a_page_and_a_heading(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        path = page.parent / file if file else page
        if not path.exists() or (anchor and anchor not in anchors_of(path)):
            broken.append(target)
    assert broken == []


def anchors_of(page: Path) -> set[str]:
    """What the headings of a page are linked by."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_of_the_project_that_a_page_names_exists(page: Path) -> None:
    tops = ("nethical_assets", "config", "tests", "benchmarks", "docs")
    insides = tuple(one.name for one in PACKAGE.iterdir() if one.is_dir())
    missing = []
    for span in _SPAN.findall(page.read_text()):
        top = span.partition("/")[0]
        if "/" not in span or re.search(r"[<>*\s:]", span) or top not in (*tops, *insides) or span in _OF_A_HOME:
            continue
        if not (CHECKOUT / span).exists() and not (PACKAGE / span).exists():
            missing.append(span)
    assert missing == []


def test_make_help_lists_every_target_that_is_described_and_the_readme_names_it() -> None:
    makefile = (CHECKOUT / "Makefile").read_text()
    described = re.findall(r"^([^\s:#.]+):.*## ", makefile, re.MULTILINE)
    listed = subprocess.run(["make", "help"], cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    assert re.findall(r"^  make (\S+) ", listed, re.MULTILINE) == described
    readme = (CHECKOUT / "README.md").read_text()
    assert [name for name in described if not re.search(rf"`{name}`|`?make {name}\b", readme)] == []


def test_the_page_of_screening_lists_every_pack_and_who_covers_what() -> None:
    ruleset = load_ruleset(CHECKOUT / "config" / "screening")
    page = (CHECKOUT / "docs" / "screening.md").read_text()
    packs = re.findall(r"^\| `(\w+)` \| (\w+) \| (\d+) \| [^|]+ \| ([A-Z_, ]+) \|$", page, re.MULTILINE)
    assert packs == [
        (
            pack,
            next(rule.role for rule in ruleset.rules if rule.pack == pack),
            str(sum(rule.pack == pack for rule in ruleset.rules)),
            ", ".join(sorted({rule.kind for rule in ruleset.rules if rule.pack == pack})),
        )
        for pack in ruleset.packs
    ]
    for entry in ruleset.coverage:
        owner = f"{entry.owner}: {', '.join(entry.names)}" if entry.names else entry.owner
        assert f"| {entry.violation} | {owner} | {entry.statement} |" in page


def test_speeds_in_the_texts_are_those_of_the_measured_output() -> None:
    measured = json.loads((CHECKOUT / "docs" / "benchmarks.md").read_text().split("```json\n")[1].split("```")[0])
    readme, page = (" ".join((CHECKOUT / name).read_text().split()) for name in ("README.md", "docs/screening.md"))
    screening, cycle, audit = measured["screening"], measured["cycle"], measured["audit"]
    one, two = (measured["processes"][f"{count}_process{'es' * (count == 'two')}"] for count in ("one", "two"))
    made_up, tweets, long = (part["screening"] for part in (screening, screening["tweets"], screening["long_texts"]))
    for said in (
        f"{cycle['full_cycle']['wall_seconds']} s",
        f"{cycle['unchanged_cycle']['wall_seconds']} s, {cycle['unchanged_cycle']['cpu_ratio_to_imports']} times",
        f"{two['wall_seconds']} s, {two['peak_memory_mb']:_.0f} MB in all; {one['wall_seconds']} s, ",
        f"{cycle['load_definitions_again']['wall_seconds']} s",
        f"{made_up['texts_per_second']:_} a second; 1 M in {made_up['seconds']} s, {screening['peak_megabytes']} MB; "
        f"{screening['python_re']['screening_is_times_faster']} times Python's `re`",
        f"{tweets['texts_per_second']:_} a second; {long['texts_per_second']:_} a second",
        f"{measured['validation']['seconds']} s",
        f"{measured['label_errors']['ratio_of_processor_seconds']:.2f} of the CPU time",
        f"{audit['tree_appends_per_second']:_} a second; {audit['inclusion_proof_microseconds']} microseconds",
    ):
        assert f"| {said}".replace("_", " ") in readme
    thousands = [round(part["texts_per_processor_second"], -3) for part in (made_up, tweets)]
    for said in (
        f"all {screening['rules']} rules",
        f"{thousands[0]:_} made-up texts a second",
        f"{screening['python_re']['screening_is_times_faster']:.0f} times as fast",
        f"{screening['processor_time_for_ten_times_the_rows']:.0f} times the time for ten times the rows",
        f"{screening['peak_megabytes']} MB at the peak",
        f"{thousands[1]:_} tweets a second, {screening['tweets']['screening_is_times_faster']} times",
        f"{round(long['texts_per_processor_second'], -2):_} long prompts a second, "
        f"{screening['long_texts']['screening_is_times_faster']:.1f} times",
    ):
        assert said.replace("_", " ") in page


def test_every_check_is_explained() -> None:
    text = (CHECKOUT / "docs" / "datasets.md").read_text()
    assert [name for name in CHECKS if f"| `{name}` |" not in text] == []


def test_every_event_that_a_page_names_exists() -> None:
    kinds = {kind.value for kind in EventType}
    verbs = {kind.rpartition("_")[2] for kind in kinds}
    named = {span for page in PAGES for span in _SPAN.findall(page.read_text()) if re.fullmatch(r"[a-z_]+", span)}
    fields = {"trained_at", "screened", "training_timestamp", "decided_at"}
    events = {span for span in named if "_" in span and span.rpartition("_")[2] in verbs} - fields
    assert events - kinds == set()


def test_a_docstring_that_sends_elsewhere_names_a_module_that_exists() -> None:
    """``What does not: reading (``readers``)``: a sibling, or a module or package by its path."""
    wrong = []
    for path in sorted(PACKAGE.rglob("*.py")):
        docstring = " ".join((ast.get_docstring(ast.parse(path.read_text())) or "").split())
        elsewhere = re.split(r"\. [A-Z]", docstring.partition("What does not")[2])[0]
        for group in re.findall(rf"\(((?:``{_MODULE}``(?:, )?)+)\)", elsewhere):
            wrong += [
                f"{path.relative_to(CHECKOUT)}: {name}"
                for name in re.findall(_MODULE, group)
                if not is_module(name, path.parent)
            ]
    assert wrong == []


def is_module(name: str, folder: Path) -> bool:
    """Whether a name is a module or package beside a file in ``folder``, or below the package or its ``core``."""
    relative = Path(*name.split("."))
    places = (folder / relative, PACKAGE / relative, PACKAGE / "core" / relative)
    return any(place.is_dir() or place.with_suffix(".py").exists() for place in places)
