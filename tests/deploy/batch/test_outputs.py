"""What predict writes for spreadsheets, and what it does not overwrite."""

from __future__ import annotations

import csv
import io
import json
import os
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scoring_child
from doors import run, write_csv
from python_calamine import CalamineWorkbook

from smstune.data.splits.methods import SPLITS
from smstune.deploy.batch import score_file as batch
from smstune.tables.formats import workbook_writer

HEADER = ("text", "score", "scores", "decision", "note")
ODD_TEXTS = [
    "=1+1",
    " 前后有空白 ",
    "两\n行",
    "回\r车",
    "回\r\n车",
    "制\t表",
    "_x000D_",
    "响铃\x07",
    "http://t.example/a",
    "<b>&amp;",
    "'=1",
]


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def read_sheet(path):
    """Return the rows of a workbook's only sheet by column, read by another library than ours."""
    workbook = CalamineWorkbook.from_path(str(path))
    assert len(workbook.sheet_names) == 1
    header, *rows = workbook.get_sheet_by_index(0).to_python(skip_empty_area=False)
    return [dict(zip(header, row, strict=True)) for row in rows]


def read_csv(path, encoding="utf-8"):
    with path.open(encoding=encoding, newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_workbook_has_every_cell_as_it_is(finished_run, tmp_path, capsys):
    rows = [{"text": text} for text in ODD_TEXTS]
    rows[0] |= {"n": 7, "share": 0.25, "seen": True, "more": {"a": [1]}, "long": 10**29}
    rows[1] |= {"n": -3, "share": float("nan"), "seen": False, "more": "+1", "=late": "x"}
    source = write_jsonl(tmp_path / "in.jsonl", rows)
    assert run("predict", finished_run, source, tmp_path / "out.xlsx") == 0
    answers = read_sheet(tmp_path / "out.xlsx")
    assert [row["text"] for row in answers] == ODD_TEXTS
    assert [row["n"] for row in answers[:2]] == [7, -3]
    assert [row["share"] for row in answers[:2]] == [0.25, ""]
    assert [row["seen"] for row in answers[:2]] == [True, False]
    assert [row["more"] for row in answers[:2]] == ['{"a": [1]}', "+1"]
    assert answers[0]["long"] == str(10**29)
    assert answers[1]["=late"] == "x"
    assert answers[0]["score"] == max(json.loads(answers[0]["scores"]).values())
    assert "were cut" not in capsys.readouterr().err


def test_the_same_rows_in_parquet_and_csv_give_the_same_workbook(finished_run, tmp_path):
    pq.write_table(pa.table({"text": ODD_TEXTS}), tmp_path / "in.parquet")
    write_csv(tmp_path / "in.csv", [(text,) for text in ODD_TEXTS], ("text",))
    for kind in ("parquet", "csv"):
        assert run("predict", finished_run, tmp_path / f"in.{kind}", tmp_path / f"{kind}.xlsx") == 0
    assert (tmp_path / "parquet.xlsx").read_bytes() == (tmp_path / "csv.xlsx").read_bytes()


def test_a_cell_too_long_for_a_workbook_is_cut_and_said(finished_run, tmp_path, capsys):
    texts = ["短信", "长" * 32_767, "长" * 40_000, "😀" * 20_000]
    source = write_jsonl(tmp_path / "in.jsonl", [{"text": text} for text in texts])
    assert run("predict", finished_run, source, tmp_path / "out.xlsx") == 0
    cells = [row["text"] for row in read_sheet(tmp_path / "out.xlsx")]
    assert cells == [*texts[:2], "长" * 32_767, "😀" * 16_383]
    said = [line for line in capsys.readouterr().err.splitlines() if "were cut" in line]
    assert said == [
        "warning: 2 cells with more than 32,767 characters were cut, in row 4, 5 of the workbook: "
        "write csv to keep all of them"
    ]


@pytest.mark.parametrize("n_rows", [3, 4])
@pytest.mark.parametrize("source", ["in.csv", "-"])
def test_more_rows_than_a_workbook_holds_are_refused(
    finished_run, tmp_path, monkeypatch, capsys, n_rows, source
):
    monkeypatch.setattr(workbook_writer, "MAX_ROWS", 3)
    # More lines than rows.
    texts = ["一\n行"] * n_rows
    if source == "-":
        monkeypatch.setattr(sys, "stdin", io.StringIO("一行\n" * n_rows))
    else:
        source = write_csv(tmp_path / source, [(text,) for text in texts], ("text",))
    status = run("predict", finished_run, source, tmp_path / "out.xlsx")
    error = capsys.readouterr().err
    if n_rows == 3:
        assert status == 0
        assert len(read_sheet(tmp_path / "out.xlsx")) == 3
        return
    assert status == 2
    assert error.splitlines()[-1] == "error: a workbook holds at most 3 rows: write csv instead"
    assert {path.name for path in tmp_path.iterdir()} <= {"in.csv"}
    # A file is counted before the model is loaded.
    assert source == "-" or len(error.splitlines()) == 1


def test_more_columns_than_a_workbook_holds_are_refused(finished_run, tmp_path, capsys):
    row = {"text": "你好", **{f"c{number}": 1 for number in range(16_380)}}
    source = write_jsonl(tmp_path / "in.jsonl", [row])
    assert run("predict", finished_run, source, tmp_path / "out.xlsx") == 2
    assert "at most 16,384 columns, found 16,386" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out.xlsx").exists()


@pytest.mark.timeout(30)
def test_a_workbook_in_a_pipe_is_refused(finished_run, tmp_path, capsys):
    os.mkfifo(tmp_path / "out.xlsx")
    source = write_csv(tmp_path / "in.csv", [("你好",)], ("text",))
    assert run("predict", finished_run, source, tmp_path / "out.xlsx") == 2
    assert "which is no file: write csv" in capsys.readouterr().err.splitlines()[-1]


FORMULAS = ["=1+1", "+1", "-x", "@x", "\tx", "\rx", "-1-1", "+1.5", "=", "-"]
#: Plain numbers would become text by an apostrophe.
NO_FORMULAS = ["-1", "-1.5", "-.5", "3", "x=1", "'x", "'=1", "", "＝1"]


def test_csv_for_excel_has_a_mark_and_no_formulas(finished_run, tmp_path):
    cells = [*FORMULAS, *NO_FORMULAS]
    source = write_csv(tmp_path / "in.csv", [("你好", cell) for cell in cells], ("text", "=a"))
    assert run("predict", finished_run, source, tmp_path / "out.CSV", "--excel") == 0
    assert (tmp_path / "out.CSV").read_bytes().startswith(b"\xef\xbb\xbftext,'=a,")
    written = [row["'=a"] for row in read_csv(tmp_path / "out.CSV", "utf-8-sig")]
    assert written == [*("'" + cell for cell in FORMULAS), *NO_FORMULAS]


def test_numbers_stay_numbers_in_csv_for_excel(finished_run, tmp_path):
    row = {"text": "你好", "n": -5, "share": -1e-9, "tags": ["=1"], "none": None}
    source = write_jsonl(tmp_path / "in.jsonl", [row])
    assert run("predict", finished_run, source, tmp_path / "out.csv", "--excel") == 0
    (answer,) = read_csv(tmp_path / "out.csv", "utf-8-sig")
    assert [answer[name] for name in list(row)[1:]] == ["-5", "-1e-09", '["=1"]', ""]


def test_without_excel_a_csv_is_as_it_was(finished_run, tmp_path):
    source = write_csv(tmp_path / "in.csv", [("=1",)], ("text",))
    assert run("predict", finished_run, source, tmp_path / "out.csv") == 0
    assert (tmp_path / "out.csv").read_bytes().startswith(b"text,label,")
    assert read_csv(tmp_path / "out.csv")[0]["text"] == "=1"


def test_prepare_reads_the_messages_of_a_csv_for_excel_as_they_were(finished_run, tmp_path):
    words = "一二三四五六七八九十"
    texts = [f"{start}短信{word}，请查收" for start in ("=", "+", "-", "@", "") for word in words]
    rows = [(text, "ab"[number % 2]) for number, text in enumerate(texts)]
    write_csv(tmp_path / "in.csv", rows, ("text", "kind"))
    written = tmp_path / "out.csv"
    assert run("predict", finished_run, tmp_path / "in.csv", written, "--excel") == 0
    kept = []
    for source in ("in.csv", "out.csv"):
        output = tmp_path / source.removesuffix(".csv")
        call = ("prepare", tmp_path / source, "--output", output, "--label-column", "kind")
        assert run(*call, "--split", "random") == 0
        tables = [pq.read_table(output / f"{name}.parquet") for name in SPLITS]
        kept.append(sorted(text for table in tables for text in table["text"].to_pylist()))
    assert len(kept[0]) == len(texts)
    assert kept[0] == kept[1]


@pytest.mark.parametrize("output", ["out.csv.gz", "out.tsv", "out.jsonl", "out.xlsx", "-"])
def test_excel_is_for_csv_alone(finished_run, tmp_path, capsys, output):
    source = write_csv(tmp_path / "in.csv", [("你好",)], ("text",))
    output = output if output == "-" else tmp_path / output
    assert run("predict", finished_run, source, output, "--excel") == 2
    assert "--excel is for outputs called .csv" in capsys.readouterr().err.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


@pytest.mark.parametrize("target", ["out.csv", "out.jsonl", "out.parquet", "out.xlsx"])
def test_an_output_that_exists_is_replaced_only_with_overwrite(
    finished_run, tmp_path, capsys, target
):
    source, output = tmp_path / "in.csv", tmp_path / target
    write_csv(source, [("你好",)], ("text",))
    output.write_text("mine")
    assert run("predict", finished_run, source, output) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"error: {output} exists: name another output, or replace it with --overwrite"
    ]
    assert output.read_text() == "mine"
    assert run("predict", finished_run, source, output, "--overwrite") == 0
    assert not output.read_bytes().startswith(b"mine")
    assert {path.name for path in tmp_path.iterdir()} == {"in.csv", target}


@pytest.mark.parametrize("options", [[], ["--overwrite"]])
def test_an_output_that_is_the_input_is_refused(finished_run, tmp_path, capsys, options):
    source = write_csv(tmp_path / "in.csv", [("你好",)], ("text",))
    before = source.read_bytes()
    (tmp_path / "link.csv").symlink_to("in.csv")
    for output in ("in.csv", "link.csv"):
        assert run("predict", finished_run, source, tmp_path / output, *options) == 2
        assert "is the input itself" in capsys.readouterr().err.splitlines()[-1]
    assert source.read_bytes() == before


def test_an_overwriting_run_that_was_stopped_resumes_and_keeps_the_old_file_until_its_end(
    finished_run, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(batch, "_ROWS_AT_ONCE", 2)
    source, output = tmp_path / "in.csv", tmp_path / "out.xlsx"
    write_csv(source, [(f"第{number}条",) for number in range(10)], ("text",))
    output.write_text("mine")
    with monkeypatch.context() as patch:
        scoring_child.send_after(3, "SIGINT", patch.setattr)
        assert run("predict", finished_run, source, output, "--overwrite") == 130
    assert output.read_text() == "mine"
    # Without the flag the old file is not given up, and the rows already scored stay.
    assert run("predict", finished_run, source, output) == 2
    assert len(list((tmp_path / ".out.xlsx.parts").glob("*.safetensors"))) == 3
    capsys.readouterr()
    with monkeypatch.context() as patch:
        scoring_child.send_after(4, "SIGINT", patch.setattr)
        assert run("predict", finished_run, source, output, "--overwrite") == 130
    assert "8 rows are scored" in capsys.readouterr().err
    assert run("predict", finished_run, source, output, "--overwrite") == 0
    assert len(read_sheet(output)) == 10
    assert {path.name for path in tmp_path.iterdir()} == {"in.csv", "out.xlsx"}


def test_what_a_kill_at_the_very_end_left_is_removed(finished_run, tmp_path):
    source, output = tmp_path / "in.csv", tmp_path / "out.csv"
    write_csv(source, [("你好",)], ("text",))
    assert run("predict", finished_run, source, output) == 0
    (tmp_path / ".out.csv.parts").mkdir()
    (tmp_path / ".out.csv.parts/000000.safetensors").touch()
    assert run("predict", finished_run, source, output) == 2
    assert {path.name for path in tmp_path.iterdir()} == {"in.csv", "out.csv"}


@pytest.mark.parametrize("target", ["csv", "jsonl", "parquet", "xlsx"])
def test_no_column_of_the_input_is_lost_to_ours(finished_run, tmp_path, target):
    rows = [
        {"text": "你好", "label": "a", "input_label": "b", "input_input_label": "c", "scores": "d"},
        {"text": "再见", "input_label": "e"},
        {"text": "您好", "label": "f", "inputlabel": "g", "note": "h"},
    ]
    source = write_jsonl(tmp_path / "in.jsonl", rows)
    output = tmp_path / f"out.{target}"
    assert run("predict", finished_run, source, output) == 0
    if target == "jsonl":
        answers = [json.loads(line) for line in output.open(encoding="utf-8")]
    elif target == "parquet":
        answers = pq.read_table(output).to_pylist()
    else:
        answers = read_sheet(output) if target == "xlsx" else read_csv(output)
    moved = {
        name: "inputlabel" if name == "inputlabel" else f"input_{name}"
        for row in rows
        for name in row
        if name != "text"
    }
    for row, answer in zip(rows, answers, strict=True):
        assert {name: answer.get(moved[name]) or None for name in moved} == {
            name: row.get(name) for name in moved
        }
        assert answer["label"] in ("gambling", "bank_phishing", "retail", "bank_alert")


def test_rows_with_a_problem_are_counted_at_the_end(finished_run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(batch, "_ROWS_AT_ONCE", 4)
    lines = ["text,id", "你好,1", *["机密短信"] * 3, *["多,了,一列"] * 4, "您好,2"]
    source = tmp_path / "in.csv"
    source.write_bytes("\n".join(lines).encode() + b"\n\xff\xfe\xfd,3\n")
    assert run("predict", finished_run, source, tmp_path / "out.csv") == 0
    error = capsys.readouterr().err
    assert [line for line in error.splitlines() if line.startswith("warning: ")] == [
        "warning: ragged row: 7 in all, at row 3, 4, 5, 6, 7, ...: answered all the same, see the "
        "column note",
        "warning: undecodable bytes: 1 in all, at row 11: answered all the same, see the column "
        "note",
    ]
    assert "机密" not in error
