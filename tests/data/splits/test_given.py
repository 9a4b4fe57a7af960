"""prepare --split given through the door: every row stays where its column split says."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from doors import SHARED, json_lines, prepared_rows, run, sentence, write_csv

from smstune.data.readers.scriptguard import read_scriptguard
from smstune.data.splits.contamination import contamination
from smstune.tables.options import TableOptions

HEADER = ("text", "label", "Split")
FBS = SHARED / "data/FBS_SMS_Dataset"
#: Labels in the order of the published split, each with messages enough to draw from.
FBS_FILES = ("AD:Loan", "AD:Retail", "FR:Financial", "IL:Gambling", "Other")


def manifest(folder):
    return json.loads((folder / "manifest.json").read_text("utf-8"))


def given_rows(*splits):
    """Return 60 messages that share nothing, of two labels, the splits in turn."""
    return [(sentence(n), "ab"[n // 5 % 2], splits[n % len(splits)]) for n in range(60)]


def written(folder):
    """Return text, label and split of all rows, and how often each occurs."""
    splits = prepared_rows(folder)
    return Counter((row["text"], row["label"], name) for name in splits for row in splits[name])


def test_copies_and_conflicts_stay_in_the_split_that_their_row_names(tmp_path):
    table = given_rows("train", "train", "validation", "test")
    table += [
        (sentence(0), "a", "train"),  # a copy in the same split
        (sentence(0), "a", "test"),  # a copy in another
        (sentence(1), "b", "validation"),  # the same text under another label
        (sentence(4) + "吗", "a", "test"),  # a near copy
    ]
    out = tmp_path / "out"
    path = write_csv(tmp_path / "m.csv", table, HEADER)
    assert run("prepare", path, "--split", "given", "--output", out) == 0
    assert written(out) == Counter(table)
    facts = manifest(out)
    assert facts["split"] == {"method": "given", "held_out": None, "seed": 42, "fractions": []}
    counts = facts["counts"]
    assert counts["read"] == counts["kept"] == len(table)
    assert counts["merged"] == counts["set_aside"] == 0
    # Of 17 test rows one is an exact copy of a train row, another a near copy.
    assert facts["contamination"]["given"] == {"exact": 1 / 17, "near": 2 / 17}
    assert "as given" in (out / "report.html").read_text("utf-8")


def test_validation_is_drawn_from_train_by_campaign_where_no_row_names_it(tmp_path, capsys):
    table = given_rows("train", "train", "train", "test")
    # Campaigns of two, and one that the test set has too: it stays in train or validation, whole.
    table += [(text + "吗", label, "train") for text, label, _ in table[:24]]
    out = tmp_path / "out"
    path = write_csv(tmp_path / "m.csv", table, HEADER)
    assert run("prepare", path, "--split", "given", "--output", out) == 0
    assert "no row has the split validation" in capsys.readouterr().err
    splits = prepared_rows(out)
    test = Counter(row["text"] for row in splits["test"])
    assert test == Counter(text for text, _, split in table if split == "test")
    groups = [{row["group"] for row in splits[name]} for name in ("train", "validation")]
    assert not groups[0] & groups[1]
    n_train = sum(split == "train" for *_, split in table)
    assert len(splits["train"]) + len(splits["validation"]) == n_train
    assert len(splits["validation"]) == pytest.approx(n_train / 8, abs=2)


def test_a_row_without_a_known_split_is_rejected(tmp_path):
    table = [*given_rows("train", "validation", "test"), (sentence(70), "a", "dev")]
    table += [(sentence(71), "a", ""), (sentence(72), "a", "内" * 50), (sentence(73), "a", "test ")]
    out = tmp_path / "out"
    path = write_csv(tmp_path / "m.csv", table, HEADER)
    assert run("prepare", path, "--split", "given", "--output", out) == 0
    rule = "the column split must be train, validation or test, found "
    assert [(row["line"], row["reason"]) for row in json_lines(out / "rejected.jsonl")] == [
        (62, rule + "'dev'"),
        (63, rule + "''"),
        (64, rule + "50 characters"),
    ]
    assert manifest(out)["counts"]["rejected"] == {"no split": 3}
    assert sentence(73) in {row["text"] for row in prepared_rows(out)["test"]}


def test_a_label_of_one_campaign_is_no_error_if_train_has_it(tmp_path):
    table = [*given_rows("train", "validation", "test"), (sentence(80), "c", "train")]
    path = write_csv(tmp_path / "m.csv", table, HEADER)
    out = tmp_path / "out"
    assert run("prepare", path, "--split", "given", "--output", out) == 0
    assert written(out) == Counter(table)


@pytest.mark.parametrize(
    ("change", "arguments", "expected"),
    [
        (lambda row: (*row[:2], "train"), [], "no message has the split test: write it into"),
        (lambda row: (*row[:2], "test"), [], "no message has the split train: write it into"),
        (
            lambda row: (row[0], "c", "test") if row[2] == "test" else row,
            [],
            "these labels have no message whose split is train: c.",
        ),
        (lambda row: row[:2], [], "found none in 60 rows: 60 x no split"),
        (lambda row: row, ["--test", "{path}"], "twice: name it once"),
        (lambda row: row, ["--test", "sample:"], "expected --split group with --test, found given"),
        (lambda row: row, ["--held-out", "m"], "expected --held-out SOURCE with --split source"),
    ],
)
def test_a_useless_split_is_told(tmp_path, capsys, change, arguments, expected):
    table = [change(row) for row in given_rows("train", "validation", "test")]
    path, out = write_csv(tmp_path / "m.csv", table, HEADER[: len(table[0])]), tmp_path / "out"
    more = [word.format(path=path) for word in arguments]
    assert run("prepare", path, "--split", "given", *more, "--output", out) == 2
    assert expected in capsys.readouterr().err.splitlines()[-1]
    assert not out.exists()


def write_fbs(folder):
    """Write 20 messages of ten words for each label, some of them blank or short."""
    folder.mkdir()
    for n, name in enumerate(FBS_FILES):
        lines = [" ".join(sentence(100 * n + line, 10)) for line in range(20)]
        (folder / name).write_text("\n".join([*lines, "", "一 二 三 四 五"]) + "\n", "utf-8")
    return folder


def test_the_published_split_is_drawn_from_the_rows_of_thirteen_files(tmp_path, capsys):
    folder, out = write_fbs(tmp_path / "FBS"), tmp_path / "out"
    config = "prepare.inputs=[scriptguard:" + str(folder) + "]"
    assert run("prepare", "--config", "scriptguard", config, "--output", out) == 0
    error = capsys.readouterr().err
    assert "has 80 rows for the published split, which was drawn from 13,960" in error
    facts = manifest(out)
    assert facts["counts"]["rejected"] == {"fewer than six characters": 8}
    assert facts["terms"][0]["name"] == "scriptguard"
    labels = Counter(row["label"] for row in prepared_rows(out)["test"])
    # A fifth of each of AD (two files), FR and IL.
    assert labels["AD:Loan"] + labels["AD:Retail"] == 8
    assert (labels["FR:Financial"], labels["IL:Gambling"], labels["Other"]) == (4, 4, 0)


def test_too_few_rows_for_the_published_split_are_told(tmp_path, capsys):
    folder = tmp_path / "FBS"
    folder.mkdir()
    (folder / "FR:Other").write_text("您 的 账户 已 冻结\n", "utf-8")
    arguments = ("--split", "given", "--output", tmp_path / "out")
    assert run("prepare", f"scriptguard:{folder}", *arguments) == 2
    assert "has too few rows for the published split" in capsys.readouterr().err


@pytest.mark.skipif(not FBS.is_dir(), reason="needs ../shared")
def test_the_published_split_of_the_real_messages():
    rows = list(read_scriptguard(FBS, TableOptions()))
    texts = {
        split: [row.text for row in rows if row.split == split and not row.problem]
        for split in ("train", "test")
    }
    assert {split: len(of_split) for split, of_split in texts.items()} == {
        "train": 11_168,
        "test": 2_792,
    }
    # Measured before by another program: 9.7 % and 29.5 %.
    shares = contamination(texts["test"], texts["train"])
    assert shares.exact == pytest.approx(0.097, abs=0.001)
    assert shares.near == pytest.approx(0.295, abs=0.002)
