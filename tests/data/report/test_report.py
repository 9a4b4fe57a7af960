"""The data report: one page, nothing from outside, no message unmasked, all that was counted."""

from __future__ import annotations

import re

import pyarrow as pa
import pytest
from doors import parquet_of

from smstune.data.manifest import Preparation
from smstune.data.report.report import build_data_report
from smstune.data.report.shortcuts import check_shortcuts
from smstune.data.report.statistics import count_splits, label_conflicts, largest_campaigns
from smstune.data.report.tokens import measure_tokens
from smstune.reporting.html import render_html

SECTIONS = (
    "Warnings", "Messages by label", "Messages by source", "Length in characters",
    "Length in tokens", "Contamination", "Rejected rows", "Personal information",
    "Largest campaigns", "Label conflicts", "Shortcut check", "What gives a label away",
)  # fmt: skip
SECRET = "13800138000"


def rows(count=120):
    """Half fraud that opens with 您好 from one source, half normal with a comma from another."""
    found = []
    for index in range(count):
        fraud = index % 2 == 0
        text = (
            f"您好请加[QQ]领奖{'快' * (index % 7)}" if fraud else f"明天见，带{'书' * (index % 9)}"
        )
        found.append(
            {
                "text": text, "label": "欺诈$" if fraud else "normal",
                "source": "fbs" if fraud else "nus", "time": None if fraud else "2015-03-09",
                "group": index // 4 * 2 + index % 2, "copies": 2,
            }
        )  # fmt: skip
    found[0] |= {"text": f"<script>alert(1)</script>致电{SECRET}", "group": 9000, "copies": 99}
    found[1] |= {"group": 9000}
    return found


def splits_of(found):
    return {
        name: parquet_of(pa.Table.from_pylist(found[at::3]))
        for at, name in enumerate(("train", "validation", "test"))
    }


def manifest_of(splits, **changes):
    counts = {
        "read": 500,
        "kept": sum(table.metadata.num_rows for table in splits.values()),
        "merged": 250,
        "rejected": {"no text": 7, "unknown label": 123},
        "groups": 61,
        "set_aside": 4,
        "splits": {
            name: {
                label: table.read()["label"].to_pylist().count(label)
                for label in ("normal", "欺诈$")
            }
            for name, table in splits.items()
        },
    }
    return Preparation.model_validate({
        "format_version": 1,
        "text": {"normalizer_version": 1, "mask_pii": True},
        "inputs": [{"path": "/home/somebody/in<b>.csv", "source": "fbs"}],
        "tests": [],
        "terms": [],
        "counts": counts,
        "split": {"method": "group", "seed": 42},
        "contamination": {
            "group": {"exact": 0.0, "near": 0.0}, "random": {"exact": 0.0, "near": 0.225},
        },
        "sha256": {},
        **changes,
    })  # fmt: skip


def render(splits, preparation=None, tokens=None):
    preparation = preparation or manifest_of(splits)
    report = build_data_report(
        preparation,
        count_splits(splits, masked=preparation.text.mask_pii),
        check_shortcuts(splits),
        campaigns=largest_campaigns(splits),
        conflicts=label_conflicts(splits),
        tokens=tokens,
    )
    return render_html(report)


@pytest.fixture(scope="module")
def page():
    return render(splits_of(rows()))


def section(page, title):
    return page.split(f"<h2>{title}</h2>")[1].split("</section>")[0]


def cells(part):
    return [
        re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", part, re.S)
    ]


def test_every_section_is_there_warnings_first(page):
    found = re.findall(r"<h2>(.*?)</h2>", page)
    assert found == [*SECTIONS, "How the sources differ"]


def test_nothing_comes_from_outside(page):
    assert not re.search(r"<(?:script|link|img|iframe)|url\(\s*[\"']?https?:|@import", page)
    # The SVG names its vocabularies by address and fetches none of them.
    for attribute in re.findall(r'(?:src|href)="([^"]*)"', page):
        assert attribute.startswith("#")


def test_messages_and_names_are_escaped_and_masked(page):
    assert "&lt;script&gt;alert(1)&lt;/script&gt;致电[PHONE]" in page
    assert SECRET not in page
    assert "in&lt;b&gt;.csv" in page
    assert "somebody" not in page


def test_warnings_name_the_shortcut_and_the_sources(page):
    warnings = section(page, "Warnings")
    assert warnings.count('class="warning"') >= 2
    assert "您好" in warnings
    assert "contains punctuation" in warnings
    assert "fbs" in warnings
    assert "nus" in warnings
    assert "130 of 500 rows were rejected" in warnings


def test_counts_add_up(page):
    body = cells(section(page, "Messages by label"))
    assert ["normal", "20", "20", "20", "60"] in body
    assert ["all", "40", "40", "40", "120"] in body
    by_source = cells(section(page, "Messages by source"))
    assert ["fbs", "20", "20", "20", "60"] in by_source
    assert ["欺诈$", "60", "0", "60"] in by_source


def test_what_was_set_aside_is_told(page):
    assert "120 kept, 4 of them set aside" in section(page, "Messages by label")


def test_the_opening_says_what_a_reader_decides_by(page):
    opening = page.split('<div class="opening">')[1].split("</div>")[0]
    (text,) = re.findall(r"<p>(.*?)</p>", opening)
    assert "120 distinct messages of 2 labels were prepared from in&lt;b&gt;.csv (fbs)." in text
    assert "61 campaigns and are split by campaign: train 40, validation 40, test 40" in text
    assert "0 % of the test messages have a copy or near copy in train" in text
    assert "with a random split it would be 22 %" in text
    assert "sees only the style of a message reaches macro-F1 0.99" in text
    n_warnings = section(page, "Warnings").count('class="warning"')
    assert f"Read the {n_warnings} warnings below" in text
    assert opening.count("<figure") == 1


def test_lengths_are_those_of_the_messages(page):
    lengths = sorted(len(row["text"]) for row in rows() if row["label"] == "normal")
    (found,) = [
        row for row in cells(section(page, "Length in characters")) if row[:1] == ["normal"]
    ]
    mean = f"{sum(lengths) / len(lengths):.1f}"
    assert found == ["normal", mean, str(lengths[29]), str(lengths[56]), *[str(lengths[-1])] * 2]


def test_tables_tell_what_the_manifest_and_the_texts_hold(page):
    assert ["randomly", "0.0 %", "22.5 %"] in cells(section(page, "Contamination"))
    assert ["unknown label", "123"] in cells(section(page, "Rejected rows"))
    assert ["QQ", "59", "0", "59"] in cells(section(page, "Personal information"))
    largest = cells(section(page, "Largest campaigns"))[1]
    assert largest[0] == "101"
    assert largest[2:] == ["normal 1, 欺诈$ 1", "2", "2015-03-09"]
    assert "several labels: 1, with 2 messages" in section(page, "Label conflicts")


def test_without_a_tokenizer_the_page_says_what_is_missing(page):
    assert "--tokenizer" in section(page, "Length in tokens")


def test_tokens_cut_and_unknown_are_measured():
    splits = splits_of(rows())

    def tokenizer(texts):
        return [[2, *(1 if character == "您" else 5 for character in text), 3] for text in texts]

    page = render(splits, tokens=measure_tokens(splits, tokenizer, 1, 14))
    cut = sum(len(row["text"]) + 2 > 14 for row in rows())
    unknown = sum(row["text"].count("您") for row in rows())
    total = sum(len(row["text"]) + 2 for row in rows())
    found = cells(section(page, "Length in tokens"))
    assert 5 < cut < 115
    assert ["messages cut by max_length 14", f"{100 * cut / 120:.0f} %"] in found
    assert ["tokens that are unknown", f"{100 * unknown / total:.2f} %"] in found
    assert "unknown to the tokenizer" in section(page, "Warnings")
    without_unknown = render(splits, tokens=measure_tokens(splits, tokenizer, None, 14))
    assert "unknown" not in section(without_unknown, "Length in tokens")


def test_a_random_split_and_kept_pii_are_warned_of():
    splits = splits_of(rows())
    manifest = manifest_of(
        splits,
        split={"method": "random", "seed": 42},
        text={"normalizer_version": 1, "mask_pii": False},
    )
    page = render(splits, manifest)
    assert "have a near copy in train (split: random)" in section(page, "Warnings")
    assert "unmasked (--keep-pii)" in section(page, "Warnings")
    assert SECRET not in page
    assert ["PHONE", "1", "0", "1"] in cells(section(page, "Personal information"))


def test_the_same_data_gives_the_same_page():
    splits = splits_of(rows(60))
    assert render(splits) == render(splits)


def test_chinese_page_holds_no_english_sentence(monkeypatch):
    monkeypatch.setattr("smstune.language._language", "zh")
    splits = splits_of(rows())
    text = re.sub(r"<style>.*?</style>|<[^>]+>", "\n", render(splits), flags=re.DOTALL)
    code = re.sub(r"`[^`]+`", "", text)
    assert "数据报告" in text
    assert re.findall(r"[A-Za-z]{2,}(?: [A-Za-z]{2,}){2,}", code) == []
