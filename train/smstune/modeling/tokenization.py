"""The tokenizer of a checkpoint, loaded or built anew, and what the trainer reads of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import torch
from datasets import Dataset
from huggingface_hub.errors import HFValidationError
from tokenizers import (
    AddedToken,
    Tokenizer,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.models.auto.tokenization_auto import get_tokenizer_config

from smstune.errors import UserError
from smstune.inference.labels import LabelMap
from smstune.inference.tokenization import Encoder, Padding, pad
from smstune.language import Message
from smstune.text.pii.placeholders import PLACEHOLDERS

#: The label id of a message without a label. Not -100, the one that transformers does not count.
UNLABELLED = -1
#: The column of the logits that a student learns.
TEACHER_LOGITS = "teacher_logits"


def load_tokenizer(name_or_path: str, *, revision: str | None = None) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a checkpoint, with a token for each of our placeholders.

    Its chat template, if any, is removed: a classifier has no use for it.

    Raises:
        UserError: if the checkpoint cannot be reached, has no tokenizer, or needs its own code.
    """
    try:
        if "auto_map" in get_tokenizer_config(name_or_path, revision=revision):
            raise UserError(
                "the tokenizer of {name_or_path} needs its own code (auto_map in "
                "tokenizer_config.json), which is never run: choose another checkpoint",
                name_or_path=name_or_path,
            )
        tokenizer = AutoTokenizer.from_pretrained(
            name_or_path, revision=revision, trust_remote_code=False
        )
    except UserError:
        raise
    # tokenizers has no error class of its own and raises any type.
    except Exception as error:
        raise load_error(Message("tokenizer"), name_or_path, error) from error
    if tokenizer.vocab_size <= len(tokenizer.all_special_tokens):
        # transformers returns an empty tokenizer if the architecture's vocabulary file is missing,
        # for example an ALBERT with BERT's vocab.txt.
        raise UserError(
            "{name_or_path} has no tokenizer: copy tokenizer.json into that folder or, if it has "
            'a vocab.txt, write {{"tokenizer_class": "BertTokenizer"}} into tokenizer_config.json',
            name_or_path=name_or_path,
        )
    tokenizer.chat_template = None
    _prepare_for_messages(tokenizer)
    return cast("PreTrainedTokenizerBase", tokenizer)


def build_encoder(tokenizer: PreTrainedTokenizerBase, max_length: int) -> Encoder:
    """Return a tokenizer of transformers as the encoder that gives the same token ids.

    Raises:
        UserError: if tokenizer.json, from which a run is loaded, cannot hold it, or if it has no
            padding token.
    """
    try:
        if not isinstance(tokenizer, PreTrainedTokenizerFast):
            raise ValueError(
                Message("{type_name} is written in Python", type_name=type(tokenizer).__name__)
            )
        content = tokenizer.backend_tokenizer.to_str()
    # tokenizers raises Exception where a step is written in Python.
    except Exception as error:
        raise UserError(
            "model.name_or_path: expected a tokenizer that tokenizer.json can hold, found one that "
            "it cannot ({cause}): choose another checkpoint",
            cause=first_words(error),
        ) from error
    if tokenizer.pad_token_id is None:
        raise UserError(
            "model.name_or_path: the tokenizer of {name_or_path} has no padding token: "
            "choose another checkpoint",
            name_or_path=tokenizer.name_or_path,
        )
    padding = Padding(token_id=tokenizer.pad_token_id, side=tokenizer.padding_side)
    return Encoder(content, padding, max_length)


def add_missing_characters(
    tokenizer: PreTrainedTokenizerBase, texts: Iterable[str], *, at_least: int = 2
) -> list[str]:
    """Add tokens for the characters in ``texts`` that ``tokenizer`` lacks, and return them.

    Spam is written with rare variants of common characters (氺 for 水) that are not in vocabularies
    of ordinary text; to the model they would all be the same unknown token. A character seen fewer
    than ``at_least`` times stays unknown, because its embedding would hardly be trained.
    """
    counts = Counter(character for text in texts for character in text)
    often = sorted(character for character, n in counts.items() if n >= at_least)
    if not often or tokenizer.unk_token_id is None:
        return []
    ids = tokenizer(often, add_special_tokens=False)["input_ids"]
    missing = [
        character
        for character, row in zip(often, ids, strict=True)
        if tokenizer.unk_token_id in row
    ]
    tokenizer.add_tokens([AddedToken(character, normalized=False) for character in missing])
    return missing


def build_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerBase:
    """Train a BERT tokenizer (WordPiece, one token per Chinese character) on ``texts``.

    Deterministic: the same texts give the same tokenizer in every process.
    """
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    texts = list(texts)
    learner = _bert_pieces({})
    # The trainer numbers ##a, ##b, ... in the order of a randomly seeded hash table and breaks ties
    # by these numbers. Listing them as special tokens fixes their order.
    first = [*special, *_inner_characters(learner, texts)]
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size, special_tokens=first, show_progress=False
    )
    learner.train_from_iterator(texts, trainer)
    tokenizer = _bert_pieces(learner.get_vocab())
    tokenizer.post_processor = processors.BertProcessing(
        ("[SEP]", special.index("[SEP]")), ("[CLS]", special.index("[CLS]"))
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )
    _prepare_for_messages(fast)
    return fast


def _bert_pieces(vocabulary: dict[str, int]) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def _inner_characters(tokenizer: Tokenizer, texts: Iterable[str]) -> list[str]:
    """Return the characters inside words of ``texts``, as ``##a``, sorted."""
    cut, clean = tokenizer.pre_tokenizer.pre_tokenize_str, tokenizer.normalizer.normalize_str
    words = {word for text in texts for word, _ in cut(clean(text))}
    return sorted({f"##{character}" for word in words for character in word[1:]})


def _prepare_for_messages(tokenizer: PreTrainedTokenizerBase) -> None:
    # Not normalised: a lower-casing tokenizer would otherwise turn [PHONE] into [phone].
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in PLACEHOLDERS])
    # A message that spells [SEP] is text to plain transformers, too, as it is to Encoder.
    tokenizer.split_special_tokens = True
    tokenizer.init_kwargs["split_special_tokens"] = True


def tokenize_dataset(table: Dataset, encoder: Encoder, labels: LabelMap) -> Dataset:
    """Return a data set of ``input_ids``, ``length`` and ``labels`` for the trainer.

    A row whose label is ``None`` gets ``UNLABELLED``.
    """

    def encode(batch: dict[str, list[Any]]) -> dict[str, list[int] | list[list[int]]]:
        ids = encoder.encode(batch["text"])
        return {
            "input_ids": ids,
            "length": [len(row) for row in ids],
            "labels": [
                UNLABELLED if label is None else labels.label2id[label] for label in batch["label"]
            ],
        }

    return table.map(
        encode, batched=True, remove_columns=table.column_names, keep_in_memory=True, desc="tokens"
    )


class PaddingCollator:
    """Pads to the longest message of a batch, on a GPU to a multiple of 8 tokens.

    Columns that the model does not read, such as ``length``, are left out. A class, because a
    worker process that is spawned receives it pickled.
    """

    def __init__(self, padding: Padding, device: str) -> None:
        """Take the padding, and the type of the device that the batches are for."""
        self._padding = padding
        self._multiple = 8 if device == "cuda" else 1

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Return tensors of the rows' token ids and mask, and of their targets if they have any."""
        padded = pad([row["input_ids"] for row in rows], self._padding, multiple=self._multiple)
        batch = {name: torch.from_numpy(values) for name, values in padded.items()}
        for name in ("labels", TEACHER_LOGITS):
            if name in rows[0]:
                batch[name] = torch.tensor([row[name] for row in rows])
        return batch


def load_error(component: str, name_or_path: str, error: Exception) -> UserError:
    """Return the error for a component of a checkpoint that did not load, with advice."""
    if isinstance(error, OSError | HFValidationError):
        advice = Message(
            "check the path, set HF_ENDPOINT to a reachable mirror, or download it and pass the "
            "local folder"
        )
    else:
        advice = Message("it is damaged or not supported by transformers: choose another")
    return UserError(
        "could not load the {component} from {name_or_path!r} as a local folder or hub id: "
        "{advice} ({cause})",
        component=component,
        name_or_path=name_or_path,
        advice=advice,
        cause=first_words(error),
    )


def first_words(error: Exception) -> str:
    """Return the beginning of a library's error message on one line; one of ours whole."""
    if error.args and isinstance(error.args[0], Message):
        return error.args[0]
    return " ".join(str(error).split())[:200] or type(error).__name__
