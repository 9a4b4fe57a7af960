"""Scores a file of messages as a stream: every row in order, resumable after a kill."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import re
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from smstune.config.choices import Engine
from smstune.deploy.batch.ray_scorer import ray_scorer
from smstune.deploy.batch.scored_parts import Answers, ScoredParts
from smstune.deploy.batch.scorer import Scorer, local_scorer
from smstune.errors import Interrupted, UserError
from smstune.files import file_hash, file_written_whole, is_stream
from smstune.inference.classifier import Prediction, SmsClassifier
from smstune.inference.manifest import EXPORT, MANIFEST
from smstune.language import Message
from smstune.progress import Progress
from smstune.tables.formats.folder import folder_files
from smstune.tables.json_text import is_finite, to_json
from smstune.tables.options import TableOptions
from smstune.tables.read import STANDARD, column_names, count_rows, read_rows
from smstune.tables.row import Cells, TableRow, with_message
from smstune.tables.row_problems import RowProblems
from smstune.tables.write import OutputTable, check_output, open_writer

if TYPE_CHECKING:
    import pyarrow as pa


_ROWS_AT_ONCE = 4096
#: The added columns, also under the names that they get as columns of an input.
_ADDED_COLUMN = re.compile(r"(?:input_)*(?:label|scores?|decision|note|campaign)")

logger = logging.getLogger(__name__)


def score_file(
    classifier: SmsClassifier,
    source: Path,
    output: OutputTable,
    *,
    options: TableOptions = TableOptions(labelled=False),
    workers: int = 1,
    engine: Engine = "local",
) -> int:
    """Write every row of ``source`` to ``output`` with columns for the answer; return their number.

    The added columns are ``label``, ``score``, ``scores``, ``decision`` (empty if the run has no
    operating point), ``note`` and, if the run has a memory, ``campaign``. A column of the input
    with one of these names, also after ``input_``, gets ``input_`` in front. A file that exists is
    replaced.

    The rows stay in order; memory does not grow with the file. Copies of a message get the same
    answer. If input and output are files, the same call resumes after a stop or a kill, and its
    output is that of an uninterrupted call; with another input, run or option it starts over.

    Raises:
        UserError: if one of the files cannot be used.
        Interrupted: on SIGTERM; the rows scored so far are kept.
    """
    check_output(output)
    rows = read_rows(source, options)
    # A problem with the whole file must show before anything is written.
    first = list(itertools.islice(rows, 1))
    if not first and STANDARD not in (source, output.path):
        raise UserError("expected messages in {source}, found no row", source=source)
    rows = itertools.chain(first, rows)
    scored_parts = None
    # Streams can be neither read again nor written from the middle.
    if STANDARD not in (source, output.path) and not is_stream(output.path):
        scored_parts = ScoredParts(output.path, _call(classifier, source, options))
    done = scored_parts.done * _ROWS_AT_ONCE if scored_parts else 0
    scorer_context: AbstractContextManager[Scorer] = (
        ray_scorer(classifier, source, options, workers, _ROWS_AT_ONCE, done)
        if engine == "ray"
        else local_scorer(classifier, workers)
    )
    count = 0
    problems = RowProblems()
    with (
        _stopped_with_a_hint(scored_parts),
        _scratch(output.path, scored_parts) as scratch,
        open_writer(output, scratch, _types(source, output, options)) as write,
        _progress(source, done, options) as progress,
        scorer_context as scorer,
    ):
        for chunk, answers in _score_chunks(rows, scorer, scored_parts, progress):
            write(_answered_rows(classifier, chunk, answers, output.format))
            count += len(chunk)
            problems.count(with_message(row, Message("empty message")) for row in chunk)
    if scored_parts:
        scored_parts.finish()
    problems.warn(Message("answered all the same, see the column note"))
    return count


def _score_chunks(
    rows: Iterator[TableRow], scorer: Scorer, scored_parts: ScoredParts | None, progress: Progress
) -> Iterator[tuple[list[TableRow], Answers]]:
    """Yield the rows in chunks with their answers, which an earlier run may have stored."""
    for number, chunk in enumerate(_chunks(rows)):
        if scored_parts and number < scored_parts.done:
            answers = scored_parts.load(number)
        else:
            answers = scorer.score([row.text or "" for row in chunk])
            if scored_parts:
                scored_parts.save(number, answers)
            progress.update(len(chunk))
        scorer.remember(answers)
        yield chunk, answers


def _answered_rows(
    classifier: SmsClassifier, rows: Sequence[TableRow], answers: Answers, output_format: str
) -> list[Cells]:
    texts = [row.text or "" for row in rows]
    predictions = classifier.predictions(texts, answers.probabilities)
    pairs = zip(rows, predictions, strict=True)
    answered = [_answered(row, prediction) for row, prediction in pairs]
    if classifier.memory is None:
        return answered
    campaigns = [_campaign(prediction, output_format) for prediction in predictions]
    return [
        {**cells, "campaign": campaign} for cells, campaign in zip(answered, campaigns, strict=True)
    ]


def _campaign(answer: Prediction, output_format: str) -> dict[str, str | float | None] | str | None:
    if answer.campaign is None:
        return None
    campaign = dataclasses.asdict(answer.campaign)
    # A column of parquet has one type, and the first rows may all be without a campaign.
    return campaign if output_format == ".jsonl" else to_json(campaign)


def _call(classifier: SmsClassifier, source: Path, options: TableOptions) -> dict[str, str]:
    """Return everything that the answers depend on; a resumed run must match it."""
    folder, manifest = classifier.run.path, classifier.run.manifest
    files = [MANIFEST]
    if classifier.backend.name == "onnx" and EXPORT not in manifest.sha256:
        # Earlier versions did not list the exported forms in the manifest.
        files.append(EXPORT)
    return {
        "the input": _input_hash(source, options),
        "the run": "".join(file_hash(folder / name) for name in files),
        "the memory": "" if classifier.memory is None else classifier.memory.generation.digest,
        "--text-column": options.text or "text",
        "--sheet": options.sheet or "",
        "--no-header": str(options.header is False),
        "--layout": options.layout or "",
        "--device": classifier.device,
        "--backend": classifier.backend.name,
        "--precision": classifier.precision,
        "the rows at once": str(_ROWS_AT_ONCE),
    }


def _input_hash(source: Path, options: TableOptions) -> str:
    if not source.is_dir():
        return file_hash(source)
    _, files = folder_files(source, options)
    return "".join(f"{file.relative_to(source)} {file_hash(file)} " for file in files)


@contextmanager
def _stopped_with_a_hint(scored_parts: ScoredParts | None) -> Iterator[None]:
    """Turn SIGTERM into Interrupted; after it or Ctrl-C, log how to resume."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Interrupted(number)

    # Python lets only the main thread handle signals.
    in_main_thread = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, stop) if in_main_thread else None
    try:
        yield
    except KeyboardInterrupt:
        if scored_parts:
            rows = scored_parts.done * _ROWS_AT_ONCE
            logger.info("stopped; %d rows are scored: run the same command to resume", rows)
        raise
    finally:
        if in_main_thread:
            signal.signal(signal.SIGTERM, before)


def _scratch(output: Path, scored_parts: ScoredParts | None) -> AbstractContextManager[Path]:
    if scored_parts:
        return nullcontext(scored_parts.scratch)
    return nullcontext(output) if output == STANDARD else file_written_whole(output)


def _types(
    source: Path, output: OutputTable, options: TableOptions
) -> dict[str, pa.DataType | None]:
    """Return the input's columns by output name, if the output's format needs them beforehand."""
    if output.format == ".parquet":
        from smstune.tables.column_types import column_types

        return {_output_name(name): kind for name, kind in column_types(source, options).items()}
    if output.format == ".jsonl":
        return {}
    return dict.fromkeys(map(_output_name, column_names(source, options)))


def _progress(source: Path, done: int, options: TableOptions) -> Progress:
    total = None if source == STANDARD else count_rows(source, options)
    return Progress(Message("scoring"), total, already=done)


def _chunks(rows: Iterator[TableRow]) -> Iterator[list[TableRow]]:
    while chunk := list(itertools.islice(rows, _ROWS_AT_ONCE)):
        yield chunk


def _output_name(name: str) -> str:
    """Return the output's name for a column of the input; an added column has precedence.

    It depends on nothing but the name, because rows of a jsonl file may have different columns, and
    two columns never get the same one: ``label`` and ``input_label`` both move.
    """
    return f"input_{name}" if _ADDED_COLUMN.fullmatch(name) else name


def _answered(row: TableRow, answer: Prediction) -> Cells:
    odd_number = None if is_finite(row.fields) else Message("a number that is not finite")
    reasons = (row.problem, row.odd_text, odd_number, answer.note)
    notes = [reason for reason in reasons if reason]
    return {
        **{_output_name(name): cell for name, cell in row.fields.items()},
        "label": answer.label,
        "score": round(answer.score, 6),
        "scores": {name: round(score, 6) for name, score in answer.scores.items()},
        "decision": answer.decision,
        "note": "; ".join(notes),
    }
