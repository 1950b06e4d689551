"""The models that are served: verified champions, followed while requests go on.

What belongs here: looking at the pointers, verifying what they name, and swapping one reference a family. What does
not: what makes a champion (``home.evidence``, ``core.models``), or answering requests.

A model is served when all of it holds: the newest promotion in the audit log names it and pins its pointer, every byte
has its digest, the signature is of these bytes, and the golden inputs score as they did when it was fitted. What does
not hold is not served: the last model that did goes on, and ``/readyz`` and ``/v1/models`` say so.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from nethical_assets.core.detectors.registry import load_family
from nethical_assets.core.governance.scoring import RecordScorer
from nethical_assets.core.ground.errors import IntegrityError, NethicalError
from nethical_assets.core.ground.unexpected import describe_unexpected, may_quote_data
from nethical_assets.core.models.loading import load_detector
from nethical_assets.home.options import CycleOptions
from nethical_assets.home.settings import Settings
from nethical_assets.home.workspace import Workspace, utc_now

if TYPE_CHECKING:
    from nethical_assets.core.detectors.base import Detector, DetectorSpec
    from nethical_assets.core.governance.screener import Screener
    from nethical_assets.core.models.registry import ModelPointer

_LOGGER = logging.getLogger(__name__)
_LONGEST_PAUSE_SECONDS = 15.0
State = Literal["served", "held", "unverified", "none"]
"""``held``: another pointer is there and could not be verified, the last verified model goes on; ``unverified``: there
is none to go on with; ``none``: the family has no promoted model."""

_Signature = tuple[int, int, int] | None


@dataclass(frozen=True)
class ServedModel:
    """A verified champion at work. A request takes one and keeps it from its beginning to its end."""

    family: str
    digest: str
    version: str
    promoted_at: str
    loaded_at: str
    spec: DetectorSpec
    detector: Detector
    screener: Screener
    scorer: RecordScorer


@dataclass(frozen=True)
class Standing:
    """What is served of one family, and why it is not what the pointer names, in one line without paths of this
    machine.

    ``refused`` is the digest that the pointer names and that could not be verified, empty where the pointer could not;
    ``fault`` is the kind of error. ``since`` is since when it is so (ISO 8601 in UTC), empty without a promoted model.
    """

    state: State = "none"
    model: ServedModel | None = None
    reason: str = ""
    refused: str = ""
    fault: str = ""
    since: str = ""


@dataclass
class _Look:
    """What was seen of a pointer last, and when it is looked at again although it did not change."""

    signature: _Signature = None
    done: bool = False
    pause: float = 0.0
    again_at: float = 0.0


class Champions:
    """The served models of ``families``. One thread looks (``look``); any may ask (``current``, ``standings``).

    Args:
        clock: seconds that only go forward.
    """

    def __init__(
        self, settings: Settings, families: Sequence[str], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._standings = {family: Standing() for family in families}
        self._looks = {family: _Look() for family in families}

    def current(self, family: str) -> ServedModel | None:
        """The model of ``family`` that is served now."""
        return self._standings[family].model

    def standing(self, family: str) -> Standing:
        """What is served of one family."""
        return self._standings[family]

    def standings(self) -> Mapping[str, Standing]:
        """What is served, by family."""
        return dict(self._standings)

    def ready(self) -> bool:
        """Whether something is served, and nothing that was promoted is not."""
        states = [standing.state for standing in self._standings.values()]
        return "unverified" not in states and ("served" in states or "held" in states)

    def look(self) -> None:
        """Look at every pointer once; verify and swap what changed. Never raises what a damaged home raises."""
        for family in self._standings:
            self._look_at(family)

    def _look_at(self, family: str) -> None:
        look = self._looks[family]
        signature = self._signature(family)
        if look.done and signature == look.signature and not (look.pause and self._clock() >= look.again_at):
            return
        if signature != look.signature:
            look.pause = 0.0
        look.signature, look.done = signature, True
        before = self._standings[family]
        after = self._judged(family, before)
        if after.state in ("served", "none"):
            look.pause = 0.0
        else:
            # What is wrong may be mended without a change of the pointer: in the log, or in the store.
            poll = self._settings.file.serving.champion_poll_seconds
            look.pause = min(max(2 * look.pause, poll), _LONGEST_PAUSE_SECONDS)
            look.again_at = self._clock() + look.pause
        self._standings[family] = after
        self._tell(family, before, after)

    def _judged(self, family: str, before: Standing) -> Standing:
        after = self._found(family, before)
        same = (after.state, after.refused, after.fault) == (before.state, before.refused, before.fault)
        goes_on = same and _digest(after) == _digest(before)
        since = "" if after.state == "none" else utc_now().isoformat(timespec="milliseconds")
        return replace(after, since=before.since if goes_on else since)

    def _found(self, family: str, before: Standing) -> Standing:
        workspace = Workspace(self._settings, CycleOptions(), "serve")
        pointer = None
        try:
            pointer = self._champion(workspace, family)
            if pointer is None:
                return Standing()
            if before.model is not None and before.model.digest == pointer.model:
                same = replace(before.model, version=pointer.version, promoted_at=pointer.decided_at)
                return Standing("served", same)
            return Standing("served", self._loaded(workspace, pointer))
        except NethicalError as error:
            reason, fault = str(error), type(error).__name__
        except Exception as error:
            reason = describe_unexpected(error) if may_quote_data(error) else f"{type(error).__name__}: {error}"
            fault = type(error).__name__
        return Standing(
            "held" if before.model else "unverified",
            before.model,
            str(workspace.places.named(reason)),
            refused=pointer.model if pointer else "",
            fault=fault,
        )

    @staticmethod
    def _champion(workspace: Workspace, family: str) -> ModelPointer | None:
        try:
            return workspace.evidence.champion(family)
        except IntegrityError:
            # A process that died between the leaf of a promotion and the pointer left the rest to the next one.
            workspace.acts.settle()
            return workspace.evidence.champion(family)

    def _loaded(self, workspace: Workspace, pointer: ModelPointer) -> ServedModel:
        spec = load_family(pointer.family)
        detector = load_detector(workspace.registry, pointer.model, spec)
        entries = self._settings.catalog.for_family(pointer.family)
        return ServedModel(
            family=pointer.family,
            digest=pointer.model,
            version=pointer.version,
            promoted_at=pointer.decided_at,
            loaded_at=utc_now().isoformat(timespec="milliseconds"),
            spec=spec,
            detector=detector,
            screener=workspace.screener,
            scorer=RecordScorer(detector, spec, entries, workspace.screener),
        )

    def _signature(self, family: str) -> _Signature:
        try:
            found = (self._settings.home / "models" / "current" / f"{family}.json").stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    @staticmethod
    def _tell(family: str, before: Standing, after: Standing) -> None:
        if after.model is not None and (before.model is None or before.model.digest != after.model.digest):
            _LOGGER.info("family %s: serving %s (%s)", family, after.model.version, after.model.digest)
        if after.reason and after.reason != before.reason:
            goes_on = f"{after.model.version} goes on" if after.model else "it is not served"
            _LOGGER.warning("family %s: the champion could not be verified, %s: %s", family, goes_on, after.reason)


def _digest(standing: Standing) -> str:
    return standing.model.digest if standing.model else ""
