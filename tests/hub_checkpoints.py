"""Tiny random checkpoints of each architecture, with the files that a hub has of it."""

from __future__ import annotations

import csv
import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers
from doors import ROOT
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

BERT_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
ROBERTA_TOKENS = ["<s>", "<pad>", "</s>", "<unk>"]
#: Dimensions by the names that most configurations have.
SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 66,
}


def messages() -> list[str]:
    """Return the texts of the tiny messages."""
    with (ROOT / "tests/fixtures/messages.csv").open(encoding="utf-8") as stream:
        return [row["text"] for row in csv.DictReader(stream)]


def write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False), "utf-8")


@functools.cache
def word_pieces() -> list[str]:
    """Return a vocabulary as Google's for Chinese: characters, and pieces of Latin words."""
    texts = messages()
    characters = sorted({letter for text in texts for letter in text.lower() if letter.strip()})
    inner = [f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz0123456789"]
    return [*BERT_TOKENS[:1], "[unused1]", *BERT_TOKENS[1:], *characters, *inner, "##的"]


def with_vocab_txt(folder: Path, configuration: Mapping[str, object] | None) -> int:
    """Write vocab.txt, as repositories of Chinese BERTs have it; return the number of tokens."""
    (folder / "vocab.txt").write_text("\n".join(word_pieces()) + "\n", "utf-8")
    if configuration is not None:
        write_json(folder / "tokenizer_config.json", configuration)
    return len(word_pieces())


def byte_pairs(special: list[str], n_tokens: int = 900) -> Tokenizer:
    """Return a byte-level BPE."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=n_tokens,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(messages(), trainer)
    return tokenizer


def unigrams(special: list[str], unknown: str) -> Tokenizer:
    """Return what SentencePiece would train."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=900, special_tokens=special, unk_token=unknown, show_progress=False
    )
    tokenizer.train_from_iterator(messages(), trainer)
    return tokenizer


def with_saved_tokenizer(
    folder: Path, tokenizer: Tokenizer, configuration: Mapping[str, object]
) -> int:
    """Write tokenizer.json and its configuration; return the number of tokens."""
    tokenizer.save(str(folder / "tokenizer.json"))
    write_json(folder / "tokenizer_config.json", configuration)
    return tokenizer.get_vocab_size()


def with_byte_pair_files(folder: Path, tokenizer: Tokenizer) -> None:
    """Write vocab.json and merges.txt beside tokenizer.json."""
    tokenizer.model.save(str(folder))


def with_ends(tokenizer: Tokenizer, first: str | None, last: str | None) -> Tokenizer:
    """Let the tokenizer add a first and a last token to each message."""
    ends = [token for token in (first, last) if token is not None]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=[token for token in (first, "$A", last) if token is not None],
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in ends],
    )
    return tokenizer


@dataclass(frozen=True)
class Architecture:
    """An architecture in the form of one of its published checkpoints.

    Attributes:
        model_class: the class that its repository's weights were saved from.
        tokenizer: writes the files of the tokenizer and returns the number of tokens.
        configuration: the arguments of its configuration; the number of tokens is added.
        changes: what the repository's config.json has otherwise than transformers writes it; a key
            of value None is missing.
        pickled: whether the weights are a pytorch_model.bin.
        bits: the number format of its weights.
    """

    model_class: str
    tokenizer: Callable[[Path], int]
    configuration: Mapping[str, object]
    changes: Mapping[str, object]
    pickled: bool = False
    bits: torch.dtype = torch.float32


def save_checkpoint(name: str, folder: Path) -> Path:
    """Write the tiny checkpoint of an architecture into a new folder and return it."""
    architecture = ARCHITECTURES[name]
    folder.mkdir()
    n_tokens = architecture.tokenizer(folder)
    torch.manual_seed(0)
    model_class = getattr(transformers, architecture.model_class)
    config = model_class.config_class(vocab_size=n_tokens, **architecture.configuration)
    model = model_class(config).to(architecture.bits)
    model.save_pretrained(folder)
    if architecture.pickled:
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
    content = json.loads((folder / "config.json").read_text("utf-8"))
    changed = {**content, **architecture.changes}
    write_json(folder / "config.json", {k: v for k, v in changed.items() if v is not None})
    return folder


def _electra(folder: Path) -> int:
    return with_vocab_txt(folder, {"do_lower_case": True, "model_max_length": 512})


def _ernie(folder: Path) -> int:
    return with_vocab_txt(folder, {"do_lower_case": True, "tokenizer_class": "ErnieTokenizer"})


def _distilbert(folder: Path) -> int:
    return with_vocab_txt(folder, {"do_lower_case": False, "model_max_length": 512})


def _albert(folder: Path) -> int:
    return with_vocab_txt(folder, {"do_lower_case": False, "tokenizer_class": "BertTokenizer"})


def _roberta(folder: Path) -> int:
    tokenizer = with_ends(byte_pairs([*ROBERTA_TOKENS, "<mask>"]), "<s>", "</s>")
    with_byte_pair_files(folder, tokenizer)
    return with_saved_tokenizer(folder, tokenizer, {"model_max_length": 512})


def _xlm_roberta(folder: Path) -> int:
    tokenizer = unigrams([*ROBERTA_TOKENS], "<unk>")
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True)])
    with_ends(tokenizer, "<s>", "</s>")
    return with_saved_tokenizer(folder, tokenizer, {"model_max_length": 512})


def _deberta(folder: Path) -> int:
    return with_vocab_txt(folder, {"do_lower_case": True, "tokenizer_class": "BertTokenizer"})


def _sentence_pieces(folder: Path) -> int:
    """Write spm.model alone, as mDeBERTa has it."""
    from sentencepiece import SentencePieceTrainer

    (folder / "messages.txt").write_text("\n".join(messages()), "utf-8")
    SentencePieceTrainer.Train(
        input=str(folder / "messages.txt"),
        model_prefix=str(folder / "spm"),
        vocab_size=700,
        pad_id=0,
        bos_id=1,
        eos_id=2,
        unk_id=3,
        pad_piece="[PAD]",
        bos_piece="[CLS]",
        eos_piece="[SEP]",
        unk_piece="[UNK]",
        character_coverage=1.0,
        normalization_rule_name="identity",
        hard_vocab_limit=False,
        num_threads=1,
        minloglevel=2,
    )
    (folder / "messages.txt").unlink()
    (folder / "spm.vocab").unlink()
    write_json(folder / "tokenizer_config.json", {"do_lower_case": False, "vocab_type": "spm"})
    # mDeBERTa has more rows than tokens, too.
    return 750


def _modernbert(folder: Path) -> int:
    special = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]
    tokenizer = with_ends(byte_pairs(special), "[CLS]", "[SEP]")
    tokenizer.normalizer = normalizers.NFC()
    configuration = {
        **{f"{token[1:-1].lower()}_token": token for token in special},
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": 8192,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    return with_saved_tokenizer(folder, tokenizer, configuration)


def _eurobert(folder: Path) -> int:
    special = ["<|begin_of_text|>", "<|end_of_text|>", "<|mask|>"]
    first, last, mask = special
    configuration = {
        "bos_token": first,
        "eos_token": last,
        "mask_token": mask,
        "pad_token": last,
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": 8192,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    tokenizer = with_ends(byte_pairs(special), first, last)
    return with_saved_tokenizer(folder, tokenizer, configuration)


QWEN_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _qwen3(folder: Path) -> int:
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = byte_pairs([])
    with_byte_pair_files(folder, tokenizer)
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN_WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    n_words = tokenizer.get_vocab_size()
    tokenizer.add_special_tokens(special)
    configuration = {
        "add_prefix_space": False,
        "added_tokens_decoder": {
            str(n_words + number): {
                "content": token,
                "lstrip": False,
                "normalized": False,
                "rstrip": False,
                "single_word": False,
                "special": True,
            }
            for number, token in enumerate(special)
        },
        "additional_special_tokens": special[1:],
        "bos_token": None,
        "chat_template": "{{ messages }}",
        "eos_token": "<|endoftext|>",
        "model_max_length": 131072,
        "pad_token": "<|endoftext|>",
        "split_special_tokens": False,
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": None,
    }
    # The table has more rows than there are tokens.
    return with_saved_tokenizer(folder, tokenizer, configuration) + 8


EUROBERT_CODE = {
    "AutoConfig": "configuration_eurobert.EuroBertConfig",
    "AutoModel": "modeling_eurobert.EuroBertModel",
    "AutoModelForMaskedLM": "modeling_eurobert.EuroBertForMaskedLM",
    "AutoModelForSequenceClassification": "modeling_eurobert.EuroBertForSequenceClassification",
}
DEBERTA = {
    **SIZES,
    "type_vocab_size": 0,
    "relative_attention": True,
    "position_buckets": 16,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
    "max_relative_positions": -1,
    "pad_token_id": 0,
}
#: By name; the comment is the checkpoint whose form it has.
ARCHITECTURES = {
    # hfl/chinese-roberta-wwm-ext
    "bert": Architecture("BertForMaskedLM", _electra, SIZES, {}, pickled=True),
    # nghuyong/ernie-3.0-base-zh
    "ernie": Architecture(
        "ErnieForMaskedLM",
        _ernie,
        {**SIZES, "use_task_id": True, "task_type_vocab_size": 3, "type_vocab_size": 4},
        {"architectures": None},
        pickled=True,
    ),
    # hfl/chinese-electra-180g-small-discriminator
    "electra": Architecture(
        "ElectraForPreTraining", _electra, {**SIZES, "embedding_size": 16}, {}, pickled=True
    ),
    # FacebookAI/roberta-base
    "roberta": Architecture(
        "RobertaForMaskedLM",
        _roberta,
        {**SIZES, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "type_vocab_size": 1},
        {},
    ),
    # FacebookAI/xlm-roberta-base
    "xlm-roberta": Architecture(
        "XLMRobertaForMaskedLM",
        _xlm_roberta,
        {**SIZES, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "type_vocab_size": 1},
        {},
    ),
    # IDEA-CCNL/Erlangshen-DeBERTa-v2-97M-Chinese
    "deberta-v2": Architecture("DebertaV2ForMaskedLM", _deberta, DEBERTA, {}, pickled=True),
    # microsoft/mdeberta-v3-base
    "mdeberta": Architecture(
        "DebertaV2ForMaskedLM",
        _sentence_pieces,
        DEBERTA,
        {"architectures": None, "pos_att_type": "p2c|c2p"},
        pickled=True,
        bits=torch.float16,
    ),
    # distilbert/distilbert-base-multilingual-cased
    "distilbert": Architecture(
        "DistilBertForMaskedLM",
        _distilbert,
        {
            "dim": 32,
            "n_layers": 3,
            "n_heads": 2,
            "hidden_dim": 48,
            "max_position_embeddings": 66,
            "pad_token_id": 0,
        },
        {},
    ),
    # uer/albert-base-chinese-cluecorpussmall
    "albert": Architecture(
        "AlbertForMaskedLM", _albert, {**SIZES, "embedding_size": 16}, {}, pickled=True
    ),
    # answerdotai/ModernBERT-base
    "modernbert": Architecture(
        "ModernBertForMaskedLM",
        _modernbert,
        {
            **SIZES,
            "num_hidden_layers": 4,
            "classifier_pooling": "mean",
            "pad_token_id": 3,
            "bos_token_id": 1,
            "cls_token_id": 1,
            "eos_token_id": 2,
            "sep_token_id": 2,
        },
        {},
    ),
    # EuroBERT/EuroBERT-210m
    "eurobert": Architecture(
        "EuroBertForMaskedLM",
        _eurobert,
        {
            **SIZES,
            "num_key_value_heads": 2,
            "bos_token_id": 0,
            "eos_token_id": 1,
            "mask_token_id": 2,
            "pad_token_id": 1,
            "tie_word_embeddings": False,
        },
        {"auto_map": EUROBERT_CODE},
        bits=torch.bfloat16,
    ),
    # Qwen/Qwen3-0.6B-Base
    "qwen3": Architecture(
        "Qwen3ForCausalLM",
        _qwen3,
        {
            **SIZES,
            "num_key_value_heads": 1,
            "head_dim": 16,
            "tie_word_embeddings": True,
            "max_window_layers": 3,
        },
        {"pad_token_id": None, "use_cache": True},
        bits=torch.bfloat16,
    ),
}
