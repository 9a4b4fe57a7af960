"""The files of a prepared folder that hold messages, written and read some rows at a time."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from smstune.arrays import Assigned
from smstune.data.assign_campaigns import Campaigns
from smstune.data.collect import SCHEMA, Collected, encode
from smstune.data.splits.assign import SetAside
from smstune.data.splits.methods import SPLITS

_COPIED = ("text", "label", "source", "time")
_ADDED = {
    "group": pa.int64(),
    "copies": pa.int64(),
    "group_size": pa.int64(),
    "group_time": pa.timestamp("s", tz="+08:00"),
}
#: Columns of a split file.
SPLIT_SCHEMA = pa.schema([*(SCHEMA.field(name) for name in _COPIED), *_ADDED.items()])
BYTES_AT_ONCE = 1 << 24


def write_splits(
    folder: Path, collected: Collected, campaigns: Campaigns, assigned: Assigned
) -> None:
    """Write ``train.parquet``, ``validation.parquet`` and ``test.parquet``."""
    waiting: list[list[pa.Table]] = [[] for _ in SPLITS]
    start = 0
    with ExitStack() as stack:
        writers = [
            stack.enter_context(pq.ParquetWriter(folder / f"{split}.parquet", SPLIT_SCHEMA))
            for split in SPLITS
        ]
        for batch in collected.batches(*_COPIED):
            rows = slice(start, start + len(batch))
            start = rows.stop
            groups = campaigns.groups[rows]
            added = [
                groups,
                collected.copies[rows],
                campaigns.sizes[groups],
                campaigns.began[groups],
            ]
            table = pa.table(
                [*batch.select(_COPIED).columns, *map(pa.array, added)], schema=SPLIT_SCHEMA
            )
            for index, writer in enumerate(writers):
                waiting[index].append(table.filter(pa.array(assigned[rows] == index)))
                if sum(waiting_table.nbytes for waiting_table in waiting[index]) >= BYTES_AT_ONCE:
                    writer.write_table(pa.concat_tables(waiting[index]))
                    waiting[index].clear()
        for writer, tables in zip(writers, waiting, strict=True):
            if tables:
                writer.write_table(pa.concat_tables(tables))


def write_set_aside(path: Path, collected: Collected, rows: Iterable[SetAside]) -> None:
    """Write a JSON line for each row: file and line, the reason, and those of the test row."""
    codes: dict[str, int] = {}
    files, lines = [], []
    for batch in collected.batches("file", "line"):
        files.append(encode(pa.chunked_array([batch["file"]]), codes).astype(np.int32))
        lines.append(batch["line"].to_numpy())
    names, file, line = list(codes), np.concatenate(files), np.concatenate(lines)
    with path.open("w", encoding="utf-8") as stream:
        for aside in rows:
            record = {
                "file": names[file[aside.row]],
                "line": int(line[aside.row]),
                "reason": aside.reason,
                "test_file": names[file[aside.test_row]],
                "test_line": int(line[aside.test_row]),
            }
            stream.write(json.dumps(record, ensure_ascii=False) + "\n")


def read_split(path: Path) -> pq.ParquetFile:
    """Return a split file to read in batches; nothing is loaded yet."""
    return pq.ParquetFile(path, pre_buffer=False)
