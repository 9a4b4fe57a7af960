"""ChiFraud: tab-separated files with a label id and a text in each line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from smstune.errors import UserError
from smstune.language import Message
from smstune.tables.decoding.encodings import UNDECODABLE, has_bad_bytes, open_text
from smstune.tables.options import TableOptions
from smstune.tables.row import TableRow, row_problem

FILES = ("ChiFraud_train.csv", "ChiFraud_t2022.csv", "ChiFraud_t2023.csv")
LABEL_IDS = frozenset(map(str, range(11)))


@dataclass(frozen=True)
class Line:
    """One line of one file; ``problem`` says why it cannot be used, if it cannot."""

    file: str
    number: int
    text: str | None = None
    label: str | None = None
    problem: str | None = None


def chifraud_lines(path: Path) -> Iterator[Line]:
    """Yield the lines of the folder of ChiFraud, or of one of its files.

    Raises:
        UserError: if a file is missing or has another header.
    """
    files = [path / name for name in FILES] if path.is_dir() else [path]
    if missing := [file.name for file in files if not file.is_file()]:
        raise UserError(
            "expected the files of ChiFraud, {files}, or one of them, found no "
            "{missing} at {path}: download them all or give the path of one",
            files=", ".join(FILES),
            missing=", ".join(missing),
            path=path,
        )
    for file in files:
        with open_text(file) as stream:
            header = next(stream, "").strip()
            if header.lower().split("\t") != ["label_id", "text"]:
                raise UserError(
                    "expected the header Label_id, a tab and Text in {file}, found {header!r}",
                    file=file,
                    header=header[:80],
                )
            for number, line in enumerate(stream, 2):
                if line.strip():
                    yield _parse(str(file), number, line)


def _parse(file: str, number: int, line: str) -> Line:
    if has_bad_bytes(line):
        return Line(file, number, problem=UNDECODABLE)
    label, tab, text = line.partition("\t")
    if not tab:
        return Line(file, number, problem=Message("no tab between label and text"))
    if label.strip() not in LABEL_IDS:
        problem = row_problem(
            Message("no label id from 0 to 10"),
            Message("found {found!r}", found=label.strip()[:20]),
        )
        return Line(file, number, problem=problem)
    # Two fields are read, as the authors' own loader does.
    text = text.partition("\t")[0].strip()
    if len(text) > 1 and text.startswith('"') and text.endswith('"'):
        text = text[1:-1].replace('""', '"')
    return Line(file, number, text, label.strip())


def read_chifraud(path: Path, _options: TableOptions) -> Iterator[TableRow]:
    """Read ChiFraud (github.com/xuemingxxx/ChiFraud, COLING 2025), its folder or one file."""
    for line in chifraud_lines(path):
        yield TableRow(line.file, line.number, line.text, line.label, problem=line.problem)
