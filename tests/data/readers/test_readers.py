"""Readers: every format by the same door, bad rows told and not dropped."""

from __future__ import annotations

import gzip
import json
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from doors import write_csv

from smstune.data.readers.catalogue import parse_input
from smstune.errors import UserError
from smstune.tables.options import TableOptions

ROWS = [("【云禾银行】您好", "normal"), ("中奖,点击\n领取", "fraud")]


def read(spec, default=None):
    source = parse_input(str(spec), default)
    return list(source.reader(source.path, TableOptions()))


def texts_and_labels(rows):
    return [(row.text, row.label) for row in rows]


def test_generic_formats_agree(tmp_path):
    write_csv(tmp_path / "a.csv", ROWS, ("text", "label"))
    lines = ["\t".join(("text", "label")), "【云禾银行】您好\tnormal", '"中奖,点击\n领取"\tfraud']
    (tmp_path / "a.tsv").write_text("\n".join(lines) + "\n", "utf-8")
    objects = [json.dumps({"text": text, "label": label}) for text, label in ROWS]
    (tmp_path / "a.jsonl").write_text("\n".join(objects) + "\n", "utf-8")
    columns = {"text": [row[0] for row in ROWS], "label": [row[1] for row in ROWS]}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    for suffix in ("csv", "tsv", "jsonl", "parquet"):
        assert texts_and_labels(read(tmp_path / f"a.{suffix}")) == ROWS, suffix


def test_compressed_tables_are_read_and_their_source_is_named_without_it(tmp_path):
    write_csv(tmp_path / "a.csv", ROWS, ("text", "label"))
    with gzip.open(tmp_path / "b.csv.gz", "wb") as stream:
        stream.write((tmp_path / "a.csv").read_bytes())
    assert texts_and_labels(read(tmp_path / "b.csv.gz")) == ROWS
    assert parse_input(str(tmp_path / "b.csv.gz")).source == "b"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
def test_encoding_is_recognised(tmp_path, encoding):
    path = tmp_path / "a.csv"
    path.write_bytes("text,label\r\n验证码,普通\r\n".encode(encoding))
    assert texts_and_labels(read(path)) == [("验证码", "普通")]


def test_undecodable_row_is_told_and_the_rest_read(tmp_path):
    path = tmp_path / "a.csv"
    lines = ["text,label", "验证码,普通", "坏行,普通", "快递已到,普通"]
    broken = [line.encode() for line in lines]
    broken[2] = b"\xff\xfe\xff,normal"
    path.write_bytes(b"\n".join(broken) + b"\n")
    rows = read(path)
    # It arrives whole: whoever reads it decides what becomes of it.
    assert [row.text for row in rows] == ["验证码", "\udcff\udcfe\udcff", "快递已到"]
    assert rows[1].problem == "undecodable bytes"
    assert rows[1].line == 3


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.csv", "text,label\na,b,c\n", "ragged row: expected 2 fields, found 3"),
        ("a.csv", "text,label\na\n", "ragged row: expected 2 fields, found 1"),
        ("a.jsonl", "{no\n", "not JSON"),
        ("a.jsonl", "[" * 100_000 + "\n", "not JSON"),
        ("a.jsonl", "[1]\n", "expected a JSON object, found list"),
    ],
)
def test_bad_row_comes_with_its_problem(tmp_path, name, content, problem):
    (tmp_path / name).write_text(content, "utf-8")
    assert [row.problem for row in read(tmp_path / name)] == [problem]


def test_mixed_types_and_missing_values_of_a_table(tmp_path):
    table = pa.table({"text": ["a", None, "c"], "label": [0.0, 1.0, None]})
    pq.write_table(table, tmp_path / "a.parquet")
    assert texts_and_labels(read(tmp_path / "a.parquet")) == [
        ("a", "0"),
        (None, "1"),
        ("c", None),
    ]


def test_fbs_joins_words_maps_placeholders_and_takes_labels_from_file_names(tmp_path):
    (tmp_path / "FR:Other").write_text("您 好 CELLPHONE 点击 URLdfge\n", "utf-8")
    (tmp_path / "Other").write_text("NAME 今天 DIGIT 点 开会\n", "utf-8")
    (tmp_path / "README.md").write_text("not data\n", "utf-8")
    rows = read(f"fbs:{tmp_path}")
    assert texts_and_labels(rows) == [
        ("您好[PHONE]点击[URL]", "FR:Other"),
        ("[NAME]今天[NUM]点开会", "Other"),
    ]


XML = """<?xml version="1.0" encoding="UTF-8"?><smsCorpus>
<message id="1"><text>晚上吃什么</text><messageProfile time="2010.11.02"/></message>
<message id="2"><text></text><messageProfile time="unknown"/></message>
</smsCorpus>"""


@pytest.mark.parametrize("zipped", [True, False])
def test_nus_reads_zip_and_xml(tmp_path, zipped):
    path = tmp_path / ("corpus.zip" if zipped else "corpus.xml")
    if zipped:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("corpus.xml", XML)
    else:
        path.write_text(XML, "utf-8")
    rows = read(path)
    assert texts_and_labels(rows) == [("晚上吃什么", "ham"), ("", "ham")]
    assert [row.time for row in rows] == ["2010.11.02", None]


def test_xml_with_entities_is_refused(tmp_path):
    path = tmp_path / "corpus.xml"
    path.write_text(
        '<!DOCTYPE x [<!ENTITY a "b">]><smsCorpus><message><text>&a;</text></message></smsCorpus>'
    )
    with pytest.raises(UserError, match="without entities"):
        read(path)


def test_zip_bomb_is_refused(tmp_path):
    path = tmp_path / "corpus.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("corpus.xml", XML + " " * 100_000_000)
    assert path.stat().st_size < 200_000
    with pytest.raises(UserError, match="unpacks from"):
        read(path)


def test_damaged_zip_is_told(tmp_path):
    path = tmp_path / "corpus.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("corpus.xml", XML * 50)
    damaged = bytearray(path.read_bytes())
    damaged[60:100] = b"\xff" * 40
    path.write_bytes(damaged)
    with pytest.raises(UserError, match="expected well-formed XML"):
        read(path)


def test_symlink_loop_is_told(tmp_path):
    (tmp_path / "a.csv").symlink_to(tmp_path / "b.csv")
    (tmp_path / "b.csv").symlink_to(tmp_path / "a.csv")
    with pytest.raises(UserError, match="found nothing"):
        read(tmp_path / "a.csv")


def test_files_of_different_encodings_in_one_folder(tmp_path):
    (tmp_path / "FR:Other").write_bytes("点击 URL 领取\n".encode("gb18030"))
    (tmp_path / "Other").write_bytes("今天 开会\n".encode("utf-8-sig"))
    assert [row.text for row in read(f"fbs:{tmp_path}")] == ["点击[URL]领取", "今天开会"]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("nowhere.csv", "nothing at nowhere.csv"),
        ("fbs:nowhere", "folder of FBS"),
        ("csv:nowhere.csv", "no file at nowhere.csv"),
        ("no-such-owner/no-such-set", "HF_ENDPOINT"),
    ],
)
def test_missing_input_is_told(spec, expected):
    with pytest.raises(UserError, match=expected):
        read(spec)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.csv", b"", "empty file"),
        ("a.csv", b"words,label\nx,y\n", "expected column text .* found words, label"),
        ("a.parquet", b"PAR1 no parquet", "not a readable parquet file"),
        ("a.doc", b"x", "unknown source"),
    ],
)
def test_useless_file_is_told(tmp_path, name, content, expected):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=expected):
        read(tmp_path / name)
