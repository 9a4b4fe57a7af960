"""The types of a table's columns, which a parquet file needs before its first row."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from smstune.tables.formats.parquet import open_parquet
from smstune.tables.options import TableOptions
from smstune.tables.read import choose_reader, has_varying_types, read_parquet, read_rows

#: Whole numbers below this are exact as floats (IEEE 754).
_EXACT = 1 << 53
#: parquet's reader refuses files, written without an error, with 50 or more nested lists.
_DEEPEST = 32
#: If each row had an object with other keys, the type would be as large as the file.
_MAX_PATHS = 256

#: Position of a value in a row: its column, then names of members; ``None`` for list elements.
_Path = tuple[str | None, ...]
_Kinds = dict[_Path, set[str]]


def column_types(path: Path, options: TableOptions) -> dict[str, pa.DataType]:
    """Return the columns of a parquet or JSON file, or of a workbook, with their types.

    JSON and workbooks are read for them: the type of a column fits all of its values and is text if
    no other does. For other formats, whose columns are all text and the same in every row, the
    result is empty.
    """
    if path.is_file() and choose_reader(path, options) is read_parquet:
        with open_parquet(path) as table:
            return {field.name: field.type for field in table.schema_arrow}
    if not has_varying_types(path, options):
        return {}
    kinds: dict[str, _Kinds] = {}
    for row in read_rows(path, options):
        for name, cell in row.fields.items():
            _collect(cell, (name,), kinds.setdefault(name, {}))
    return {name: _common_type((name,), column) or pa.string() for name, column in kinds.items()}


def _collect(cell: object, path: _Path, kinds: _Kinds) -> None:
    """Add the kinds of a cell and of everything nested in it to those seen at the same paths."""
    seen = kinds.setdefault(path, set())
    if not isinstance(cell, (dict, list)):
        seen.add(_kind(cell))
    elif len(path) > _DEEPEST or len(kinds) > _MAX_PATHS:
        seen.add("too much")
    elif isinstance(cell, dict):
        seen.add("object")
        for name, member in cell.items():
            _collect(member, (*path, name), kinds)
    else:
        seen.add("list")
        for element in cell:
            _collect(element, (*path, None), kinds)


def _kind(cell: object) -> str:
    if cell is None:
        return "null"
    if isinstance(cell, int) and not isinstance(cell, bool):
        return "int" if -_EXACT < cell < _EXACT else "long"
    return type(cell).__name__


def _common_type(path: _Path, kinds: _Kinds) -> pa.DataType | None:
    """Return the type that stores all values of a path unchanged, ``None`` if there is none."""
    seen = kinds.get(path, set()) - {"null"}
    if seen == {"object"}:
        member_paths = [longer for longer in kinds if longer[:-1] == path]
        members = [(member[-1], _common_type(member, kinds)) for member in member_paths]
        # parquet has no objects without members.
        return pa.struct(members) if members and all(kind for _, kind in members) else None
    if seen == {"list"}:
        element_type = _common_type((*path, None), kinds)
        return element_type and pa.list_(element_type)
    if seen == {"bool"}:
        return pa.bool_()
    if seen and seen <= {"int", "float"}:
        return pa.int64() if seen == {"int"} else pa.float64()
    return pa.string() if seen <= {"str"} else None
