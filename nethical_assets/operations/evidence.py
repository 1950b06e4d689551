"""Whether what the platform keeps is what it was: stored objects, models, and the pointers that give them a stage.

What belongs here: recomputing digests of everything stored, and holding pointers against the audit log. What does not:
the log itself (``core.audit``) or the cards (``cards``).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from nethical_assets.core.audit import LogReader
from nethical_assets.core.delivery.expected import card_problems, champion_problems, provenance_problems
from nethical_assets.core.delivery.standing import standing_problems
from nethical_assets.core.detectors.registry import family_names
from nethical_assets.core.ground.digests import ALGORITHM
from nethical_assets.core.ground.errors import IntegrityError, NethicalError
from nethical_assets.core.ground.storage import ObjectStore
from nethical_assets.core.lineage.provenance import ProvenanceStore
from nethical_assets.core.models.registry import MANIFEST, ModelPointer, ModelRegistry
from nethical_assets.home.settings import Settings
from nethical_assets.home.stores import open_model_keys, open_registry
from nethical_assets.stages.graph import KEPT_ELSEWHERE


def evidence_problems(settings: Settings) -> list[str]:
    """Everything stored that is not what its name or the log says. One line a problem."""
    registry = open_registry(settings.home)
    objects = ObjectStore(settings.home / "data" / "objects")
    problems = [*_object_problems(objects), *_object_problems(ObjectStore(settings.home / "data/snapshots/objects"))]
    problems += _model_problems(registry, settings)
    log = LogReader(settings.home / "audit")
    for family in family_names():
        try:
            problems += _pointer_problems(registry, objects, log, family)
        except NethicalError as error:
            problems.append(str(error))
    try:
        problems += standing_problems(registry, log, family_names())
    except NethicalError as error:
        problems.append(str(error))
    store = ProvenanceStore(settings.home / "data" / "provenance", objects, open_model_keys(settings.home))
    try:
        problems += provenance_problems(log, store, KEPT_ELSEWHERE)
    except NethicalError as error:
        problems.append(str(error))
    return problems


def _object_problems(objects: ObjectStore) -> Iterator[str]:
    for name in objects.names():
        try:
            objects.get(f"{ALGORITHM}:{name}")
        except IntegrityError as error:
            yield str(error)


def _model_problems(registry: ModelRegistry, settings: Settings) -> Iterator[str]:
    store = settings.home / "models" / "store"
    # A folder without a manifest is what a full disk or a kill left of a model that was never stored.
    stored = {f"{ALGORITHM}:{path.parent.name}" for path in store.glob(f"*/{MANIFEST}")}
    for model in sorted(stored):
        try:
            registry.load(model)
        except IntegrityError as error:
            yield str(error)


def _pointer_problems(registry: ModelRegistry, objects: ObjectStore, log: LogReader, family: str) -> Iterator[str]:
    champion = registry.champion(family)
    for pointer in registry.pointers([family]):
        if not registry.manifest_path(pointer.model).exists():
            yield f"{registry.manifest_path(pointer.model)}: is missing, a pointer names its model; restore the folder"
        if pointer.reference and pointer.reference not in objects:
            yield (
                f"{objects.path(pointer.reference)}: missing, drift of {family} {pointer.version} is measured against "
                "it; restore it from a backup"
            )
    yield from champion_problems(registry, objects, log, family)
    yield from card_problems(registry, log, family)
    if champion is not None:
        yield from _decision_problems(registry, objects, champion)
    for pointer in registry.candidates(family):
        yield from _decision_problems(registry, objects, pointer)


def _decision_problems(registry: ModelRegistry, objects: ObjectStore, pointer: ModelPointer) -> Iterator[str]:
    """Whether the decision that a pointer names says what the pointer says."""
    where = f"{registry.base}: the pointer of {pointer.family} {pointer.version} to {pointer.model}"
    try:
        decision: dict[str, Any] = json.loads(objects.get(pointer.decision))
    except (IntegrityError, ValueError) as error:
        yield f"{where}: its decision cannot be read ({error})"
        return
    if (decision.get("model"), decision.get("verdict")) != (pointer.model, pointer.verdict):
        yield f"{where}: its decision says {decision.get('verdict')} about {decision.get('model')}; restore the pointer"
