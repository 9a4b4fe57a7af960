"""Data sets on the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from smstune.errors import UserError
from smstune.tables.columns import Columns, make_row, require_columns
from smstune.tables.row import TableRow


def read_hub(path: Path, columns: Columns) -> Iterator[TableRow]:
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
            f"expected a local file or a data set on the hub, could not load {name!r}: check the "
            f"path or id, set HF_ENDPOINT to a mirror, or download it and give its local path "
            f"({type(error).__name__}: {error})"
        ) from error
    for split, table in splits.items():
        split_name = f"{name}/{split}"
        require_columns(split_name, columns, table.column_names)
        feature = table.features.get(columns.label)
        for number, fields in enumerate(table, 1):
            if isinstance(feature, ClassLabel) and fields[columns.label] is not None:
                fields[columns.label] = feature.int2str(fields[columns.label])
            yield make_row(split_name, number, fields, columns)
