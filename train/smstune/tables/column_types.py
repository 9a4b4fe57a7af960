"""The types of a table's columns, where a row alone does not tell them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from smstune.tables.columns import Columns
from smstune.tables.read import READERS, STANDARD, open_parquet, read_rows, table_kind

#: Whole numbers up to here are the same as floats (IEEE 754).
_EXACT = 1 << 53
#: parquet's reader refuses what its writer wrote from 50 lists in one another on.
_DEEPEST = 32
#: An object with keys of its own in each row would make a type as large as the file.
_MOST_PLACES = 256

#: Where a value lies in a row: its column, names of members, ``None`` for the items of a list.
_Place = tuple[str | None, ...]
_Kinds = dict[_Place, set[str]]


def column_types(path: Path, columns: Columns) -> dict[str, pa.DataType]:
    """Return the columns of a file whose rows need not have the same ones, with their types.

    A parquet file names them. Those of a jsonl file are found by reading it: a type that holds
    every value, text where there is no other. Every row of another file has the same columns, all
    text: nothing is returned.
    """
    if path.suffix == ".parquet":
        with open_parquet(path) as table:
            return {field.name: field.type for field in table.schema_arrow}
    if path == STANDARD or table_kind(path, list(READERS), "input") != ".jsonl":
        return {}
    kinds: dict[str, _Kinds] = {}
    for row in read_rows(path, columns):
        for name, value in row.fields.items():
            _collect(value, (name,), kinds.setdefault(name, {}))
    return {name: _common_type((name,), column) or pa.string() for name, column in kinds.items()}


def _collect(value: Any, place: _Place, kinds: _Kinds) -> None:  # noqa: ANN401
    """Add the kind of a value, and of all that lies in it, to those seen at the same places."""
    seen = kinds.setdefault(place, set())
    if not isinstance(value, (dict, list)):
        seen.add(_kind(value))
    elif len(place) > _DEEPEST or len(kinds) > _MOST_PLACES:
        seen.add("too much")
    elif isinstance(value, dict):
        seen.add("object")
        for name, member in value.items():
            _collect(member, (*place, name), kinds)
    else:
        seen.add("list")
        for item in value:
            _collect(item, (*place, None), kinds)


def _kind(value: Any) -> str:  # noqa: ANN401
    if value is None:
        return "null"
    if isinstance(value, int) and not isinstance(value, bool):
        return "int" if -_EXACT < value < _EXACT else "long"
    return type(value).__name__


def _common_type(place: _Place, kinds: _Kinds) -> pa.DataType | None:
    """Return the type that holds every value at a place as it is; ``None`` where there is none."""
    seen = kinds.get(place, set()) - {"null"}
    if seen == {"object"}:
        inside = [other for other in kinds if other[:-1] == place]
        members = [(other[-1], _common_type(other, kinds)) for other in inside]
        # parquet has no object without members.
        return pa.struct(members) if members and all(kind for _, kind in members) else None
    if seen == {"list"}:
        item = _common_type((*place, None), kinds)
        return item and pa.list_(item)
    if seen == {"bool"}:
        return pa.bool_()
    if seen and seen <= {"int", "float"}:
        return pa.int64() if seen == {"int"} else pa.float64()
    return pa.string() if seen <= {"str"} else None
