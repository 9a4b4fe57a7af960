"""Reads unlabelled messages, has a run answer them, and writes those to label next."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smstune.campaigns.grouping import campaign_groups
from smstune.deploy.suggest.choose import choose
from smstune.errors import UserError
from smstune.files import file_written_whole
from smstune.inference.classifier import SmsClassifier
from smstune.tables.options import TableOptions
from smstune.tables.read import read_rows
from smstune.tables.write import OutputTable, open_writer
from smstune.text.normalize import MAX_CHARACTERS, preprocess

#: What each suffix of the output is: a sheet to fill in, or tasks of an annotation tool.
SHEETS = (".xlsx", ".csv", ".tsv")
DOCCANO = ".jsonl"
LABEL_STUDIO = ".json"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Suggestion:
    """A message to label, masked, with the run's answer and the size of its campaign."""

    text: str
    answer: str
    score: float
    campaign_messages: int


def check_suggestions(output: Path) -> None:
    """Check that suggestions can be written to ``output``.

    Raises:
        UserError: if its suffix names no form.
    """
    if output.suffix.lower() not in (*SHEETS, DOCCANO, LABEL_STUDIO):
        raise UserError(
            "expected {sheets} (a sheet), {doccano} (doccano) or {label_studio} "
            "(Label Studio) as output, found {name}",
            sheets=", ".join(SHEETS),
            doccano=DOCCANO,
            label_studio=LABEL_STUDIO,
            name=output.name,
        )


def suggest(
    classifier: SmsClassifier, pool: Path, options: TableOptions, number: int
) -> list[Suggestion]:
    """Return at most ``number`` messages of ``pool`` that are worth labelling next.

    Copies count once. Rows that cannot be read, or have no text, are skipped and counted on the
    terminal. The messages are masked, also if the run is not.

    Raises:
        UserError: if there is no usable message.
    """
    copies: Counter[str] = Counter()
    unusable = 0
    for row in read_rows(pool, options):
        raw = row.text or ""
        text = "" if row.problem or len(raw) > MAX_CHARACTERS else preprocess(raw, mask=True)
        if text:
            copies[text] += 1
        else:
            unusable += 1
    if not copies:
        raise UserError(
            "expected messages in {pool}, found none in {unusable} rows",
            pool=pool,
            unusable=unusable,
        )
    texts = list(copies)
    probabilities = classifier.predict_proba(texts)
    campaigns = campaign_groups(texts)
    messages_of_campaign: Counter[int] = Counter()
    for text, campaign in zip(texts, campaigns.tolist(), strict=True):
        messages_of_campaign[campaign] += copies[text]
    logger.info("%d distinct messages in %d campaigns", len(texts), len(messages_of_campaign))
    if unusable:
        logger.info("%d rows skipped: no text, or it cannot be read", unusable)
    rows = choose(texts, probabilities, campaigns, number).tolist()
    answers = classifier.predictions([texts[row] for row in rows], probabilities[rows])
    return [
        Suggestion(
            text=texts[row],
            answer=answer.label,
            score=answer.score,
            campaign_messages=messages_of_campaign[int(campaigns[row])],
        )
        for row, answer in zip(rows, answers, strict=True)
    ]


def write_suggestions(suggestions: Sequence[Suggestion], output: Path) -> None:
    """Write messages to label in the form that the suffix of ``output`` names.

    A sheet and doccano's file have an empty ``label``; ``smstune prepare`` reads both, and Label
    Studio's export, when they are filled in.
    """
    with file_written_whole(output) as scratch:
        if output.suffix.lower() == LABEL_STUDIO:
            tasks = list(map(_label_studio_task, suggestions))
            scratch.write_text(json.dumps(tasks, ensure_ascii=False, indent=1), "utf-8")
            return
        empty: str | list[str] = [] if output.suffix.lower() == DOCCANO else ""
        with open_writer(OutputTable(output), scratch) as write:
            write([_sheet_row(suggestion, empty) for suggestion in suggestions])


def _sheet_row(suggestion: Suggestion, label: str | list[str]) -> dict[str, Any]:
    return {
        "text": suggestion.text,
        "label": label,
        "answer": suggestion.answer,
        "score": round(suggestion.score, 4),
        "campaign_messages": suggestion.campaign_messages,
    }


def _label_studio_task(suggestion: Suggestion) -> dict[str, Any]:
    """Return a task with the answer as a prediction, for the configuration in docs/labelling.md."""
    choice = {
        "from_name": "label",
        "to_name": "text",
        "type": "choices",
        "value": {"choices": [suggestion.answer]},
    }
    return {
        "data": {"text": suggestion.text, "campaign_messages": suggestion.campaign_messages},
        "predictions": [{"result": [choice], "score": round(suggestion.score, 4)}],
    }
