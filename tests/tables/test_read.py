"""Tables as people have them, through the one reader: every row kept, and numbered as shown."""

from __future__ import annotations

import codecs
import json
import logging
from datetime import datetime

import pytest
import xlsxwriter
from doors import run

from smstune.errors import UserError
from smstune.tables.options import TableOptions
from smstune.tables.read import column_names, count_rows, read_rows

MESSAGES = [
    ("【云禾银行】您的验证码是 381902，请勿告诉他人", "normal"),
    ("周末店庆，全场五折，回复T退订", "ad"),
    ("您已中奖，请点击 http://prize.example 领取", "fraud"),
] * 3
TABLE = "text,label\n" + "".join(f"{text},{label}\n" for text, label in MESSAGES)
LABELLED = [(text, label) for text, label in MESSAGES]


def read(path, **options):
    return list(read_rows(path, TableOptions(**options)))


def pairs(rows):
    return [(row.text, row.label) for row in rows]


@pytest.fixture
def written(tmp_path):
    def write(content, name="a.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.mark.parametrize(
    "content",
    [
        codecs.BOM_UTF8 + TABLE.encode(),
        codecs.BOM_UTF16_LE + TABLE.encode("utf-16-le"),
        codecs.BOM_UTF16_BE + TABLE.encode("utf-16-be"),
        TABLE.encode("utf-16-le"),
        TABLE.encode("utf-16-be"),
        TABLE.encode("gb18030"),
        TABLE.replace("\n", "\r").encode(),
        TABLE.replace("\n", "\r\r\n").encode(),
        TABLE.encode() + b"\x1a",
        TABLE.encode() + b"\r\n\x1a",
    ],
    ids=[
        "mark", "utf-16-le", "utf-16-be", "utf-16-le bare", "utf-16-be bare", "gb18030",
        "cr", "crcrlf", "ctrl-z", "ctrl-z line",
    ],
)  # fmt: skip
def test_encodings_and_line_ends(written, content):
    assert pairs(read(written(content))) == LABELLED


def test_lines_of_two_encodings_and_a_damaged_one(written):
    lines = TABLE.encode("gb18030") + "快递已到驿站,normal\n".encode() + TABLE.encode("gb18030")
    rows = read(written(codecs.BOM_UTF8 + lines + "请查收您的快递".encode()[:-1] + b",ad\n"))
    assert pairs(rows[:-1]) == [*LABELLED, ("快递已到驿站", "normal"), *LABELLED]
    # The damaged line of UTF-8 is no Chinese text in GB18030.
    assert rows[-1].problem == "undecodable bytes"


def test_joined_files_lose_their_marks_and_repeated_headers(written, caplog):
    caplog.set_level(logging.INFO)
    table = (codecs.BOM_UTF8 + TABLE.encode()) * 3
    assert pairs(read(written(table))) == LABELLED * 3
    assert "dropped 2 repeated header lines" in caplog.text


@pytest.mark.parametrize("delimiter", [";", "|", "\t", "，"])
@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.txt"])
def test_delimiters_are_recognised(written, delimiter, name):
    lines = [f'"{text}"{delimiter}{label}\r\n' for text, label in [("text", "label"), *MESSAGES]]
    assert pairs(read(written("".join(lines), name))) == LABELLED


@pytest.mark.parametrize("line", ["sep=;\n", '"sep=;"\r\n'])
def test_a_sep_line_is_no_row(written, line):
    table = line + "text;label\nb,a;x\n"
    (row,) = read(written(table))
    # A spreadsheet does not show the line.
    assert (row.text, row.label, row.line) == ("b,a", "x", 2)


def test_a_stray_quote_swallows_no_row(written, caplog):
    rows = [*MESSAGES, ('"恭喜您，老客户', "ad"), *MESSAGES, ('您说"好"', "ad"), *MESSAGES]
    rows += [('"喜"从天降', "ad"), ('满减"', "ad"), *MESSAGES]
    table = "text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in rows)
    assert pairs(read(written(table, "a.tsv"))) == rows
    assert "2 rows have a quotation mark without its pair, the first in row 11" in caplog.text
    assert "恭喜您" not in caplog.text


def test_two_stray_quotes_that_meet_swallow_no_row(written):
    rows = [*MESSAGES, ('"恭喜您', "ad"), *MESSAGES, ('全场满减"', "fraud"), *MESSAGES]
    table = "text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in rows)
    assert pairs(read(written(table, "a.tsv"))) == rows


def test_quoted_cells_with_line_breaks_and_backslashes(written):
    table = 'text,label\n"第一行,\n第二行,a\n",x\n"他说\\"好\\",\n再见",y\n"双""引号",z\n\nb,x\n'
    rows = read(written(table))
    assert pairs(rows) == [
        ("第一行,\n第二行,a\n", "x"), ('他说"好",\n再见', "y"), ('双"引号', "z"), ("b", "x")
    ]  # fmt: skip
    # As a spreadsheet numbers them: a cell with line breaks is in one row, an empty row is one.
    assert [row.line for row in rows] == [2, 3, 4, 6]


def test_empty_fields_behind_the_last_column_are_nothing(written):
    rows = read(written("text,label\na,x,\nb,y\nc,z,,\nd,x,surplus\ne\n"))
    assert [row.problem for row in rows] == [
        None, None, None,
        "ragged row: expected 2 fields, found 3",
        "ragged row: expected 2 fields, found 1",
    ]  # fmt: skip
    assert [row.line for row in rows] == [2, 3, 4, 5, 6]


def test_an_empty_line_of_one_column_is_an_empty_message(written):
    assert [row.text for row in read(written("text\na\n\nb\n"), labelled=False)] == ["a", "", "b"]


@pytest.mark.parametrize(
    ("name", "content", "numbers"),
    [
        ("a.csv", "id,text\n1,a\n\n,\n4,b\n\n,,\n", [2, 3, 4, 5]),
        ("a.csv", "id;text\n\n1;a\n;;\n;;\n4;b\n", [2, 3, 4, 5, 6]),
        ("a.txt", "__label__x a\n\n__label__x b\n\n", [1, 2, 3]),
        ("a.jsonl", '\n{"内容": "a"}\n\n{"内容": "b"}\n\n', [1, 2, 3, 4]),
    ],
)
def test_empty_rows_between_others_are_messages(written, caplog, name, content, numbers):
    caplog.set_level(logging.INFO)
    path = written(content, name)
    rows = read(path, labelled=False)
    assert [row.line for row in rows] == numbers
    assert [row.text for row in rows if row.text] == ["a", "b"]
    assert {row.problem for row in rows} == {None}
    assert ("empty rows at the end, left out" in caplog.text) == content.endswith(("\n\n", ",,\n"))


def test_empty_rows_are_skipped_and_counted_where_labels_are_needed(written, caplog):
    caplog.set_level(logging.INFO)
    rows = read(written("text,label\na,x\n\n,\nb,y\n\n"))
    assert [row.line for row in rows] == [2, 5]
    assert "empty rows skipped: 3, the first is row 3" in caplog.text


def test_empty_rows_below_a_sheet_are_no_messages(tmp_path):
    path = tmp_path / "a.xlsx"
    with xlsxwriter.Workbook(path) as book:
        sheet = book.add_worksheet()
        sheet.write_column(0, 0, ["text", "a", None, "b"])
        sheet.write_blank(90, 0, None, book.add_format({"bg_color": "red"}))
    assert [row.text for row in read(path, labelled=False)] == ["a", "", "b"]


def test_unnamed_index_columns_are_dropped_and_counted(written, caplog):
    caplog.set_level(logging.INFO)
    table = "Unnamed: 0,,text,label,\n" + "".join(f"{n},{n}.0,消息{n},x,\n" for n in range(5))
    rows = read(written(table))
    assert rows[0].fields == {"text": "消息0", "label": "x"}
    assert "dropped unnamed index columns: 2" in caplog.text


def test_an_unnamed_column_with_content_is_kept(written):
    rows = read(written("text,label,\na,x,note\n"))
    assert rows[0].fields == {"text": "a", "label": "x", "column 3": "note"}


@pytest.mark.parametrize(
    ("header", "guessed"),
    [
        ("序号,短信内容,类别,接收时间", ["短信内容 as text", "类别 as label", "接收时间 as time"]),
        ("序号, TEXT ,Label,时间", ["时间 as time"]),
        ("内容,text,label,日期", ["日期 as time"]),
    ],
)
def test_usual_names_are_recognised_and_said(written, caplog, header, guessed):
    caplog.set_level(logging.INFO)
    (row,) = read(written(f"{header}\n1,甲,乙,2024-01-02\n"))
    assert (row.text, row.label, row.time) == ("甲", "乙", "2024-01-02")
    flags = ", ".join(f"--{guess.split()[-1]}-column" for guess in guessed)
    said = f"reading column {', '.join(guessed)}. If that is wrong, name it by {flags}\n"
    assert said in caplog.text


def test_named_columns_go_before_usual_ones(written):
    table = written("text,Body ,label,outcome\na,b,c,d\n")
    (row,) = read(table, text="body", label="outcome")
    assert (row.text, row.label) == ("b", "d")


@pytest.mark.parametrize(
    ("content", "said", "unsaid"),
    [
        ("text,label,label\na,b,c\n", "(label), columns 2 and 3", None),
        ("a1,b1\n您的快递到了,x\n", "found a1, b1", "快递"),
        ("您的快递已到，请取,x\n您的外卖已到，请取,y\n", "1 that look like no name", "快递"),
        ("您的快递已到，请取\n您的外卖已到，请取\n", "--no-header", "快递"),
    ],
)
def test_columns_that_nobody_can_guess_are_refused(written, content, said, unsaid):
    with pytest.raises(UserError) as refusal:
        read(written(content))
    assert said in str(refusal.value)
    assert unsaid is None or unsaid not in str(refusal.value)


@pytest.mark.parametrize("label_first", [True, False])
@pytest.mark.parametrize(
    ("name", "delimiter", "header"),
    [("a.txt", "\t", None), ("a.csv", ",", False), ("a.tsv", "\t", None)],
)
def test_a_missing_header_is_recognised(written, caplog, label_first, name, delimiter, header):
    caplog.set_level(logging.INFO)
    cells = [(label, text) if label_first else (text, label) for text, label in MESSAGES]
    table = "\n\n".join(map(delimiter.join, cells))
    rows = read(written(table, name), header=header)
    assert pairs(rows) == LABELLED
    assert ("no header found" in caplog.text) == (header is None)
    assert not any(text in caplog.text for text, _ in MESSAGES)
    assert rows[1].line == 3


def test_columns_without_a_header_are_named_by_number(written):
    table = written("1,乙,甲甲\n2,乙,丙丙\n")
    assert pairs(read(table, header=False, text="3", label="2")) == [("甲甲", "乙"), ("丙丙", "乙")]


@pytest.mark.parametrize("labelled", [True, False])
def test_fasttext(written, labelled):
    lines = [f"__label__{label} {text}\n" for text, label in MESSAGES]
    table = written("".join([*lines, "__label__a __label__b 甲\n"]), "a.txt")
    rows = read(table, labelled=labelled)
    assert pairs(rows[:-1]) == LABELLED
    assert rows[-1].problem == "several labels: expected one, found 2"


def test_a_text_file_of_messages_has_a_row_for_each_line(written):
    table = written("您好\n\n  \n[提醒] 今晚停水\n", "a.txt")
    assert [row.text for row in read(table, labelled=False)] == [
        "您好",
        "",
        "  ",
        "[提醒] 今晚停水",
    ]


def test_an_apostrophe_that_excel_needs_is_taken_off(written):
    rows = read(written("text,label\n'=1+1,'-a\n'引号,x\n' =a,x\n"))
    assert pairs(rows) == [("=1+1", "-a"), ("'引号", "x"), ("' =a", "x")]


def test_shortened_numbers_are_warned_of(written, caplog):
    read(written("text,label,phone\n1.38E+10,x,a\n"))
    assert "1.38E+10" not in caplog.text
    read(written("text,label,phone\na,x,1.38E+10\n", "b.csv"))
    assert "column phone has numbers such as 1.38E+10" in caplog.text


def test_rows_and_columns_are_counted(written):
    table = TABLE.replace("\n", "\r")
    assert count_rows(written(table), TableOptions()) == 10
    lines = [json.dumps({"content": "a"}), "broken", json.dumps({"content": "b", "label": "x"})]
    path = written("\n".join(lines), "a.jsonl")
    assert column_names(path, TableOptions(labelled=False)) == ["content", "label"]
    assert [row.text for row in read(path)] == ["a", "broken", "b"]


@pytest.fixture
def workbook(tmp_path):
    path = tmp_path / "短信.xlsx"
    with xlsxwriter.Workbook(path) as book:
        hidden = book.add_worksheet("隐藏")
        hidden.hide()
        hidden.write_row(0, 0, ["text", "label"])
        sheet = book.add_worksheet("标注")
        sheet.activate()
        book.add_worksheet("备份").write_row(0, 0, ["说明"])
        sheet.merge_range(0, 0, 0, 2, "十月短信")
        sheet.write_row(2, 0, ["短信内容", "类别", "时间"])
        red = book.add_format({"color": "red"})
        date = book.add_format({"num_format": "yyyy-mm-dd"})
        sheet.write_rich_string(3, 0, "消费", red, "券", "来了")
        sheet.write_number(3, 1, 1)
        sheet.write_datetime(3, 2, datetime(2024, 1, 2, 9, 30), date)
        sheet.write_blank(4, 0, None, red)
        sheet.write_formula(5, 0, '="a"&"b"', None, "计算")
        sheet.write_boolean(5, 1, True)
        sheet.write(6, 1, "1")
        sheet.write_blank(9, 5, None, red)
    return path


def test_a_workbook_is_read_as_its_sheet_shows_it(workbook, caplog):
    caplog.set_level(logging.INFO)
    rows = read(workbook)
    assert pairs(rows) == [("消费券来了", "1"), ("计算", "true"), ("", "1")]
    assert [row.line for row in rows] == [4, 6, 7]
    assert rows[0].time == "2024-01-02 09:30:00"
    assert "the header is row 3; the rows above it are skipped" in caplog.text
    assert "reading sheet 标注; --sheet reads another (备份)" in caplog.text
    assert count_rows(workbook, TableOptions()) >= 7


def test_a_workbook_by_another_name_is_read_and_its_sheets_are_listed(workbook):
    renamed = workbook.rename(workbook.with_name("a.csv"))
    assert len(read(renamed)) == 3
    with pytest.raises(UserError, match=r"^no sheet 数据 .*: 隐藏, 标注, 备份"):
        read(renamed, sheet="数据")


@pytest.mark.parametrize(
    ("content", "name", "said"),
    [
        (b"PK\x03\x04 cut", "a.xlsx", "not a readable workbook"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 cut", "a.xls", "not a readable workbook"),
        ("<html><table><tr><td>您的快递</td></tr></table></html>", "a.xls", "HTML page"),
        ("<!DOCTYPE html>\n<table>", "a.csv", "HTML page"),
        (b"%PDF-1.7", "a.csv", "is a PDF"),
        (bytes(range(256)) * 16, "a.csv", "is a binary file"),
        (b"\x08\x07\x12\x05onnx" * 100, "a.txt", "is a binary file"),
        ("", "a.csv", "empty file"),
    ],
)
def test_a_file_that_is_no_table_is_refused_by_what_it_is(written, content, name, said):
    with pytest.raises(UserError, match=said) as refusal:
        read(written(content, name))
    assert "快递" not in str(refusal.value)


def test_a_workbook_too_large_unpacked_is_refused(workbook, monkeypatch):
    monkeypatch.setattr("smstune.tables.formats.workbook._MOST_BYTES", 1000)
    with pytest.raises(UserError, match="save it as csv"):
        read(workbook)


def test_a_sheet_of_a_csv_is_refused(written):
    with pytest.raises(UserError, match="--sheet is for workbooks"):
        read(written(TABLE), sheet="标注")


def test_commands_read_a_workbook(finished_run, workbook, tmp_path):
    output = tmp_path / "out.jsonl"
    assert run("predict", finished_run, workbook, output, "--sheet", "标注") == 0
    answers = [json.loads(line) for line in output.read_text("utf-8").splitlines()]
    assert [answer["短信内容"] for answer in answers] == ["消费券来了", "", "计算", ""]
    assert run("predict", finished_run, workbook, tmp_path / "out.parquet") == 0
    assert run("prepare", workbook, "--output", tmp_path / "o", "--sheet", "没有") == 2
    assert run("eval", finished_run, "--data", workbook, "--sheet", "没有") == 2
    audit = ("audit", finished_run, workbook, "--output", tmp_path / "a", "--marketing", "retail")
    assert run(*audit, "--sheet", "没有") == 2
    assert run(*audit) == 0
