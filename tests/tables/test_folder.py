"""A folder as one input: tables, a folder per label, a file per label; recognised and said."""

from __future__ import annotations

import logging

import pytest

from smstune.errors import UserError
from smstune.tables.options import TableOptions
from smstune.tables.read import read_rows


def folder(path, **files):
    for name, content in files.items():
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, "utf-8")
    return path


def read(path, **options):
    return [(row.text, row.label) for row in read_rows(path, TableOptions(**options))]


PER_FILE = {"retail.txt": "周末八折\n\n满百减十\n", "fraud.txt": "中奖\n"}
PER_FOLDER = {"retail/1.txt": "周末八折\n", "retail/2.txt": "满百减十", "fraud/1.txt": "中奖\n"}
MESSAGES = [("中奖", "fraud"), ("周末八折", "retail"), ("满百减十", "retail")]


def test_files_are_tables_read_in_order_with_their_name_in_a_column(tmp_path):
    tables = {
        "b.jsonl": '{"text": "中奖", "label": "fraud"}\n',
        "a.csv": "text,label\n周末八折,retail\n",
        "c/d.tsv": "text\tlabel\n满百减十\tretail\n",
        "README.md": "no message",
        ".hidden.csv": "no message",
    }
    rows = list(read_rows(folder(tmp_path / "x", **tables), TableOptions()))
    assert [row.text for row in rows] == ["周末八折", "中奖", "满百减十"]
    assert [row.fields["file"] for row in rows] == ["a.csv", "b.jsonl", "c/d.tsv"]
    assert [row.file for row in rows] == [str(tmp_path / "x" / row.fields["file"]) for row in rows]


@pytest.mark.parametrize(
    ("files", "layout"), [(PER_FILE, "file-per-label"), (PER_FOLDER, "folder-per-label")]
)
def test_names_of_labels_are_recognised_and_said(tmp_path, caplog, files, layout):
    caplog.set_level(logging.INFO)
    path = folder(tmp_path / "x", **files)
    assert read(path) == MESSAGES
    assert f"--layout {layout}: fraud, retail" in caplog.text
    caplog.clear()
    assert read(path, layout=layout) == MESSAGES
    assert "--layout" not in caplog.text


def test_files_named_after_a_split_are_no_labels(tmp_path):
    files = {"train.txt": "周末八折\n", "test.txt": "中奖\n", "dev-2.txt": "您好\n"}
    path = folder(tmp_path / "x", **files)
    assert [text for text, _ in read(path, labelled=False)] == ["您好", "中奖", "周末八折"]
    assert {label for _, label in read(path, labelled=False)} == {None}


def test_a_label_s_folder_may_lie_in_that_of_a_split(tmp_path):
    files = {"train/retail/1.txt": "周末八折", "test/fraud/1.txt": "中奖"}
    assert read(folder(tmp_path / "x", **files)) == [("中奖", "fraud"), ("周末八折", "retail")]


@pytest.mark.parametrize(
    ("files", "options", "said"),
    [
        ({"a.png": "x"}, {}, "a.png"),
        ({"retail/1.txt": "八折", "2.txt": "八折"}, {"layout": "folder-per-label"}, "2.txt"),
        ({"retail.csv": "八折"}, {"layout": "file-per-label"}, "retail.csv"),
    ],
)
def test_a_folder_that_does_not_fit_is_refused_with_the_names_of_files(
    tmp_path, files, options, said
):
    with pytest.raises(UserError, match=said) as error:
        read(folder(tmp_path / "x", **files), **options)
    assert "八折" not in str(error.value)
