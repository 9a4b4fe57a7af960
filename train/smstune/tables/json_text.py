"""Values of a table as JSON, whose numbers are finite (RFC 8259)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any


def is_finite(value: Any) -> bool:  # noqa: ANN401
    """Return whether no number in a cell is NaN or infinite."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, Mapping):
        return all(map(is_finite, value.values()))
    return not isinstance(value, (list, tuple)) or all(map(is_finite, value))


def to_json(value: Any) -> str:  # noqa: ANN401
    """Return a cell or a row as JSON: null for NaN and infinity, text for what JSON lacks."""
    cell = value if is_finite(value) else _with_null(value)
    return json.dumps(cell, ensure_ascii=False, default=str)


def _with_null(value: Any) -> Any:  # noqa: ANN401
    """Return a cell in which null stands for every number that is not finite."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return dict(zip(value, map(_with_null, value.values()), strict=True))
    return list(map(_with_null, value)) if isinstance(value, (list, tuple)) else value
