"""Data sets on the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from smstune.errors import UserError
from smstune.tables.options import TableOptions
from smstune.tables.read import table_rows
from smstune.tables.row import Cells, RawRow, TableRow

if TYPE_CHECKING:
    from datasets import ClassLabel


def read_hub(path: Path, options: TableOptions) -> Iterator[TableRow]:
    """Read every split of a data set on the Hugging Face hub; ``path`` is its id."""
    # Local formats do without the hub.
    from smstune.inference.hub import use_hub

    name = str(path)
    use_hub(name, "README.md", repo_type="dataset")
    # Slow to import, and local formats do not need it.
    from datasets import ClassLabel, load_dataset

    try:
        splits = load_dataset(name)
    except Exception as error:
        raise UserError(
            "expected a local file or a data set on the hub, could not load {name!r}: check the "
            "path or id, set HF_ENDPOINT to a mirror, or download it and give its local path "
            "({kind}: {error})",
            name=name,
            kind=type(error).__name__,
            error=error,
        ) from error
    for split, table in splits.items():
        split_name = f"{name}/{split}"
        class_labels = {
            column: feature
            for column, feature in table.features.items()
            if isinstance(feature, ClassLabel)
        }
        rows = (
            RawRow(number, _with_label_names(fields, class_labels))
            for number, fields in enumerate(table, 1)
        )
        yield from table_rows(rows, split_name, options)


def _with_label_names(fields: Cells, class_labels: Mapping[str, ClassLabel]) -> Cells:
    """Return a row with the names of its labels for their numbers."""
    return {
        column: class_labels[column].int2str(cell)
        if column in class_labels and cell is not None
        else cell
        for column, cell in fields.items()
    }
