"""Campaigns: sizes, first times, masked examples, and labels that contradict each other."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from doors import parquet_of

from smstune.data.collect import encode
from smstune.data.report.sample import draw_sample
from smstune.data.report.statistics import (
    count_splits,
    label_conflicts,
    largest_campaigns,
    summed,
    take_rows,
)


def splits_of(rows, **more):
    """Make splits from (text, label, group) with the other columns filled in."""
    names = ("train", "validation", "test")
    parts = {name: [] for name in names}
    for index, (text, label, group, *rest) in enumerate(rows):
        row = {"text": text, "label": label, "source": "one", "time": None, "group": group}
        row |= {"copies": 1} | more | dict(*rest)
        parts[names[index % 3]].append(row)
    schema = pa.schema(
        {name: pa.string() for name in ("text", "label", "source", "time")}
        | {"group": pa.int64(), "copies": pa.int64()}
    )
    return {name: parquet_of(pa.Table.from_pylist(found, schema)) for name, found in parts.items()}


def test_the_largest_come_first_with_copies_counted():
    splits = splits_of(
        [
            ("单独的消息", "normal", 0),
            ("中奖了请点开", "fraud", 1, {"copies": 2}),
            ("中奖啦请点开", "fraud", 1),
            ("新店开业", "ad", 2, {"copies": 9}),
            ("中奖啦快点开", "ad", 1),
            ("只此一条", "normal", 4),
        ]
    )
    first, second = largest_campaigns(splits)
    assert (first.group, first.rows, first.copies, first.labels) == (2, 1, 9, {"ad": 1})
    assert (second.group, second.rows, second.copies) == (1, 3, 4)
    assert list(second.labels.items()) == [("fraud", 2), ("ad", 1)]
    assert [one.group for one in largest_campaigns(splits, top=1)] == [2]


def test_the_first_time_is_the_earliest_not_the_first_read():
    splits = splits_of(
        [
            ("甲", "a", 7, {"time": "2015-03-09 11:38"}),
            ("甲一", "a", 7, {"time": "2014/12/31"}),
            ("甲二", "a", 7, {"time": "unknown"}),
            ("甲三", "a", 7, {"time": None}),
            ("乙", "a", 8, {"copies": 2}),
        ]
    )
    times = {one.group: one.first_time for one in largest_campaigns(splits)}
    assert times == {7: "2014/12/31", 8: None}


def test_examples_are_masked_and_cut():
    text = "请致电13800138000领取" + "很长的话" * 100
    (campaign,) = largest_campaigns(splits_of([(text, "fraud", 0)], copies=3))
    assert campaign.example.startswith("请致电[PHONE]领取")
    assert "13800138000" not in campaign.example
    assert len(campaign.example) == 120
    assert campaign.example.endswith("…")


def test_conflicts_name_labels_counts_and_an_example_of_each():
    splits = splits_of(
        [
            ("贷款请加13800138000", "ad", 3),
            ("贷款请加我", "fraud", 3),
            ("贷款快加我", "fraud", 3),
            ("彩票送您", "ad", 5),
            ("彩票送你", "fraud", 5),
            ("彩票送她", "ad", 5),
            ("彩票送他", "fraud", 5),
            ("安静的一组", "ad", 6),
            ("安静的二组", "ad", 6),
        ]
    )
    found = label_conflicts(splits)
    assert (found.groups, found.rows, found.outvoted) == (2, 7, 3)
    assert [one.group for one in found.largest] == [5, 3]
    assert found.largest[1].labels == {"fraud": 2, "ad": 1}
    assert found.largest[1].examples == {"fraud": "贷款请加我", "ad": "贷款请加[PHONE]"}
    assert len(label_conflicts(splits, top=1).largest) == 1


def test_no_conflict_and_no_campaign():
    splits = splits_of([("一", "a", 0), ("二", "b", 1)])
    assert largest_campaigns(splits) == []
    assert label_conflicts(splits).largest == []
    assert label_conflicts(splits).groups == 0


def test_counts_of_masked_and_of_unmasked_text_agree():
    rows = [("打13800138000或13900139000", "a", 0), ("打给他", "b", 1)]
    raw = count_splits(splits_of(rows), masked=False)
    masked = count_splits(
        splits_of([("打[PHONE]或[PHONE]", "a", 0), ("打给他", "b", 1)]), masked=True
    )
    assert raw.marks == masked.marks
    assert raw.marks["a", "one", "[PHONE]"] == 2
    assert summed(raw.rows, 1) == {("a",): 1, ("b",): 1}
    assert masked.lengths["b", 3] == 1


def test_rows_are_taken_across_splits():
    splits = splits_of([(str(index), "a", index) for index in range(9)])
    order = [row["text"] for table in splits.values() for row in table.read().to_pylist()]
    taken = take_rows(splits, np.array([0, 4, 8]), ["text"])["text"].to_pylist()
    assert taken == [order[0], order[4], order[8]]


def test_a_sample_keeps_rare_labels_and_weighs_the_others():
    rows = [("甲", "many", index) for index in range(3000)] + [("乙", "few", 3000)]
    sample = draw_sample(splits_of(rows), 500, 0)
    few = sample.labels == sample.label_names.index("few")
    assert few.sum() == 1
    assert 500 <= len(sample.texts) <= 510
    assert np.isclose(sample.weights.sum(), 3001)
    assert sample.label_sources["many"] == {"one": 3000}


def test_codes_are_shared_between_batches():
    codes = {}
    assert encode(pa.chunked_array([["b", "a", "b"]]), codes).tolist() == [0, 1, 0]
    assert encode(pa.chunked_array([["c", "a"]]), codes).tolist() == [2, 1]
