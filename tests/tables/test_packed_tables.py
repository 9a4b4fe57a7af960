"""Packed files: unpacked by what they are, or a line that says what they hold."""

from __future__ import annotations

import gzip
import io
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xlsxwriter

from smstune.errors import UserError
from smstune.tables.decoding.compression import unpacked_name
from smstune.tables.options import TableOptions
from smstune.tables.read import count_rows, read_rows

CSV = "text,label\n周末八折,retail\n".encode()


def read(path):
    return [(row.text, row.label) for row in read_rows(path, TableOptions())]


def zipped(path, **entries):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("name", ["a.zip", "a.csv.zip", "a.csv"])
def test_a_zip_with_one_file_of_messages_is_that_file(tmp_path, name):
    entries = {"短信/二月.csv": CSV, "__MACOSX/._二月.csv": b"x", ".DS_Store": b"x", "a.png": b"x"}
    assert read(zipped(tmp_path / name, **entries)) == [("周末八折", "retail")]


@pytest.mark.parametrize("inner", ["a.jsonl", "a.tsv"])
def test_the_file_inside_says_how_it_is_read(tmp_path, inner):
    line = '{"text": "周末八折", "label": "retail"}'
    content = line if inner == "a.jsonl" else "text\tlabel\n周末八折\tretail\n"
    assert read(zipped(tmp_path / "a.zip", **{inner: content})) == [("周末八折", "retail")]


def test_gzip_is_recognised_by_its_bytes(tmp_path):
    (tmp_path / "a.csv").write_bytes(gzip.compress(CSV))
    assert read(tmp_path / "a.csv") == [("周末八折", "retail")]


def test_a_name_that_promises_gzip_is_refused_without_bytes_of_the_file(tmp_path):
    (tmp_path / "b.csv.gz").write_bytes(CSV)
    with pytest.raises(UserError, match="is unpacked already") as error:
        read(tmp_path / "b.csv.gz")
    assert "b'te" not in str(error.value)


def test_suffixes_count_in_any_case(tmp_path):
    line = '{"text": "周末八折", "label": "retail"}\n'
    (tmp_path / "a.JSONL.GZ").write_bytes(gzip.compress(line.encode()))
    (tmp_path / "a.TSV.GZ").write_bytes(gzip.compress(CSV.replace(b",", b"\t")))
    for name in ("a.JSONL.GZ", "a.TSV.GZ"):
        assert unpacked_name(tmp_path / name) == name.removesuffix(".GZ")
        assert read(tmp_path / name) == [("周末八折", "retail")]


@pytest.mark.parametrize("packed_as", ["gz", "zip"])
def test_parquet_and_workbooks_may_be_packed_too(tmp_path, packed_as):
    table = io.BytesIO()
    pq.write_table(pa.table({"text": ["周末八折"], "label": ["retail"]}), table)
    workbook = io.BytesIO()
    with xlsxwriter.Workbook(workbook) as book:
        sheet = book.add_worksheet()
        sheet.write_row(0, 0, ["text", "label"])
        sheet.write_row(1, 0, ["周末八折", "retail"])
    for name, content in (("a.parquet", table.getvalue()), ("a.xlsx", workbook.getvalue())):
        path = tmp_path / f"{name}.{packed_as}"
        if packed_as == "gz":
            path.write_bytes(gzip.compress(content))
        else:
            zipped(path, **{name: content})
        assert read(path) == [("周末八折", "retail")], name
        assert count_rows(path, TableOptions()) >= 1


def gbk_names(path):
    """Let the names of a zip be GBK that does not say so, as Windows writes them."""
    content = path.read_bytes()
    assert content.count(b"AAAA") == 2
    path.write_bytes(content.replace(b"AAAA", "短信".encode("gbk")))


def encrypted(path):
    """Set the flag of an encrypted entry in both headers."""
    content = bytearray(path.read_bytes())
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)


def damaged(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def unchanged(path):
    pass


@pytest.mark.parametrize(
    ("entries", "change", "said"),
    [
        ({"a.csv": CSV, "b.tsv": CSV}, unchanged, "several files .a.csv, b.tsv."),
        ({"a.png": b"x", "b.docx": b"x"}, unchanged, "holds a.png, b.docx"),
        ({}, unchanged, "holds nothing"),
        ({"AAAA.png": b"x"}, gbk_names, "holds 短信.png"),
        ({"a.csv": CSV}, encrypted, "encrypted"),
        ({"a.csv": CSV * 100}, damaged, "damaged zip"),
        ({"a.csv": b"text\n" + b" " * 50_000_000}, unchanged, "to fill the disk"),
    ],
)
def test_a_zip_that_cannot_be_read_is_refused_in_one_line(tmp_path, entries, change, said):
    path = zipped(tmp_path / "x.zip", **entries)
    change(path)
    with pytest.raises(UserError, match=said) as error:
        read(path)
    assert "\n" not in str(error.value)
