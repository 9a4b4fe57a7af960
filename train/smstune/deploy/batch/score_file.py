"""Score a file of messages: streamed, every row answered, in order; killed, it can go on."""

from __future__ import annotations

import itertools
import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from smstune.deploy.batch.ray_scorer import ray_scorer
from smstune.deploy.batch.scored_parts import Parts
from smstune.deploy.batch.scorer import Scorer, local_scorer
from smstune.errors import Interrupted, UserError
from smstune.files import file_hash, file_written_whole, is_stream
from smstune.inference.classifier import Prediction, SmsClassifier
from smstune.inference.manifest import EXPORT, MANIFEST
from smstune.progress import Progress
from smstune.tables.column_types import column_types
from smstune.tables.columns import HALF_CHARACTER, Columns
from smstune.tables.json_text import is_finite
from smstune.tables.read import STANDARD, count_rows, read_rows
from smstune.tables.row import TableRow
from smstune.tables.write import Write, check_output, open_writer

Engine = Literal["local", "ray"]

_ROWS_AT_ONCE = 4096
_OURS = ("label", "score", "scores", "decision", "note")

logger = logging.getLogger(__name__)


def score_file(
    classifier: SmsClassifier,
    source: Path,
    output: Path,
    *,
    columns: Columns = Columns(labelled=False),
    workers: int = 1,
    engine: Engine = "local",
) -> int:
    """Write every row of ``source`` to ``output`` with our columns beside its own.

    They are ``label``, ``score``, ``scores``, ``decision`` (empty where the run has no operating
    point) and ``note``.
    A column of the input with one of these names is kept as ``input_<name>``.
    Order and number of rows stay; memory does not grow with the file. A message seen before gets
    the answer it got then. From file to file, the same call goes on after it was stopped or killed,
    and leaves the file that it would have left; another input, run or option starts anew. Returns
    the number of rows.

    Raises:
        UserError: if either file cannot be used as a whole.
        Interrupted: on SIGTERM; what was scored is kept.
    """
    check_output(output)
    rows = read_rows(source, columns)
    # What is wrong with the file as a whole shows here, before anything is written.
    first = list(itertools.islice(rows, 1))
    if not first and STANDARD not in (source, output):
        raise UserError(f"expected messages in {source}, found no row")
    rows = itertools.chain(first, rows)
    parts = None
    # What is read or written as it comes cannot be gone on with.
    if STANDARD not in (source, output) and not is_stream(output):
        parts = Parts(output, _call(classifier, source, columns.text))
    done = parts.done * _ROWS_AT_ONCE if parts else 0
    scorer: AbstractContextManager[Scorer] = (
        ray_scorer(classifier, source, columns.text, workers, _ROWS_AT_ONCE, done)
        if engine == "ray"
        else local_scorer(classifier, workers)
    )
    with (
        _stopped_with_a_hint(parts),
        _scratch(output, parts) as scratch,
        open_writer(output, scratch, _types(source, output, columns)) as write,
        _progress(source, done) as progress,
        scorer as working,
    ):
        count = _score(classifier, rows, columns.text, working, write, parts, progress)
    if parts:
        parts.finish()
    return count


def _score(
    classifier: SmsClassifier,
    rows: Iterator[TableRow],
    text_column: str,
    scorer: Scorer,
    write: Write,
    parts: Parts | None,
    progress: Progress,
) -> int:
    count = 0
    for number, chunk in enumerate(_chunks(rows)):
        texts = [row.text or "" for row in chunk]
        if parts and number < parts.done:
            answers = parts.load(number)
        else:
            answers = scorer.score(texts)
            if parts:
                parts.save(number, answers)
            progress.update(len(chunk))
        scorer.remember(answers)
        predictions = classifier.predictions(texts, answers.probabilities)
        pairs = zip(chunk, predictions, strict=True)
        write([_answered(row, text_column, answer) for row, answer in pairs])
        count += len(chunk)
    return count


def _call(classifier: SmsClassifier, source: Path, text_column: str) -> dict[str, str]:
    """Say what the answers follow from: as long as none of it changes, they are the same."""
    folder, manifest = classifier.artifact.path, classifier.artifact.manifest
    files = [MANIFEST]
    if classifier.backend.name == "onnx" and EXPORT not in manifest.sha256:
        # A run of an earlier version.
        files.append(EXPORT)
    return {
        "the input": file_hash(source),
        "the run": "".join(file_hash(folder / name) for name in files),
        "--text-column": text_column,
        "--device": classifier.device.type,
        "--backend": classifier.backend.name,
        "--precision": classifier.precision,
        "the rows at once": str(_ROWS_AT_ONCE),
    }


@contextmanager
def _stopped_with_a_hint(parts: Parts | None) -> Iterator[None]:
    """Turn SIGTERM into Interrupted; say after it or Ctrl-C how to go on."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Interrupted(number)

    # Python lets only the main thread handle signals.
    here = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, stop) if here else None
    try:
        yield
    except KeyboardInterrupt:
        if parts:
            rows = parts.done * _ROWS_AT_ONCE
            logger.info("stopped; %d rows are scored: the same command goes on from there", rows)
        raise
    finally:
        if here:
            signal.signal(signal.SIGTERM, before)


def _scratch(output: Path, parts: Parts | None) -> AbstractContextManager[Path]:
    if parts:
        return nullcontext(parts.scratch)
    return nullcontext(output) if output == STANDARD else file_written_whole(output)


def _types(source: Path, output: Path, columns: Columns) -> dict[str, Any]:
    """Return the columns of the input as the output calls them, where the format asks for them."""
    if output == STANDARD or ".jsonl" in output.suffixes:
        return {}
    return {_kept_as(name): kind for name, kind in column_types(source, columns).items()}


def _progress(source: Path, done: int) -> Progress:
    total = None if source == STANDARD else count_rows(source)
    return Progress("scoring", total, already=done)


def _chunks(rows: Iterator[TableRow]) -> Iterator[list[TableRow]]:
    while chunk := list(itertools.islice(rows, _ROWS_AT_ONCE)):
        yield chunk


def _kept_as(name: str) -> str:
    """Return the name of a column of the input: another where it bears the name of one of ours."""
    return f"input_{name}" if name in _OURS else name


def _answered(row: TableRow, text_column: str, answer: Prediction) -> dict[str, Any]:
    odd_number = None if is_finite(row.fields) else "a number that is not finite"
    odd = (row.problem, _odd_text(row, text_column), odd_number, answer.note)
    notes = [note for note in odd if note]
    return {
        **{_kept_as(name): cell for name, cell in row.fields.items()},
        "label": answer.label,
        "score": round(answer.score, 6),
        "scores": {name: round(score, 6) for name, score in answer.scores.items()},
        "decision": answer.decision,
        "note": "; ".join(notes),
    }


def _odd_text(row: TableRow, text_column: str) -> str | None:
    message = row.fields.get(text_column)
    if row.text is None:
        return None
    if isinstance(message, str):
        # What differs is what no file can hold.
        return None if message == row.text or row.problem else HALF_CHARACTER
    return f"the message is no text but {type(message).__name__}"
