"""Training on evasive writing: which rows, what they look like, and anew in each epoch."""

from __future__ import annotations

import json

import pytest
from datasets import Dataset
from doors import TINY_OVERRIDES, run

from smstune.config.loading import load_config
from smstune.config.schema import AugmentConfig
from smstune.inference.manifest import TextOptions
from smstune.text.evasion import evade
from smstune.training import augment as stage
from smstune.training.assemble import assemble
from smstune.training.augment import augment

SECTION = AugmentConfig(transforms=["pinyin", "full_width"], share=0.5, strength=(1.0, 1.0))
OVERRIDES = (*TINY_OVERRIDES, "data.augment={transforms: [pinyin, symbols], share: 0.5}")


def test_a_share_of_the_rows_is_written_by_the_named_transforms_and_preprocessed():
    texts = [f"恭喜您第{one}位获得贷款资格ab" for one in "一二三四五六七八九十"] * 40
    table = Dataset.from_dict({"text": texts, "label": ["x"] * 400})
    written = list(augment(table, SECTION, 1, TextOptions())["text"])
    changed = [(a, b) for a, b in zip(texts, written, strict=True) if a != b]
    # Full-width writing is undone by the normaliser, as it is when serving.
    assert 60 < len(changed) < 140
    assert all(b == TextOptions().preprocess(evade(a, "pinyin", 1.0)) for a, b in changed)


def test_same_seed_same_rows_another_seed_others():
    table = Dataset.from_dict({"text": ["恭喜您获得贷款资格"] * 50, "label": ["x"] * 50})
    first, again, other = (
        list(augment(table, SECTION, s, TextOptions())["text"]) for s in (1, 1, 2)
    )
    assert first == again != other


def test_each_epoch_has_rows_of_its_own_and_a_resumed_one_the_same(config_file, monkeypatch):
    trainer = assemble(load_config(config_file, OVERRIDES)).trainer
    rows, plain = trainer.train_dataset, assemble(load_config(config_file, TINY_OVERRIDES)).trainer
    first = list(rows["input_ids"])
    rows.begin(1)
    second = list(rows["input_ids"])
    rows.begin(0)
    assert list(rows["input_ids"]) == first != second
    assert list(rows["labels"]) == list(plain.train_dataset["labels"])
    assert [len(one) for one in first] == list(rows["length"])
    same = sum(a == b for a, b in zip(first, plain.train_dataset["input_ids"], strict=True))
    assert 0.3 < same / len(rows) < 0.7
    assert plain.eval_dataset["input_ids"] == trainer.eval_dataset["input_ids"]


def test_finetune_makes_the_rows_of_every_epoch(config_file, tmp_path, monkeypatch):
    seeds = []

    def record(table, section, seed, text):
        seeds.append(seed)
        return augment(table, section, seed, text)

    monkeypatch.setattr(stage, "augment", record)
    output = tmp_path / "run"
    assert run("finetune", config_file, *OVERRIDES, f"training.output_dir={output}") == 0
    assert seeds[0] == seeds[1] != seeds[2]
    assert json.loads((output / "manifest.json").read_text("utf-8"))["training"]["steps"] > 0
    kept = load_config(output / "config.yaml").data.augment
    assert kept.transforms == ["pinyin", "symbols"]


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("data.augment={transforms: [pinyn]}", "data.augment.transforms.0: input should be"),
        (
            "data.augment={transforms: []}",
            "data.augment.transforms: the list should have at least 1",
        ),
        ("data.augment={transforms: [pinyin], share: 0}", "data.augment.share"),
        ("data.augment={transforms: [pinyin], strength: [0.1, 2]}", "data.augment.strength.1"),
        ("data.augment={transforms: [pinyin], strength: [0.5, 0.1]}", "from a smaller to a larger"),
    ],
)
def test_a_wrong_section_ends_with_status_2(config_file, capsys, override, expected):
    assert run("finetune", config_file, override) == 2
    assert expected in capsys.readouterr().err
