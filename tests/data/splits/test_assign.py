"""Splits through the door: given test sets, folds, campaigns with their size and first time."""

from __future__ import annotations

import json
from datetime import datetime

import numpy as np
import pytest
from doors import json_lines, prepared_rows, run, sentence, write_csv

from smstune.campaigns.grouping import near_matches
from smstune.data import assign_campaigns
from smstune.data.splits import assign
from smstune.tables.times import CHINA

SPLITS = ("train", "validation", "test")


def manifest(folder):
    return json.loads((folder / "manifest.json").read_text("utf-8"))


@pytest.fixture
def plain(tmp_path):
    """Return a csv of 60 messages that share nothing, two labels."""
    table = [(sentence(at), "ab"[at % 2], "") for at in range(60)]
    return write_csv(tmp_path / "plain.csv", table, ("text", "label", "group"))


def write_test_set(folder, *more):
    return write_csv(
        folder / "fixed.csv",
        [
            (sentence(900), "a", ""),
            (sentence(900), "a", ""),  # the same row twice
            (sentence(901), "a", ""),
            (sentence(901), "b", ""),  # and one under two labels
            (sentence(3) + "！", "b", ""),  # a copy but for the punctuation
            (sentence(4) + "吗", "b", ""),  # a near copy
            (sentence(902), "b", "together"),
            *more,
        ],
        ("text", "label", "group"),
    )


def test_a_given_test_set_is_kept_and_its_copies_are_set_aside(tmp_path, plain):
    fixed, out = write_test_set(tmp_path), tmp_path / "out"
    assert run("prepare", plain, "--test", fixed, "--output", out) == 0
    found = prepared_rows(out)
    given = [line.split(",")[:2] for line in fixed.read_text("utf-8").splitlines()[1:]]
    assert [[row["text"], row["label"]] for row in found["test"]] == given
    assert {row["copies"] for row in found["test"]} == {1}
    texts = {row["text"] for part in ("train", "validation") for row in found[part]}
    assert texts == {sentence(at) for at in range(60)} - {sentence(3), sentence(4)}
    assert json_lines(out / "set_aside.jsonl") == [
        {
            "file": str(plain), "line": 5, "reason": "near copy of a test message",
            "test_file": str(fixed), "test_line": 6,
        },
        {
            "file": str(plain), "line": 6, "reason": "near copy of a test message",
            "test_file": str(fixed), "test_line": 7,
        },
    ]  # fmt: skip
    told = manifest(out)
    assert told["tests"] == [{"path": str(fixed), "source": "fixed"}]
    assert told["counts"]["set_aside"] == 2
    assert told["counts"]["read"] == told["counts"]["kept"] == 67
    assert told["contamination"]["group"] == {"exact": 0.0, "near": 0.0}
    assert len(found["train"]) == pytest.approx(58 * 7 / 8, abs=1)


def test_a_whole_campaign_of_a_test_message_is_set_aside(tmp_path, plain):
    # A chain: the end of it has nothing in common with the test message.
    long = sentence(7, 90)
    chain = [(long[at : at + 30], "a", "") for at in range(3, 60, 3)]
    fixed = write_csv(tmp_path / "fixed.csv", [(long[:30], "a", "")], ("text", "label", "group"))
    both = tmp_path / "chain.csv"
    write_csv(both, chain, ("text", "label", "group"))
    out = tmp_path / "out"
    assert run("prepare", plain, both, "--test", fixed, "--output", out) == 0
    aside = json_lines(out / "set_aside.jsonl")
    assert {row["file"] for row in aside} == {str(both)}
    assert [row["line"] for row in aside] == list(range(2, 2 + len(chain)))
    near = near_matches([text for text, *_ in chain], [long[:30]]) >= 0
    assert 0 < near.sum() < len(chain)
    expected = np.where(near, "near copy of a test message", "same campaign as a test message")
    assert [row["reason"] for row in aside] == expected.tolist()
    assert {(row["test_file"], row["test_line"]) for row in aside} == {(str(fixed), 2)}


HOMES = {"group": assign_campaigns, "match": assign}
BLIND = {
    "group": lambda sketches: np.arange(len(sketches.digests)),
    "match": lambda sketches, queries, references: np.full(len(queries), -1),
}


@pytest.mark.parametrize(
    ("blind", "reason"),
    [("group", "near copy of a test message"), ("match", "same campaign as a test message")],
)
def test_campaigns_and_near_copies_make_up_for_each_other(
    tmp_path, plain, monkeypatch, blind, reason
):
    """Neither search finds every pair where a campaign is very large."""
    monkeypatch.setattr(HOMES[blind], blind, BLIND[blind])
    out = tmp_path / "out"
    assert run("prepare", plain, "--test", write_test_set(tmp_path), "--output", out) == 0
    aside = json_lines(out / "set_aside.jsonl")
    assert [(row["line"], row["test_line"]) for row in aside] == [(5, 6), (6, 7)]
    assert {row["reason"] for row in aside} == {reason}


def test_unusable_rows_of_a_test_set_are_listed_and_told(tmp_path, plain, capsys):
    fixed, out = write_test_set(tmp_path, ("", "a", "")), tmp_path / "out"
    assert run("prepare", plain, "--test", fixed, "--output", out) == 0
    assert "1 of 8 rows of the test set" in capsys.readouterr().err
    assert json_lines(out / "rejected.jsonl") == [
        {"file": str(fixed), "line": 9, "reason": "no text"}
    ]
    assert len(prepared_rows(out)["test"]) == 7


@pytest.mark.parametrize(
    ("content", "arguments", "expected"),
    [
        ("", [], "found an empty file"),
        ("text,label\n", [], "expected usable messages in the test set"),
        ("text,label\n,a\n", [], "expected usable messages in the test set"),
        ("text,label\n你好吗,c\n", [], "no message to train on: c."),
        ("text,label\n你好吗,a\n", ["--split", "random"], "expected --split group with --test"),
        ("text,label\n你好吗,a\n", ["--test", "{fixed}"], "twice: name it once"),
        ("text,label\n你好吗,a\n", ["{fixed}"], "twice: name it once"),
        ("text,label\n你好吗,a\n", ["--test", "nowhere.csv"], "nowhere.csv"),
    ],
)  # fmt: skip
def test_a_useless_test_set_is_told(tmp_path, plain, capsys, content, arguments, expected):
    fixed, out = tmp_path / "fixed.csv", tmp_path / "out"
    fixed.write_text(content, "utf-8")
    more = [word.format(fixed=fixed) for word in arguments]
    assert run("prepare", plain, *more, "--test", fixed, "--output", out) == 2
    assert expected in capsys.readouterr().err.splitlines()[-1]
    assert not out.exists()


def test_nothing_left_to_train_on_is_told(tmp_path, capsys):
    table = [(sentence(at), "ab"[at % 2]) for at in range(6)]
    path = write_csv(tmp_path / "m.csv", table, ("text", "label"))
    fixed = write_csv(tmp_path / "fixed.csv", table, ("text", "label"))
    assert run("prepare", path, "--test", fixed, "--output", tmp_path / "out") == 2
    assert "share nothing with the test set, found 0" in capsys.readouterr().err


def test_each_fold_is_a_prepared_folder_and_each_message_is_tested_once(tmp_path, messages):
    out = tmp_path / "out"
    assert run("prepare", messages, "--split", "folds", "--folds", "4", "--output", out) == 0
    places = sorted(out.iterdir())
    assert [place.name for place in places] == [f"fold-{number}" for number in range(4)]
    parts = [prepared_rows(place) for place in places]
    every = sorted(row["text"] for split in SPLITS for row in parts[0][split])
    assert sorted(row["text"] for part in parts for row in part["test"]) == every
    for number, (place, part) in enumerate(zip(places, parts, strict=True)):
        assert sorted(row["text"] for split in SPLITS for row in part[split]) == every
        groups = [{row["group"] for row in part[split]} for split in SPLITS]
        assert not groups[0] & groups[1]
        assert not groups[2] & (groups[0] | groups[1])
        # The next fold's test set is this one's validation.
        assert part["validation"] == parts[(number + 1) % 4]["test"]
        told = manifest(place)
        assert (told["split"]["fold"], told["split"]["folds"]) == (number, 4)
        assert told["contamination"]["folds"] == {"exact": 0.0, "near": 0.0}
        files = {path.name for path in place.iterdir()}
        assert files == {
            *(f"{split}.parquet" for split in SPLITS),
            "labels.json", "manifest.json", "rejected.jsonl", "report.html",
        }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--split", "folds", "--folds", "2"], "expected at least 3 folds"),
        (["--split", "folds", "--folds", "500"], "ask for fewer folds"),
        (["--folds", "3"], "expected --folds with --split folds"),
        (["--split", "folds", "--find-label-errors"], "does not work with --split folds"),
    ],
)
def test_folds_that_cannot_be_made_are_told(tmp_path, plain, capsys, arguments, expected):
    assert run("prepare", plain, *arguments, "--output", tmp_path / "out") == 2
    assert expected in capsys.readouterr().err


def test_size_and_first_time_of_a_campaign_are_columns(tmp_path):
    times = {0: "2024-03-02 10:00", 1: "2024-01-05", 2: "", 3: "2024-02"}
    # Four variants of one message, the first of them twice; the others have no time.
    table = [(sentence(1, 30) + "甲乙丙丁"[at], "a", times[at]) for at in times]
    table += [table[0]] + [(sentence(at), "ab"[at % 2], "") for at in range(50, 70)]
    path, out = write_csv(tmp_path / "m.csv", table, ("text", "label", "time")), tmp_path / "out"
    assert run("prepare", path, "--output", out) == 0
    found = [row for part in prepared_rows(out).values() for row in part]
    campaign = [row for row in found if row["text"].startswith(sentence(1, 30))]
    assert len(campaign) == 4
    assert {row["group"] for row in campaign} == {0}
    assert {row["group_size"] for row in campaign} == {5}
    assert {row["group_time"] for row in campaign} == {datetime(2024, 1, 5, tzinfo=CHINA)}
    others = [row for row in found if row["group"] != 0]
    assert {(row["group_size"], row["group_time"]) for row in others} == {(1, None)}


def test_a_held_out_source_sets_aside_with_a_reason(tmp_path, plain):
    table = [(sentence(at), "ab"[at % 2]) for at in (3, *range(200, 210))]
    other = write_csv(tmp_path / "other.csv", table, ("text", "label"))
    out, arguments = tmp_path / "out", ("--split", "source", "--held-out", "plain")
    assert run("prepare", plain, other, *arguments, "--output", out) == 0
    # The exact copy was merged into the first, so nothing of the other source shares a campaign.
    assert not (out / "set_aside.jsonl").exists()
    changed = other.read_text("utf-8").replace(sentence(3), sentence(3) + "吗")
    other.write_text(changed, "utf-8")
    assert run("prepare", plain, other, *arguments, "--output", tmp_path / "again") == 0
    (row,) = json_lines(tmp_path / "again" / "set_aside.jsonl")
    assert (row["file"], row["line"], row["test_line"]) == (str(other), 2, 5)
    assert row["reason"] == "near copy of a test message"
