"""Writes a label file to begin with: the labels of the inputs, with their rows."""

from __future__ import annotations

import logging
from pathlib import Path

from smstune.config.schema import PrepareConfig
from smstune.data.prepare import parse_inputs, table_options
from smstune.errors import UserError
from smstune.files import file_written_whole
from smstune.inference.label_files import label_file_text
from smstune.inference.label_names import LabelCounts
from smstune.language import Message
from smstune.progress import progress

logger = logging.getLogger(__name__)


def write_first_label_file(section: PrepareConfig, path: Path) -> None:
    """Write a label file with every label of the inputs and test sets of ``section``, sorted.

    Raises:
        UserError: if ``path`` exists, an input cannot be read, or its labels look like messages.
    """
    if path.exists():
        raise UserError("{path} exists: choose another name for the label file", path=path)
    inputs, tests = parse_inputs(section)
    options = table_options(section)
    counts = LabelCounts()
    for input_ in (*inputs, *tests):
        stage = Message("reading {source}", source=input_.source)
        for row in progress(input_.reader(input_.path, options), stage):
            if row.label:
                counts.add(row.label)
    if not counts.rows:
        raise UserError("found no label in the inputs: name their column with --label-column")
    if not counts.may_be_named():
        raise UserError(
            "found {counts}, which look like messages: name the column of the labels with "
            "--label-column",
            counts=counts.listed(),
        )
    with file_written_whole(path) as scratch:
        scratch.write_text(label_file_text(dict(sorted(counts.rows.items()))), "utf-8")
    logger.info("next: edit %s, then prepare with --labels %s", path, path)
