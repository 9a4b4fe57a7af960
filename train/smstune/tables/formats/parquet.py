"""Parquet files, read and written row by row; the only file of the room that needs pyarrow."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from smstune.errors import UserError, how_to_install
from smstune.language import Message
from smstune.tables.decoding.compression import open_seekable
from smstune.tables.json_text import to_json
from smstune.tables.row import Cells, row_problem

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ModuleNotFoundError as missing:
    raise UserError(
        "parquet needs the package pyarrow: {how_to_install}",
        how_to_install=how_to_install("parquet"),
    ) from missing

_ROWS_AT_ONCE = 4096
#: Rows per row group of a parquet file: small row groups make it slow to read.
_ROW_GROUP = 65_536
_BUFFER = 1 << 20

logger = logging.getLogger(__name__)


@contextmanager
def open_parquet(path: Path) -> Iterator[pq.ParquetFile]:
    """Open a parquet file.

    Raises:
        UserError: if it is missing or damaged, even if that shows only while it is read.
    """
    if not path.is_file():
        raise UserError("no parquet file at {path}: check the path", path=path)
    try:
        # Not read ahead: a row group may be larger than memory.
        with (
            open_seekable(path) as stream,
            pq.ParquetFile(stream, buffer_size=_BUFFER, pre_buffer=False) as table,
        ):
            yield table
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(
            "{path} is not a readable parquet file: {error}", path=path, error=error
        ) from error


def read_cells(table: pq.ParquetFile) -> Iterator[tuple[Cells, str | None]]:
    """Yield the cells of each row and its problem, if any."""
    for batch in table.iter_batches(_ROWS_AT_ONCE):
        yield from _batch_rows(batch)


def _batch_rows(batch: pa.RecordBatch) -> Iterator[tuple[Cells, str | None]]:
    """Yield the cells of each row and its problem, if any."""
    try:
        yield from ((fields, None) for fields in batch.to_pylist())
        return
    except (ValueError, OverflowError):
        # Text that is not UTF-8, or a time that Python cannot represent: read cell by cell.
        pass
    for index in range(batch.num_rows):
        cells = {
            name: _cell(batch.column(position)[index])
            for position, name in enumerate(batch.schema.names)
        }
        unreadable = [name for name, (_, readable) in cells.items() if not readable]
        problem = _unreadable(unreadable) if unreadable else None
        yield {name: cell for name, (cell, _) in cells.items()}, problem


def _unreadable(names: Sequence[str]) -> Message:
    return row_problem(
        Message("unreadable value"), Message("column {names}", names=", ".join(names))
    )


def _cell(scalar: pa.Scalar) -> tuple[object, bool]:
    """Return a cell's value and whether it could be read."""
    try:
        return scalar.as_py(), True
    except UnicodeDecodeError:
        if isinstance(scalar, (pa.StringScalar, pa.LargeStringScalar)):
            return scalar.as_buffer().to_pybytes().decode("utf-8", "surrogateescape"), True
        return None, False
    except (ValueError, OverflowError):
        return None, False


@contextmanager
def parquet_writer(
    path: Path, types: Mapping[str, pa.DataType]
) -> Iterator[Callable[[Sequence[Cells]], None]]:
    """Give a function that appends rows to a parquet file; ``types`` as for ``open_writer``.

    Raises:
        UserError: if the values of a column do not have one type.
    """
    writer: pq.ParquetWriter | None = None
    waiting: list[pa.Table] = []
    nested_as_text: set[str] = set()

    def write(rows: Sequence[Cells]) -> None:
        nonlocal writer
        try:
            schema = _schema(rows, types) if writer is None else writer.schema
            text_columns = {field.name for field in schema if pa.types.is_string(field.type)}
            nested_as_text.update(
                name
                for name in text_columns
                if any(isinstance(row.get(name), (dict, list)) for row in rows)
            )
            table = pa.Table.from_pylist([_as_text(row, text_columns) for row in rows], schema)
        except (pa.ArrowException, OverflowError) as error:
            raise UserError(
                "parquet needs one type per column: {error}: write jsonl instead", error=error
            ) from error
        writer = writer or pq.ParquetWriter(path, schema)
        waiting.append(table)
        if sum(map(len, waiting)) >= _ROW_GROUP:
            flush()

    def flush() -> None:
        if writer is not None and waiting:
            writer.write_table(pa.concat_tables(waiting))
            waiting.clear()

    try:
        yield write
        flush()
        if nested_as_text:
            logger.warning(
                "warning: parquet cannot store the mixed types of %s: lists and objects are "
                "written as JSON text",
                ", ".join(sorted(nested_as_text)),
            )
    finally:
        if writer is not None:
            writer.close()


def _as_text(row: Cells, text_columns: set[str]) -> Cells:
    """Return a row with the cells of ``text_columns`` as text: a number as JSON writes it."""
    return {name: _text(cell) if name in text_columns else cell for name, cell in row.items()}


def _text(cell: object) -> str | None:
    if cell is None or isinstance(cell, str):
        return cell
    text = to_json(cell)
    return None if text == "null" else text


def _schema(rows: Sequence[Cells], types: Mapping[str, pa.DataType]) -> pa.Schema:
    fields = []
    for name in dict.fromkeys([*types, *rows[0]]):
        kind = types.get(name) or pa.array([row.get(name) for row in rows]).type
        # A column without values in the first rows may have text in later ones.
        fields.append(pa.field(name, pa.string() if pa.types.is_null(kind) else kind))
    return pa.schema(fields)
