"""Score a file of messages: streamed, every row answered, in order."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from train.deploy.tables import Record, open_writer, read_records
from train.modeling.classifier import Prediction, SmsClassifier

_ROWS_AT_ONCE = 8192
_REMEMBERED = 200_000
_OURS = ("label", "score", "scores", "decision", "note")


def score_file(
    classifier: SmsClassifier, source: Path, output: Path, *, text_column: str = "text"
) -> int:
    """Write every row of ``source`` to ``output`` with our columns beside its own.

    They are ``label``, ``score``, ``scores``, ``decision`` (empty where the run has no operating
    point) and ``note``.
    A column of the input with one of these names is kept as ``input_<name>``.
    Order and number of rows stay; memory does not grow with the file. A message seen before gets
    the answer it got then. Returns the number of rows.

    Raises:
        UserError: if either file cannot be used as a whole.
    """
    known: dict[str, Prediction] = {}
    count = 0
    records = read_records(source, text_column)
    with (
        open_writer(output) as write,
        tqdm(records, desc="scoring", unit=" messages") as progress,
    ):
        for chunk in _chunks(iter(progress)):
            new = list(dict.fromkeys(row.text for row in chunk if row.text not in known))
            answers = dict(zip(new, classifier.predict(new), strict=True))
            rows = [_answered(row, answers.get(row.text) or known[row.text]) for row in chunk]
            write(rows)
            count += len(rows)
            if len(known) + len(answers) > _REMEMBERED:
                known.clear()
            known.update(answers)
    return count


def _chunks(records: Iterator[Record]) -> Iterator[list[Record]]:
    while chunk := list(itertools.islice(records, _ROWS_AT_ONCE)):
        yield chunk


def _answered(row: Record, answer: Prediction) -> dict[str, Any]:
    notes = [note for note in (row.note, answer.note) if note]
    # A column of the input that bears the name of one of ours is kept under another.
    fields = {f"input_{name}" if name in _OURS else name: v for name, v in row.fields.items()}
    return {
        **fields,
        "label": answer.label,
        "score": round(answer.score, 6),
        "scores": {name: round(score, 6) for name, score in answer.scores.items()},
        "decision": answer.decision,
        "note": "; ".join(notes),
    }
