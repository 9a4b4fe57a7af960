"""JSON files: an object per line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from smstune.tables.encodings import UNDECODABLE, has_bad_bytes, is_printable, open_text
from smstune.tables.header import find_column
from smstune.tables.options import TableOptions
from smstune.tables.row import Cells, RawRow


def read_json(path: Path, options: TableOptions) -> Iterator[RawRow]:
    """Yield the objects of a file, one per line; a line that is none is a row with a problem."""
    text_column = options.text or "text"
    with open_text(path) as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            fields, problem = _parse_object(line)
            if fields is None:
                yield RawRow(number, {text_column: line.rstrip("\r\n")}, problem)
                continue
            text_column = find_column(list(fields), "text", options.text) or text_column
            yield RawRow(number, fields, problem)


def _parse_object(line: str) -> tuple[Cells | None, str | None]:
    """Return the object in a line, if it is one, and the problem of the line, if any."""
    problem = UNDECODABLE if has_bad_bytes(line) else None
    try:
        fields = _parse_json(line)
        if not isinstance(fields, dict):
            return None, f"expected a JSON object, found {type(fields).__name__}"
        # Objects nested too deeply for this check could not be written either.
        is_printable(fields)
    except (json.JSONDecodeError, RecursionError):
        return None, problem or "not JSON"
    if isinstance(fields, _LongNumbers):
        problem = problem or "a number with too many digits"
    return fields, problem


class _LongNumbers(dict[str, object]):
    """A JSON object with a number of more digits than Python reads; the number is text."""


def _parse_json(line: str) -> object:
    try:
        return json.loads(line)
    except json.JSONDecodeError:
        raise
    except ValueError:
        # Python refuses numbers of more than 4,300 digits, which take quadratic time.
        fields = json.loads(line, parse_int=_number_or_text)
        return _LongNumbers(fields) if isinstance(fields, dict) else fields


def _number_or_text(digits: str) -> int | str:
    try:
        return int(digits)
    except ValueError:
        return digits
