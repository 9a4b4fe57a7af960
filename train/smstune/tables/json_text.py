"""Cells of a table as JSON, whose numbers must be finite (RFC 8259)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping


def is_finite(cell: object) -> bool:
    """Return whether all numbers in a cell are finite."""
    if isinstance(cell, float):
        return math.isfinite(cell)
    if isinstance(cell, Mapping):
        return all(map(is_finite, cell.values()))
    return not isinstance(cell, (list, tuple)) or all(map(is_finite, cell))


def to_json(cell: object) -> str:
    """Return a cell or a row as JSON: null for NaN and infinity, text for types that JSON lacks."""
    finite = cell if is_finite(cell) else _with_null(cell)
    return json.dumps(finite, ensure_ascii=False, default=str)


def _with_null(cell: object) -> object:
    """Return a cell with null for every number that is not finite."""
    if isinstance(cell, float):
        return cell if math.isfinite(cell) else None
    if isinstance(cell, Mapping):
        return dict(zip(cell, map(_with_null, cell.values()), strict=True))
    return list(map(_with_null, cell)) if isinstance(cell, (list, tuple)) else cell
