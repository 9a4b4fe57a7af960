"""Files of one message per line: plain, or with fastText's labels."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from smstune.tables.decoding.encodings import clean_lines, open_text
from smstune.tables.formats.empty_rows import EmptyRows
from smstune.tables.labels import several_labels
from smstune.tables.options import TableOptions
from smstune.tables.row import RawRow

_FASTTEXT = re.compile(r"((?:__label__\S+\s+)+)(.*)", re.DOTALL)
_LABEL = "__label__"


def read_lines(path: Path, options: TableOptions) -> Iterator[RawRow]:
    """Yield a message for each line, also for an empty one."""
    with open_text(path) as stream:
        yield from line_rows(clean_lines(stream), options)


def line_rows(lines: Iterable[str], options: TableOptions) -> Iterator[RawRow]:
    """Yield the lines of a text as rows with one column."""
    name = options.text or "text"
    for number, line in enumerate(lines, 1):
        yield RawRow(number, {name: line.rstrip("\r\n")})


def read_fasttext(path: Path, options: TableOptions) -> Iterator[RawRow]:
    """Yield the rows of fastText's form, ``__label__NAME text``; empty ones as in ``EmptyRows``."""
    empty_rows = EmptyRows(path, options)
    with open_text(path) as stream:
        for number, line in enumerate(clean_lines(stream), 1):
            if not line.strip():
                empty_rows.add(number)
                continue
            if empty_rows:
                for empty_number in empty_rows.take():
                    yield RawRow(empty_number, {"text": "", "label": None})
            match = _FASTTEXT.fullmatch(line.rstrip("\r\n"))
            if match is None:
                yield RawRow(number, {"text": line.rstrip("\r\n"), "label": None})
                continue
            labels = [word.removeprefix(_LABEL) for word in match[1].split()]
            problem = several_labels(len(labels)) if len(labels) > 1 else None
            yield RawRow(number, {"text": match[2], "label": labels[0]}, problem)
    empty_rows.say_left_out()


def is_fasttext(path: Path) -> bool:
    """Return whether the first line with text has a label of fastText's form."""
    with open_text(path) as stream:
        lines = itertools.islice(clean_lines(stream), 100)
        return next((line for line in lines if line.strip()), "").startswith(_LABEL)
