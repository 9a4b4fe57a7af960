"""The shortcut check finds what was planted, and nothing where nothing was."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from doors import parquet_of

from smstune.data.report.shortcut_sections import shortcut_warnings
from smstune.data.report.shortcuts import Chance, check_shortcuts

WORDS = list("今明天大家来去看吃喝买卖早晚上下车站店路好多少钱年月日水火山石田土人口手足目耳心身")


def message(rng, length=None):
    return "".join(rng.choice(WORDS, length or rng.integers(8, 30)))


def splits_of(rows):
    """Make splits from (text, label, source), each a campaign of its own or of a fourth value."""
    parts = {"train": [], "validation": [], "test": []}
    for index, (text, label, source, *group) in enumerate(rows):
        row = {"text": text, "label": label, "source": source, "copies": 1}
        row["group"] = group[0] if group else index
        parts[("train", "train", "validation", "test")[index % 4]].append(row)
    return {name: parquet_of(pa.Table.from_pylist(found)) for name, found in parts.items()}


@pytest.fixture(scope="module")
def greeted():
    """98 % of fraud begins with 您好, 6 % of normal; 【 stands in 30 % of normal alone."""
    rng = np.random.default_rng(1)
    rows = []
    for index in range(300):
        rows.append(("您好" * (index % 50 != 0) + message(rng), "fraud", "one"))
        opening = "您好" if index % 16 == 0 else "【店】" if index % 10 < 3 else ""
        rows.append((opening + message(rng), "normal", "one"))
    return check_shortcuts(splits_of(rows))


def test_the_opening_that_gives_fraud_away_is_named(greeted):
    (found,) = [row for row in greeted.give_aways if row.feature == "begins with 您好"]
    assert (found.label, found.kind) == ("fraud", "common")
    assert found.share == pytest.approx(0.98)
    assert found.elsewhere == pytest.approx(0.06, abs=0.01)
    assert found.lift == pytest.approx(0.98 / found.elsewhere, rel=0.1)
    (sentence,) = [text for text in shortcut_warnings(greeted) if "您好" in text]
    assert "fraud (begins with 您好: 98 % of its messages, 6 % of the others)" in sentence
    # The bracket gives another label away: one sentence for both, and the advice once.
    assert "normal (contains 【 or 】: " in sentence
    assert sentence.count("0.98 score") == 1
    assert "means nothing" in sentence


def test_a_bracket_that_one_label_alone_holds_is_named(greeted):
    (found,) = [row for row in greeted.give_aways if row.feature == "contains 【 or 】"]
    assert (found.label, found.kind) == ("normal", "only")
    assert found.elsewhere == 0
    assert found.lift is None


def test_style_alone_scores_high_where_style_tells(greeted):
    assert greeted.style.macro_f1 > 0.9
    assert greeted.chance == Chance(majority=0.3333, stratified=0.5)
    assert "sees only style" in shortcut_warnings(greeted)[0]
    assert greeted.source is None
    assert greeted.source_style == []


def test_a_set_without_a_shortcut_gives_no_warning():
    rng = np.random.default_rng(2)
    # Told apart by a word inside, which style does not see.
    rows = [
        (message(rng, 8) + word + message(rng, 8), label, source)
        for _ in range(150)
        for label, word in (("fraud", "中奖"), ("normal", "开会"))
        for source in ("one", "two")
    ]
    found = check_shortcuts(splits_of(rows))
    assert shortcut_warnings(found) == []
    assert found.give_aways == []
    assert abs(found.style.macro_f1 - 0.5) < 0.15
    assert found.one_source_labels == {}


@pytest.fixture(scope="module")
def mixed():
    rng = np.random.default_rng(3)
    rows = []
    for index in range(200):
        rows.append((message(rng), ("ad", "fraud")[index % 2], "fbs"))
        rows.append((message(rng, 9) + "，" + message(rng, 9), "normal", "nus"))
    rows += [(message(rng), "normal", "fbs") for _ in range(4)]
    return check_shortcuts(splits_of(rows))


def test_sources_that_differ_in_punctuation_are_named(mixed):
    (row,) = [row for row in mixed.source_style if row.feature == "contains punctuation"]
    assert row.shares == {"fbs": 0.0, "nus": 1.0}
    sentence = shortcut_warnings(mixed)[-1]
    assert "contains punctuation: 0 % of fbs, 100 % of nus" in sentence
    assert sentence.endswith(
        "`prepare.drop_punctuation: true` removes punctuation from all messages."
    )
    assert "found only in fbs: ad, fraud" in sentence
    assert "found nearly only in nus: normal" in sentence
    assert "0.98 score there means nothing" in sentence


def test_the_source_alone_finds_the_label_of_one_source(mixed):
    assert mixed.source.per_label["normal"] > 0.95
    assert any(
        text.startswith("Labels that are found by source alone: normal (F1 ")
        for text in shortcut_warnings(mixed)
    )


def test_a_campaign_is_not_a_style():
    """Copies of one wording are on one side of a fold, and no give-away."""
    rng = np.random.default_rng(4)
    rows = [(message(rng), "normal", "one") for _ in range(100)]
    splits = splits_of(rows + [("恭喜您" + message(rng, 12), "fraud", "one", 1000)] * 100)
    found = check_shortcuts(splits)
    assert all(row.label != "fraud" for row in found.give_aways)
    assert found.style.per_label["fraud"] == 0


def test_placeholders_are_neither_letters_nor_punctuation():
    rows = [(f"打[PHONE]找我{index}", "a", "one") for index in range(40)]
    rows += [(f"打电话找我{index}", "b", "one") for index in range(40)]
    found = {row.feature: row for row in check_shortcuts(splits_of(rows)).give_aways}
    assert found["contains [PHONE]"].label == "a"
    assert "contains a Latin letter" not in found
    assert "contains punctuation" not in found
    assert found["begins with 打[PHONE]"].kind == "only"


def test_the_same_seed_gives_the_same_result_on_a_sample():
    rng = np.random.default_rng(5)
    rows = [(message(rng), "ab"[index % 2], "one") for index in range(1200)]
    splits = splits_of(rows)
    found = check_shortcuts(splits, rows=500)
    assert found == check_shortcuts(splits, rows=500)
    assert (found.rows, found.total) == (500, 1200)


def test_one_campaign_has_no_score():
    splits = splits_of([(text, "ab"[at % 2], "one", 0) for at, text in enumerate("甲乙丙丁")])
    found = check_shortcuts(splits)
    assert found.style is None
    assert shortcut_warnings(found) == []
