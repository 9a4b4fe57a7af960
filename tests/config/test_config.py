"""The configuration: strict at the door, all errors at once."""

from __future__ import annotations

import json

import pytest
from doors import ROOT, run

from smstune.config.loading import (
    build_config,
    config_schema,
    dump_config,
    load_config,
    subsection,
)
from smstune.config.schema import Config
from smstune.config.yaml_files import parse_yaml, read_yaml
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
    if path.name not in ("base.yaml", "quickstart.yaml", "mine.yaml"):
        name = path.relative_to(ROOT / "configs").with_suffix("")
        command = "finetune" if config.pretrain is None else "pretrain"
        if path.parent.name == "sweeps":
            command = "sweep"
        assert first == f"# smstune {command} {name}"
        assert config.pretrain is not None or config.prepare.labels.is_file()
        teacher = config.distillation and str(config.distillation.teacher)
        assert config.model.name_or_path == (teacher or "hfl/chinese-macbert-base")


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
        "pretrain",
        "data",
        "model",
        "loss",
        "distillation",
        "training",
        "evaluation",
        "export",
        "serve",
        "sweep",
        "memory",
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
def test_a_key_without_effect_is_refused(write, loss, idle):
    with pytest.raises(UserError, match=f"{idle} has no effect"):
        load_config(write(f"data: {{path: d}}\nloss: {loss}\n"))


def keys(model, parents=()):
    """Every key of a section and of those below it, as an override names it."""
    for name in model.model_fields:
        path = (*parents, name)
        yield ".".join(path)
        section = subsection(model, name)
        if section:
            yield from keys(section, path)


HOSTILE = (
    ".inf",
    "-.inf",
    ".nan",
    "1e400",
    "010",
    "-1",
    "0",
    "0.5",
    "true",
    "null",
    "''",
    "4294967296",
    "1" + 40 * "0",
    "1" + 5000 * "0",
    "1:30",
    "2024-01-01",
    "no",
    "{}",
    "{a: 1}",
    "{1: {2: 3}}",
    "[]",
    "[1, true, .nan]",
    "[[a], {b: c}]",
    "'\0'",
    '"\\0"',
    '"\\ud800"',
    "&a [*a]",
    "!!python/name:os.system",
    200 * "[" + 200 * "]",
)


@pytest.mark.parametrize("key", keys(Config))
def test_any_value_of_any_key_is_taken_or_told(write, key):
    path = write("data: {path: d}\nmodel: {from_scratch: {}}\n")
    for value in HOSTILE:
        problem = None
        try:
            config = load_config(path, [f"{key}={value}"])
        except UserError as error:
            problem = str(error)
        if problem is None:
            assert build_config(parse_yaml(dump_config(config)), [], path) == config, value
        else:
            assert key.split(".")[0] in problem, value
            assert len(problem) < 2000, value


@pytest.mark.parametrize(
    ("override", "told"),
    [
        (
            "training.learning_rate=.inf",
            "training.learning_rate: expected auto or a number above 0, f",
        ),
        (
            "training.learning_rate=automatic",
            "expected auto or a number above 0, found 'automatic'",
        ),
        ("training.weight_decay=.inf", "training.weight_decay: input should be a finite number"),
        (
            "training.learning_rate=1e400",
            "training.learning_rate: expected auto or a number above 0",
        ),
        ("evaluation.gates=[{score: accuracy, min: .nan}]", "evaluation.gates.0.min: input should"),
        ("training.seed=true", "training.seed: expected a number, found True"),
        ("evaluation.costs={a: {b: true}}", "evaluation.costs.a.b: expected a number, found True"),
        ("training.seed=4294967296", "training.seed: input should be less than or equal to 429"),
        ("training.max_steps=0", "training.max_steps: expected steps, or -1 to train by epochs"),
        ("model.from_scratch={hidden_size: 130}", "model.from_scratch: hidden_size must be"),
        ("training.logging_steps=99999999999", "less than or equal to 2147483647"),
        ("data.path=''", "data.path: expected a path"),
        ('evaluation.slices=["\\ud800"]', "evaluation.slices: line 1: expected text without NUL"),
        ("model.revision=1234567", "found 1234567: put it in quotes"),
        ("training.seed=" + 5000 * "[", "training.seed: expected YAML, found lists or mappings"),
        ("training.seed=" + 5000 * "1", "training.seed: line 1: expected a number, found one of"),
    ],
)
def test_value_that_no_run_can_use_is_told_with_its_key(write, override, told):
    with pytest.raises(UserError) as error:
        load_config(write("data: {path: d}\n"), [override])
    assert told in str(error.value)


def test_words_and_numbers_are_read_as_people_mean_them(write):
    config = load_config(
        write("data: {path: d}\n"),
        ["training.seed=010", "model.revision=2024-01-01", "prepare.text_column=no"],
    )
    assert config.training.seed == 10
    assert config.model.revision == "2024-01-01"
    assert config.prepare.text_column == "no"


def test_merge_keys_merge(write):
    text = "model: &m {pooling: mean, linear: true}\ndata: {path: d}\n"
    with pytest.raises(UserError, match="unknown key"):
        load_config(write(text + "training: {<<: *m}\n"))
    text = "data: &d {path: d, max_length: 64}\n"
    merged = read_yaml(write(text + "other: {<<: *d, max_length: 32}\n"))
    assert merged["other"] == {"path": "d", "max_length": 32}


@pytest.mark.parametrize("parent", ["[a, b]", "5", "{a: b}", '"a\\0b"'])
def test_parent_is_the_name_of_one_file(write, parent):
    with pytest.raises(UserError, match=r"expected (the name of one file|text without NUL)"):
        load_config(write(f"extends: {parent}\ndata: {{path: d}}\n"))


POINTS = """
data: {path: d}
evaluation:
  operating_points:
    fraud: {labels: [fraud], max_false_positive_rate: 0.01, confidence: 0.9}
  groups: {harmful: [fraud, illegal]}
"""


def test_overrides_replace_points_and_groups_whole(write):
    path = write(POINTS)
    none = load_config(path, ["evaluation.operating_points={}", "evaluation.groups={}"])
    assert none.evaluation.operating_points == none.evaluation.groups == {}
    point = load_config(
        path, ["evaluation.operating_points.fraud={labels: [fraud], min_precision: 0.9}"]
    ).evaluation.operating_points["fraud"]
    assert point.budget == {"min_precision": 0.9}
    assert point.confidence == 0.95
    # A longer path changes the one key that it names.
    changed = load_config(path, ["evaluation.operating_points.fraud.confidence=0.99"])
    point = changed.evaluation.operating_points["fraud"]
    assert (point.confidence, point.budget) == (0.99, {"max_false_positive_rate": 0.01})


def test_a_child_replaces_the_points_of_its_parent(write):
    write(POINTS, "parent.yaml")
    child = "evaluation: {operating_points: {spam: {labels: [spam], cost_ratio: 5}}}\n"
    evaluation = load_config(write(f"extends: parent.yaml\n{child}")).evaluation
    assert list(evaluation.operating_points) == ["spam"]
    assert list(evaluation.groups) == ["harmful"]
