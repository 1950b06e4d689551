"""What the gateway answers: the documents, as they are validated and described.

What belongs here: their fields. What does not: errors (``refusals``), or where the values come from.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

RequestId = Annotated[
    str,
    msgspec.Meta(
        pattern="^[a-z][a-z0-9_]*-[0-9a-f]{32}(-[0-9]{1,8})?$",
        description="The family, 32 hexadecimal digits, and the number of the record where there were many.",
    ),
]
LabelledId = Annotated[
    str,
    msgspec.Meta(
        pattern="^[a-z][a-z0-9_]*-([0-9a-f]{32}(-[0-9]{1,8})?|[0-9a-f]{64}-[0-9a-f]{16}-[0-9]{1,8})$",
        description="The id of an answer, or of a row that nethical score wrote. Both begin with the family.",
    ),
]
Probability = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Label = Annotated[int, msgspec.Meta(ge=0, le=1)]


class OneAnswer(msgspec.Struct, frozen=True):
    """What one record got, and the model (its digest and version) that it was scored with."""

    request_id: RequestId
    label: Label
    probability: Probability
    score: float
    family: str
    model: str
    version: str


class RecordAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one of many records got; ``incident`` is the key of the records that make one together."""

    request_id: RequestId
    label: Label
    probability: Probability
    score: float
    incident: str = ""


class ManyAnswer(msgspec.Struct, frozen=True):
    """What many records got, in their order, all scored with one model."""

    family: str
    model: str
    version: str
    predictions: list[RecordAnswer]


class LabelGiven(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What turned out to be right for one request."""

    request_id: LabelledId
    label: Label


class FeedbackRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Labels that came later, in any order."""

    labels: Annotated[list[LabelGiven], msgspec.Meta(min_length=1)]


class FeedbackAnswer(msgspec.Struct, frozen=True):
    """How many labels were written down."""

    accepted: int


class ModelAnswer(msgspec.Struct, frozen=True):
    """What is served of a family; ``reason`` says why it is not what its pointer names."""

    family: str
    state: str
    model: str = ""
    version: str = ""
    promoted_at: str = ""
    loaded_at: str = ""
    reason: str = ""


class ModelsAnswer(msgspec.Struct, frozen=True):
    """Every family of the platform."""

    models: list[ModelAnswer]


class FamilyState(msgspec.Struct, frozen=True):
    """``state``: served, held (the last verified model goes on), unverified or none."""

    state: str
    model: str = ""


class ReadyAnswer(msgspec.Struct, frozen=True):
    """Whether requests can be answered, and what is served of the families that the request's key is for: of none
    without a key where keys are asked for."""

    ready: bool
    families: dict[str, FamilyState]


class AliveAnswer(msgspec.Struct, frozen=True):
    """The process answers."""

    live: bool = True
