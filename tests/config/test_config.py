"""The configuration: strict at the door, all errors at once."""

from __future__ import annotations

import json

import pytest
from doors import ROOT, run

from smstune.config.loading import config_schema, dump_config, load_config
from smstune.errors import UserError

CONFIGS = sorted(
    path
    for path in (ROOT / "configs").rglob("*.yaml")
    if path.parent.name not in ("accelerate", "labels") and path.name != "sources.yaml"
)
LABEL_FILES = sorted((ROOT / "configs/labels").glob("*.yaml"))


@pytest.fixture
def write(tmp_path):
    def write(text, name="c.yaml"):
        (tmp_path / name).write_text(text, "utf-8")
        return tmp_path / name

    return write


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_shipped_config_loads(path):
    overrides = ["data.path=somewhere"] if path.name == "base.yaml" else []
    config = load_config(path, overrides)
    first = path.read_text("utf-8").splitlines()[0]
    assert first.startswith("# ")
    if path.name not in ("base.yaml", "quickstart.yaml"):
        name = path.relative_to(ROOT / "configs").with_suffix("")
        assert first == f"# smstune finetune {name}"
        assert config.prepare.labels.is_file()
        assert config.model.name_or_path == "hfl/chinese-macbert-base"


def test_scientific_notation_is_a_float(write):
    config = load_config(write("data: {path: d}\ntraining: {learning_rate: 2e-5}\n"))
    assert config.training.learning_rate == 2e-5


def test_override_beats_child_beats_parent(write):
    write("data: {path: parent}\ntraining: {seed: 1, num_train_epochs: 9}\n", "parent.yaml")
    child = write("extends: parent.yaml\ntraining: {seed: 2, weight_decay: 0}\n")
    config = load_config(child, ["training.seed=3"])
    training = config.training
    assert (training.seed, training.num_train_epochs, training.weight_decay) == (3, 9, 0)
    assert str(config.data.path) == "parent"


def test_all_errors_at_once_with_path_and_suggestion(write):
    path = write("data: {path: d, max_length: many}\ntrainig: {}\nmodel: {name_or_pth: x}\n")
    with pytest.raises(UserError) as error:
        load_config(path)
    message = str(error.value)
    assert "data.max_length" in message
    assert "'many'" in message
    assert "did you mean training?" in message
    assert "did you mean model.name_or_path?" in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("data: {path: a}\ndata: {path: b}\n", "given twice"),
        ("data: {path: a, path: b}\n", "given twice"),
        ("- a\n", "mapping"),
        ("data: [\n", "expected YAML"),
        ("extends: nowhere.yaml\n", "nowhere.yaml"),
        ("model: {}\n", "data: expected a value"),
        ("data: {path: d}\ntraining: {seed: -1}\n", "training.seed"),
    ],
)
def test_wrong_file_is_told(write, text, expected):
    with pytest.raises(UserError, match=expected):
        load_config(write(text))


@pytest.mark.parametrize("override", ["seed", "=3", "training..seed=3", "training.seed=[1"])
def test_wrong_override_is_told(write, override):
    with pytest.raises(UserError, match="expected"):
        load_config(write("data: {path: d}\n"), [override])


def test_only_one_parent(write):
    write("data: {path: d}\n", "a.yaml")
    write("extends: a.yaml\n", "b.yaml")
    with pytest.raises(UserError, match="only one parent"):
        load_config(write("extends: b.yaml\n"))


def test_resolved_config_is_a_fixed_point(write, tmp_path):
    config = load_config(CONFIGS[-1], ["training.learning_rate=3e-6"])
    assert load_config(write(dump_config(config))) == config


def test_config_is_frozen(write):
    config = load_config(write("data: {path: d}\n"))
    with pytest.raises(ValueError, match="frozen"):
        config.training.seed = 3


def test_schema_is_printed_and_knows_every_section(capsys):
    assert run("finetune", "--schema") == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema == json.loads(config_schema())
    sections = {
        "prepare",
        "data",
        "model",
        "loss",
        "training",
        "evaluation",
        "export",
        "serve",
        "extends",
    }
    assert set(schema["properties"]) == sections


def test_misspelt_key_ends_with_status_2(write, capsys):
    path = write("data: {path: d}\n")
    assert run("finetune", path, "training.learnin_rate=1") == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert "did you mean training.learning_rate?" in captured.err


@pytest.mark.parametrize(
    ("loss", "idle"),
    [
        ("{name: focal, label_smoothing: 0.1}", "label_smoothing"),
        ("{tau: 0.5}", "tau"),
        ("{name: ldam, reweight_after: 0.8}", "reweight_after"),
    ],
)
def test_key_that_would_change_nothing_is_told(write, loss, idle):
    with pytest.raises(UserError, match=f"{idle} would change nothing"):
        load_config(write(f"data: {{path: d}}\nloss: {loss}\n"))
