"""The published split of FBS_SMS_Dataset, made again from the folder of FBS_SMS_Dataset."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from smstune.data.readers.fbs import fbs_lines
from smstune.errors import UserError
from smstune.language import Message
from smstune.tables.header import say_once
from smstune.tables.options import TableOptions
from smstune.tables.row import TableRow

#: The file that the authors leave out.
_LEFT_OUT = "Other"
_SHORTEST = 6
#: The rows of the published split, and how it was drawn.
_ROWS, _TEST_SHARE, _SEED = 13_960, 0.2, 42


def read_scriptguard(path: Path, _options: TableOptions) -> Iterator[TableRow]:
    """Read the folder of FBS_SMS_Dataset as 13 labels, each row with its published split.

    Source: github.com/cherami-hub/scriptguard, 2026. Without the file Other, in the order of the
    file names; rows of fewer than six characters, blanks not counted, are unusable; a fifth of the
    others is test, drawn at random with the shares of AD, FR and IL kept. The rest is train.
    """
    lines = [line for line in fbs_lines(path) if line.file.name != _LEFT_OUT]
    is_long = [len("".join(line.raw.split())) >= _SHORTEST for line in lines]
    kinds = [
        line.file.name.partition(":")[0] for line, long in zip(lines, is_long, strict=True) if long
    ]
    in_test = _drawn_for_test(kinds, path)
    position = 0
    for line, long in zip(lines, is_long, strict=True):
        row = line.row()
        if long:
            yield replace(row, split="test" if position in in_test else "train")
            position += 1
        else:
            yield replace(row, problem=row.problem or Message("fewer than six characters"))


def _drawn_for_test(kinds: list[str], path: Path) -> set[int]:
    """Return the positions of the test rows among rows of these kinds: AD, FR or IL.

    Raises:
        UserError: if there are too few rows to draw from.
    """
    # Slow to import, and the other readers do not need it.
    from sklearn.model_selection import train_test_split

    if len(kinds) != _ROWS:
        say_once(
            Message(
                "warning: {path} has {n_rows:,} rows for the published split, which was drawn from "
                "{n_published:,}: scores on it cannot be compared with published ones",
                path=path,
                n_rows=len(kinds),
                n_published=_ROWS,
            )
        )
    try:
        _, test = train_test_split(
            range(len(kinds)), test_size=_TEST_SHARE, random_state=_SEED, stratify=kinds
        )
    except ValueError as error:
        raise UserError(
            "{path} has too few rows for the published split: use the whole FBS_SMS_Dataset "
            "({error})",
            path=path,
            error=error,
        ) from error
    return set(test)
