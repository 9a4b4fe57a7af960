"""Messages without labels: raw rows in, distinct texts as a model reads them out."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from smstune.campaigns.grouping import near_matches
from smstune.data.prepared import load_preparation, split_file
from smstune.data.readers.catalogue import Input
from smstune.errors import UserError
from smstune.inference.manifest import TextOptions
from smstune.language import Message
from smstune.progress import progress
from smstune.tables.options import TableOptions
from smstune.text.normalize import MAX_CHARACTERS

#: The splits of a prepared folder on which decisions rest.
_PROTECTED = ("validation", "test")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Unlabelled:
    """Distinct preprocessed messages, the source of each, and what became of the other rows.

    The rows that were read are the messages, the ``merged`` copies of one, the ``unusable`` rows
    without a text, and those ``set_aside`` because they nearly copy a protected message.
    """

    texts: list[str]
    sources: list[str]
    merged: int
    unusable: int
    set_aside: int


def read_unlabelled(
    inputs: Sequence[Input],
    options: TableOptions,
    text: TextOptions,
    protected: Sequence[Path],
) -> Unlabelled:
    """Return the messages of all inputs; labels, if they have any, are not read.

    They are preprocessed by ``text``; of equal ones the first remains. A message that nearly copies
    one of validation or test of a ``protected`` prepared folder (a Jaccard similarity of at least
    0.7, see ``near_matches``) is set aside, so that no model learns what it will be measured on.
    What was left out is logged.

    Raises:
        UserError: if an input cannot be read, a protected folder is none or was preprocessed
            otherwise, or no message remains.
    """
    protected_texts = _protected_texts(protected, text)
    source_of_text: dict[str, str] = {}
    merged = unusable = 0
    for input_ in inputs:
        stage = Message("reading {source}", source=input_.source)
        for raw in progress(_raw_texts(input_, options), stage):
            clean = text.preprocess(raw) if len(raw) <= MAX_CHARACTERS else ""
            if not clean:
                unusable += 1
            elif clean in source_of_text:
                merged += 1
            else:
                source_of_text[clean] = input_.source
    texts = list(source_of_text)
    if protected_texts:
        is_protected = near_matches(texts, protected_texts) >= 0
        texts = [texts[row] for row in np.flatnonzero(~is_protected)]
    set_aside = len(source_of_text) - len(texts)
    if not texts:
        raise UserError(
            "expected unlabelled messages, found none: {unusable} rows without a usable text, "
            "{set_aside} messages that nearly copy protected ones: add other inputs",
            unusable=unusable,
            set_aside=set_aside,
        )
    logger.info(
        "%s unlabelled messages: %s copies merged, %s rows without a usable text, %s set aside as "
        "near copies of protected messages",
        f"{len(texts):,}",
        f"{merged:,}",
        f"{unusable:,}",
        f"{set_aside:,}",
    )
    sources = [source_of_text[message] for message in texts]
    return Unlabelled(texts, sources, merged, unusable, set_aside)


def _raw_texts(input_: Input, options: TableOptions) -> Iterator[str]:
    """Yield the text of each row, empty where the row has none that can be read."""
    for row in input_.reader(input_.path, options):
        yield "" if row.problem else row.text or ""


def _protected_texts(folders: Sequence[Path], text: TextOptions) -> list[str]:
    """Return the messages of validation and test of prepared folders."""
    texts: list[str] = []
    for folder in folders:
        preparation = load_preparation(folder)
        if preparation.text != text:
            raise UserError(
                "the protected folder {folder} was preprocessed otherwise than these messages, so "
                "copies cannot be recognised: set prepare.mask_pii={mask_pii} and "
                "prepare.drop_punctuation={drop_punctuation}",
                folder=folder,
                mask_pii=str(preparation.text.mask_pii).lower(),
                drop_punctuation=str(preparation.text.drop_punctuation).lower(),
            )
        for split in _PROTECTED:
            texts += pq.read_table(split_file(folder, split), columns=["text"])["text"].to_pylist()
    return texts
