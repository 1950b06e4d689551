"""What each journaled change does to a store; only ``home.acts`` calls it, so that no state changes without its leaf.

What belongs here: one function a change, each idempotent: the same change applied twice is the same as once. What does
not: deciding on a change (``core``), or the order of leaf and change (``acts``).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from upath import UPath

from nethical_assets.core.ground.errors import IntegrityError, NethicalError
from nethical_assets.core.ground.storage import sync_folder, write_json, write_object
from nethical_assets.home.acts import Change, PostponedError

if TYPE_CHECKING:
    from nethical_assets.core.models.registry import ModelPointer
    from nethical_assets.home.workspace import Workspace

Document = Mapping[str, Any]


def place_pointer(pointer: ModelPointer, stage: str) -> Change:
    """Give a model a stage: ``current`` (the champion), ``candidates`` or ``archived``."""
    return Change("pointer", {"stage": stage, "pointer": pointer.to_json()})


def promoted_by(change: Change) -> ModelPointer | None:
    """The pointer that a change makes the champion; None of any other change, and of one that cannot be read."""
    from nethical_assets.core.models.registry import ModelPointer

    if change.kind != "pointer" or change.document.get("stage") != "current":
        return None
    try:
        return ModelPointer.from_json(change.document["pointer"])
    except (IntegrityError, KeyError, TypeError):
        return None


def remove_pointer(pointer: ModelPointer, stage: str) -> Change:
    """Take a candidate or a replaced champion away, with its files unless another pointer names them."""
    return Change("removal", {"stage": stage, "pointer": pointer.to_json()})


def attach_card(pointer: ModelPointer, card: str, files: Mapping[str, str]) -> Change:
    """Put the formats of a card (suffix -> digest of a stored object) in their places and name it in the pointer."""
    return Change("card", {"pointer": pointer.to_json(), "card": card, "files": dict(files)})


def arrive_snapshot(name: str, manifest: str, refreshed_at: str) -> Change:
    """Make a snapshot, whose manifest is stored under the digest ``manifest``, the newest of its dataset."""
    return Change("arrival", {"name": name, "manifest": manifest, "refreshed_at": refreshed_at})


def confirm_snapshot(name: str, manifest: str, refreshed_at: str) -> Change:
    """Note when a source confirmed the newest snapshot of a dataset, whose manifest is given as for an arrival."""
    return Change("confirmation", {"name": name, "manifest": manifest, "refreshed_at": refreshed_at})


def decide_quarantined(decision: str) -> Change:
    """Release or confirm a quarantined row, as the stored document ``decision`` says."""
    return Change("quarantine", {"decision": decision})


def put_in_force(in_force: Mapping[str, str]) -> Change:
    """Note which settings, rules and catalog are in force."""
    return Change("in_force", {"in_force": dict(in_force)})


def change_issue(step: Document) -> Change:
    """Open, reopen or close an issue, as a step of ``core.alerts`` says."""
    return Change("issue", {"step": dict(step)})


def drop_segments(removed: Sequence[str], damaged: Sequence[str]) -> Change:
    """Remove segments of the inference log whose rows are in batches, and put damaged ones aside."""
    return Change("segments", {"removed": list(removed), "damaged": list(damaged)})


def drop_batches(predictions: Sequence[str], labels: Sequence[str]) -> Change:
    """Remove batches of predictions (``family/file name``), with the sketches beside them, and of labels (file
    names)."""
    return Change("batches", {"predictions": list(predictions), "labels": list(labels)})


def apply_change(workspace: Workspace, change: Change) -> None:
    """Carry ``change`` out.

    Raises:
        IntegrityError: no change of that kind exists, or its document is malformed.
        PostponedError: the issue tracker does not work.
    """
    try:
        carry_out = _CHANGES[change.kind]
    except KeyError:
        raise IntegrityError(f"unknown change {change.kind!r}: it was recorded by a newer version; update") from None
    carry_out(workspace, change.document)


def _place_pointer(workspace: Workspace, document: Document) -> None:
    from nethical_assets.core.models.registry import ModelPointer

    pointer = ModelPointer.from_json(document["pointer"])
    match document["stage"]:
        case "current":
            workspace.registry.set_champion(pointer)
        case "candidates":
            workspace.registry.set_candidate(pointer)
        case _:
            workspace.registry.set_archived(pointer)


def _remove_pointer(workspace: Workspace, document: Document) -> None:
    from nethical_assets.core.detectors.registry import family_names
    from nethical_assets.core.models.registry import ModelPointer

    pointer = ModelPointer.from_json(document["pointer"])
    if document["stage"] == "candidates":
        workspace.registry.remove_candidate(pointer.family, pointer.model)
    else:
        workspace.registry.remove_archived(pointer)
    workspace.registry.remove_unreferenced(pointer.model, family_names())


def _attach_card(workspace: Workspace, document: Document) -> None:
    from nethical_assets.core.models.registry import ModelPointer

    pointer = ModelPointer.from_json(document["pointer"])
    for suffix, digest in document["files"].items():
        write_object(workspace.registry.card_path(pointer, suffix), workspace.objects.get(digest))
    workspace.registry.attach_card(pointer, document["card"])


def _arrive_snapshot(workspace: Workspace, document: Document) -> None:
    workspace.snapshots.set_newest(workspace.snapshots.manifest(document["manifest"], document["refreshed_at"]))


def _confirm_snapshot(workspace: Workspace, document: Document) -> None:
    workspace.snapshots.set_confirmed(workspace.snapshots.manifest(document["manifest"], document["refreshed_at"]))


def _decide_quarantined(workspace: Workspace, document: Document) -> None:
    workspace.quarantine.decide(document["decision"], workspace.objects.get(document["decision"]))


def _put_in_force(workspace: Workspace, document: Document) -> None:
    write_json(workspace.in_force_path, document["in_force"])


def _change_issue(workspace: Workspace, document: Document) -> None:
    try:
        workspace.tracker.carry_out(document["step"])
    except NethicalError as error:
        # A tracker that does not work keeps nobody from anything else.
        raise PostponedError(str(error)) from error


def _drop_segments(workspace: Workspace, document: Document) -> None:
    from nethical_assets.core.drift.segments import SEGMENT_NAME
    from nethical_assets.home.stores import segment_folder

    folder = segment_folder(workspace.home)
    if not all(SEGMENT_NAME.fullmatch(name) for name in (*document["removed"], *document["damaged"])):
        raise IntegrityError(f"{folder}: an act names a file that is no segment; restore acts/ from a backup")
    for name in document["removed"]:
        folder.joinpath(name).unlink(missing_ok=True)
    if document["damaged"]:
        folder.joinpath("damaged").mkdir(exist_ok=True)
    for name in document["damaged"]:
        with contextlib.suppress(FileNotFoundError):
            folder.joinpath(name).replace(folder / "damaged" / name)
    if folder.exists():
        sync_folder(folder)


def _drop_batches(workspace: Workspace, document: Document) -> None:
    from nethical_assets.core.drift.batch_files import batch_file
    from nethical_assets.core.drift.segment_rows import FAMILY_NAME

    serving = workspace.home / "serving"
    named = [("inference", *name.partition("/")[::2]) for name in document["predictions"]]
    named += [("feedback", "", name) for name in document["labels"]]
    for store, family, name in named:
        is_family = store == "feedback" or re.fullmatch(FAMILY_NAME, family)
        if "/" in name or batch_file(UPath(name)) is None or not is_family:
            raise IntegrityError(f"{serving}: an act names a file that is no batch; restore acts/ from a backup")
    folders = set()
    for store, family, name in named:
        folder = serving / store / family
        folder.joinpath(name).unlink(missing_ok=True)
        beside = serving / "sketches" / family
        for path in beside.glob(f"{name.removesuffix('.parquet')}-*") if store == "inference" else ():
            path.unlink(missing_ok=True)
        folders.add(folder)
    for folder in folders:
        if folder.exists():
            sync_folder(folder)


_CHANGES: Mapping[str, Callable[[Workspace, Document], None]] = {
    "pointer": _place_pointer,
    "removal": _remove_pointer,
    "card": _attach_card,
    "arrival": _arrive_snapshot,
    "confirmation": _confirm_snapshot,
    "quarantine": _decide_quarantined,
    "in_force": _put_in_force,
    "issue": _change_issue,
    "segments": _drop_segments,
    "batches": _drop_batches,
}
