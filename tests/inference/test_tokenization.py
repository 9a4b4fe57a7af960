"""One tokenisation: token ids as transformers gives them, and no text that acts as a token."""

from __future__ import annotations

import csv
import pickle

import numpy as np
import pytest
from doors import SAMPLE, TINY_OVERRIDES, run
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertTokenizer,
    PreTrainedTokenizerFast,
)

from smstune import SmsClassifier, UserError
from smstune.inference.tokenization import Padding, pad
from smstune.modeling.tokenization import build_encoder, load_tokenizer

ODD = [
    "",
    " ",
    "[SEP]",
    "</s><pad>恭喜[CLS]",
    "Ａ１ ﬁ İ",
    "买龘氺了[URL]，回T退订\n好",
    "😀é",
    "长" * 300,
]
SPECIAL = {"pad_token": "<pad>", "unk_token": "<unk>", "cls_token": "<s>", "sep_token": "</s>"}


def sample_texts():
    with SAMPLE.open(encoding="utf-8", newline="") as stream:
        return [row["text"] for row in csv.DictReader(stream)] + ODD


def wordpiece(folder):
    characters = sorted({character for text in sample_texts() for character in text.strip()})
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters]
    (folder / "vocab.txt").write_text("\n".join(words[:-100]), "utf-8")
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)


def trained(model, trainer, pre_tokenizer):
    def save(folder):
        tokenizer = Tokenizer(model)
        tokenizer.normalizer = normalizers.NFKC()
        tokenizer.pre_tokenizer = pre_tokenizer
        tokenizer.train_from_iterator(sample_texts(), trainer)
        ends = [(token, tokenizer.token_to_id(token)) for token in ("</s>", "<s>")]
        tokenizer.post_processor = processors.RobertaProcessing(*ends, add_prefix_space=False)
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, **SPECIAL).save_pretrained(folder)

    return save


TOKENIZERS = {
    "WordPiece of vocab.txt": wordpiece,
    "Unigram": trained(
        models.Unigram(),
        trainers.UnigramTrainer(
            vocab_size=2500,
            special_tokens=list(SPECIAL.values()),
            unk_token="<unk>",
            show_progress=False,
        ),
        pre_tokenizers.Metaspace(),
    ),
    "BPE": trained(
        models.BPE(unk_token="<unk>"),
        trainers.BpeTrainer(
            vocab_size=2500, special_tokens=list(SPECIAL.values()), show_progress=False
        ),
        pre_tokenizers.ByteLevel(),
    ),
}


@pytest.mark.parametrize("save", TOKENIZERS.values(), ids=TOKENIZERS)
def test_ids_and_padding_are_those_of_transformers(tmp_path, save):
    save(tmp_path)
    load_tokenizer(str(tmp_path)).save_pretrained(tmp_path / "of_a_run")
    plain = AutoTokenizer.from_pretrained(tmp_path / "of_a_run")
    encoder = build_encoder(load_tokenizer(str(tmp_path)), 48)
    texts = sample_texts()
    ids = encoder.encode(texts)
    assert ids == plain(texts, truncation=True, max_length=48)["input_ids"]
    assert pickle.loads(pickle.dumps(encoder)).encode(texts) == ids
    assert [encoder.encode_with_spans(text)[0] for text in texts] == ids
    assert (len(encoder), encoder.unknown_id) == (len(plain), plain.unk_token_id)
    assert encoder.special_ids == set(plain.all_special_ids) - {plain.unk_token_id}
    expected = plain.pad({"input_ids": ids[:9]}, return_tensors="np", pad_to_multiple_of=8)
    batch = pad(ids[:9], encoder.padding, multiple=8)
    assert all(np.array_equal(batch[name], expected[name]) for name in batch)


def test_text_that_spells_a_special_token_is_text(tmp_path):
    wordpiece(tmp_path)
    encoder = build_encoder(load_tokenizer(str(tmp_path)), 48)
    for word in ("[SEP]", "[PAD]", "好[CLS]好"):
        first, *inner, last = encoder.encode([word])[0]
        assert {first, last} <= encoder.special_ids
        assert not set(inner) & encoder.special_ids


def test_left_padding():
    batch = pad([[5, 6, 7], [8]], Padding(token_id=9, side="left"))
    assert batch["input_ids"].tolist() == [[5, 6, 7], [9, 9, 8]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [0, 0, 1]]


def test_a_tokenizer_written_in_python_is_refused_before_training(
    checkpoint, config_file, tmp_path, monkeypatch, capsys
):
    class Splitter:
        def pre_tokenize(self, text):
            text.split(lambda _, part: [part])

    def load(*words, **options):
        tokenizer = load_tokenizer(*words, **options)
        splitter = pre_tokenizers.PreTokenizer.custom(Splitter())
        tokenizer.backend_tokenizer.pre_tokenizer = splitter
        return tokenizer

    monkeypatch.setattr("smstune.training.assemble.load_tokenizer", load)
    output = tmp_path / "run"
    words = (*TINY_OVERRIDES, f"training.output_dir={output}")
    assert run("finetune", config_file, *words) == 2
    assert "a tokenizer that tokenizer.json can hold" in capsys.readouterr().err
    assert not output.exists()


def test_a_tokenizer_without_padding_is_refused(tmp_path):
    wordpiece(tmp_path)
    tokenizer = load_tokenizer(str(tmp_path))
    tokenizer.pad_token = None
    with pytest.raises(UserError, match="no padding token"):
        build_encoder(tokenizer, 48)


def test_plain_transformers_loads_a_run_and_reads_the_same_tokens(finished_run):
    plain = AutoTokenizer.from_pretrained(finished_run)
    model = AutoModelForSequenceClassification.from_pretrained(finished_run)
    encoder = SmsClassifier.from_pretrained(finished_run, device="cpu", backend="torch").run.encoder
    texts = sample_texts()
    cut = plain(texts, truncation=True, max_length=encoder.max_length)
    assert cut["input_ids"] == encoder.encode(texts)
    assert model.get_input_embeddings().num_embeddings >= len(encoder)
