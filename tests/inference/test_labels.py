"""LabelMap: order kept, sources resolved, nonsense refused."""

from __future__ import annotations

import pytest
from doors import ROOT

from smstune.errors import UserError
from smstune.inference.labels import LabelMap


def from_text(tmp_path, text):
    (tmp_path / "labels.yaml").write_text(text, "utf-8")
    return LabelMap.from_yaml(tmp_path / "labels.yaml")


def test_order_is_the_files_not_the_alphabets(tmp_path):
    labels = from_text(tmp_path, "labels:\n- {name: z}\n- {name: a}\n- {name: m}\n")
    labels.save(tmp_path / "labels.json")
    again = LabelMap.load(tmp_path / "labels.json")
    assert again == labels
    assert again.id2label == {0: "z", 1: "a", 2: "m"}
    assert again.label2id == {"z": 0, "a": 1, "m": 2}


def test_origin_with_source_goes_before_origin_without(tmp_path):
    labels = from_text(
        tmp_path,
        'labels:\n- {name: normal, from: [ham, "fbs:Other"]}\n- {name: spam, from: [Other]}\n',
    )
    assert labels.resolve("fbs", "Other") == "normal"
    assert labels.resolve("mine", "Other") == "spam"
    assert labels.resolve("nus", "ham") == "normal"
    assert labels.resolve("nus", "spam") is None


def test_parents(tmp_path):
    labels = from_text(
        tmp_path,
        "labels:\n- {name: a, parent: y}\n- {name: b, parent: x}\n- {name: c, parent: y}\n",
    )
    assert labels.parent_names == ("y", "x")
    assert labels.parent_ids() == [0, 1, 0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("labels:\n- {name: a}\n- {name: a}\n", "goes to both|twice"),
        ("labels:\n- {name: a}\n", "at least two"),
        ("labels: 3\n", "at least two"),
        ("labels:\n- {name: a, form: [x]}\n- {name: b}\n", "unknown key form"),
        ("labels:\n- {parent: a}\n- {name: b}\n", "name for every label"),
        ("labels:\n- {name: a, from: {x: y}}\n- {name: b}\n", "list of source labels in `from`"),
        ("labels:\n- {name: a, from: [x]}\n- {name: b, from: [x]}\n", "goes to both"),
        ("labels:\n- {name: a, parent: p}\n- {name: b}\n", "parent for every label"),
    ],
)
def test_wrong_label_file_is_told(tmp_path, text, expected):
    with pytest.raises(UserError, match=expected):
        from_text(tmp_path, text)


@pytest.mark.parametrize(
    ("name", "count"), [("fbs14", 14), ("fbs4", 4), ("sms4", 4), ("sample", 21), ("sample4", 4)]
)
def test_shipped_label_file(name, count):
    labels = LabelMap.from_yaml(ROOT / "configs/labels" / f"{name}.yaml")
    assert len(labels.names) == count


def test_a_name_is_shown_with_its_title_in_the_language_or_else_in_the_other(tmp_path):
    labels = from_text(
        tmp_path,
        "- {name: fraud, title: {zh: 诈骗短信, en: Fraud}}\n"
        "- {name: ad, title: {en: Offers}}\n- 其他\n",
    )
    assert list(labels.shown_names("zh").values()) == ["fraud (诈骗短信)", "ad (Offers)", "其他"]
    assert list(labels.shown_names("en").values()) == ["fraud", "ad (Offers)", "其他"]
    labels.save(tmp_path / "labels.json")
    assert LabelMap.load(tmp_path / "labels.json").titles == labels.titles
