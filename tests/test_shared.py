"""Real messages and a real encoder, where they lie beside the project."""

from __future__ import annotations

import json
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
import torch
from doors import ROOT, SHARED, run
from sklearn.feature_extraction.text import CountVectorizer
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, BertTokenizer, PreTrainedTokenizerFast

from smstune.campaigns.sketch import skeleton
from smstune.data.readers.nus import read_nus
from smstune.inference.labels import LabelMap
from smstune.modeling.build import load_pretrained_model
from smstune.modeling.tokenization import build_encoder, load_tokenizer
from smstune.modeling.trim_vocabulary import trim_vocabulary
from smstune.tables.options import TableOptions

FBS = SHARED / "data/FBS_SMS_Dataset"
NUS = SHARED / "data/nus-sms-corpus/smsCorpus_zh_xml_2015.03.09.zip"
ENCODER = SHARED / "models/e5-small-zh"
CASES = SHARED / "cases"

pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared")


def kinds_of_cases():
    """Return the kinds of inputs that users bring, but the one that needs messages in Chinese."""
    file = CASES / "cases.jsonl"
    lines = file.read_text("utf-8").splitlines() if file.is_file() else []
    return sorted({json.loads(line)["kind"] for line in lines} - {"language"})


@pytest.mark.slow
@pytest.mark.parametrize("kind", kinds_of_cases())
def test_inputs_as_users_bring_them_end_as_they_must(kind, learned_run):
    command = f"{sys.executable} scripts/{{command}}.py"
    call = [sys.executable, CASES / "check.py", "--command", command, "--run", learned_run]
    checked = subprocess.run(
        [*call, "--only", kind], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout


@pytest.fixture(scope="module")
def fbs(tmp_path_factory):
    output = tmp_path_factory.mktemp("fbs") / "fbs14"
    labels = ROOT / "configs/labels/fbs14.yaml"
    assert run("prepare", f"fbs:{FBS}", "--labels", labels, "--output", output) == 0
    return output


def test_fbs_counts_add_up_and_nothing_leaks(fbs):
    manifest = json.loads((fbs / "manifest.json").read_text("utf-8"))
    counts = manifest["counts"]
    rejected = sum(counts["rejected"].values())
    assert counts["read"] == 14_077 == counts["kept"] + counts["merged"] + rejected
    assert manifest["contamination"]["group"] == {"exact": 0.0, "near": 0.0}
    assert manifest["contamination"]["random"]["near"] > 0.15
    for split in counts["splits"].values():
        assert min(split.values()) >= 1


def test_fbs_split_has_no_near_copy_by_brute_force(fbs):
    splits = [
        pq.read_table(fbs / f"{name}.parquet")["text"].to_pylist() for name in ("train", "test")
    ]
    skeletons = [[text for text in map(skeleton, part) if len(text) >= 3] for part in splits]
    grams = CountVectorizer(analyzer="char", ngram_range=(3, 3), binary=True, lowercase=False)
    train = grams.fit_transform(skeletons[0])
    test = grams.transform(skeletons[1])
    sizes = [
        [len({text[i : i + 3] for i in range(len(text) - 2)}) for text in part]
        for part in skeletons
    ]
    shared = (test @ train.T).tocoo()
    unions = [
        sizes[1][i] + sizes[0][j] - n for i, j, n in zip(*shared.coords, shared.data, strict=True)
    ]
    near = sum(n / union >= 0.7 for n, union in zip(shared.data, unions, strict=True))
    assert len(shared.data) > 100_000
    assert near == 0


def test_fbs_and_nus_together(tmp_path):
    output = tmp_path / "sms4"
    labels = ROOT / "configs/labels/sms4.yaml"
    inputs = (f"fbs:{FBS}", f"nus:{NUS}")
    assert run("prepare", *inputs, "--labels", labels, "--output", output) == 0
    counts = json.loads((output / "manifest.json").read_text("utf-8"))["counts"]
    assert counts["read"] == 14_077 + 31_465
    sources = pq.read_table(output / "train.parquet")["source"].to_pylist()
    assert set(sources) == {"fbs", "nus"}


def test_encoder_stored_in_fp16_is_built_in_fp32():
    tokenizer = load_tokenizer(str(ENCODER))
    labels = LabelMap.from_yaml(ROOT / "configs/labels/fbs14.yaml")
    model = load_pretrained_model(str(ENCODER), labels, tokenizer, attention="eager").eval()
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    batch = tokenizer("点击[URL]领取", return_tensors="pt")
    assert "[URL]" in tokenizer.convert_ids_to_tokens(batch["input_ids"][0])
    with torch.inference_mode():
        assert model(**batch).logits.shape == (1, 14)


@torch.inference_mode()
def test_trimming_keeps_the_logits_of_real_messages(fbs):
    tokenizer = load_tokenizer(str(ENCODER))
    texts = pq.read_table(fbs / "train.parquet")["text"].to_pylist()[::500]
    labels = LabelMap.from_yaml(ROOT / "configs/labels/fbs14.yaml")
    model = load_pretrained_model(str(ENCODER), labels, tokenizer, attention="eager").eval()
    n_bytes = model.get_memory_footprint()
    logits = [model(**tokenizer(text, return_tensors="pt")).logits for text in texts]
    trimmed = trim_vocabulary(model, tokenizer, texts)
    for text, before in zip(texts, logits, strict=True):
        assert torch.equal(model(**trimmed(text, return_tensors="pt")).logits, before)
    n_tokens = (len(tokenizer), len(trimmed))
    # In fp32, 4 bytes for each of 384 numbers of a token.
    saved = n_bytes - model.get_memory_footprint()
    assert saved == (n_tokens[0] - n_tokens[1]) * 384 * 4
    assert n_tokens == (19_031, 4_146)


def wordpiece(folder, texts):
    characters = sorted({character for text in texts for character in text if character.strip()})
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters[::2], "##a", "##1"]
    (folder / "vocab.txt").write_text("\n".join(words), "utf-8")
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


def byte_pairs(folder, texts):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    special = ["<pad>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(vocab_size=5000, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(texts[:2000], trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 1))
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", sep_token="</s>")
    fast.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("make", [wordpiece, byte_pairs, lambda *_: ENCODER])
def test_token_ids_of_20000_real_messages_are_those_of_transformers(fbs, tmp_path, make):
    nus = [row.text for row in read_nus(NUS, TableOptions())]
    raw = [text for text in nus if text]
    for name in ("train", "validation", "test"):
        raw += pq.read_table(fbs / f"{name}.parquet")["text"].to_pylist()
    texts = raw[-20_000:]
    assert len(texts) == 20_000
    tokenizer = load_tokenizer(str(make(tmp_path, texts)))
    tokenizer.save_pretrained(tmp_path / "of_a_run")
    encoder = build_encoder(tokenizer, 128)
    plain = AutoTokenizer.from_pretrained(tmp_path / "of_a_run")
    assert encoder.encode(texts) == plain(texts, truncation=True, max_length=128)["input_ids"]
