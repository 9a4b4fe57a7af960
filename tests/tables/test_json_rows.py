"""JSON in the shapes that people have it: the same rows by the one door, or a line that says no."""

from __future__ import annotations

import gzip
import json

import pytest

from smstune.errors import UserError
from smstune.tables.formats import json_rows
from smstune.tables.options import TableOptions
from smstune.tables.read import read_rows

ROWS = [
    ("【云禾银行】您尾号1234的卡支出30元", "normal"),
    ("中奖,点击\n领取", "fraud"),
    ("周末八折", "retail"),
]
TEXTS, LABELS = ([row[column] for row in ROWS] for column in (0, 1))
OBJECTS = [{"text": text, "label": label} for text, label in ROWS]


def read(path, **options):
    return list(read_rows(path, TableOptions(**options)))


def texts_and_labels(rows):
    return [(row.text, row.label) for row in rows]


def write(path, document, **how):
    path.write_text(json.dumps(document, ensure_ascii=False, **how), "utf-8")
    return path


SHAPES = {
    "array": OBJECTS,
    "array of arrays": [["text", "label"], *map(list, ROWS)],
    "columns": {"text": TEXTS, "label": LABELS},
    "columns beside a number": {"version": 2, "text": TEXTS, "label": LABELS},
    "columns by index": {
        "text": dict(zip("012", TEXTS, strict=True)),
        "label": dict(zip("012", LABELS, strict=True)),
    },
    "rows by index": dict(zip("012", OBJECTS, strict=True)),
    "rows by name": dict(zip(["m1", "m2", "m3"], OBJECTS, strict=True)),
    "columns by name": {
        "text": dict(zip(["m1", "m2", "m3"], TEXTS, strict=True)),
        "label": dict(zip(["m1", "m2", "m3"], LABELS, strict=True)),
    },
    "split": {"columns": ["text", "label"], "index": [0, 1, 2], "data": list(map(list, ROWS))},
    "a member": {"code": 0, "message": "ok", "data": OBJECTS},
    "a member of a member": {"took": 3, "hits": {"total": 3, "hits": OBJECTS}},
}


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_gives_the_same_rows_whatever_the_suffix_and_the_line_breaks(
    tmp_path, shape, name, indent
):
    if name == "a.jsonl" and indent is None and isinstance(SHAPES[shape], dict):
        pytest.skip("an object in the one line of a jsonl file is a row")
    path = write(tmp_path / name, SHAPES[shape], indent=indent)
    assert texts_and_labels(read(path)) == ROWS


def test_json_lines_are_read_with_line_numbers_whatever_the_suffix(tmp_path):
    path = tmp_path / "a.json"
    lines = [json.dumps(line) for line in OBJECTS]
    path.write_text("\n\n".join(lines) + "\n", "utf-8")
    rows = read(path)
    assert texts_and_labels(rows) == ROWS
    assert [row.line for row in rows] == [1, 3, 5]


def test_a_damaged_line_is_the_problem_of_its_row_also_if_it_is_the_first(tmp_path):
    path = tmp_path / "a.jsonl"
    lines = ['{"text": "半', *map(json.dumps, OBJECTS), "[1]"]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    rows = read(path, labelled=False)
    assert [row.problem for row in rows] == [
        "not JSON", None, None, None, "expected a JSON object, found list",
    ]  # fmt: skip
    assert texts_and_labels(rows[1:4]) == ROWS


def test_one_object_in_a_jsonl_file_is_one_row_though_its_cells_are_lists(tmp_path):
    path = write(tmp_path / "a.jsonl", {"text": "周末八折", "label": ["retail"], "Comments": []})
    assert texts_and_labels(read(path)) == [("周末八折", "retail")]


def test_a_list_of_messages_has_no_labels(tmp_path):
    path = write(tmp_path / "a.json", TEXTS)
    assert [row.text for row in read(path, labelled=False)] == TEXTS
    with pytest.raises(UserError, match="label"):
        read(path)


def test_rows_need_not_have_the_same_keys_nor_the_first_all(tmp_path):
    path = write(tmp_path / "a.json", [{"id": 1, "text": "未标注"}, *OBJECTS])
    assert texts_and_labels(read(path)) == [("未标注", None), *ROWS]
    lines = [json.dumps(line) for line in [{"id": 1, "text": "未标注"}, *OBJECTS]]
    (tmp_path / "b.jsonl").write_text("\n".join(lines), "utf-8")
    assert texts_and_labels(read(tmp_path / "b.jsonl")) == [("未标注", None), *ROWS]


def test_nested_keys_are_named_with_dots(tmp_path):
    nested = [{"sms": {"body": text}, "tag": {"name": label}} for text, label in ROWS]
    path = write(tmp_path / "a.json", nested)
    assert texts_and_labels(read(path, text="sms.body", label="tag.name")) == ROWS


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('[\n{"text": "秘密消息"},\n{"text": "秘密消息" "label"}]', "line 3"),
        ('[\n{"text": "秘密消息"},\n]', "line 3"),
        ('{"text": [\n"秘密消息",\n', "line 3"),
        ('{"text": ["秘密消息", "b"], "label": ["a"]}', "1 to 2 values"),
        ('{"train": [{"text": "秘密消息"}], "test": [{"text": "秘密消息"}]}', "train, test"),
        ('[["text", "label"], ["秘密消息"]]', "2 values"),
        ('"秘密消息"', "single str"),
        ("[" * 100_000, "deep"),
    ],
)
def test_a_document_that_cannot_be_read_is_refused_in_one_line_without_its_content(
    tmp_path, content, said
):
    path = tmp_path / "a.json"
    path.write_text(content, "utf-8")
    with pytest.raises(UserError, match=said) as error:
        read(path)
    assert "\n" not in str(error.value)
    assert "秘密" not in str(error.value)


def test_an_element_that_is_no_object_is_the_problem_of_its_row(tmp_path):
    path = write(tmp_path / "a.json", [*OBJECTS, 7])
    rows = read(path)
    assert texts_and_labels(rows[:3]) == ROWS
    assert (rows[3].line, rows[3].problem) == (4, "expected a JSON object, found int")


def test_a_document_beyond_the_limit_is_refused_and_jsonl_named(tmp_path, monkeypatch):
    monkeypatch.setattr(json_rows, "LARGEST_DOCUMENT", 1 << 10)
    path = tmp_path / "a.json.gz"
    with gzip.open(path, "wt", encoding="utf-8") as stream:
        json.dump(OBJECTS * 100, stream)
    with pytest.raises(UserError, match="jsonl"):
        read(path)
