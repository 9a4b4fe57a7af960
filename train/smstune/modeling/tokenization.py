"""The tokenizer of a checkpoint, or a new one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import cast

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
from smstune.inference.tokenization import tokenize
from smstune.text.pii.placeholders import PLACEHOLDERS


def load_tokenizer(name_or_path: str, *, revision: str | None = None) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a checkpoint, with our placeholders as tokens of their own.

    A chat template, which a classifier has no use for, is left out.

    Raises:
        UserError: if the checkpoint cannot be reached, has no tokenizer, or brings code for it.
    """
    try:
        if "auto_map" in get_tokenizer_config(name_or_path, revision=revision):
            raise UserError(
                f"expected a tokenizer that transformers reads by itself, found in {name_or_path} "
                "one that brings its own code (auto_map in tokenizer_config.json), which is never "
                "run: choose another checkpoint"
            )
        tokenizer = AutoTokenizer.from_pretrained(
            name_or_path, revision=revision, trust_remote_code=False
        )
    except UserError:
        raise
    # What a foreign tokenizer raises is anything: tokenizers has no error of its own.
    except Exception as error:
        raise load_error("tokenizer", name_or_path, error) from error
    if tokenizer.vocab_size <= len(tokenizer.all_special_tokens):
        # transformers makes an empty tokenizer where it does not find the vocabulary that the
        # architecture has: none at all, or BERT's vocab.txt beside an ALBERT.
        raise UserError(
            f"expected a tokenizer in {name_or_path}, found none: copy tokenizer.json beside the "
            "model, or where vocab.txt is there write "
            '{"tokenizer_class": "BertTokenizer"} into tokenizer_config.json'
        )
    tokenizer.chat_template = None
    _add_placeholders(tokenizer)
    return cast("PreTrainedTokenizerBase", tokenizer)


def add_missing_characters(
    tokenizer: PreTrainedTokenizerBase, texts: Iterable[str], *, at_least: int = 2
) -> list[str]:
    """Make tokens of the characters in ``texts`` that ``tokenizer`` cannot read; return them.

    Spam is written in rare variants of common characters (氺 for 水), which a vocabulary made from
    ordinary text lacks: to the model they would all be one unknown token. One seen less than
    ``at_least`` times stays unknown, since its embedding would hardly be trained.
    """
    counts = Counter(character for text in texts for character in text)
    often = sorted(character for character, n in counts.items() if n >= at_least)
    if not often or tokenizer.unk_token_id is None:
        return []
    ids = tokenizer(often, add_special_tokens=False)["input_ids"]
    missing = [one for one, row in zip(often, ids, strict=True) if tokenizer.unk_token_id in row]
    tokenizer.add_tokens([AddedToken(one, normalized=False) for one in missing])
    return missing


def build_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerBase:
    """Train a BERT tokenizer (WordPiece, a Chinese character a token) on ``texts``.

    The same texts give the same tokenizer, in every process and when a run is resumed.
    """
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    texts = list(texts)
    learner = _bert_pieces({})
    # The trainer numbers ##a, ##b, ... in the order of a hash table seeded anew each time, and
    # breaks ties by these numbers. Tokens named beforehand keep their order.
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
    _add_placeholders(fast)
    return fast


def _bert_pieces(vocabulary: dict[str, int]) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def _inner_characters(tokenizer: Tokenizer, texts: Iterable[str]) -> list[str]:
    """Return the characters that stand within words of ``texts``, as ``##a``, sorted."""
    cut, clean = tokenizer.pre_tokenizer.pre_tokenize_str, tokenizer.normalizer.normalize_str
    words = {word for text in texts for word, _ in cut(clean(text))}
    return sorted({f"##{character}" for word in words for character in word[1:]})


def _add_placeholders(tokenizer: PreTrainedTokenizerBase) -> None:
    # Not normalised: a lower-casing tokenizer would otherwise read [PHONE] as it reads [phone].
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in PLACEHOLDERS])


def tokenize_dataset(
    table: Dataset, tokenizer: PreTrainedTokenizerBase, labels: LabelMap, max_length: int
) -> Dataset:
    """Return a data set of ``input_ids``, ``length`` and ``labels`` for the trainer."""

    def encode(batch: dict[str, list[str]]) -> dict[str, list[int] | list[list[int]]]:
        ids = tokenize(batch["text"], tokenizer, max_length)
        return {
            "input_ids": ids,
            "length": [len(row) for row in ids],
            "labels": [labels.label2id[label] for label in batch["label"]],
        }

    return table.map(
        encode, batched=True, remove_columns=table.column_names, keep_in_memory=True, desc="tokens"
    )


def load_error(what: str, name_or_path: str, error: Exception) -> UserError:
    """Return why a checkpoint's ``what`` did not load and what a user can do about it."""
    if isinstance(error, OSError | HFValidationError):
        advice = (
            "check the path, set HF_ENDPOINT to a reachable mirror, or download it and give the "
            "local folder"
        )
    else:
        advice = "it is damaged, or transformers lacks what it needs: choose another"
    return UserError(
        f"expected a {what} in {name_or_path!r}, a local folder or a hub id, and could not load "
        f"it: {advice} ({first_words(error)})"
    )


def first_words(error: Exception) -> str:
    """Return the beginning of what an error of another library says, in one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__
