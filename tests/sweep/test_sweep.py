"""Sweeps through their door: seeds and variants; each run is trained in this process."""

from __future__ import annotations

import json
import shutil

import pyarrow.parquet as pq
import pytest
import yaml
from doors import run
from scipy.stats import t
from sklearn.metrics import f1_score
from sweeps import loaded, sweep

import smstune.sweep.sweep
from smstune.config.loading import load_config
from smstune.config.schema import Config
from smstune.sweep import finished


def test_seeds_and_variants(config_file, finished_run, tmp_path, trained, capsys):
    folder = tmp_path / "sweep"
    grid = {"plain": [], "linear": ["model.linear=true"]}
    section = {"seeds": [1, 2], "grid": grid}
    assert sweep(config_file, folder, section) == 0
    assert trained == [f"{name}-{seed}" for name in grid for seed in (1, 2)]
    printed = capsys.readouterr().out
    assert "linear" in printed
    assert printed.splitlines()[-1] == str(folder / "sweep.json")

    result = loaded(folder)
    assert (result.base, [row.name for row in result.variants]) == ("plain", list(grid))
    by_name = {variant.name: variant for variant in result.variants}
    for variant in result.variants:
        for split, spread in (("validation", variant.validation), ("test", variant.test)):
            scores = [
                json.loads((folder / row.folder / f"eval/{split}/metrics.json").read_text("utf-8"))
                for row in variant.runs
            ]
            values = [score["macro_f1"] for score in scores]
            assert spread.values == pytest.approx(values)
            assert [getattr(row, f"{split}_macro_f1") for row in variant.runs] == values
            mean, gap = sum(values) / 2, abs(values[0] - values[1])
            assert spread.mean == pytest.approx(mean)
            assert spread.sd == pytest.approx(gap / 2**0.5)
            # At least as wide as by the seeds alone, but for the bounds of a score.
            half = t.ppf(0.975, 1) * gap / 2
            assert spread.ci[0] <= max(0, mean - 0.9 * half)
            assert spread.ci[1] >= min(1, mean + 0.9 * half)
    means = {name: variant.validation.mean for name, variant in by_name.items()}
    assert result.best == max(means, key=means.get)
    for rows in (result.validation, result.test):
        assert [row.run for row in rows] == ["linear"]

    # Nothing is trained twice, and the same files come out.
    before = (folder / "sweep.json").read_text("utf-8")
    trained.clear()
    assert sweep(config_file, folder, section) == 0
    assert trained == []
    assert (folder / "sweep.json").read_text("utf-8") == before
    # A further seed is a further run of each.
    assert sweep(config_file, folder, {**section, "seeds": [1, 2, 3]}) == 0
    assert trained == ["plain-3", "linear-3"]

    report = (folder / "report.md").read_text("utf-8")
    assert "linear" in report
    assert "best.yaml holds" in report
    assert "<svg" in (folder / "report.html").read_text("utf-8")
    assert (folder / "table.csv").read_text("utf-8").count("\n") == 3
    assert r"\toprule" in (folder / "table.tex").read_text("utf-8")

    values = yaml.safe_load((folder / "best.yaml").read_text("utf-8"))
    assert values["sweep"] is None
    assert values["training"]["output_dir"] == str(folder / "best")
    assert run("finetune", folder / "best.yaml") == 0
    best = by_name[result.best].runs[0]
    weights = [
        (path / "model.safetensors").read_bytes()
        for path in (folder / "best", folder / best.folder)
    ]
    assert weights[0] == weights[1]


def test_folds_are_one_experiment(config_file, messages, labels_file, tmp_path, trained):
    data, folder = tmp_path / "folds", tmp_path / "sweep"
    split = ("--split", "folds", "--folds", 3)
    assert run("prepare", messages, "--labels", labels_file, *split, "--output", data) == 0
    assert sweep(config_file, folder, {"seeds": [1]}, f"data.path={data}") == 0
    assert trained == [f"base-1-fold-{fold}" for fold in range(3)]
    (variant,) = loaded(folder).variants
    assert [row.fold for row in variant.runs] == [0, 1, 2]
    tables = [
        pq.read_table(folder / row.folder / "eval/test/predictions.parquet").to_pylist()
        for row in variant.runs
    ]
    answers = [row for table in tables for row in table]
    # Each message once.
    assert len({row["text"] for row in answers}) == len(answers) == 149
    truth, predicted = ([row[column] for row in answers] for column in ("label", "predicted"))
    expected = f1_score(truth, predicted, average="macro", zero_division=0)
    assert variant.test.values == [pytest.approx(expected)]
    assert load_config(folder / "best.yaml").data.path == data / "fold-0"


def test_a_finished_run_of_the_same_configuration_is_used(
    config_file, finished_run, tmp_path, trained
):
    folder = tmp_path / "sweep"
    shutil.copytree(finished_run, folder / "runs/by-hand")
    epochs = "training.num_train_epochs=2"
    # As it was trained but for what changes no weight.
    assert sweep(config_file, folder, {"seeds": [42, 1]}, epochs, "training.logging_steps=7") == 0
    assert trained == ["base-1"]
    assert loaded(folder).variants[0].runs[0].folder == "runs/by-hand"
    trained.clear()
    # A link of the run's own name is one below the sweep's folder.
    linked = tmp_path / "linked"
    (linked / "runs").mkdir(parents=True)
    (linked / "runs/base-42").symlink_to(folder / "runs/by-hand")
    assert sweep(config_file, linked, {"seeds": [42]}, epochs) == 0
    assert loaded(linked).variants[0].runs[0].folder == "runs/base-42"
    other = tmp_path / "other"
    shutil.copytree(finished_run, other / "runs/by-hand")
    assert sweep(config_file, other, {"seeds": [42]}, epochs, "training.weight_decay=0.5") == 0
    assert trained == ["base-42"]


def test_every_section_counts_for_a_training_or_does_not():
    of_training = {"data", "model", "loss", "distillation", "training", "evaluation"}
    assert of_training.isdisjoint(finished._OF_NO_TRAINING)
    assert of_training | set(finished._OF_NO_TRAINING) == set(Config.model_fields)


def test_a_run_that_fails_does_not_stop_the_others(
    config_file, tmp_path, trained, monkeypatch, capsys
):
    train = smstune.sweep.sweep.run_process

    def fail(words, usage):
        return 1 if "bad-" in words[1] else train(words, usage)

    monkeypatch.setattr("smstune.sweep.sweep.run_process", fail)
    folder = tmp_path / "sweep"
    grid = {"plain": [], "bad": ["loss.name=focal"]}
    assert sweep(config_file, folder, {"seeds": [1], "grid": grid}) == 2
    assert "1 runs failed" in capsys.readouterr().err
    result = loaded(folder)
    assert [(run.variant, run.seed, run.status) for run in result.failed] == [("bad", 1, 1)]
    assert result.best == "plain"
    assert result.variants[1].validation is None
    assert "bad with seed 1 failed" in (folder / "report.md").read_text("utf-8")


def test_report_is_in_the_reader_s_language(config_file, tmp_path, trained):
    folder = tmp_path / "sweep"
    grid = {"a": [], "b": ["loss.name=focal"]}
    assert sweep(config_file, folder, {"seeds": [1], "grid": grid}, flags=("--lang", "zh")) == 0
    report = (folder / "report.md").read_text("utf-8")
    assert "验证集" in report
    sentences = [
        line for line in report.splitlines() if "[" not in line and not line.startswith("|")
    ]
    for line in sentences:
        latin = [word for word in line.split() if word.isalpha() and word.isascii()]
        assert len(latin) < 4, line


@pytest.mark.parametrize(
    ("section", "problem"),
    [
        ({"seeds": [1, 2, 1]}, "seeds has 1 twice"),
        ({"seeds": []}, "sweep.seeds: the list should have at least 1 items"),
        ({"grid": {}}, "sweep.grid"),
        ({"grid": {"a/b": []}}, "sweep.grid.a/b"),
        ({"grid": {"a": ["training.learning_rte=1"]}}, "did you mean training.learning_rate?"),
        ({"grid": {"a": ["training.seed=1"]}}, "training.seed is set by the sweep itself"),
        ({"grid": {"a": ["recipes/focl"]}}, "did you mean recipes/focal?"),
        ({"grid": {"a": [], "b": ["data.path=elsewhere"]}}, "must read the same data"),
        ({"space": {"loss.tua": {"low": 0, "high": 1}}, "n_trials": 2}, "did you mean loss.tau?"),
        ({"space": {"loss.tau": {"low": 0, "high": 1}}}, "space and n_trials need each other"),
        ({"space": {"loss.tau": {"low": 1}}, "n_trials": 2}, "expected low and high, or choices"),
        (
            {"space": {"training.warmup_ratio": {"low": 0, "high": 2}}, "n_trials": 2},
            "warmup_ratio",
        ),
        (
            {"grid": {"a": []}, "space": {"loss.tau": {"low": 0, "high": 1}}, "n_trials": 2},
            "not both",
        ),
        ({"sedes": [1]}, "did you mean sweep.seeds?"),
    ],
)
def test_bad_input_is_refused_in_one_line(config_file, tmp_path, trained, capsys, section, problem):
    capsys.readouterr()
    assert sweep(config_file, tmp_path / "sweep", section) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert problem in line
    assert not (tmp_path / "sweep").exists()
    assert trained == []


def test_only_a_search_needs_optuna(config_file, tmp_path, trained, monkeypatch, capsys):
    monkeypatch.setattr("smstune.commands.sweep.find_spec", lambda name: None)
    search = {"space": {"loss.tau": {"low": 0, "high": 1}}, "n_trials": 1}
    assert sweep(config_file, tmp_path / "search", search) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "[sweep]" in line
    # The next check comes first here.
    assert sweep(config_file, tmp_path / "seeds", {}, "data.path=nowhere") == 2
    assert "no prepared data" in capsys.readouterr().err


def test_a_variant_given_twice_is_refused(config_file, tmp_path, capsys):
    path = tmp_path / "sweep.yaml"
    path.write_text(config_file.read_text("utf-8") + "sweep:\n  grid:\n    a: []\n    a: []\n")
    assert run("sweep", path) == 2
    assert "key 'a' is given twice" in capsys.readouterr().err


def test_a_folder_of_another_sweep_is_refused(config_file, tmp_path, trained, capsys):
    folder = tmp_path / "sweep"
    assert sweep(config_file, folder, {"seeds": [1]}) == 0
    assert sweep(config_file, folder, {"seeds": [1]}, "training.weight_decay=0.5") == 2
    assert "holds a sweep with another configuration of base" in capsys.readouterr().err
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "notes.txt").touch()
    assert sweep(config_file, elsewhere, {"seeds": [1]}) == 2
    assert "found" in capsys.readouterr().err
    assert trained == ["base-1"]


def test_a_recipe_file_replaces_the_configuration(
    config_file, prepared, checkpoint, tmp_path, trained
):
    """The command line's overrides hold for it, too."""
    folder = tmp_path / "sweep"
    grid = {"plain": [], "fgm": ["recipes/fgm", "training.weight_decay=0.5"]}
    given = (
        f"data.path={prepared}", f"model.name_or_path={checkpoint}", "prepare.labels=null",
    )  # fmt: skip
    assert sweep(config_file, folder, {"seeds": [1], "grid": grid}, *given) == 0
    config = load_config(folder / "runs/fgm-1/config.yaml")
    assert (config.loss.fgm, config.model.pooling) == (1.0, "mean")
    assert config.training.weight_decay == 0.5
    assert config.training.num_train_epochs == 1
    assert load_config(folder / "runs/plain-1/config.yaml").loss.fgm == 0
