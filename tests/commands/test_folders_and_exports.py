"""Folders, zips and exports of other tools, as prepare and predict take them from the shell."""

from __future__ import annotations

import csv
import json
import zipfile
from collections import Counter, defaultdict

import pytest
from doors import run


@pytest.fixture
def texts_by_label(messages):
    with messages.open(encoding="utf-8", newline="") as stream:
        texts = defaultdict(list)
        for row in csv.DictReader(stream):
            texts[row["label"]].append(row["text"])
    return texts


def counts(folder):
    return json.loads((folder / "manifest.json").read_text("utf-8"))["counts"]


def kept_by_label(folder):
    """Return how many messages of each label all splits hold; their campaigns do not matter."""
    return sum((Counter(labels) for labels in counts(folder)["splits"].values()), Counter())


def test_prepare_takes_a_file_per_label_as_it_takes_the_same_csv(
    tmp_path, messages, texts_by_label, capsys
):
    folder = tmp_path / "sms"
    folder.mkdir()
    for label, texts in texts_by_label.items():
        (folder / f"{label}.txt").write_text("\n".join(texts) + "\n", "utf-8")
    assert run("prepare", messages, "--output", tmp_path / "a") == 0
    assert run("prepare", folder, "--output", tmp_path / "b") == 0
    assert "--layout file-per-label" in capsys.readouterr().err
    assert kept_by_label(tmp_path / "a") == kept_by_label(tmp_path / "b")
    # Each file is a table without labels then.
    capsys.readouterr()
    argv = ("prepare", folder, "--layout", "files", "--output", tmp_path / "c")
    assert run(*argv) == 2
    assert len(capsys.readouterr().err.strip().splitlines()[-1]) < 400
    assert not (tmp_path / "c").exists()


def test_prepare_takes_a_zipped_export_of_label_studio(tmp_path, messages, texts_by_label):
    tasks = [
        {
            "data": {"text": text},
            "annotations": [
                {"result": [{"from_name": "kind", "value": {"choices": [label]}}]},
            ],
        }
        for label, texts in texts_by_label.items()
        for text in texts
    ]
    with zipfile.ZipFile(tmp_path / "导出.zip", "w") as archive:
        archive.writestr("导出.json", json.dumps(tasks, ensure_ascii=False))
    assert run("prepare", tmp_path / "导出.zip", "--output", tmp_path / "b") == 0
    assert run("prepare", messages, "--output", tmp_path / "a") == 0
    assert kept_by_label(tmp_path / "a") == kept_by_label(tmp_path / "b")


@pytest.mark.parametrize("output", ["out.csv", "out.parquet", "out.jsonl"])
def test_predict_answers_every_file_of_a_folder_though_their_columns_differ(
    finished_run, tmp_path, output
):
    folder = tmp_path / "sms"
    folder.mkdir()
    (folder / "a.csv").write_text("text,id\n周末八折,7\n", "utf-8")
    (folder / "b.jsonl").write_text('{"text": "中奖", "from": 3}\n{"text": "您好"}\n', "utf-8")
    assert run("predict", finished_run, folder, tmp_path / output) == 0
    if output == "out.csv":
        with (tmp_path / output).open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        assert [row["file"] for row in rows] == ["a.csv", "b.jsonl", "b.jsonl"]
        assert [row["text"] for row in rows] == ["周末八折", "中奖", "您好"]
        assert [row["id"] for row in rows] == ["7", "", ""]
        assert all(row["label"] for row in rows)


def test_a_label_that_is_a_list_is_rejected_only_where_labels_count(
    finished_run, tmp_path, messages
):
    path = tmp_path / "in.jsonl"
    with messages.open(encoding="utf-8", newline="") as stream:
        rows = [{"text": row["text"], "label": [row["label"]]} for row in csv.DictReader(stream)]
    rows[0]["label"] = ["retail", "gambling"]
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    assert run("prepare", path, "--output", tmp_path / "prepared") == 0
    assert counts(tmp_path / "prepared")["rejected"] == {"several labels": 1}
    assert run("predict", finished_run, path, tmp_path / "out.jsonl") == 0
    first = json.loads((tmp_path / "out.jsonl").read_text("utf-8").splitlines()[0])
    assert first["note"] == ""
    assert first["input_label"] == ["retail", "gambling"]
