"""eval: the labels of a file are read as prepare reads them, and unknown ones are named."""

from __future__ import annotations

import shutil

from doors import run, write_csv

from smstune.evaluation.labelled import load_raw
from smstune.inference.labels import LabelMap
from smstune.inference.manifest import TextOptions


def test_labels_written_differently_meet_those_of_the_run(tmp_path):
    # True and 1.0 are names of a run that was trained before labels were written in one way.
    labels = LabelMap.from_names(("诈骗", "True", "1.0"))
    written = ["诈骗 ", "\u3000诈骗\u00a0", "TRUE", "true", "1", "1.00"]
    rows = [(f"第{number}条短信", label) for number, label in enumerate(written)]
    path = write_csv(tmp_path / "m.csv", rows, ("text", "label"))
    assert load_raw(path, labels, TextOptions()).truth.tolist() == [0, 0, 1, 1, 2, 2]


def test_a_label_that_the_run_does_not_know_is_named_unless_it_may_be_a_message(
    tmp_path, finished_run, capsys
):
    folder = shutil.copytree(finished_run, tmp_path / "run")
    rows = [("今天全场五折", "retail"), ("明天再来", "没见过"), ("后天也来", "没见过 ")]
    path = write_csv(tmp_path / "m.csv", rows, ("text", "label"))
    assert run("eval", folder, "--data", path) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "not trained on these labels: 没见过 (2 rows). It has gambling, bank_phishing" in error
    message = "请勿把验证码告诉他人" * 5
    path = write_csv(tmp_path / "m.csv", [*rows, ("又是一天", message)], ("text", "label"))
    assert run("eval", folder, "--data", path) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "these labels: 2 labels (3 rows)" in error
    assert message not in error
