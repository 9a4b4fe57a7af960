"""``manifest.json`` of a prepared folder: the inputs, the counts and the split."""

from __future__ import annotations

from pydantic import Field

from smstune.config.choices import SplitMethod
from smstune.inference.manifest import TextOptions
from smstune.inference.origin import Contamination, RowCounts, SplitFacts, Terms
from smstune.results import Result

FORMAT_VERSION = 1
MANIFEST = "manifest.json"


class PreparedInput(Result):
    """A file, folder or data set that was read, and the name of its source."""

    path: str
    source: str


class SuspectedLabels(Result):
    """The file that lists messages whose label is probably wrong, and their number."""

    file: str
    suspects: int


class Preparation(Result):
    """``manifest.json`` of a prepared folder.

    ``contamination`` is measured for the split itself and for a random one, by method. ``sha256``
    is that of each split's file. ``dropped_labels`` are labels of the label file without a message,
    ``label_errors`` exists after a search for them. Earlier folders name neither these nor
    ``tests``.
    """

    format_version: int = FORMAT_VERSION
    text: TextOptions
    inputs: list[PreparedInput]
    tests: list[PreparedInput] = Field(default=[])
    terms: list[Terms]
    counts: RowCounts
    dropped_labels: list[str] = Field(default=[])
    split: SplitFacts
    contamination: dict[SplitMethod, Contamination]
    sha256: dict[str, str]
    label_errors: SuspectedLabels | None = None


class Provenance(Result):
    """What a model must say of its data: names of sources, terms of public sets, counts."""

    sources: list[str]
    terms: list[Terms]
    counts: RowCounts
