"""predict through its door: every row answered, in order, whatever the format."""

from __future__ import annotations

import csv
import gc
import io
import json
import os
import re
import sys
import threading
from datetime import date

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from doors import run, write_csv

from smstune.deploy.batch import score_file as batch
from smstune.deploy.batch import scorer

TEXTS = ["您的账户已冻结，请登录", "", "今天全场5折", "您的账户已冻结，请登录", 'a,b"c']


def parse(line):
    """Return what a line of JSON says; NaN and Infinity are no JSON, which Python forgives."""
    return json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def read(path):
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    with path.open(encoding="utf-8", newline="") as stream:
        if path.suffix == ".jsonl":
            return [parse(line) for line in stream]
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
        "not JSON",
        "expected a JSON object, found list",
        "the message is not text but int",
        "empty message",
    ]


ODD_LINES = [
    ("{broken", "not JSON"),
    ('{"text": "你好", "id": 1}', ""),
    ('{"text": "半个\\ud83d", "id": 2}', "half a character"),
    ('{"text": "你好", "id": "\\ud83d"}', "half a character"),
    ('{"text": "你好", "tags": [{"\\ud83d": "\\udc00"}]}', "half a character"),
    (f'{{"text": "你好", "id": {"9" * 5000}}}', "a number with too many digits"),
    (f'{{"text": "你好", "id": {"9" * 30}}}', ""),
    (f'{{"text": "你好", "id": {"[" * 5000}{"]" * 5000}}}', "not JSON"),
    ('{"text": "你好", "other": NaN, "more": -Infinity}', "a number that is not finite"),
    ('{"text": "你好", "mixed": [{"a": NaN}, [Infinity]]}', "a number that is not finite"),
    ('{"text": "你好\\u0000", "other": 1e999}', "a number that is not finite"),
    ('{"text": "你好", "mixed": "a", "deep": {}}', ""),
    (
        f'{{"text": "你好", "mixed": NaN, "deep": {"[" * 99}1{"]" * 99}}}',
        "a number that is not finite",
    ),
    ('{"text": ["你好"], "id": {"a": 1}}', "the message is not text but list"),
]


@pytest.mark.parametrize("target", ["csv", "tsv", "jsonl", "parquet", "-"])
def test_odd_rows_are_answered_and_noted_whatever_the_column_and_format(
    finished_run, tmp_path, capsys, target
):
    source = tmp_path / "in.jsonl"
    odd = "\n".join(line for line, _ in ODD_LINES).encode()
    source.write_bytes(odd + '\n{"text": "你好", "id": "'.encode() + b'\xff\xfe"}\n')
    output = "-" if target == "-" else tmp_path / f"out.{target}"
    capsys.readouterr()
    assert run("predict", finished_run, source, output) == 0
    if target == "-":
        rows = [parse(line) for line in capsys.readouterr().out.splitlines()]
    else:
        rows = read(output)
    notes = [*(note for _, note in ODD_LINES), "undecodable bytes"]
    assert [row["note"] or "" for row in rows] == notes
    assert all(row["label"] for row in rows)
    assert str(rows[3]["id"]) == "?"
    assert str(rows[5]["id"]) == "9" * 5000
    assert str(rows[6]["id"]) == "9" * 30
    mixed = [row.get("mixed") for row in rows[9:13]]
    if target in ("jsonl", "-"):
        assert (rows[8]["other"], rows[8]["more"], rows[10]["other"]) == (None, None, None)
        assert mixed == [[{"a": None}, [None]], None, "a", None]
    else:
        assert parse(mixed[0]) == [{"a": None}, [None]]
        assert mixed[2] == "a"


def test_lists_and_objects_of_jsonl_keep_a_type_where_one_holds_them_all(
    finished_run, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(batch, "_ROWS_AT_ONCE", 2)
    rows = [
        {"text": "你好", "same": {"a": [1]}, "mixed": {"a": 1}, "empty": {}, "long": [1]},
        {"text": "你好", "same": None, "mixed": None, "empty": None, "long": [2**53 + 1, 0.5]},
        {"text": "你好", "same": {"a": [0.5], "b": "c"}, "mixed": {"a": "b"}, "empty": {}},
        {"text": "你好", "same": {"a": []}, "mixed": ["c"], "empty": {}, "long": [2**70]},
    ]
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    capsys.readouterr()
    assert run("predict", finished_run, source, tmp_path / "out.parquet") == 0
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert told == [
        "warning: parquet cannot store the mixed types of empty, long, mixed: lists and objects "
        "are written as JSON text"
    ]
    answers = read(tmp_path / "out.parquet")
    assert [row["same"] for row in answers] == [
        {"a": [1.0], "b": None}, None, {"a": [0.5], "b": "c"}, {"a": [], "b": None}
    ]  # fmt: skip
    for name in ("mixed", "empty", "long"):
        cells = [row[name] for row in answers]
        assert [cell and json.loads(cell) for cell in cells] == [row.get(name) for row in rows]
    # In a csv every list and object is JSON.
    assert run("predict", finished_run, source, tmp_path / "out.csv") == 0
    cells = [row["mixed"] for row in read(tmp_path / "out.csv")]
    assert [cell and json.loads(cell) for cell in cells] == [{"a": 1}, "", {"a": "b"}, ["c"]]


def test_bad_bytes_in_any_column_of_a_csv(finished_run, tmp_path):
    source = tmp_path / "in.csv"
    source.write_bytes("text,id\n你好,".encode() + b"\xff\n\xff \n" + "再见,2\n".encode())
    for target in ("out.csv", "out.jsonl", "out.parquet"):
        assert run("predict", finished_run, source, tmp_path / target) == 0
        rows = read(tmp_path / target)
        assert [row["note"] for row in rows] == [
            "undecodable bytes",
            "ragged row: expected 2 fields, found 1",
            "",
        ]
        assert [row["id"] for row in rows] == ["?", "", "2"]


def test_values_of_parquet_that_python_has_no_words_for(finished_run, tmp_path):
    offsets = pa.array([0, 4, 8], pa.int32()).buffers()[1]
    texts = pa.StringArray.from_buffers(2, offsets, pa.py_buffer(b"\xff\xfeokfine"))
    far = pa.array([10**14, 0], pa.timestamp("s"))
    pq.write_table(pa.table({"text": texts, "when": far}), tmp_path / "in.parquet")
    for target in ("out.csv", "out.jsonl", "out.parquet"):
        assert run("predict", finished_run, tmp_path / "in.parquet", tmp_path / target) == 0
        notes = [row["note"] for row in read(tmp_path / target)]
        assert notes == ["unreadable value: column when", ""]


def test_an_object_of_parquet_is_json_in_a_csv(finished_run, tmp_path):
    sent = {"when": date(2015, 1, 2), "hops": [1.0, float("nan")]}
    pq.write_table(pa.table({"text": ["你好"], "sent": [sent]}), tmp_path / "in.parquet")
    assert run("predict", finished_run, tmp_path / "in.parquet", tmp_path / "out.csv") == 0
    (row,) = read(tmp_path / "out.csv")
    assert parse(row["sent"]) == {"when": "2015-01-02", "hops": [1.0, None]}
    assert row["note"] == "a number that is not finite"


@pytest.mark.parametrize("closed", ["stdin", "stdout"])
def test_a_closed_stream_is_told_in_one_line(finished_run, monkeypatch, capsys, closed):
    monkeypatch.setattr(sys, "stdin", io.StringIO("你好\n"))
    monkeypatch.setattr(sys, closed, None)
    assert run("predict", finished_run, "-", "-") == 2
    assert " is closed: " in capsys.readouterr().err.splitlines()[-1]


def test_an_output_that_is_a_pipe_or_a_link(finished_run, tmp_path):
    source = make(tmp_path, "csv")
    (tmp_path / "there").mkdir()
    (tmp_path / "out.jsonl").symlink_to("there/real.jsonl")
    assert run("predict", finished_run, source, tmp_path / "out.jsonl") == 0
    assert (tmp_path / "out.jsonl").is_symlink()
    assert len(read(tmp_path / "there/real.jsonl")) == len(TEXTS)
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["real.jsonl"]
    os.mkfifo(tmp_path / "pipe.jsonl")
    received = []
    reader = threading.Thread(target=lambda: received.extend(read(tmp_path / "pipe.jsonl")))
    reader.start()
    assert run("predict", finished_run, source, tmp_path / "pipe.jsonl") == 0
    reader.join(10)
    assert [row["text"] for row in received] == TEXTS
    assert (tmp_path / "pipe.jsonl").is_fifo()


@pytest.mark.parametrize(
    ("name", "content", "output", "expected"),
    [
        ("nowhere.csv", None, "out.csv", "no file at"),
        ("in.csv", b"", "out.csv", "empty file"),
        ("in.csv", b"words\nx\n", "out.csv", "expected column text in"),
        ("in.parquet", b"PAR1broken", "out.csv", "not a readable parquet file"),
        ("in.doc", b"%PDF-1.7", "out.csv", "is a PDF"),
        ("in.txt", b"x\n", "out.doc", "no table can be written as"),
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


def test_one_message_from_the_shell(finished_run, capsys):
    call = ("predict", finished_run, "--text", "恭喜中奖，点击 http://t.example/a 领取")
    assert run(*call) == 0
    assert gc.isenabled()
    first, *others = capsys.readouterr().out.splitlines()
    assert run(*call, "--json") == 0
    answer = parse(capsys.readouterr().out)
    assert first == f"{answer['label']}  {answer['score']:.1%}"
    shown = {line.split()[0]: line.split()[1] for line in others}
    expected = {name: f"{score:.1%}" for name, score in answer["scores"].items() if score >= 0.01}
    assert shown == {name: value for name, value in expected.items() if name != answer["label"]}
    assert answer["text"] == "恭喜中奖，点击 [URL] 领取"


def test_an_empty_message_from_the_shell_is_noted(finished_run, capsys):
    assert run("predict", finished_run, "--text", "") == 0
    assert capsys.readouterr().out.splitlines()[1] == "note: empty message"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["in.csv"], "expected INPUT and OUTPUT"),
        (["--json", "in.csv", "out.csv"], "which --json needs"),
        (["in.csv", "out.csv", "--text", "您好"], "found both"),
    ],
)
def test_either_files_or_a_message(finished_run, capsys, words, said):
    with pytest.raises(SystemExit, match="2"):
        run("predict", finished_run, *words)
    assert said in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        run("predict", finished_run, *words, "--lang", "zh")
    assert not re.search(r"[A-Za-z]+ [A-Za-z]+ [A-Za-z]+", capsys.readouterr().err.splitlines()[-1])
