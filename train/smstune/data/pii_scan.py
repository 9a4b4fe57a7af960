"""Finds personal information in any file before the file is shared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from smstune.errors import UserError
from smstune.tables.decoding.encodings import open_text
from smstune.tables.formats.parquet import open_parquet
from smstune.text.pii.find import find_pii


@dataclass(frozen=True)
class Finding:
    """The type of a piece of personal information and its line (parquet: row), from 1."""

    line: int
    type: str


def scan_pii(path: Path) -> list[Finding]:
    """Return what ``find_pii`` finds in a text file (csv, jsonl, any) or a parquet file.

    The findings contain no text, so they can be shown to anyone.

    Raises:
        UserError: if the file is missing, empty or a broken parquet.
    """
    lines = _parquet_lines(path) if path.suffix.lower() == ".parquet" else _text_lines(path)
    return [
        Finding(number, span.type)
        for number, text in enumerate(lines, 1)
        for span in find_pii(text)
    ]


def require_no_pii(path: Path) -> None:
    """Check that ``path`` holds no personal information.

    Raises:
        UserError: if it does, with the types, their counts and the first lines.
    """
    findings = scan_pii(path)
    if not findings:
        return
    counts = Counter(finding.type for finding in findings)
    counted_types = ", ".join(f"{count} {type_}" for type_, count in counts.most_common())
    lines = ", ".join(str(line) for line in sorted({finding.line for finding in findings})[:10])
    raise UserError(
        "expected no personal information in {path}, found {counted_types}; first lines {lines}: "
        "prepare masks messages unless --keep-pii is given",
        path=path,
        counted_types=counted_types,
        lines=lines,
    )


def _text_lines(path: Path) -> Iterator[str]:
    with open_text(path) as stream:
        yield from stream


def _parquet_lines(path: Path) -> Iterator[str]:
    with open_parquet(path) as table:
        names = [field.name for field in table.schema_arrow if pa.types.is_string(field.type)]
        for batch in table.iter_batches(columns=names):
            for row in batch.to_pylist():
                yield " ".join(cell for cell in row.values() if cell)
