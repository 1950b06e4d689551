"""The dataset catalog: declarative entries read from ``datasets.toml``.

What belongs here: what an entry may say, and its validation. What does not: fetching (``core.sources``),
parsing (``core.reading``), or how a family turns records into inputs (``core.detectors``). No pandas here: the
definitions of the code location are built from the catalog and must load fast.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from nethical_assets.core.ground.errors import CatalogError, InputFileError
from nethical_assets.core.ground.given_files import read_given_toml
from nethical_assets.core.ground.validation_errors import describe_validation_error

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]
Slug = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]*$")]
FileFormat = Literal["csv", "tsv", "json", "jsonl", "lines", "parquet"]
Kind = Literal["text", "sequence", "records", "spans"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class LabelEntry(_Strict):
    """How a row's label is found: a constant for the whole file, or a column with its positive or negative values."""

    constant: Literal[0, 1] | None = None
    column: str | None = None
    positive: tuple[str, ...] = Field(default=(), strict=False)
    negative: tuple[str, ...] = Field(default=(), strict=False)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.constant is None) == (self.column is None):
            raise ValueError("give either 'constant' or 'column'")
        if self.column is not None and not (self.positive or self.negative):
            raise ValueError("a label column needs 'positive' values, 'negative' values, or both")
        return self


class FileEntry(_Strict):
    """One file of a dataset. ``path`` lists alternatives (glob patterns): the first one present is used.

    ``source`` names the collection its rows come from where one dataset holds several; leave-one-source-out
    evaluation treats them apart. The entry's name by default. ``delimiter`` separates the columns of a csv file where
    it is not a comma.
    """

    path: tuple[Annotated[str, StringConstraints(min_length=1)], ...] = Field(min_length=1, strict=False)
    format: FileFormat
    delimiter: Annotated[str, StringConstraints(min_length=1, max_length=1)] | None = None
    source: Name | None = None
    encoding: str = "utf-8"
    header: bool = True
    columns: tuple[str, ...] = Field(default=(), strict=False)
    label: LabelEntry | None = None
    text_column: str | None = None
    sequence_column: str | None = None

    @model_validator(mode="after")
    def _names(self) -> Self:
        if self.format in ("csv", "tsv") and not self.header and not self.columns:
            raise ValueError("a file without a header line needs 'columns'")
        return self


_DESCRIPTIVE_FIELDS = {"title", "licence", "notes"}


class DatasetEntry(_Strict):
    """One labelled dataset: where it is, how it is laid out, and who may use it.

    ``families`` train on it; ``evaluation_families`` only measure themselves on it. ``constant_labels`` says, for a
    family, that all rows have one label whatever the label column says (spam or not, a message is no injection).
    ``discover`` says that the layout is unknown and is found out, and reported, at download; ``encoding`` is then that
    of its text files, where it cannot be found out. ``mapping`` names the documented mapping by which a family computes
    its inputs from these records. ``test_from`` splits by time: rows from that day on are test rows. When more rows are
    there than may be kept, rows that agree in ``sample_together`` are kept or left out together. ``cohort_column`` has
    few values, safe to be named, between which the ethical drift report compares errors.
    """

    name: Name
    slug: Slug
    title: str
    licence: str
    kind: Kind
    families: tuple[Name, ...] = Field(default=(), strict=False)
    evaluation_families: tuple[Name, ...] = Field(default=(), strict=False)
    constant_labels: dict[Name, Literal[0, 1]] = Field(default_factory=dict)
    discover: bool = False
    encoding: str | None = None
    files: tuple[FileEntry, ...] = Field(default=(), strict=False)
    mapping: Name | None = None
    numeric_columns: tuple[str, ...] = Field(default=(), strict=False)
    categorical_columns: tuple[str, ...] = Field(default=(), strict=False)
    token_prefix: str = ""
    group_column: str | None = None
    cohort_column: str | None = None
    time_column: str | None = None
    test_from: date | None = None
    identity_columns: tuple[str, ...] = Field(default=(), strict=False)
    sample_together: tuple[str, ...] = Field(default=(), strict=False)
    notes: str = ""

    def dependencies(self) -> dict[str, Any]:
        """What rows and models depend on, as JSON: the entry without what it only tells people."""
        return self.model_dump(mode="json", exclude=_DESCRIPTIVE_FIELDS)

    def read_columns(self) -> list[str]:
        """The columns that the entry says somebody reads, sorted."""
        per_file = [name for file in self.files for name in (file.text_column, file.sequence_column) if name]
        labels = [file.label.column for file in self.files if file.label is not None and file.label.column]
        optional = [name for name in (self.group_column, self.cohort_column, self.time_column) if name]
        columns = (*per_file, *labels, *optional, *self.numeric_columns, *self.categorical_columns)
        return sorted({*columns, *self.identity_columns})

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.discover == bool(self.files):
            raise ValueError("give 'files', or 'discover = true' where the layout is unknown")
        if self.encoding is not None and self.files:
            raise ValueError("'encoding' of a dataset goes with 'discover'; declare that of a file in 'files'")
        if self.cohort_column is not None and not self.files:
            raise ValueError("a 'cohort_column' goes with 'files': of an unknown layout no column is known")
        if self.test_from is not None and self.time_column is None:
            raise ValueError("'test_from' needs a 'time_column'")
        if set(self.families) & set(self.evaluation_families):
            raise ValueError("a family is either in 'families' or in 'evaluation_families'")
        strangers = set(self.constant_labels) - {*self.families, *self.evaluation_families}
        if strangers:
            raise ValueError(f"'constant_labels' names {min(strangers)!r}, which does not use the dataset")
        for entry in self.files:
            needed = {"text": entry.text_column, "sequence": entry.sequence_column}.get(self.kind, "")
            if needed is None:
                raise ValueError(f"files of a {self.kind} dataset need '{self.kind}_column'")
        return self


class Catalog(_Strict):
    """All entries, in file order."""

    dataset: tuple[DatasetEntry, ...] = Field(strict=False)

    @model_validator(mode="after")
    def _unique(self) -> Self:
        for attribute in ("name", "slug"):
            values = [getattr(entry, attribute) for entry in self.dataset]
            repeated = sorted({value for value in values if values.count(value) > 1})
            if repeated:
                raise ValueError(f"{attribute} {repeated[0]!r} is used twice")
        return self

    def entry(self, name_or_slug: str) -> DatasetEntry:
        """The entry with this name or slug.

        Raises:
            CatalogError: there is none; the message lists the names.
        """
        for entry in self.dataset:
            if name_or_slug in (entry.name, entry.slug):
                return entry
        known = ", ".join(entry.name for entry in self.dataset)
        raise CatalogError(f"unknown dataset {name_or_slug!r}: the catalog has {known}")

    def for_family(self, family: str) -> tuple[DatasetEntry, ...]:
        """The entries that ``family`` trains on or evaluates itself on, in file order."""
        return tuple(e for e in self.dataset if family in e.families or family in e.evaluation_families)


def load_catalog(path: Path, known_families: tuple[str, ...]) -> Catalog:
    """Read and validate ``datasets.toml``.

    Raises:
        CatalogError: one line naming file, entry, key, value and what is allowed.
    """
    try:
        document = read_given_toml(path, "expected the dataset catalog (datasets.toml)")
    except InputFileError as error:
        raise CatalogError(str(error)) from None
    try:
        catalog = Catalog.model_validate(document)
    except ValidationError as error:
        raise CatalogError(f"{path}: {describe_validation_error(error, document, Catalog)}") from None
    for entry in catalog.dataset:
        for family in (*entry.families, *entry.evaluation_families):
            if family not in known_families:
                raise CatalogError(
                    f"{path}: dataset {entry.name}: unknown family {family!r}; known are {', '.join(known_families)}"
                )
    return catalog
