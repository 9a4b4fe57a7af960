"""JSON in its shapes: an object per line, an array, column by column, rows inside a member."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from smstune.errors import UserError
from smstune.language import Message
from smstune.tables.decoding.encodings import UNDECODABLE, has_bad_bytes, is_printable, open_text
from smstune.tables.formats.annotations import read_annotations
from smstune.tables.formats.empty_rows import EmptyRows
from smstune.tables.header import find_column
from smstune.tables.options import TableOptions
from smstune.tables.row import Cells, RawRow

#: A document is read whole, and its rows take several times its size in memory.
LARGEST_DOCUMENT = 1 << 30
_CHUNK = 1 << 20
_NOT_JSON = Message("not JSON")
#: How deep the rows of a document may lie, as in Elasticsearch's ``{"hits": {"hits": [...]}}``.
_DEEPEST_MEMBER = 3
_MOST_NAMED = 5
_JSONL = {".jsonl", ".ndjson"}
_JsonList = Sequence[object]
_JsonObject = dict[str, object]


def read_json(path: Path, options: TableOptions) -> Iterator[RawRow]:
    """Yield the rows of a JSON file, whatever its suffix says.

    One object per line (jsonl) is read as a stream. Everything else is read whole: an array of
    objects, of arrays (the first has the names) or of messages; ``{"text": [...], "label": [...]}``
    and the other forms of pandas' ``to_json``; rows inside a member, as in ``{"data": [...]}``.
    Exports of annotation tools are recognised (``annotations.py``). A column named with dots, such
    as ``message.text``, is looked up in nested objects. ``number`` is the line, or the position in
    the array.

    Raises:
        UserError: if a document is damaged, too large, or its rows cannot be told; a damaged line
            of a jsonl file is the problem of its row.
    """
    read = _read_lines if _has_an_object_per_line(path) else _read_document
    rows = read_annotations(read(path, options), path, options)
    named = (options.text, options.label, options.group, options.time)
    dotted = [name for name in named if name is not None and "." in name]
    if not dotted:
        yield from rows
        return
    for row in rows:
        yield replace(row, cells=_with_nested(row.cells, dotted))


def _has_an_object_per_line(path: Path) -> bool:
    """Return whether a file is jsonl: its first line is complete, or damaged but does not go on."""
    with open_text(path) as stream:
        lines = (line.strip() for line in stream if line.strip())
        first, second = next(lines, ""), next(lines, "")
    if not second:
        return first.startswith("{") and not _JSONL.isdisjoint(map(str.lower, path.suffixes))
    # A damaged line, unlike the first of a document, seldom ends where one may be broken.
    is_cut = first.startswith("{") and not first.endswith(("{", "[", ",", ":"))
    return is_cut or _is_json(first)


def _is_json(line: str) -> bool:
    try:
        _parse_json(line)
    except (json.JSONDecodeError, RecursionError):
        return False
    return True


def _read_lines(path: Path, options: TableOptions) -> Iterator[RawRow]:
    whole: Cells = {}
    empty_rows = EmptyRows(path, options)
    with open_text(path) as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                empty_rows.add(number)
                continue
            cells, problem = _parse_object(line)
            whole = whole if cells is None else cells
            if empty_rows:
                text_column = _text_column(whole, options)
                for empty_number in empty_rows.take():
                    yield RawRow(empty_number, {text_column: None})
            if cells is None:
                # In the column of the messages, as the last object has it.
                cells = {_text_column(whole, options): line.rstrip("\r\n")}
            yield RawRow(number, cells, problem)
    empty_rows.say_left_out()


def _text_column(cells: Cells, options: TableOptions) -> str:
    return find_column(list(cells), "text", options.text) or options.text or "text"


def _parse_object(line: str) -> tuple[Cells | None, str | None]:
    """Return the object in a line, if it is one, and the problem of the line, if any."""
    problem = UNDECODABLE if has_bad_bytes(line) else None
    try:
        cells = _parse_json(line)
    except (json.JSONDecodeError, RecursionError):
        return None, problem or _NOT_JSON
    if not isinstance(cells, dict):
        return None, _no_object(cells)
    if not _can_be_written(cells):
        return None, problem or _NOT_JSON
    if isinstance(cells, _LongNumbers):
        problem = problem or Message("a number with too many digits")
    return cells, problem


def _no_object(element: object) -> str:
    return Message("expected a JSON object, found {type_name}", type_name=type(element).__name__)


def _can_be_written(cells: Cells) -> bool:
    """Return whether cells are nested so little that they can be checked, and so written."""
    try:
        is_printable(cells)
    except RecursionError:
        return False
    return True


class _LongNumbers(_JsonObject):
    """A JSON object with a number of more digits than Python reads; the number is text."""


def _parse_json(text: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        raise
    except ValueError:
        # Python refuses numbers of more than 4,300 digits, which take quadratic time.
        parsed = json.loads(text, parse_int=_number_or_text)
        return _LongNumbers(parsed) if isinstance(parsed, dict) else parsed


def _number_or_text(digits: str) -> int | str:
    try:
        return int(digits)
    except ValueError:
        return digits


def _read_document(path: Path, options: TableOptions) -> Iterator[RawRow]:
    text = _whole_text(path)
    if not text.strip():
        return
    try:
        document = _parse_json(text)
    except json.JSONDecodeError as error:
        # Its own words hold no part of the text.
        raise UserError(
            "{path} is damaged JSON: line {lineno}, column {colno}: {msg}: "
            "correct it there, or export it again",
            path=path,
            lineno=error.lineno,
            colno=error.colno,
            msg=error.msg,
        ) from None
    except RecursionError:
        raise UserError(
            "{path} nests its JSON too deeply: expected a list of objects", path=path
        ) from None
    del text
    rows = _rows_of(document, path, options)
    first_number = 1
    if isinstance(rows, list) and rows and all(isinstance(row, list) for row in rows):
        rows, first_number = _named(rows[0], rows[1:], path), 2
    elif all(isinstance(row, str) for row in rows):
        rows = [{"text": row} for row in rows]
    no_message = {options.text or "text": None}
    for number, row in enumerate(rows, first_number):
        if not isinstance(row, dict):
            yield RawRow(number, no_message, _no_object(row))
        elif not _can_be_written(row):
            yield RawRow(number, no_message, "nested too deeply")
        else:
            yield RawRow(number, row)


def _whole_text(path: Path) -> str:
    chunks, size = [], 0
    with open_text(path) as stream:
        while chunk := stream.read(_CHUNK):
            chunks.append(chunk)
            size += len(chunk.encode("utf-8", "surrogateescape"))
            if size > LARGEST_DOCUMENT:
                raise UserError(
                    "{path} is a JSON document of more than {limit} GB, which is read whole: "
                    "write it as jsonl, one object per line, which is read in any size",
                    path=path,
                    limit=LARGEST_DOCUMENT >> 30,
                )
    return "".join(chunks)


def _rows_of(document: object, path: Path, options: TableOptions) -> _JsonList:
    """Return the elements of a document that are its rows."""
    if isinstance(document, list):
        return document
    if not isinstance(document, dict):
        raise UserError(
            "{path} is JSON that holds a single {type_name}: expected a list of "
            "objects, or an object per line",
            path=path,
            type_name=type(document).__name__,
        )
    if isinstance(document.get("columns"), list) and isinstance(document.get("data"), list):
        # pandas' orient="split".
        return _named(document["columns"], document["data"], path)
    members = dict(_lists_of_objects(document, ()))
    if len(members) > 1:
        names = ", ".join(list(members)[:_MOST_NAMED])
        raise UserError(
            "{path} has several lists of objects ({names}): keep the one with the messages, or "
            "write each to its own file",
            path=path,
            names=names,
        )
    if members:
        return next(iter(members.values()))
    return _by_column(document, path, options)


def _lists_of_objects(
    document: _JsonObject, above: tuple[str, ...]
) -> Iterator[tuple[str, _JsonList]]:
    """Yield the lists of objects inside a document, by their path."""
    for name, member in document.items():
        inside = (*above, name)
        if isinstance(member, list) and member and all(isinstance(row, dict) for row in member):
            yield ".".join(inside), member
        elif isinstance(member, dict) and len(inside) < _DEEPEST_MEMBER:
            yield from _lists_of_objects(member, inside)


def _by_column(document: _JsonObject, path: Path, options: TableOptions) -> _JsonList:
    """Return the rows of ``{"text": [...], ...}`` or ``{"text": {...}, ...}``, or a single row."""
    members = list(document.values())
    if members and all(isinstance(member, dict) for member in members):
        return _by_index(document, options)
    columns = {name: member for name, member in document.items() if isinstance(member, list)}
    if not columns or any(isinstance(member, (str, dict)) for member in members):
        return [document]
    lengths = {len(column) for column in columns.values()}
    if len(lengths) > 1:
        raise UserError(
            "{path} has columns of {shortest} to {longest} values: expected the same number of "
            "values in each",
            path=path,
            shortest=min(lengths),
            longest=max(lengths),
        )
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _by_index(document: _JsonObject, options: TableOptions) -> _JsonList:
    """Return the rows of an object of objects: columns by row number, or rows by name."""
    members = {name: member for name, member in document.items() if isinstance(member, dict)}
    names = list(dict.fromkeys(name for member in members.values() for name in member))
    has_text = find_column(list(members), "text", options.text) is not None
    are_columns = has_text or all(name.isdigit() for name in names)
    if not are_columns or all(name.isdigit() for name in members):
        # pandas' orient="index": a row by its name.
        return list(members.values())
    return [{name: column.get(row) for name, column in members.items()} for row in names]


def _named(names: object, rows: _JsonList, path: Path) -> _JsonList:
    """Return rows that are arrays as objects with ``names``."""
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(
            "{path} is a list of lists: expected names of columns in the first", path=path
        )
    if not all(isinstance(row, list) and len(row) == len(names) for row in rows):
        raise UserError(
            "{path} is a list of lists: expected {n_names} values in each",
            path=path,
            n_names=len(names),
        )
    return [dict(zip(names, row, strict=True)) for row in rows if isinstance(row, list)]


def _with_nested(cells: Cells, dotted: Sequence[str]) -> Cells:
    """Return cells with those of nested objects that ``dotted`` names, as ``message.text``."""
    missing = [name for name in dotted if name not in cells]
    return {**cells, **{name: _nested(cells, name.split(".")) for name in missing}}


def _nested(cells: object, names: Sequence[str]) -> object:
    for name in names:
        if not isinstance(cells, dict) or name not in cells:
            return None
        cells = cells[name]
    return cells
