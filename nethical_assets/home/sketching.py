"""Which sealed batches of a home are sketched, and by which reference.

What belongs here: the reference of a batch's model, and having its sketches written and named. What does not: counting
(``core.drift``), or judging (``watch``).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from nethical_assets.core.ground.errors import NethicalError
from nethical_assets.home.evidence import SKETCH_PREFIX

if TYPE_CHECKING:
    from nethical_assets.core.drift.reference import Reference
    from nethical_assets.home.workspace import Workspace

_LOGGER = logging.getLogger(__name__)


def sketch_subjects(workspace: Workspace, model: str, batches: Mapping[str, str]) -> dict[str, str]:
    """Write the sketches of batches of one model that are on the disk (``family/file name`` -> digest of the bytes);
    the subjects by which the leaf of the batches names them. None where the model has no reference.

    A batch that cannot be sketched is recorded without: its rows are counted whenever they are asked for, which then
    says what is wrong.
    """
    from nethical_assets.core.drift.batch_sketches import SketchedBy

    subjects: dict[str, str] = {}
    for name, digest in batches.items():
        try:
            reference = reference_of(workspace, name.partition("/")[0], model)
            if reference is not None:
                by = SketchedBy(reference, workspace.settings.file.monitoring.sub_window_minutes)
                workspace.sketch_log.write(
                    name, digest, by, lambda file, found: subjects.update({f"{SKETCH_PREFIX}{file}": found})
                )
        except (NethicalError, OSError) as error:
            _LOGGER.warning("inference log: no sketches are kept of %s: %s", name, error)
    return subjects


def reference_of(workspace: Workspace, family: str, model: str) -> Reference | None:
    """The newest reference of a model, whichever stage it has; None where no pointer of the model has one.

    Raises:
        IntegrityError: a pointer or the reference is damaged.
    """
    pointers = workspace.registry.pointers([family])
    digests = [pointer.reference for pointer in pointers if pointer.model == model and pointer.reference]
    return read_reference(workspace, digests[0]) if digests else None


def read_reference(workspace: Workspace, digest: str) -> Reference:
    """A stored reference.

    Raises:
        IntegrityError: it is missing or was changed.
    """
    from nethical_assets.core.drift.reference import Reference

    return Reference.from_json(json.loads(workspace.objects.get(digest)), f"drift reference {digest}")
