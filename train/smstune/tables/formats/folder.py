"""A folder of files as one table: tables, a folder per label, or a file per label."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from smstune.config.choices import Layout
from smstune.errors import UserError
from smstune.language import Message
from smstune.tables.decoding.encodings import clean_lines, open_text
from smstune.tables.header import say_once
from smstune.tables.options import TableOptions
from smstune.tables.row import RawRow

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


def folder_files(path: Path, options: TableOptions) -> tuple[Layout, list[Path]]:
    """Return how a folder holds messages, and its files with messages in the order of their paths.

    In the layout ``files`` each file is a table; in ``folder-per-label`` each file is a message,
    and the folder that it lies in has its label's name; in ``file-per-label`` each line is a
    message, and the file has its label's name. Where ``options.layout`` is ``None``, it is
    recognised, which is said on the terminal.

    Raises:
        UserError: if the folder has no file of messages, or does not fit the layout.
    """
    files, ignored = _message_files(path)
    if not files:
        names = ", ".join(_names(path, ignored)) or Message("no file")
        raise UserError(
            "{path} is a folder without messages: it holds {names}", path=path, names=names
        )
    layout = options.layout or _recognised(path, files)
    if layout != "files":
        _require_labels(path, files, layout)
    if ignored:
        say_once(
            Message(
                "{path}: ignoring {n_ignored} files: {names}",
                path=path,
                n_ignored=len(ignored),
                names=", ".join(_names(path, ignored)),
            )
        )
    if options.layout is None and layout != "files":
        labels = ", ".join(dict.fromkeys(_label(file, layout) for file in files))
        say_once(
            Message(
                "{path}: read as --layout {layout}: {labels} (--layout files reads tables)",
                path=path,
                layout=layout,
                labels=labels,
            )
        )
    return layout, files


def read_labelled(file: Path, layout: Layout) -> Iterator[RawRow]:
    """Yield the messages of a file of a folder with their label, in the columns text and label."""
    if not file.stat().st_size:
        return
    label = _label(file, layout)
    with open_text(file) as stream:
        messages = [stream.read()] if layout == "folder-per-label" else clean_lines(stream)
        for number, message in enumerate(messages, 1):
            if message.strip():
                yield RawRow(number, {"text": message.strip(), "label": label})


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


def _require_labels(path: Path, files: list[Path], layout: Layout) -> None:
    unlabelled = [file for file in files if layout == "folder-per-label" and file.parent == path]
    if unlabelled:
        raise UserError(
            "{path} has files outside of the folders of the labels "
            "({unlabelled}): move them, or use --layout files",
            path=path,
            unlabelled=", ".join(_names(path, unlabelled)),
        )
    tables = [file for file in files if file.suffix.lower() not in (".txt", "")]
    if tables:
        raise UserError(
            "--layout {layout} expects .txt files only, but {path} also has "
            "{tables}: move them, or use --layout files",
            layout=layout,
            path=path,
            tables=", ".join(_names(path, tables)),
        )


def _names(path: Path, files: list[Path]) -> list[str]:
    names = [str(file.relative_to(path)) for file in files[:_MOST_NAMED]]
    return [*names, "..."] if len(files) > _MOST_NAMED else names


def _label(file: Path, layout: Layout) -> str:
    return file.parent.name if layout == "folder-per-label" else file.stem
