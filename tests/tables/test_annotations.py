"""Exports of doccano and Label Studio: what annotators chose is the label, and nothing else is."""

from __future__ import annotations

import json

import pytest

from smstune.errors import UserError
from smstune.tables.labels import label_in_cell
from smstune.tables.options import TableOptions
from smstune.tables.read import read_rows


def read(path, **options):
    return list(read_rows(path, TableOptions(**options)))


def export(path, objects):
    path.write_text(json.dumps(objects, ensure_ascii=False), "utf-8")
    return path


def choice(*choices, control="kind", skipped=False):
    answer = {
        "from_name": control, "to_name": "text", "type": "choices", "value": {"choices": choices},
    }  # fmt: skip
    return {"was_cancelled": skipped, "result": [answer]}


def task(*annotations, text="周末八折"):
    predictions = [{"result": choice("wrong")["result"]}]
    return {
        "id": 1, "data": {"text": text}, "annotations": annotations, "predictions": predictions,
    }  # fmt: skip


def test_label_studio_s_choices_are_labels_but_not_skipped_tasks_nor_predictions(tmp_path):
    tasks = [
        task(choice("retail")),
        task(choice("retail"), choice("retail")),
        task(choice("normal", skipped=True)),
        task(choice("normal", skipped=True), choice("retail")),
        task(),
        task({"result": []}),
    ]
    rows = read(export(tmp_path / "a.json", tasks))
    assert [row.label for row in rows] == ["retail", "retail", None, "retail", None, None]
    assert {row.text for row in rows} == {"周末八折"}
    assert {row.problem for row in rows} == {None}


def test_annotators_who_disagree_and_several_choices_are_problems_of_the_row(tmp_path):
    tasks = [
        task(choice("retail")),
        task(choice("retail"), choice("fraud")),
        task(choice("retail", "fraud")),
        task(choice("retail", "fraud"), choice("fraud", "retail")),
    ]
    path = export(tmp_path / "a.json", tasks)
    several = "several labels: expected one, found 2"
    problems = [None, "the annotators disagree", several, several]
    assert [row.problem for row in read(path)] == problems
    # Who only wants answers needs no labels.
    assert {row.problem for row in read(path, labelled=False)} == {None}


def test_one_control_of_several_is_named_by_the_user(tmp_path):
    both = {"result": choice("retail")["result"] + choice("high", control="risk")["result"]}
    path = export(tmp_path / "a.json", [task(both)])
    assert read(path, label="risk")[0].label == "high"
    with pytest.raises(UserError, match="choices of kind, risk"):
        read(path)
    assert read(path, labelled=False)[0].fields["kind"] == "retail"


def test_label_studio_s_earlier_exports_and_its_lines_are_read(tmp_path):
    old = {"data": {"text": "周末八折"}, "completions": [choice("retail")]}
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join([json.dumps(old)] * 2), "utf-8")
    assert [row.label for row in read(path)] == ["retail", "retail"]


@pytest.mark.parametrize(
    "exported",
    [
        {"id": 1, "text": "周末八折", "label": ["retail"], "Comments": []},
        {"id": 1, "data": "周末八折", "label": ["retail"]},
        {"id": 1, "text": "周末八折", "labels": ["retail"]},
        {"id": 1, "text": "周末八折", "annotations": [{"label": "retail", "user": 1}]},
    ],
)
def test_doccano_s_keys_of_every_version_are_read(tmp_path, exported):
    rows = read(export(tmp_path / "a.json", [exported] * 2))
    assert [(row.text, row.label) for row in rows] == [("周末八折", "retail")] * 2


def test_a_message_that_nobody_annotated_has_no_label_and_spans_are_none(tmp_path):
    exported = [
        {"text": "周末八折", "label": ["retail"]},
        {"text": "周末八折", "label": []},
        {"text": "周末八折", "label": [[0, 2, "time"]]},
    ]
    rows = read(export(tmp_path / "a.json", exported))
    assert [row.label for row in rows] == ["retail", None, None]
    assert [row.problem for row in rows[:2]] == [None, None]
    assert "parts of the message" in rows[2].problem


def test_labels_in_the_cells_of_a_csv_export(tmp_path):
    path = tmp_path / "a.csv"
    cells = ["retail", "retail#retail", "retail#fraud", '"[""retail""]"', "第#1"]
    cells.append('"{""choices"": [""retail"", ""fraud""]}"')
    lines = [f"周末{number}折,{cell}" for number, cell in enumerate(cells)]
    path.write_text("\n".join(["text,label", *lines]), "utf-8")
    rows = read(path)
    assert [row.label for row in rows] == ["retail", "retail", None, "retail", "第#1", None]
    several = "several labels: expected one, found 2"
    assert [row.problem for row in rows] == [None, None, several, None, None, several]


@pytest.mark.parametrize(
    ("cell", "label"),
    [(None, None), ([], None), ([None], None), ([1.0], "1"), ({"choices": ["a"]}, "a"),
     ("[广告]", "[广告]"), ('{"a": 1}', '{"a": 1}'), ("a#", "a#"), ("C#", "C#")],
)  # fmt: skip
def test_a_cell_that_lists_one_label_or_none(cell, label):
    assert label_in_cell(cell) == label
