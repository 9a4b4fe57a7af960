"""recalibrate: new messages in, a sheet out; the labelled sheet in, other thresholds out."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from doors import add_exported_form, change_json, run, write_csv

from smstune.data.prepared import load_split
from smstune.deploy.export.move_thresholds import store_points
from smstune.files import file_hash
from smstune.inference.backends.exported import load_export
from smstune.inference.classifier import SmsClassifier
from smstune.inference.decision import OperatingPoint
from smstune.inference.manifest import load_manifest, store_calibration

POINT = OperatingPoint(
    name="stop",
    labels=["fraud"],
    budget={"min_precision": 0.5},
    confidence=0.9,
    threshold=None,
    reason="the validation split is too small",
)


CHARACTERS = (
    "窗外下着雨我们坐在屋里喝茶聊天谈起从前事情真是恍如隔世春夏秋冬梅兰竹菊山川湖海东南西北"
)


def varied(rows, number, seed):
    """Return (text, label) of messages that are each a campaign: 40 random characters are added."""
    rng = np.random.default_rng(seed)
    chosen = [rows[row] for row in rng.integers(len(rows), size=number)]
    return [
        (text + "".join(rng.choice(list(CHARACTERS), size=40)), label) for text, label in chosen
    ]


@pytest.fixture(scope="module")
def world(learned_run, prepared, tmp_path_factory):
    """Return a run with an operating point, its data with 200 validation campaigns, and 300 new."""
    folder = tmp_path_factory.mktemp("recalibrate")
    run_folder, data = folder / "run", folder / "data"
    shutil.copytree(learned_run, run_folder)
    shutil.copytree(prepared, data)
    table = load_split(prepared, "train")
    rows = list(zip(table["text"], table["label"], strict=True))
    validation = varied(rows, 200, seed=1)
    pq.write_table(
        pa.table(
            {
                "text": [text for text, _ in validation],
                "label": [label for _, label in validation],
                "group": list(range(len(validation))),
                "source": ["file"] * len(validation),
                "time": pa.nulls(len(validation), pa.string()),
            }
        ),
        data / "validation.parquet",
    )

    def use_data(manifest):
        manifest["data"]["path"] = str(data)
        manifest["data"]["sha256"]["validation.parquet"] = file_hash(data / "validation.parquet")

    change_json(run_folder / "manifest.json", use_data)
    manifest = load_manifest(run_folder)
    calibration = manifest.calibration.model_copy(update={"operating_points": [POINT]})
    store_calibration(run_folder, manifest, calibration)
    return run_folder, varied(rows, 300, seed=2)


@pytest.fixture(scope="module")
def original(world):
    return world[0]


@pytest.fixture
def run_folder(original, tmp_path):
    return shutil.copytree(original, tmp_path / "run")


@pytest.fixture(scope="module")
def truth(original, world):
    """Return the label of each new message as the run reads it."""
    classifier = SmsClassifier.from_pretrained(original)
    texts = classifier.preprocess([text for text, _ in world[1]])
    return dict(zip(texts, (label for _, label in world[1]), strict=True))


@pytest.fixture(scope="module")
def sheet(original, world, tmp_path_factory):
    """Return a sheet for the new messages, as it was written."""
    folder = tmp_path_factory.mktemp("sheet")
    new = write_csv(folder / "november.csv", [(text,) for text, _ in world[1]], ("text",))
    output = folder / "sheet.csv"
    assert run("recalibrate", original, new, "--output", output) == 0
    return output


def sheet_rows(path):
    with path.open(encoding="utf-8-sig", newline="") as stream:
        return list(csv.DictReader(stream))


def filled(sheet, path, label_of, change=lambda rows: rows):
    rows = sheet_rows(sheet)
    rows = [{**row, "label": "" if row["id"] == "sheet" else label_of(row["text"])} for row in rows]
    rows = change(rows)
    return write_csv(path, [tuple(row.values()) for row in rows], tuple(rows[0]))


def point_of(run_folder):
    return load_manifest(run_folder).calibration.operating_points[0]


def test_a_sheet_holds_masked_messages_above_the_lowest_threshold(original, sheet, truth):
    *rows, about = sheet_rows(sheet)
    assert about["id"] == "sheet"
    assert {row["label"] for row in rows} == {""}
    assert {row["text"] for row in rows} <= set(truth)
    (point,) = json.loads(about["text"])["points"]
    classifier = SmsClassifier.from_pretrained(original)
    scores = classifier.predict_proba([row["text"] for row in rows], preprocessed=True)
    fraud = scores[:, classifier.labels.ids_of(["fraud"], "test")].sum(axis=1)
    assert fraud.min() >= min(point["thresholds"]) - 1e-6
    assert point_of(original) == POINT


def test_certified_labels_move_the_threshold_and_undo_takes_it_back(
    run_folder, sheet, truth, tmp_path, capsys
):
    before = (run_folder / "manifest.json").read_bytes()
    # Rows may be sorted.
    labelled = filled(sheet, tmp_path / "filled.csv", truth.get, lambda rows: rows[::-1])
    assert run("recalibrate", run_folder, "--certify", labelled) == 0
    assert capsys.readouterr().out.startswith("stop: threshold – → ")
    point = point_of(run_folder)
    certificate = point.certified
    assert point.threshold is not None
    assert point.validation.messages > 0
    assert certificate.replaces == POINT
    assert certificate.messages == "november"
    assert certificate.bound <= 0.5
    assert certificate.wrong <= certificate.drawn <= certificate.blocked <= certificate.campaigns
    # The sheet was drawn under the calibration before.
    assert run("recalibrate", run_folder, "--certify", labelled) == 2
    assert "draw a new sheet" in capsys.readouterr().err
    assert run("recalibrate", run_folder, "--undo") == 0
    assert (run_folder / "manifest.json").read_bytes() == before
    assert run("recalibrate", run_folder, "--undo") == 2
    assert "with --backend" in capsys.readouterr().err


def test_labels_that_show_nothing_change_nothing(run_folder, sheet, tmp_path, capsys):
    before = (run_folder / "manifest.json").read_bytes()
    labelled = filled(sheet, tmp_path / "filled.csv", lambda _: "retail")
    assert run("recalibrate", run_folder, "--certify", labelled) == 3
    assert "stop keeps its threshold" in capsys.readouterr().err
    assert (run_folder / "manifest.json").read_bytes() == before


def swapped(rows):
    first, second, *others = rows
    return [{**first, "text": second["text"]}, {**second, "text": first["text"]}, *others]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda rows: [{**rows[0], "label": "weather"}, *rows[1:]], "not trained on these labels"),
        (lambda rows: [{**rows[0], "label": ""}, *rows[1:]], "have no label"),
        (lambda rows: [{**rows[0], "id": "m9"}, *rows[1:]], "an id or the row sheet was changed"),
        (lambda rows: rows[1:], "rows were added or deleted"),
        (lambda rows: [rows[0], *rows], "is there twice"),
        (lambda rows: rows[:-1], "has no row sheet"),
        (lambda rows: [*rows[:-1], {**rows[-1], "text": "{}"}], "the row sheet was changed"),
        (swapped, "is not the one that the id"),
    ],
)
def test_a_changed_sheet_is_refused_in_one_line(
    run_folder, sheet, truth, tmp_path, capsys, change, expected
):
    before = (run_folder / "manifest.json").read_bytes()
    labelled = filled(sheet, tmp_path / "filled.csv", truth.get, change)
    assert run("recalibrate", run_folder, "--certify", labelled) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert expected in line
    assert (run_folder / "manifest.json").read_bytes() == before


def test_a_sheet_of_another_run_or_backend_is_refused(run_folder, sheet, truth, tmp_path, capsys):
    labelled = filled(sheet, tmp_path / "filled.csv", truth.get)
    assert run("recalibrate", run_folder, "--certify", labelled, "--backend", "onnx") == 2
    assert "--backend torch" in capsys.readouterr().err
    change_json(
        run_folder / "manifest.json",
        lambda manifest: manifest["calibration"].update(temperature=1.5),
    )
    assert run("recalibrate", run_folder, "--certify", labelled) == 2
    assert "another run" in capsys.readouterr().err


def test_a_forms_thresholds_are_in_its_export_alone(run_folder):
    add_exported_form(run_folder, b"a graph")
    moved = POINT.model_copy(update={"threshold": 0.25, "reason": None})
    store_points(run_folder, load_manifest(run_folder), "model.onnx", [moved])
    manifest = load_manifest(run_folder)
    assert manifest.calibration.operating_points == [POINT]
    form = load_export(run_folder, manifest).files["model.onnx"]
    assert form.calibration.operating_points == [moved]
    assert form.belongs_to(manifest.calibration)


def test_a_command_that_is_stopped_while_it_writes_leaves_the_old_threshold(
    run_folder, sheet, truth, tmp_path, monkeypatch
):
    before = (run_folder / "manifest.json").read_bytes()
    labelled = filled(sheet, tmp_path / "filled.csv", truth.get)

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("smstune.files.put_in_place", stopped)
    assert run("recalibrate", run_folder, "--certify", labelled) != 0
    assert (run_folder / "manifest.json").read_bytes() == before


def test_few_validation_campaigns_are_not_compared_with(learned_run, tmp_path, capsys):
    copy = shutil.copytree(learned_run, tmp_path / "few")
    manifest = load_manifest(copy)
    calibration = manifest.calibration.model_copy(update={"operating_points": [POINT]})
    store_calibration(copy, manifest, calibration)
    new = write_csv(tmp_path / "new.csv", [("恭喜中奖，点击领取",)], ("text",))
    assert run("recalibrate", copy, new, "--output", tmp_path / "sheet.csv") == 2
    assert "validation has only" in capsys.readouterr().err


def test_messages_of_another_kind_get_no_proposal(original, tmp_path, capsys):
    rng = np.random.default_rng(0)
    words = list("窗外下着雨我们坐在屋里喝茶聊天谈起从前的事情真是恍如隔世贷款中奖银行")
    rows = [("".join(rng.permutation(words)[:12]),) for _ in range(400)]
    new = write_csv(tmp_path / "odd.csv", rows, ("text",))
    output = tmp_path / "sheet.csv"
    assert run("recalibrate", original, new, "--output", output) == 3
    assert "no mix of the run's labels fits" in capsys.readouterr().err
    assert not output.exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "give new messages"),
        (["new.csv"], "--output and new messages go together"),
        (["new.csv", "--undo"], "give new messages"),
        (["new.csv", "--output", "sheet.txt"], "expected a sheet called"),
        (["new.csv", "--output", "sheet.csv", "--number", "10"], "--number must be from 50 to 200"),
    ],
)
def test_words_that_do_not_go_together(original, capsys, words, expected):
    assert run("recalibrate", original, *words) == 2
    assert expected in capsys.readouterr().err
