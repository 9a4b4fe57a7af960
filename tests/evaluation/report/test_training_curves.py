"""The curves of a run's training in its report, against the numbers that were logged."""

from __future__ import annotations

import json

import pytest

from smstune.errors import UserError
from smstune.evaluation.report.training_curves import training_section
from smstune.reporting.format import show

# Two epochs of 30 steps, logged at the first step and each 20th; the last rows are the trainer's.
HISTORY = [
    {"step": 1, "epoch": 0.03, "loss": 3.0, "learning_rate": 0.0},
    {"step": 20, "epoch": 0.67, "loss": 2.0, "learning_rate": 2e-4},
    {"step": 30, "epoch": 1.0, "eval_loss": 1.5, "eval_macro_f1": 0.75, "eval_accuracy": 0.875},
    {"step": 40, "epoch": 1.33, "loss": 1.0, "learning_rate": 1e-4},
    {"step": 60, "epoch": 2.0, "loss": 0.5, "learning_rate": 1.2e-6},
    {"step": 60, "epoch": 2.0, "eval_loss": 1.25, "eval_macro_f1": 0.5, "eval_accuracy": 0.625},
    {"step": 60, "epoch": 2.0, "train_loss": 1.2, "train_runtime": 9.0},
]


def write_state(folder, history, best=30):
    state = {"best_global_step": best, "log_history": history}
    (folder / "trainer_state.json").write_text(json.dumps(state), "utf-8")
    return folder


def cells(table):
    return [[show(cell) for cell in row] for row in table.rows]


def test_table_beside_the_figure_holds_the_numbers(tmp_path):
    section = training_section(write_state(tmp_path, HISTORY))
    _, numbers = section.blocks
    assert "step 30" in section.note
    assert list(numbers.head) == [
        "step", "epoch", "macro-F1", "accuracy", "validation loss", "training loss",
        "learning rate",
    ]  # fmt: skip
    assert cells(numbers) == [
        # 1 step of 3.0 and 19 of 2.0; then 20 of 1.0 and 20 of 0.5.
        ["30", "1", "0.750", "0.875", "1.500", "2.050", "0.0002"],
        ["60", "2", "0.500", "0.625", "1.250", "0.750", "1.2e-06"],
    ]


def test_line_of_each_curve_has_a_point_for_each_logged_number(tmp_path):
    drawing, _ = training_section(write_state(tmp_path, HISTORY)).blocks
    points = {line.name: line.points for chart in drawing.charts for line in chart.lines}
    assert points == {
        "training": [(1, 3.0), (20, 2.0), (40, 1.0), (60, 0.5)],
        "validation": [(30, 1.5), (60, 1.25)],
        "macro-F1": [(30, 0.75), (60, 0.5)],
        "accuracy": [(30, 0.875), (60, 0.625)],
        "learning rate": [(1, 0.0), (20, 2e-4), (40, 1e-4), (60, 1.2e-6)],
    }
    assert [chart.marked_x for chart in drawing.charts] == [None, 30, None]


def test_epoch_too_short_for_a_logged_loss_has_a_dash(tmp_path):
    history = [row for row in HISTORY if row["step"] != 40 and row.get("loss") != 0.5]
    _, numbers = training_section(write_state(tmp_path, history)).blocks
    assert cells(numbers)[-1] == ["60", "2", "0.500", "0.625", "1.250", "–", "0.0002"]


def test_numbers_of_a_run_are_those_it_logged(finished_run):
    state = json.loads((finished_run / "trainer_state.json").read_text("utf-8"))
    rows = cells(training_section(finished_run).blocks[1])
    validated = [row for row in state["log_history"] if "eval_loss" in row]
    assert [row[0] for row in rows] == [f"{one['step']:,}" for one in validated]
    assert [row[4] for row in rows] == [f"{one['eval_loss']:.3f}" for one in validated]


def test_run_without_its_state_has_no_curves(tmp_path):
    assert training_section(tmp_path) is None


@pytest.mark.parametrize("content", ["{", "[]", "{}"])
def test_damaged_state_is_told(tmp_path, content):
    (tmp_path / "trainer_state.json").write_text(content, "utf-8")
    with pytest.raises(UserError, match="restore it, or remove it"):
        training_section(tmp_path)
