"""The exception types of the product.

What belongs here: exceptions that cross a module boundary. Each carries one actionable line and says which exit code
the command line answers with. What does not: recovery logic, logging, anything that imports another module.
"""

from __future__ import annotations


class NethicalError(Exception):
    """An expected failure. ``str(error)`` is one line: what is wrong, where, what is allowed or what to do.

    ``exit_code`` is what the command line exits with: 2 for bad usage, input or configuration, 1 for a step that
    failed or a verification that came out negative.
    """

    exit_code = 2

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class SettingsError(NethicalError):
    """A settings file or NETHICAL_* variable is wrong; names file, key, value and what is allowed."""


class InputFileError(SettingsError):
    """A file that a person named for a command or in a setting cannot be used."""


class CatalogError(NethicalError):
    """``datasets.toml`` is wrong, or a name in it or on the command line is unknown."""


class UnknownFamilyError(NethicalError):
    """A detector family was asked for that is not registered."""


class SourceUnavailableError(NethicalError):
    """A source (Kaggle, mirror folder) cannot serve a dataset now; the next source may."""

    exit_code = 1


class DatasetError(NethicalError):
    """The content of a dataset or input file cannot be used: empty, truncated, mis-encoded, no usable label."""


class RecordError(DatasetError):
    """A field of a record that is to be scored is of the wrong type, unknown, or missing where it is required.

    ``field`` is its name, or what may be shown instead of one that looks like somebody's data; ``reason`` says what is
    wrong, never the value; ``record`` counts from 1 where the record is one of several.
    """

    def __init__(self, field: str, reason: str, record: int | None = None) -> None:
        where = "" if record is None else f"record {record}, "
        super().__init__(f"{where}field {field}: {reason}")
        self.field, self.reason, self.record = field, reason, record


class IntegrityError(NethicalError):
    """Stored bytes do not match the digest they are named by, or are of a form that is refused."""

    exit_code = 1


class TrainingError(NethicalError):
    """A family cannot be trained on the rows it was given."""

    exit_code = 1


class BusyError(NethicalError):
    """Another process holds the lock on this piece of state."""


class AuditError(NethicalError):
    """The audit log is missing, malformed or does not verify."""

    exit_code = 1


class NoChampionError(NethicalError):
    """A promoted model is needed and the family has none."""

    exit_code = 1


class SegmentError(NethicalError):
    """A row could not be written to the inference log, or not made safe from a power failure."""

    exit_code = 1
