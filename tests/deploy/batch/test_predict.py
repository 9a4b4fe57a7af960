"""predict through its door: every row answered, in order, whatever the format."""

from __future__ import annotations

import csv
import io
import json
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from doors import run, write_csv

from smstune.deploy.batch import score_file as batch
from smstune.deploy.batch import scorer

TEXTS = ["您的账户已冻结，请登录", "", "今天全场5折", "您的账户已冻结，请登录", 'a,b"c']


def read(path):
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    with path.open(encoding="utf-8", newline="") as stream:
        if path.suffix == ".jsonl":
            return [json.loads(line) for line in stream]
        return list(csv.DictReader(stream, delimiter="\t" if path.suffix == ".tsv" else ","))


def make(folder, suffix):
    path = folder / f"in.{suffix}"
    ids = list(range(len(TEXTS)))
    if suffix == "txt":
        path.write_text("\n".join(TEXTS) + "\n", "utf-8")
    elif suffix == "csv":
        write_csv(path, list(zip(map(str, ids), TEXTS, strict=True)), ("id", "text"))
    elif suffix == "jsonl":
        rows = [json.dumps({"id": i, "text": t}) for i, t in zip(ids, TEXTS, strict=True)]
        path.write_text("\n".join(rows) + "\n", "utf-8")
    else:
        pq.write_table(pa.table({"id": ids, "text": TEXTS}), path)
    return path


@pytest.mark.parametrize("source", ["txt", "csv", "jsonl", "parquet"])
@pytest.mark.parametrize("target", ["csv", "tsv", "jsonl", "parquet"])
def test_every_format_keeps_rows_order_and_columns(
    finished_run, tmp_path, monkeypatch, capsys, source, target
):
    monkeypatch.setattr(batch, "_ROWS_AT_ONCE", 2)
    output = tmp_path / f"out.{target}"
    assert run("predict", finished_run, make(tmp_path, source), output) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(output)
    rows = read(output)
    assert [row["text"] for row in rows] == TEXTS
    if source != "txt":
        assert [str(row["id"]) for row in rows] == [str(i) for i in range(len(TEXTS))]
    assert rows[0]["label"] == rows[3]["label"]
    assert rows[1]["note"] == "empty message"
    scores = rows[0]["scores"]
    scores = json.loads(scores) if isinstance(scores, str) else scores
    assert max(scores, key=scores.get) == rows[0]["label"]
    assert sum(scores.values()) == pytest.approx(1, abs=1e-5)


def test_standard_input_to_standard_output(finished_run, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.StringIO("你好\n再见\n"))
    assert run("predict", finished_run, "-", "-") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["text"] for row in rows] == ["你好", "再见"]


def test_answers_do_not_depend_on_the_chunk(finished_run, tmp_path, monkeypatch):
    source = make(tmp_path, "csv")
    assert run("predict", finished_run, source, tmp_path / "whole.jsonl") == 0
    monkeypatch.setattr(batch, "_ROWS_AT_ONCE", 1)
    monkeypatch.setattr(scorer, "_REMEMBERED", 1)
    assert run("predict", finished_run, source, tmp_path / "single.jsonl") == 0
    whole, single = read(tmp_path / "whole.jsonl"), read(tmp_path / "single.jsonl")
    assert [row["label"] for row in whole] == [row["label"] for row in single]


def test_columns_with_our_names_are_kept(finished_run, tmp_path):
    source = write_csv(tmp_path / "in.csv", [("你好", "mine")], ("text", "label"))
    assert run("predict", finished_run, source, tmp_path / "out.csv") == 0
    (row,) = read(tmp_path / "out.csv")
    assert row["input_label"] == "mine"
    assert row["label"] in ("gambling", "bank_phishing", "retail", "bank_alert")


def test_rows_bad_by_themselves_are_answered_and_marked(finished_run, tmp_path):
    source = tmp_path / "in.csv"
    long = "长" * 100_000
    source.write_bytes(
        f"text,id\n你好,1\n只有一列\n多,了,一列\n{long},4\n".encode() + b"\xff\xfe\xfd,5\n"
    )
    assert run("predict", finished_run, source, tmp_path / "out.jsonl") == 0
    rows = read(tmp_path / "out.jsonl")
    assert len(rows) == 5
    assert [row["note"] for row in rows] == [
        "",
        "ragged row: expected 2 fields, found 1",
        "ragged row: expected 2 fields, found 3",
        "cut to 17085 characters",
        "undecodable bytes",
    ]
    assert rows[2]["id"] == "了,一列"
    assert rows[3]["text"] == long


def test_jsonl_with_broken_lines(finished_run, tmp_path):
    source = tmp_path / "in.jsonl"
    source.write_text('{"text": "你好"}\n{broken\n[1]\n{"text": 3}\n{"id": 4}\n', "utf-8")
    assert run("predict", finished_run, source, tmp_path / "out.jsonl") == 0
    notes = [row["note"] for row in read(tmp_path / "out.jsonl")]
    assert notes == [
        "",
        "no JSON",
        "expected a JSON object, found list",
        "the message is no text but int",
        "empty message",
    ]


@pytest.mark.parametrize(
    ("name", "content", "output", "expected"),
    [
        ("nowhere.csv", None, "out.csv", "found none at"),
        ("in.csv", b"", "out.csv", "empty file"),
        ("in.csv", b"message\nx\n", "out.csv", "expected column text in"),
        ("in.parquet", b"PAR1broken", "out.csv", "broken one"),
        ("in.doc", b"x", "out.csv", "as input"),
        ("in.txt", b"x\n", "out.doc", "as output"),
    ],
)
def test_useless_call_ends_with_status_2_and_no_output(
    finished_run, tmp_path, capsys, name, content, output, expected
):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert run("predict", finished_run, tmp_path / name, tmp_path / output) == 2
    assert expected in capsys.readouterr().err.splitlines()[-1]
    assert {path.name for path in tmp_path.iterdir()} <= {name}
