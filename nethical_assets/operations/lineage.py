"""Lineage of a home: tracing a model back to raw data, and training it again.

What belongs here: joining ``core.lineage`` with stages, pointers and the log. What does not: formats, verification or
comparison (``core.lineage``).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from nethical_assets.core.audit.reader import LogReader
from nethical_assets.core.datasets.splits import TEST
from nethical_assets.core.delivery.champion import missing_champion
from nethical_assets.core.delivery.expected import champion_problems
from nethical_assets.core.detectors.registry import family_names, load_family
from nethical_assets.core.ground.errors import IntegrityError, NethicalError, NoChampionError
from nethical_assets.core.models.registry import ModelPointer, ModelRegistry
from nethical_assets.core.signing.keys import given_public_keys
from nethical_assets.home.evidence import machine
from nethical_assets.home.options import CycleOptions
from nethical_assets.home.settings import Settings
from nethical_assets.home.workspace import Workspace
from nethical_assets.stages.graph import chain_shape
from nethical_assets.stages.stage import code_digest
from nethical_assets.stages.training import MODELS

if TYPE_CHECKING:
    from nethical_assets.core.lineage.chain import Lineage
    from nethical_assets.core.lineage.reproduction import Reproduction

_SHORTEST_PREFIX = 6
_DIGEST_PREFIX = re.compile(rf"(?:sha256:)?([0-9a-f]{{{_SHORTEST_PREFIX},64}})")


class UnknownModelError(NethicalError):
    """A model was asked for that no pointer names, or by a prefix that several have."""


def find_model(workspace: Workspace, wanted: str) -> tuple[ModelPointer, str]:
    """The pointer of a model and its stage, by digest, digest prefix, or family (then its champion).

    Raises:
        NoChampionError: the family has none.
        UnknownModelError: no model has that name, or several have that prefix.
        IntegrityError: the pointer to the family's champion is gone.
    """
    registry = workspace.registry
    if wanted in family_names():
        champion = registry.champion(wanted)
        if missing := missing_champion(registry, workspace.audit_log, wanted):
            raise IntegrityError(missing)
        if champion is None:
            raise NoChampionError(f"family {wanted} has no promoted model yet; run: nethical run --families {wanted}")
        return champion, "current"
    prefix = _DIGEST_PREFIX.fullmatch(wanted)
    if prefix is None:
        raise UnknownModelError(
            f"{wanted!r} names no model: give a family ({', '.join(family_names())}) or at least {_SHORTEST_PREFIX} "
            "hexadecimal digits of a digest from: nethical models list"
        )
    found: dict[str, tuple[ModelPointer, str]] = {}
    for pointer, stage in _pointers(registry):
        if pointer.model.partition(":")[2].startswith(prefix[1]):
            found.setdefault(pointer.model, (pointer, stage))
    if len(found) != 1:
        what = "no model has" if not found else f"{len(found)} models have"
        raise UnknownModelError(f"{what} a digest that begins with {prefix[1]}; see: nethical models list")
    return next(iter(found.values()))


def trace_model(settings: Settings, wanted: str, key_file: Path | None = None) -> Lineage:
    """The verified chain of a model; ``key_file`` is the only public key to trust, where it is given.

    Raises:
        NoChampionError, UnknownModelError: there is no such model.
        InputFileError: the key file cannot be used.
    """
    from nethical_assets.core.lineage.chain import ChainEvidence, trace

    trusted = None if key_file is None else given_public_keys(key_file)
    workspace = Workspace(settings, CycleOptions(), "lineage")
    registry, log = workspace.registry, LogReader(settings.home / "audit")
    pointer, stage = find_model(workspace, wanted)
    evidence = ChainEvidence(
        objects=workspace.objects,
        snapshots=workspace.snapshots.objects,
        registry=registry,
        provenance=workspace.provenance,
        log=log,
        shape=chain_shape(),
        champion_problems=functools.partial(champion_problems, registry, workspace.objects, log),
        trusted=trusted,
    )
    return trace(evidence, pointer, stage)


def reproduce_model(settings: Settings, wanted: str) -> tuple[ModelPointer, Reproduction]:
    """Train a model again from its stored splits with its seed, and compare; nothing is stored.

    Raises:
        NoChampionError, UnknownModelError: there is no such model.
        IntegrityError: the model or its splits are not what was stored.
        TrainingError: this code cannot train on those splits.
    """
    from nethical_assets.core.detectors.artifact import unpack
    from nethical_assets.core.ground.parquet import get_table
    from nethical_assets.core.lineage.reproduction import compare_models
    from nethical_assets.stages.training import build_model

    workspace = Workspace(settings, CycleOptions(), "reproduce")
    pointer, _ = find_model(workspace, wanted)
    stored, stored_files = workspace.registry.load(pointer.model)
    spec = load_family(pointer.family)
    frame = get_table(workspace.objects, stored.training["splits"])
    seed = stored.training["seed"]
    code = code_digest(workspace, MODELS, pointer.family)
    retrained, files = build_model(spec, frame, splits=stored.training["splits"], seed=seed, code=code)
    test = frame[frame["split"] == TEST].reset_index(drop=True)
    outcome = compare_models(
        stored,
        retrained,
        unpack(spec, stored_files).probability(test[list(stored.input_columns)]),
        unpack(spec, files).probability(test[list(retrained.input_columns)]),
        context=_platforms(workspace, pointer),
    )
    return pointer, outcome


def _platforms(workspace: Workspace, pointer: ModelPointer) -> dict[str, tuple[str, str]]:
    """Python and machine of the stored model, as far as its statement says, and of this process."""
    try:
        issued = workspace.provenance.find(MODELS.name, pointer.family, pointer.model)
        then = workspace.provenance.open(issued)[0].platform if issued is not None else {}
    except IntegrityError:
        then = {}
    now = machine()
    return {name: (then[name], now[name]) for name in then.keys() & now.keys()}


def _pointers(registry: ModelRegistry) -> Iterable[tuple[ModelPointer, str]]:
    """Every pointer with its stage; champions first, then candidates, then replaced champions, newest first."""
    for family in family_names():
        champion = registry.champion(family)
        yield from [(champion, "current")] if champion is not None else []
        yield from ((pointer, "candidates") for pointer in registry.candidates(family))
        yield from ((pointer, "archived") for pointer in reversed(registry.archived(family)))
