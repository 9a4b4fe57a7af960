"""A vocabulary cut to the tokens that messages use, and the embeddings cut with it."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, cast

import torch
from tokenizers import Tokenizer, pre_tokenizers
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from smstune.errors import UserError
from smstune.modeling.tokenization import build_encoder

logger = logging.getLogger(__name__)

#: More tokens than a message has: none of its tokens is cut off before it is counted.
_WHOLE_MESSAGE = 2**31 - 1
#: How a tokenizer with byte fallback spells the bytes of a character that it lacks.
_BYTES = frozenset(f"<0x{byte:02X}>" for byte in range(256))
#: GB 2312's rows of punctuation, of full-width ASCII, and of the characters of level 1.
_COMMON_ROWS = (0xA1, 0xA3, *range(0xB0, 0xD8))


def common_characters() -> str:
    """Return printable ASCII, and of GB 2312 the punctuation and the 3,755 characters of level 1.

    Level 1 of the standard (GB/T 2312-1980) has the characters in common use. The list is made with
    Python's codec.
    """
    codes = (bytes((row, cell)) for row in _COMMON_ROWS for cell in range(0xA1, 0xFF))
    # Some codes are not assigned.
    chinese = "".join(code.decode("gb2312", errors="ignore") for code in codes)
    return "".join(map(chr, range(0x20, 0x7F))) + chinese


def trim_vocabulary(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]
) -> PreTrainedTokenizerBase:
    """Cut ``model``'s embeddings in place to the tokens that stay, and return their tokenizer.

    The tokens that stay are those of ``texts``; those of their characters and of common ones, so
    that other words can still be spelled; bytes; those that the model's configuration names; and
    all added tokens, which include the special ones, the placeholders and the characters of
    ``add_missing_characters``. If all tokens of a text stay and none is unknown, it has the same
    tokens as before and so the very same logits.

    Raises:
        UserError: if the tokenizer is neither WordPiece nor Unigram nor BPE, or if the model counts
            positions from the padding token and its id would change.
    """
    encoder = build_encoder(tokenizer, _WHOLE_MESSAGE)
    backend = cast("PreTrainedTokenizerFast", tokenizer).backend_tokenizer
    content = json.loads(backend.to_str())
    if content["model"]["type"] not in _CUT:
        raise UserError(
            "model.trim_vocabulary: expected a WordPiece, Unigram or BPE tokenizer, found "
            "{kind}: set it to false",
            kind=content["model"]["type"],
        )
    characters = sorted(set(common_characters()).union(*texts))
    ids = {token_id for row in encoder.encode([*texts, *characters]) for token_id in row}
    ids.update(_named_ids(model).values())
    old_ids: dict[str, int] = backend.get_vocab(with_added_tokens=True)
    kept = {
        *(token for token, token_id in old_ids.items() if token_id in ids),
        *_character_tokens(backend, content, characters),
        *(added["content"] for added in content["added_tokens"]),
    }
    new_ids = _cut_content(content, kept)
    rows = [old_ids[token] for token in new_ids]
    _cut_embeddings(model, rows)
    logger.info(
        "trimmed the vocabulary from %s to %s tokens", f"{len(old_ids):,}", f"{len(rows):,}"
    )
    return _rebuilt(tokenizer, content)


def _character_tokens(
    backend: Tokenizer, content: dict[str, Any], characters: Iterable[str]
) -> Iterator[str]:
    """Yield tokens that spell ``characters`` one by one, at any position in a word, and bytes."""
    prefix = content["model"].get("continuing_subword_prefix") or ""
    suffix = content["model"].get("end_of_word_suffix") or ""
    yield from _BYTES
    if '"ByteLevel"' in json.dumps([content["normalizer"], content["pre_tokenizer"]]):
        yield from pre_tokenizers.ByteLevel.alphabet()
    for character in characters:
        # Three times, to see its tokens at the beginning, inside and at the end of a word. BERT
        # makes each Chinese character a word of its own.
        text = character * 3
        if backend.normalizer is not None:
            text = backend.normalizer.normalize_str(text)
        words = [text]
        if backend.pre_tokenizer is not None:
            words = [word for word, _ in backend.pre_tokenizer.pre_tokenize_str(text)]
        for word in filter(None, words):
            tokens = [prefix * (position > 0) + letter for position, letter in enumerate(word)]
            tokens[-1] += suffix
            yield from tokens


def _cut_content(content: dict[str, Any], kept: Collection[str]) -> dict[str, int]:
    """Cut the content of a tokenizer.json in place; return its tokens in order, with their ids."""
    model = content["model"]
    tokens = _CUT[model["type"]](model, kept)
    # tokenizers numbers added tokens that its model lacks after those of the model, by their order.
    content["added_tokens"].sort(key=lambda added: added["id"])
    tokens += [added["content"] for added in content["added_tokens"]]
    ids = {token: token_id for token_id, token in enumerate(dict.fromkeys(tokens))}
    for added in content["added_tokens"]:
        added["id"] = ids[added["content"]]
    if content["padding"] is not None:
        content["padding"]["pad_id"] = ids[content["padding"]["pad_token"]]
    _renumber(content["post_processor"], ids)
    return ids


def _renumber(post_processor: dict[str, Any] | None, ids: dict[str, int]) -> None:
    """Give the tokens that a post-processor adds their new ids."""
    if post_processor is None:
        return
    for step in post_processor.get("processors", ()):
        _renumber(step, ids)
    for special in post_processor.get("special_tokens", {}).values():
        special["ids"] = [ids[token] for token in special["tokens"]]
    for end in ("sep", "cls"):
        if end in post_processor:
            token, _ = post_processor[end]
            post_processor[end] = [token, ids[token]]


def _cut_word_pieces(model: dict[str, Any], kept: Collection[str]) -> list[str]:
    """Cut WordPiece; return the tokens that stay.

    It takes the longest piece at each position; without the others it still takes the same ones.
    """
    vocabulary: dict[str, int] = model["vocab"]
    tokens = [
        token
        for token in sorted(vocabulary, key=vocabulary.__getitem__)
        if token in kept or token == model["unk_token"]
    ]
    model["vocab"] = {token: token_id for token_id, token in enumerate(tokens)}
    return tokens


def _cut_unigram(model: dict[str, Any], kept: Collection[str]) -> list[str]:
    """Cut Unigram; return the tokens that stay.

    The best of all segmentations is the best of fewer ones, too. The token of the lowest score
    stays, because an unknown character scores 10 less than it: unknown ones then score no better
    than before.
    """
    unknown = None if model["unk_id"] is None else model["vocab"][model["unk_id"]][0]
    lowest = min(model["vocab"], key=lambda entry: entry[1])[0]
    model["vocab"] = [
        [token, score]
        for token, score in model["vocab"]
        if token in kept or token in (unknown, lowest)
    ]
    tokens = [token for token, _ in model["vocab"]]
    if unknown is not None:
        model["unk_id"] = tokens.index(unknown)
    return tokens


def _cut_pairs(model: dict[str, Any], kept: Collection[str]) -> list[str]:
    """Cut BPE; return the tokens that stay, which include all on the way to another.

    Merges keep their order, and every merge to a token that stays is kept, so a text that ends in
    such tokens is merged by the same steps as before.
    """
    prefix = model["continuing_subword_prefix"] or ""
    merges = [tuple(pair.split(" ")) if isinstance(pair, str) else pair for pair in model["merges"]]
    sources: dict[str, list[tuple[str, str]]] = {}
    for left, right in merges:
        sources.setdefault(left + right.removeprefix(prefix), []).append((left, right))
    reached: set[str] = set()
    ahead = [token for token in model["vocab"] if token in kept]
    while ahead:
        token = ahead.pop()
        if token not in reached:
            reached.add(token)
            ahead += [part for pair in sources.get(token, ()) for part in pair]
    model["merges"] = [
        [left, right] for left, right in merges if left + right.removeprefix(prefix) in reached
    ]
    return _cut_word_pieces(model, reached)


#: By kind: what cuts the model of a tokenizer.json in place and returns its tokens by id.
_CUT = {"WordPiece": _cut_word_pieces, "Unigram": _cut_unigram, "BPE": _cut_pairs}


@torch.no_grad()
def _cut_embeddings(model: PreTrainedModel, rows: Sequence[int]) -> None:
    """Keep these rows of the embeddings, input and output, in this order; renumber config's ids."""
    new_ids = {row: token_id for token_id, row in enumerate(rows)}
    config = model.config
    table: Any = model.get_input_embeddings()
    padding: int | None = getattr(config, "pad_token_id", None)
    moves = padding is not None and new_ids.get(padding) != padding
    if moves and _counts_from_padding(model):
        raise UserError(
            "model.trim_vocabulary: {model_type} counts positions from the id of its padding "
            "token, which would change: set it to false",
            model_type=config.model_type,
        )
    weights = [table.weight]
    output = cast("Any", model).get_output_embeddings()
    if output is not None:
        weights += [weight for weight in output.parameters() if weight is not table.weight]
    for weight in weights:
        weight[: len(rows)] = weight[rows]
    padding_row = table.padding_idx
    # It cuts tied weights, too, and sets vocab_size.
    model.resize_token_embeddings(len(rows), mean_resizing=False)
    table.padding_idx = new_ids.get(padding_row)
    for name, token_id in _named_ids(model).items():
        # Left alone if the tokenizer has no such token: some configurations have defaults for
        # a vocabulary of another size.
        setattr(config, name, new_ids.get(token_id, token_id))


def _named_ids(model: PreTrainedModel) -> dict[str, int]:
    """Return the ids of tokens that the configuration names, such as ``pad_token_id``."""
    return {
        name: value
        for name, value in model.config.to_dict().items()
        if name.endswith("_token_id") and isinstance(value, int)
    }


def _counts_from_padding(model: PreTrainedModel) -> bool:
    """Say whether positions start after the padding token's id, as RoBERTa's do."""
    tables = (getattr(module, "position_embeddings", None) for module in model.modules())
    return any(
        isinstance(table, nn.Embedding) and table.padding_idx is not None for table in tables
    )


def _rebuilt(
    tokenizer: PreTrainedTokenizerBase, content: dict[str, Any]
) -> PreTrainedTokenizerBase:
    """Return ``tokenizer`` with the content of another tokenizer.json.

    Its class is the general one, which reads tokenizer.json as it is; the classes of architectures
    build their tokenizer anew from the vocabulary and number added tokens in their own way.
    """
    build: Any = PreTrainedTokenizerFast
    rebuilt: PreTrainedTokenizerBase = build(
        tokenizer_object=Tokenizer.from_str(json.dumps(content)),
        name_or_path=tokenizer.name_or_path,
        model_max_length=tokenizer.model_max_length,
        padding_side=tokenizer.padding_side,
        truncation_side=tokenizer.truncation_side,
        model_input_names=tokenizer.model_input_names,
        # As load_tokenizer sets it: a message that spells [SEP] is text.
        split_special_tokens=True,
        **tokenizer.special_tokens_map,
    )
    return rebuilt
