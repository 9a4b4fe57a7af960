"""A folder of files as one table: tables, a folder per label, or a file per label."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

from smstune.errors import UserError
from smstune.tables.columns import UNDECODABLE
from smstune.tables.encodings import has_bad_bytes, open_text
from smstune.tables.options import TableOptions
from smstune.tables.row import TableRow

Layout = Literal["files", "folder-per-label", "file-per-label"]
LAYOUTS = get_args(Layout)
ReadRows = Callable[[Path, TableOptions], Iterator[TableRow]]

#: What a folder of messages has beside them.
_IGNORED = re.compile(
    r"readme|licen[cs]e|copying|notice|changelog|citation|说明|desktop\.ini|thumbs\.db",
    re.IGNORECASE,
)
_NOT_TABLES = {
    ".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".pdf", ".doc", ".docx", ".ppt", ".pptx",
    ".md", ".rst", ".py", ".ipynb", ".yaml", ".yml", ".log", ".html", ".htm",
}  # fmt: skip
#: Names of files and folders that say what a file is for, not what its messages are.
_NO_LABEL = re.compile(
    r"(?:train|dev|val|valid|validation|test|eval|data|dataset|all|messages|sms|part|split|fold"
    r"|训练集?|验证集?|测试集?|数据集?|短信)?[\W_]*\d*",
    re.IGNORECASE,
)
_MOST_LABELS = 200
_MOST_NAMED = 10

logger = logging.getLogger(__name__)


def read_folder(path: Path, options: TableOptions, read_rows: ReadRows) -> Iterator[TableRow]:
    """Yield the messages of all files of a folder and of those in it, in the order of their paths.

    In the layout ``files`` each file is a table, read by ``read_rows``; in ``folder-per-label``
    each file is a message, and the folder that it lies in has its label's name; in
    ``file-per-label`` each line is a message, and the file has its label's name. Where
    ``options.layout`` names none, it is recognised. A column ``file`` says where a row is from.

    Raises:
        UserError: if the folder has no file of messages, or a file cannot be read.
    """
    files, ignored = _message_files(path)
    if not files:
        names = ", ".join(_names(path, ignored)) or "no file"
        raise UserError(f"{path} is a folder without messages: found {names}")
    layout = options.layout or _recognised(path, files)
    if layout != "files":
        _require_labels(path, files, layout)
    _log_layout(path, files, ignored, options, layout)
    for file in files:
        if layout == "files":
            rows = read_rows(file, options)
        elif layout == "folder-per-label":
            rows = iter([_whole_message(file)])
        else:
            rows = _lines(file)
        name = str(file.relative_to(path))
        for row in rows:
            yield replace(row, fields={**row.fields, "file": row.fields.get("file", name)})


def _message_files(path: Path) -> tuple[list[Path], list[Path]]:
    """Return the files that may have messages, and the others but hidden ones."""
    files: list[Path] = []
    ignored: list[Path] = []
    for file in sorted(path.rglob("*")):
        inside = file.relative_to(path).parts
        if not file.is_file() or any(name.startswith((".", "__MACOSX")) for name in inside):
            continue
        is_table = file.suffix.lower() not in _NOT_TABLES and not _IGNORED.match(file.name)
        (files if is_table else ignored).append(file)
    return files, ignored


def _recognised(path: Path, files: list[Path]) -> Layout:
    """Return the layout that the names of the files speak for."""
    if any(file.suffix.lower() != ".txt" for file in files):
        return "files"
    folders = {file.parent for file in files}
    if path not in folders and len(folders) > 1 and _are_labels(folder.name for folder in folders):
        return "folder-per-label"
    if folders == {path} and len(files) > 1 and _are_labels(file.stem for file in files):
        return "files" if any(map(_has_columns, files)) else "file-per-label"
    return "files"


def _are_labels(names: Iterator[str]) -> bool:
    distinct = set(names)
    return len(distinct) <= _MOST_LABELS and not any(map(_NO_LABEL.fullmatch, distinct))


def _has_columns(file: Path) -> bool:
    """Return whether the first line of a file has a label of its own."""
    if not file.stat().st_size:
        return False
    with open_text(file) as stream:
        first = stream.readline()
    return "\t" in first or first.startswith("__label__")


def _require_labels(path: Path, files: list[Path], layout: str) -> None:
    unlabelled = [file for file in files if layout == "folder-per-label" and file.parent == path]
    if unlabelled:
        raise UserError(
            f"{path} has files outside of the folders of the labels "
            f"({', '.join(_names(path, unlabelled))}): move them, or use --layout files"
        )
    tables = [file for file in files if file.suffix.lower() not in (".txt", "")]
    if tables:
        raise UserError(
            f"--layout {layout} expects .txt files only, but {path} also has "
            f"{', '.join(_names(path, tables))}: move them, or use --layout files"
        )


def _log_layout(
    path: Path, files: list[Path], ignored: list[Path], options: TableOptions, layout: str
) -> None:
    if ignored:
        names = ", ".join(_names(path, ignored))
        logger.info("%s: %d files are ignored: %s", path, len(ignored), names)
    if options.layout or layout == "files":
        return
    labels = Counter(_label(file, layout) for file in files)
    logger.info(
        "%s is read as --layout %s: %s (--layout files reads each file as a table)",
        path,
        layout,
        ", ".join(labels),
    )


def _names(path: Path, files: list[Path]) -> list[str]:
    names = [str(file.relative_to(path)) for file in files[:_MOST_NAMED]]
    return [*names, "..."] if len(files) > _MOST_NAMED else names


def _label(file: Path, layout: str) -> str:
    return file.parent.name if layout == "folder-per-label" else file.stem


def _whole_message(file: Path) -> TableRow:
    text = ""
    if file.stat().st_size:
        with open_text(file) as stream:
            text = stream.read().strip()
    return _row(file, 1, text, file.parent.name)


def _lines(file: Path) -> Iterator[TableRow]:
    if not file.stat().st_size:
        return
    with open_text(file) as stream:
        for number, line in enumerate(stream, 1):
            if line.strip():
                yield _row(file, number, line.rstrip("\r\n"), file.stem)


def _row(file: Path, number: int, text: str, label: str) -> TableRow:
    problem = UNDECODABLE if has_bad_bytes(text) else None
    return TableRow(
        str(file), number, text, label, problem=problem, fields={"text": text, "label": label}
    )
