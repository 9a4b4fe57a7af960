"""Trimming: fewer tokens, and texts whose tokens all stay are answered to the bit as before."""

from __future__ import annotations

import copy
import csv
import functools
import json
import shutil

import pytest
import torch
from doors import SAMPLE, TINY_OVERRIDES, run
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    BertModel,
    BertTokenizer,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from smstune import SmsClassifier, UserError
from smstune.modeling.tokenization import (
    add_missing_characters,
    build_encoder,
    load_tokenizer,
)
from smstune.modeling.trim_vocabulary import common_characters, trim_vocabulary
from smstune.text.pii.placeholders import PLACEHOLDERS

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
with SAMPLE.open(encoding="utf-8", newline="") as stream:
    TEXTS = [row["text"] for row in csv.DictReader(stream)]
FEW = TEXTS[::250]


def word_pieces():
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer, trainers.WordPieceTrainer(
        vocab_size=6000, special_tokens=SPECIAL, show_progress=False
    )


def unigram():
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return tokenizer, trainers.UnigramTrainer(
        vocab_size=6000, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False
    )


def byte_pairs():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    return tokenizer, trainers.BpeTrainer(
        vocab_size=6000, special_tokens=SPECIAL, show_progress=False
    )


def character_pairs():
    affixes = {"continuing_subword_prefix": "##", "end_of_word_suffix": "</w>"}
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", **affixes))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer, trainers.BpeTrainer(
        vocab_size=8000, special_tokens=SPECIAL, show_progress=False, **affixes
    )


@functools.cache
def trained(kind):
    tokenizer, trainer = kind()
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


def saved_tokenizer(tokenizer, folder):
    """Save a tokenizer in the form of a checkpoint's, and return it as a fine-tune loads it."""
    ends = [(token, tokenizer.token_to_id(token)) for token in ("</s>", "<s>")]
    tokenizer.post_processor = processors.RobertaProcessing(*ends)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        cls_token="<s>",
        eos_token="</s>",
        sep_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        mask_token="<mask>",
    )
    fast.save_pretrained(folder)
    return load_tokenizer(str(folder))


def tiny_roberta(tokenizer, pad_token_id=1):
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=len(tokenizer) + 3,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=514,
        pad_token_id=pad_token_id,
    )
    return RobertaForSequenceClassification(config).eval()


@pytest.fixture(scope="module", params=[word_pieces, unigram, byte_pairs, character_pairs])
def pair(request, tmp_path_factory):
    """Return tokenizer and model, and both after they were trimmed to FEW."""
    full = saved_tokenizer(trained(request.param), tmp_path_factory.mktemp("tokenizer"))
    add_missing_characters(full, ["氺", "氺"])
    model = tiny_roberta(full)
    small = copy.deepcopy(model)
    return full, model, trim_vocabulary(small, full, FEW), small


def pieces(texts):
    return [text[at : at + 6] for text in texts for at in range(0, len(text), 6)]


#: Mostly of the messages that the vocabulary is trimmed to, so that many texts keep their tokens.
FRAGMENTS = st.one_of(
    st.sampled_from(FEW),
    st.sampled_from(pieces(FEW)),
    st.sampled_from([*pieces(TEXTS[:200]), "[URL]", " ", "氺"]),
)


@torch.inference_mode()
def test_texts_whose_tokens_all_stay_have_the_very_logits(pair):
    full, model, trimmed, small = pair
    before, after = (build_encoder(tokenizer, 512) for tokenizer in (full, trimmed))
    kept = set(trimmed.get_vocab())
    survived = []

    @settings(max_examples=300, deadline=None, derandomize=True)
    @given(st.lists(FRAGMENTS, min_size=1, max_size=4).map("".join))
    def check(text):
        ids = before.encode([text])[0]
        tokens = full.convert_ids_to_tokens(ids)
        survived.append(full.unk_token not in tokens and kept.issuperset(tokens))
        if survived[-1]:
            new_ids = after.encode([text])[0]
            assert trimmed.convert_ids_to_tokens(new_ids) == tokens
            logits, new_logits = (
                network(torch.tensor([row])).logits
                for network, row in ((model, ids), (small, new_ids))
            )
            assert torch.equal(logits, new_logits)

    check()
    assert 30 < sum(survived) < len(survived)


def test_common_characters_stay_whatever_the_messages_are(pair):
    full, _, trimmed, small = pair
    assert len(trimmed) == small.config.vocab_size == small.get_input_embeddings().num_embeddings
    assert len(trimmed) < 0.8 * len(full)
    texts = [text for letter in common_characters() for text in (letter, letter * 3)]
    known = [text for text in texts if full.unk_token_id not in full(text)["input_ids"]]
    assert len(known) > 600
    for text in known:
        assert trimmed.unk_token_id not in trimmed(text)["input_ids"]


def test_added_tokens_stay_with_their_meaning(pair):
    full, model, trimmed, small = pair
    for token in (*SPECIAL, *PLACEHOLDERS, "氺"):
        old, new = (tokenizer.convert_tokens_to_ids(token) for tokenizer in (full, trimmed))
        rows = (network.get_input_embeddings().weight for network in (model, small))
        assert torch.equal(*(weight[row] for weight, row in zip(rows, (old, new), strict=True)))
    assert {token.content for token in trimmed.added_tokens_decoder.values()} == {
        token.content for token in full.added_tokens_decoder.values()
    }
    assert trimmed.special_tokens_map == full.special_tokens_map
    assert small.config.pad_token_id == trimmed.pad_token_id == 1


def test_a_saved_folder_is_read_as_it_was_written(pair, tmp_path):
    _, _, trimmed, small = pair
    small.save_pretrained(tmp_path)
    trimmed.save_pretrained(tmp_path)
    texts = [*FEW, "[URL]", "氺"]
    assert (
        AutoTokenizer.from_pretrained(tmp_path)(texts)["input_ids"] == trimmed(texts)["input_ids"]
    )


def test_common_characters_are_those_of_gb_2312():
    characters = common_characters()
    assert sum("\u4e00" <= character <= "\u9fff" for character in characters) == 3755
    assert len(set(characters)) == len(characters)
    assert set("的啊座aZ0~ ，。【】！") < set(characters)
    assert not set("亍髙發") & set(characters)


def test_unknown_characters_score_no_better_than_before(tmp_path):
    # Were the token of the lowest score dropped, "a" unknown and "bcdef" would win.
    scores = {"ab": -12.0, "cd": -12.0, "ef": -12.0, "bcdef": -1.0, "never": -30.0}
    vocabulary = [*((token, 0.0) for token in SPECIAL), *scores.items()]
    full = saved_tokenizer(Tokenizer(models.Unigram(vocabulary, unk_id=3)), tmp_path)
    trimmed = trim_vocabulary(tiny_roberta(full), full, ["abcdef", "bcdef"])
    assert full.tokenize("abcdef") == trimmed.tokenize("abcdef") == ["ab", "cd", "ef"]


@pytest.fixture
def bert(tmp_path):
    """Return a tokenizer of BERT, whose special tokens come after unused ones."""
    words = ["[PAD]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "的", "##的", "a", "##a"]
    (tmp_path / "vocab.txt").write_text("\n".join(words), "utf-8")
    BertTokenizer(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path / "bert")
    return load_tokenizer(str(tmp_path / "bert"))


def test_bert_keeps_no_chinese_characters_inside_words(bert):
    trimmed = trim_vocabulary(tiny_roberta(bert, pad_token_id=0), bert, ["好"])
    dropped = bert.get_vocab().keys() - trimmed.get_vocab().keys()
    assert dropped == {"[unused1]", "##的"}


ENDS = ("[SEP]", 4), ("[CLS]", 3)
TEMPLATE = processors.TemplateProcessing(
    single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=ENDS
)


@pytest.mark.parametrize(
    "step", [processors.BertProcessing(*ENDS), TEMPLATE, processors.Sequence([TEMPLATE])]
)
def test_first_and_last_token_are_renumbered(bert, step):
    bert.backend_tokenizer.post_processor = step
    trimmed = trim_vocabulary(tiny_roberta(bert, pad_token_id=0), bert, ["好"])
    assert trimmed.convert_ids_to_tokens(trimmed("的")["input_ids"]) == ["[CLS]", "的", "[SEP]"]
    assert build_encoder(trimmed, 8).encode(["的"]) == [trimmed("的")["input_ids"]]


def test_tokens_that_the_configuration_names_stay_and_are_renumbered(bert):
    model = tiny_roberta(bert, pad_token_id=0)
    model.config.cls_token_id, model.config.bos_token_id = 3, 7
    # EuroBERT's default, whatever the size of the vocabulary.
    model.config.mask_token_id = 128_002
    trimmed = trim_vocabulary(model, bert, ["好"])
    assert model.config.cls_token_id == trimmed.cls_token_id == 2
    assert trimmed.convert_ids_to_tokens(model.config.bos_token_id) == "##的"
    assert model.config.mask_token_id == 128_002


@torch.inference_mode()
def test_tied_output_is_cut_with_the_input(tmp_path):
    full = saved_tokenizer(trained(unigram), tmp_path)
    config = BertConfig(
        vocab_size=len(full),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        pad_token_id=1,
    )
    model = BertForMaskedLM(config).eval()
    torch.nn.init.normal_(model.get_output_embeddings().bias)
    small = copy.deepcopy(model)
    trimmed = trim_vocabulary(small, full, FEW)
    assert small.get_output_embeddings().weight is small.get_input_embeddings().weight
    rows = [
        full.convert_tokens_to_ids(trimmed.convert_ids_to_tokens(i)) for i in range(len(trimmed))
    ]
    before, after = (
        network(**tokenizer(FEW[0], return_tensors="pt")).logits
        for network, tokenizer in ((model, full), (small, trimmed))
    )
    torch.testing.assert_close(before[..., rows], after)


def test_positions_counted_from_a_padding_token_that_moves_are_refused(tmp_path):
    full = saved_tokenizer(trained(unigram), tmp_path)
    model = tiny_roberta(full, pad_token_id=500)
    with pytest.raises(UserError, match="roberta counts positions from the id of its padding"):
        trim_vocabulary(model, full, FEW)
    assert model.get_input_embeddings().num_embeddings == len(full) + 3


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """Return the folder of a tiny encoder with thousands of pieces."""
    folder = tmp_path_factory.mktemp("encoder")
    full = saved_tokenizer(trained(unigram), folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(full),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        pad_token_id=1,
    )
    BertModel(config).save_pretrained(folder)
    return folder


def finetune(config_file, encoder, output, *overrides):
    keys = (f"model.name_or_path={encoder}", f"training.output_dir={output}", *overrides)
    return run("finetune", config_file, *TINY_OVERRIDES, "model.trim_vocabulary=true", *keys)


def test_a_run_has_the_trimmed_tokenizer_and_answers(config_file, encoder, tmp_path, capsys):
    assert finetune(config_file, encoder, tmp_path / "run") == 0
    stranger = AutoTokenizer.from_pretrained(tmp_path / "run")
    config = json.loads((tmp_path / "run/config.json").read_text("utf-8"))
    rows = load_file(tmp_path / "run/model.safetensors")["bert.embeddings.word_embeddings.weight"]
    n_before = len(load_tokenizer(str(encoder)))
    assert len(stranger) == config["vocab_size"] == len(rows) < 0.8 * n_before
    assert f" to {len(rows):,} tokens" in capsys.readouterr().err
    texts = ["您的账户已冻结[URL]", "全场五折 [SEP]"]
    classifier = SmsClassifier.from_pretrained(tmp_path / "run", device="cpu", precision="fp32")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "run").eval()
    with torch.inference_mode():
        logits = model(**stranger(texts, padding=True, return_tensors="pt")).logits
    assert logits.argmax(-1).tolist() == classifier.predict_proba(texts).argmax(-1).tolist()
    assert stranger.convert_tokens_to_ids("[URL]") in stranger(texts[0])["input_ids"]


def test_lora_trains_the_placeholders_of_the_trimmed_vocabulary(config_file, encoder, tmp_path):
    pytest.importorskip("peft")
    lora = ("model.lora={}", "training.learning_rate=1e-2")
    assert finetune(config_file, encoder, tmp_path / "run", *lora) == 0
    name = "embeddings.word_embeddings.weight"
    before = load_file(encoder / "model.safetensors")[name]
    after = load_file(tmp_path / "run/model.safetensors")[f"bert.{name}"]
    full, trimmed = (AutoTokenizer.from_pretrained(path) for path in (encoder, tmp_path / "run"))
    added = {str(token) for token in trimmed.added_tokens_decoder.values() if not token.special}
    assert set(PLACEHOLDERS) <= added
    changed = {
        token
        for token, row in trimmed.get_vocab().items()
        if not torch.equal(after[row], before[full.convert_tokens_to_ids(token)])
    }
    assert changed <= added
    # New embeddings are nearly equal before they are trained.
    url, phone = (after[trimmed.convert_tokens_to_ids(token)] for token in ("[URL]", "[PHONE]"))
    assert (url - phone).norm() > 0.05


def of_whole_words(encoder, folder):
    words = {token: token_id for token_id, token in enumerate([*SPECIAL, "好"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    saved_tokenizer(tokenizer, folder)
    return (f"model.name_or_path={folder}",)


def of_nothing(encoder, folder):
    return (
        "model.from_scratch={hidden_size: 32, num_hidden_layers: 1, num_attention_heads: 2, "
        "intermediate_size: 32}",
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (of_whole_words, "expected a WordPiece, Unigram or BPE tokenizer, found WordLevel"),
        (of_nothing, "expected a pretrained encoder, found model.from_scratch"),
    ],
)
def test_what_cannot_be_trimmed_is_refused_before_training(
    config_file, encoder, tmp_path, capsys, change, reason
):
    folder = shutil.copytree(encoder, tmp_path / "encoder")
    capsys.readouterr()
    overrides = change(encoder, folder)
    assert finetune(config_file, folder, tmp_path / "run", *overrides) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: model.trim_vocabulary: ")
    assert reason in error
    assert finetune(config_file, folder, tmp_path / "run", *overrides, "--lang", "zh") == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("错误：model.trim_vocabulary：应为")
    assert not (tmp_path / "run").exists()
