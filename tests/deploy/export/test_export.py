"""Export to ONNX through its door: the forms, their gates, and the backend that reads them."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime.quantization
import pytest
from doors import ROOT, SAMPLE, change_json, name_in_manifest, run, write_csv
from onnx import numpy_helper
from serving import serving

from smstune.deploy.export import graph as onnx_graph
from smstune.deploy.export.files import _optimize
from smstune.errors import UserError
from smstune.evaluation.mistakes.attribution import explain
from smstune.files import file_hash
from smstune.inference.backends import pick as backends
from smstune.inference.backends import torch_devices
from smstune.inference.classifier import SmsClassifier

TEXTS = [
    "【云禾银行】您的账户支出350元，余额1208元。",
    "短",
    "恭喜！点击 http://t.example/ab12 领取大奖，" * 8,
    "",
]
ALL = ("onnx", "onnx-int8", "onnx-fp16")
#: What an answer by onnxruntime does without.
HEAVY = (
    "torch", "transformers", "datasets", "sklearn", "scipy", "captum", "pyarrow", "huggingface_hub",
    "jinja2",
)  # fmt: skip


@pytest.fixture(scope="module")
def exported(learned_run, tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "run"
    shutil.copytree(learned_run, path)
    assert run("export", path, "--format", *ALL) == 0
    return path


@pytest.fixture
def copy(exported, tmp_path):
    return shutil.copytree(exported, tmp_path / "exported")


@pytest.fixture
def plain(learned_run, tmp_path):
    return shutil.copytree(learned_run, tmp_path / "plain")


def read(path):
    return json.loads((path / "onnx/export.json").read_text("utf-8"))


def operators(path):
    return [node.op_type for node in onnx.load(path).graph.node]


def load(path, **how):
    return SmsClassifier.from_pretrained(path, device="cpu", **how)


def test_folder_says_what_it_holds(exported):
    export = read(exported)
    manifest = json.loads((exported / "manifest.json").read_text("utf-8"))
    assert export["weights_sha256"] == manifest["sha256"]["model.safetensors"]
    names = ["model.onnx", "model_int8.onnx", "model_fp16.onnx"]
    assert list(export["files"]) == names
    there = {path.name for path in (exported / "onnx").iterdir()}
    assert there == {*names, "export.json", "report.md"}
    for name, file in export["files"].items():
        assert file["sha256"] == file_hash(exported / "onnx" / name)
        assert manifest["sha256"][f"onnx/{name}"] == file["sha256"]
        assert str(ROOT).encode() not in (exported / "onnx" / name).read_bytes()
        assert {"torch fp32", "onnx fp32", "onnx int8", "onnx fp16"} <= set(file["latency"])
        for row in file["latency"].values():
            assert 0 < row["p50_ms"] <= row["p95_ms"] <= row["p99_ms"]
            assert row["messages_per_second"] > 0
    parity = export["files"]["model.onnx"]["gate"]["parity"]
    assert {row["batch"] for row in parity} == {1, 7, 32}
    assert {"mixed", "up to 64"} <= {row["tokens"] for row in parity}
    assert 0 < max(row["largest_difference"] for row in parity) <= 1e-4
    quality = export["files"]["model_int8.onnx"]["gate"]["quality"]
    assert {"macro_f1", "ece"} <= {row["name"] for row in quality}
    report = (exported / "onnx/report.md").read_text("utf-8")
    assert report.count("p99, ms") == 1
    assert "do not show how fast this file is on a GPU" in report


def test_each_long_phase_shows_its_progress(plain, capsys):
    assert run("export", plain, "--format", "onnx-int8") == 0
    said = capsys.readouterr().err
    for phase in (
        "writing the graph",
        "comparing the graph with the run",
        "writing the int8 form",
        "scoring the run on validation",
        "scoring the int8 form on validation",
        "timing single messages: 200 calls",
        "timing batches of 32: 8 calls",
    ):
        assert phase in said


def test_graph_is_in_the_operators_that_are_fast(exported):
    fp32 = operators(exported / "onnx/model.onnx")
    assert fp32.count("Attention") == 2  # of the two layers; the third is the mean
    assert fp32.count("Gelu") == 2
    assert "Softmax" not in fp32
    int8 = operators(exported / "onnx/model_int8.onnx")
    assert int8.count("QAttention") == 2
    assert int8.count("DynamicQuantizeMatMul") == 6
    embeddings = {
        name: tensor.data_type
        for name in ("model_int8.onnx", "model_fp16.onnx")
        for tensor in onnx.load(exported / "onnx" / name).graph.initializer
        if tensor.name.startswith("bert.embeddings.words.weight") and len(tensor.dims) == 2
    }
    assert embeddings == {
        "model_int8.onnx": onnx.TensorProto.UINT8,
        "model_fp16.onnx": onnx.TensorProto.FLOAT16,
    }


def test_int8_is_stored_as_onnxruntime_would_optimise_it(exported, tmp_path):
    file = exported / "onnx/model_int8.onnx"
    assert {opset.domain for opset in onnx.load(file).opset_import} == {"", "com.microsoft"}
    again = shutil.copy(file, tmp_path / "again.onnx")
    _optimize(Path(again))
    assert operators(again) == operators(file)


def test_onnx_answers_as_torch_does(exported):
    torch, fp32 = (load(exported, backend=name, precision="fp32") for name in ("torch", "onnx"))
    assert fp32.backend.name == "onnx"
    difference = np.abs(torch.predict_proba(TEXTS) - fp32.predict_proba(TEXTS))
    assert 0 < difference.max() < 1e-5
    fields = [(one.label, one.note, one.decision) for one in torch.predict(TEXTS)]
    assert fields == [(one.label, one.note, one.decision) for one in fp32.predict(TEXTS)]
    int8 = load(exported, backend="onnx")
    assert int8.precision == "int8"
    difference = np.abs(torch.predict_proba(TEXTS) - int8.predict_proba(TEXTS))
    assert 1e-5 < difference.max() < 0.1


def test_first_token_pooling_exports_too(finished_run, tmp_path):
    shutil.copytree(finished_run, tmp_path / "run")
    assert run("export", tmp_path / "run", "--format", "onnx") == 0
    assert operators(tmp_path / "run/onnx/model.onnx").count("MultiHeadAttention") == 1


def test_another_architecture_is_exported_as_it_is(finished_run, tmp_path):
    path = tmp_path / "run"
    shutil.copytree(finished_run, path)
    change_json(path / "config.json", lambda config: config.update(hidden_act="relu"))
    name_in_manifest(path, "config.json")
    assert run("export", path, "--format", "onnx", "onnx-int8") == 0
    assert "Softmax" in operators(path / "onnx/model.onnx")
    torch, fp32 = (load(path, backend=name, precision="fp32") for name in ("torch", "onnx"))
    assert np.allclose(torch.predict_proba(TEXTS), fp32.predict_proba(TEXTS), atol=1e-5)


@pytest.mark.parametrize("how", [{"backend": "onnx", "precision": "fp32"}, {"precision": "fp32"}])
def test_tampered_file_is_refused(copy, how, monkeypatch):
    file = copy / "onnx/model.onnx"
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    with pytest.raises(UserError, match=r"onnx/model\.onnx is not the file that"):
        load(copy, **how)
    load(copy, backend="torch")


def test_files_of_another_run_are_refused(copy):
    change_json(copy / "onnx/export.json", lambda export: export.update(weights_sha256="0" * 64))
    name_in_manifest(copy, "onnx/export.json")
    with pytest.raises(UserError, match="other weights than the manifest"):
        load(copy)


def test_form_that_is_not_there_says_how_to_make_it(plain, copy):
    with pytest.raises(UserError, match="--format onnx"):
        load(plain, backend="onnx")
    (copy / "onnx/model_int8.onnx").unlink()
    with pytest.raises(UserError, match="or export the run again"):
        load(copy, precision="int8")
    with pytest.raises(UserError, match="found bf16"):
        load(copy, backend="onnx", precision="bf16")


def test_folder_without_weights_answers_by_onnx(copy):
    expected = load(copy, backend="torch", precision="fp32").predict_proba(TEXTS)
    (copy / "model.safetensors").unlink()
    classifier = load(copy, precision="fp32")
    assert classifier.backend.name == "onnx"
    assert np.allclose(expected, classifier.predict_proba(TEXTS), atol=1e-5)
    with pytest.raises(UserError, match=r"expected model\.safetensors"):
        explain(classifier, TEXTS[0])
    with pytest.raises(UserError, match="expected the backend torch"):
        _ = classifier.model


def test_larger_tokenizer_is_refused_without_weights(copy):
    (copy / "model.safetensors").unlink()
    change_json(copy / "config.json", lambda config: config.update(vocab_size=100))
    name_in_manifest(copy, "config.json")
    with pytest.raises(UserError, match="the tokenizer has"):
        load(copy)


def chosen(path, **how):
    classifier = load(path, **how)
    return classifier.backend.name, classifier.precision


def test_auto_takes_the_fastest_of_what_is_there(copy, plain, monkeypatch):
    monkeypatch.setattr(torch_devices, "multiplies_bf16", lambda device: True)
    assert chosen(copy) == ("onnx", "int8")
    assert chosen(copy, precision="fp32") == ("onnx", "fp32")
    assert chosen(copy, precision="bf16") == ("torch", "bf16")
    assert chosen(plain, precision="fp32") == ("torch", "fp32")
    change_json(copy / "onnx/export.json", lambda export: export["files"].pop("model_int8.onnx"))
    name_in_manifest(copy, "onnx/export.json")
    assert chosen(copy)[0] == "torch"
    monkeypatch.setattr(torch_devices, "multiplies_bf16", lambda device: False)
    assert chosen(copy) == ("onnx", "fp32")
    monkeypatch.setattr(backends, "find_spec", lambda name: None)
    assert chosen(copy) == ("onnx", "fp32")
    with pytest.raises(UserError, match="expected torch, which computes with"):
        chosen(plain)


def test_an_int8_answer_is_the_same_alone_in_company_and_from_the_server(copy, tmp_path):
    with SAMPLE.open(encoding="utf-8", newline="") as stream:
        texts = [row["text"] for row in csv.DictReader(stream)][:48]
    classifier = load(copy, precision="int8")
    alone = np.concatenate([classifier.predict_proba([text]) for text in texts])
    for company in (texts, texts[::-1], [*TEXTS, *texts]):
        together = dict(zip(company, classifier.predict_proba(company), strict=True))
        assert np.array_equal(np.array([together[text] for text in texts]), alone)
    with serving(tmp_path, copy, "--precision", "int8") as server:
        answer = server.client.post("/v1/classify", json={"texts": texts}).json()
    names = classifier.labels.names
    served = [[row["scores"][name] for name in names] for row in answer["answers"]]
    assert np.array_equal(served, alone)


def test_a_message_and_a_csv_are_answered_without_anything_heavy(copy, tmp_path):
    source = write_csv(tmp_path / "in.csv", [("您好",)], ("text",))
    calls = [[str(copy), "--text", "您好"], [str(copy), str(source), str(tmp_path / "out.csv")]]
    code = f"""import sys
from smstune.commands.predict import main
print([main(call) for call in {calls}], *[name for name in {HEAVY} if name in sys.modules])"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[0, 0]"


def test_parity_gate_stops_a_wrong_graph(plain, monkeypatch, capsys):
    monkeypatch.setattr(onnx_graph, "MEAN_WEIGHT", 1.0)
    assert run("export", plain, "--format", "onnx") == 3
    assert "parity gate" in capsys.readouterr().err
    assert not (plain / "onnx").exists()


@pytest.fixture
def ruined(monkeypatch):
    """Make quantisation get the scale of the first layer's weights wrong."""
    change_of_initializer(
        monkeypatch, r"encoder\.layer\.0\..*_scale$", lambda numbers: numbers * 30
    )


def test_quality_gate_names_the_layer_to_keep(copy, ruined, capsys):
    before = read(copy)
    assert run("export", copy, "--format", "onnx", "onnx-int8") == 3
    error = capsys.readouterr().err
    assert "macro_f1 " in error
    assert "--keep-fp32 bert.encoder.layer.0. Nothing" in error
    assert read(copy) == before
    assert load(copy).precision == "int8"

    keep = ("--keep-fp32", "bert.encoder.layer.0")
    assert run("export", copy, "--format", "onnx-int8", *keep) == 0
    file = copy / "onnx/model_int8.onnx"
    assert capsys.readouterr().out.splitlines()[-1] == str(file)
    assert operators(file).count("QAttention") == 1
    files = read(copy)["files"]
    assert files["model_int8.onnx"]["keep_fp32"] == ["bert.encoder.layer.0"]
    assert files["model.onnx"] == before["files"]["model.onnx"]


def change_of_initializer(monkeypatch, name, change):
    """Let quantisation change the numbers whose names match."""
    quantize = onnxruntime.quantization.quantize_dynamic

    def quantize_and_change(source, target, **how):
        quantize(source, target, **how)
        model = onnx.load(target)
        for tensor in model.graph.initializer:
            if re.search(name, tensor.name):
                numbers = change(numpy_helper.to_array(tensor).copy())
                tensor.CopyFrom(numpy_helper.from_array(numbers, tensor.name))
        onnx.save(model, target)

    monkeypatch.setattr(onnxruntime.quantization, "quantize_dynamic", quantize_and_change)


def test_each_form_stops_within_the_budget_by_thresholds_of_its_own(
    evaluated_run, tmp_path, monkeypatch
):
    """A form whose scores for fraud are all higher: by the run's threshold it stops everything."""
    path = shutil.copytree(evaluated_run, tmp_path / "run")
    fraud = json.loads((path / "manifest.json").read_text("utf-8"))["labels"].index("bank_phishing")
    change_of_initializer(monkeypatch, r"classifier\.bias$", lambda bias: bias + 5 * one_hot(fraud))
    budgets = [f"export.max_{name}=1" for name in ("macro_f1_loss", "recall_loss", "ece_rise")]
    assert run("export", path, *budgets, "--format", "onnx", "onnx-int8") == 0
    thresholds = []
    for backend in ("torch", "onnx"):
        evaluate = ("eval", path, "--split", "validation", "evaluation.bootstrap_samples=0")
        assert run(*evaluate, "--backend", backend) == 0
        metrics = json.loads((path / "eval/validation/metrics.json").read_text("utf-8"))
        (point,) = metrics["operating_points"]
        assert point["observed"]["false_positive_bound"] <= 0.8
        assert point["observed"]["recall"] > 0
        thresholds.append(point["threshold"])
    of_run, of_form = thresholds
    assert of_form > of_run
    calibration = read(path)["files"]["model_int8.onnx"]["calibration"]
    assert calibration["operating_points"][0]["threshold"] == of_form
    fp32 = read(path)["files"]["model.onnx"]["calibration"]["operating_points"][0]["threshold"]
    # The run answers in bf16 where the processor has it.
    assert fp32 == pytest.approx(of_run, abs=5e-3)
    (point,) = load(path, backend="onnx").run.manifest.calibration.operating_points
    assert point.threshold == of_form
    assert f"{of_form:.3f}" in (path / "onnx/report.md").read_text("utf-8")


def one_hot(position):
    return np.eye(4, dtype=np.float32)[position]


def test_a_form_that_stops_nothing_within_the_budget_does_not_pass(
    evaluated_run, tmp_path, monkeypatch, capsys
):
    """Its scores tell nothing apart: no threshold would stop fraud and not the rest."""
    path = shutil.copytree(evaluated_run, tmp_path / "run")
    change_of_initializer(monkeypatch, r"classifier\.weight", lambda weight: 0 * weight)
    budgets = [f"export.max_{name}=1" for name in ("macro_f1_loss", "ece_rise")]
    assert run("export", path, *budgets, "--format", "onnx-int8") == 3
    assert "recall of stop" in capsys.readouterr().err


def test_forms_of_another_calibration_do_not_answer(evaluated_run, tmp_path, capsys):
    path = shutil.copytree(evaluated_run, tmp_path / "run")
    assert run("export", path, "--format", "onnx-int8") == 0
    assert chosen(path) == ("onnx", "int8")

    def raise_the_budget(manifest):
        (point,) = manifest["calibration"]["operating_points"]
        point["budget"] = {"max_false_positive_rate": 0.9}

    change_json(path / "manifest.json", raise_the_budget)
    capsys.readouterr()
    assert chosen(path)[0] == "torch"
    assert "onnx/model_int8.onnx were fitted under another calibration" in capsys.readouterr().err
    with pytest.raises(
        UserError, match=r"model_int8\.onnx exported under the run's current calibration"
    ):
        load(path, backend="onnx", precision="int8")
    assert run("export", path, "--format", "onnx-int8") == 0
    assert chosen(path) == ("onnx", "int8")


def test_what_an_export_writes_lies_in_the_run_and_is_on_the_disk(copy, monkeypatch):
    quantize, sync = onnxruntime.quantization.quantize_dynamic, os.fsync
    temporary, done = [], []

    def quantize_and_look(*args, **options):
        temporary.append(Path(tempfile.gettempdir()))
        quantize(*args, **options)

    def sync_and_note(descriptor):
        sync(descriptor)
        done.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")))

    monkeypatch.setattr(onnxruntime.quantization, "quantize_dynamic", quantize_and_look)
    monkeypatch.setattr(os, "fsync", sync_and_note)
    before = tempfile.gettempdir()
    keep = ("--keep-fp32", "bert.encoder.layer.0")
    assert run("export", copy, "--format", "onnx-int8", *keep) == 0
    # onnxruntime writes the weights into a temporary file: a kill may not leave it elsewhere.
    assert all(path.is_relative_to(copy) for path in temporary)
    assert tempfile.gettempdir() == before
    # The staged folder's name, and then the names of what was in it.
    assert {copy, copy / "onnx"} <= set(done[done.index(copy) :])


def contents(path):
    files = [file for file in path.rglob("*") if file.is_file() and "eval" not in file.parts]
    return {str(file.relative_to(path)) for file in files}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("number", range(1, 7))
def test_killed_at_any_renaming_an_export_leaves_the_old_form_or_the_new_one(
    copy, tmp_path, number
):
    export = ("export", copy, "--format", "onnx-int8", "--keep-fp32", "bert.encoder.layer.0")
    undisturbed = shutil.copytree(copy, tmp_path / "undisturbed")
    assert run("export", undisturbed, *export[2:]) == 0
    old, new = (load(path, precision="int8").predict(TEXTS) for path in (copy, undisturbed))
    assert old != new
    child = [sys.executable, ROOT / "tests/killed_child.py", str(number), str(copy), *export]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'train'}:{ROOT / 'tests'}"}
    done = subprocess.run([str(word) for word in child], env=environment, check=False)
    assert done.returncode == (-signal.SIGKILL if number < 6 else 0)
    assert load(copy, precision="int8").predict(TEXTS) == (old if number <= 2 else new)
    assert run(*export) == 0
    assert load(copy, precision="int8").predict(TEXTS) == new
    assert contents(copy) == contents(undisturbed)


def test_unknown_layer_is_told(plain, capsys):
    assert run("export", plain, "--format", "onnx-int8", "--keep-fp32", "bert.layer.7") == 2
    assert "bert.encoder.layer.0, bert.encoder.layer.1" in capsys.readouterr().err
    assert not (plain / "onnx").exists()


@pytest.mark.parametrize("name", ["model.onnx", "report.md"])
def test_a_file_that_no_export_wrote_is_not_replaced(plain, capsys, name):
    (plain / "onnx").mkdir()
    (plain / "onnx" / name).write_text("mine")
    assert run("export", plain, "--format", "onnx") == 2
    assert "was not written by smstune export" in capsys.readouterr().err.splitlines()[-1]
    assert [path.name for path in (plain / "onnx").iterdir()] == [name]
    assert (plain / "onnx" / name).read_text() == "mine"


def test_without_prepared_data_parity_is_on_the_sample(plain, capsys):
    change_json(plain / "manifest.json", lambda m: m["data"].update(path="/nowhere"))
    assert run("export", plain, "--format", "onnx") == 0
    assert "on the bundled sample" in capsys.readouterr().err
    assert run("export", plain, "--format", "onnx-int8") == 2


def test_evaluation_of_what_is_deployed(copy):
    metrics = copy / "eval/test/metrics.json"
    found = {}
    for backend in ("torch", "onnx"):
        assert run("eval", copy, "evaluation.bootstrap_samples=0", "--backend", backend) == 0
        found[backend] = json.loads(metrics.read_text("utf-8"))
    assert found["onnx"]["throughput"]["backend"] == "onnx"
    assert found["onnx"]["throughput"]["precision"] == "int8"
    assert found["torch"]["throughput"]["backend"] == "torch"
    assert found["onnx"]["nll"] != found["torch"]["nll"]
    assert found["onnx"]["nll"] == pytest.approx(found["torch"]["nll"], abs=0.05)
