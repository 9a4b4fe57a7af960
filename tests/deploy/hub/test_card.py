"""The clean folder and its card: complete, true to the measurements, and its code runs."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from doors import ROOT, add_exported_form, change_json, run
from huggingface_hub import ModelCard
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from smstune.deploy.hub.card import escape_markdown
from smstune.deploy.hub.card_facts import RAW_EXAMPLE, sample_example, unclear_terms
from smstune.deploy.hub.folder import write_published_folder
from smstune.deploy.hub.gates import check_masked
from smstune.errors import UserError
from smstune.inference.backends.torch_devices import machine_name
from smstune.inference.classifier import SmsClassifier
from smstune.inference.manifest import load_manifest

FILES = {
    "README.md", "README.zh-CN.md", "config.json", "labels.json", "manifest.json",
    "model.safetensors", "tokenizer.json", "tokenizer_config.json",
}  # fmt: skip
CARDS = ("README.md", "README.zh-CN.md")


@pytest.fixture(scope="module")
def published(tmp_path_factory, evaluated_run):
    return write_published_folder(evaluated_run, tmp_path_factory.mktemp("clean") / "sms")


@pytest.fixture(scope="module")
def metrics(evaluated_run):
    return json.loads((evaluated_run / "eval/test/metrics.json").read_text("utf-8"))


@pytest.fixture
def copy(evaluated_run, tmp_path):
    shutil.copytree(evaluated_run, tmp_path / "run")
    return tmp_path / "run"


def cards(folder):
    return [(folder / name).read_text("utf-8") for name in CARDS]


def code_of(card):
    return re.findall(r"^```python\n(.*?)^```", card, re.S | re.M)


def test_the_folder_holds_what_is_published_and_no_local_path(published, evaluated_run):
    assert {path.name for path in published.iterdir()} == FILES
    for name in FILES - {"model.safetensors"}:
        text = (published / name).read_text("utf-8")
        assert str(evaluated_run.parents[1]) not in text, name
    manifest = json.loads((published / "manifest.json").read_text("utf-8"))
    assert manifest["data"]["path"] == "tiny"
    assert manifest["data"]["sources"] == ["messages"]
    assert manifest["base_model"]["name_or_path"] == "tiny-bert"


def test_the_folder_loads_with_plain_transformers_and_with_smstune(published, evaluated_run):
    here = SmsClassifier.from_pretrained(evaluated_run, precision="fp32")
    there = SmsClassifier.from_pretrained(published, precision="fp32")
    assert there.predict([RAW_EXAMPLE]) == here.predict([RAW_EXAMPLE])
    model = AutoModelForSequenceClassification.from_pretrained(published).eval()
    batch = AutoTokenizer.from_pretrained(published)("你好", return_tensors="pt")
    with torch.inference_mode():
        assert model(**batch).logits.shape == (1, 4)


def test_an_exported_graph_goes_along_with_its_hash(copy, tmp_path):
    add_exported_form(copy, b"\x08 a graph")
    folder = write_published_folder(copy, tmp_path / "clean")
    assert (folder / "onnx/model.onnx").read_bytes() == b"\x08 a graph"
    (folder / "onnx/model.onnx").write_bytes(b"\x08 another")
    with pytest.raises(UserError, match=r"onnx/model\.onnx is not the file"):
        SmsClassifier.from_pretrained(folder, backend="onnx")


def test_a_folder_that_is_taken_is_left_alone(evaluated_run, published):
    with pytest.raises(UserError, match="expected a new or empty folder"):
        write_published_folder(evaluated_run, published)


@pytest.mark.parametrize("card", CARDS)
def test_code_of_the_card_runs_and_answers_as_smstune_does(published, monkeypatch, card):
    blocks = re.findall(
        r"^```python\n(.*?)^```", (published / card).read_text("utf-8"), re.S | re.M
    )
    ours, transformers = blocks
    monkeypatch.chdir(published.parent)
    smstune, plain = {}, {}
    exec(ours, smstune)
    exec(transformers, plain)
    classifier = SmsClassifier.from_pretrained(published, precision="fp32")
    expected = classifier.predict([RAW_EXAMPLE])[0]
    assert smstune["answer"].label == expected.label
    assert smstune["answer"].score == pytest.approx(expected.score, abs=0.02)
    (row,) = plain["scores"].tolist()
    assert row == pytest.approx(list(expected.scores.values()), abs=1e-5)
    assert plain["model"].config.id2label[int(plain["answers"][0])] == expected.label


def test_a_linear_model_is_published_and_the_card_s_code_joins_it(
    joined_run, tmp_path, monkeypatch, capsys
):
    run_folder = tmp_path / "run"
    shutil.copytree(joined_run, run_folder)
    assert run("export", run_folder, "--format", "onnx", "safetensors") == 0
    folder = Path(capsys.readouterr().out.splitlines()[-1])
    assert (folder / "linear.safetensors").is_file()
    expected = SmsClassifier.from_pretrained(joined_run, precision="fp32", backend="torch")
    (scores,) = expected.predict_proba([RAW_EXAMPLE]).tolist()
    assert SmsClassifier.from_pretrained(folder).predict_proba([RAW_EXAMPLE])[0] == pytest.approx(
        scores, abs=1e-4
    )
    english, chinese = cards(folder)
    assert "linear.safetensors" in english
    assert "linear.safetensors" in chinese
    assert "at least 5 campaigns" in english
    assert "至少在 5 个批次" in chinese
    _, *both = code_of(english)
    assert len(both) == 2
    monkeypatch.chdir(run_folder)
    for code in both:
        exec(code, found := {})
        assert found["scores"].tolist()[0] == pytest.approx(scores, abs=1e-4)


@pytest.fixture(scope="module")
def cascaded(joined_run, tmp_path_factory):
    """Return a joined run with a cascade, evaluated with it."""
    path = shutil.copytree(joined_run, tmp_path_factory.mktemp("cascaded") / "run")
    cascade = "evaluation.cascade={max_changed: 0.3, confidence: 0.5}"
    assert run("eval", path, "--calibrate", cascade, "evaluation.bootstrap_samples=50") == 0
    return path


def test_both_cards_say_what_the_cascade_does(cascaded, tmp_path):
    path = shutil.copytree(cascaded, tmp_path / "run")
    calibration = json.loads((path / "eval/test/metrics.json").read_text("utf-8"))["calibration"]
    scores = {"macro_f1": 0.5, "recall": 0.7, "false_positive_rate": 0.0}
    clean = {**scores, "recall_without_cascade": 0.7}
    row = {"transform": "pinyin", "strength": 1.0, "trained_on": False, "changed": 1.0}
    lossy = {**row, "on": {**scores, "recall_without_cascade": 0.8}, "off": clean}
    suite = {"n": 9, "seed": 0, "harmful": ["gambling"], "clean": clean, "rows": [lossy]}
    change_json(path / "eval/test/metrics.json", lambda metrics: metrics.update(robustness=suite))
    for card in cards(write_published_folder(path, tmp_path / "clean")):
        assert f"{calibration['cascade']['threshold']:g}" in card
        assert f"{100 * calibration['cascade']['validation']['bound']:.2f} %" in card
        assert f"{100 * calibration['early_share']:.2f} %" in card
    english, chinese = cards(tmp_path / "clean")
    assert "recall of harmful messages is more than 1 point smaller under: pinyin" in english
    assert "召回率下降超过 1 个百分点：拼音（pinyin）" in chinese


def test_the_card_says_why_there_is_no_cascade(cascaded, tmp_path):
    path = shutil.copytree(cascaded, tmp_path / "run")
    none = {"max_changed": 0.01, "confidence": 0.95, "threshold": None, "reason": "too small"}
    change_json(path / "manifest.json", lambda m: m["calibration"].update(cascade=none))
    with pytest.raises(UserError, match="an evaluation of this calibration"):
        write_published_folder(path, tmp_path / "clean")
    change_json(path / "eval/test/metrics.json", lambda m: m["calibration"].update(cascade=none))
    assert "too small" in cards(write_published_folder(path, tmp_path / "clean"))[0]


def test_the_chinese_card_says_in_chinese_why_there_is_no_threshold(joined_run, tmp_path):
    path = shutil.copytree(joined_run, tmp_path / "run")
    point = "{stop: {labels: [fraud], max_false_positive_rate: 0.001}}"
    settings = [f"evaluation.operating_points={point}", "evaluation.cascade={max_changed: 0.001}"]
    assert run("eval", path, "--calibrate", *settings, "evaluation.bootstrap_samples=50") == 0
    english, chinese = cards(write_published_folder(path, tmp_path / "clean"))
    assert english.count("the validation split is too small") == 2
    assert chinese.count("验证集太小") == 2
    for section in ("拦截阈值", "级联"):
        text = re.search(rf"^## {section}\n(.*?)^## ", chinese, re.S | re.M)[1]
        assert not re.search(r"[A-Za-z]+ [A-Za-z]+ [A-Za-z]+", text), text


def test_the_card_says_that_torch_is_needed_where_no_form_was_exported(published):
    for card in cards(published):
        assert "-py3-none-any.whl[train]" in card


def test_label_biases_are_in_the_card_s_code(copy, tmp_path, monkeypatch):
    biased = [0.0, 0.0, 50.0, 0.0]
    change_json(copy / "manifest.json", lambda m: m["calibration"].update(label_bias=biased))
    change_json(
        copy / "eval/test/metrics.json", lambda m: m["calibration"].update(label_bias=biased)
    )
    folder = write_published_folder(copy, tmp_path / "clean")
    *_, code = code_of(cards(folder)[0])
    monkeypatch.chdir(tmp_path)
    exec(code, found := {})
    assert found["answers"].tolist() == [2]
    assert SmsClassifier.from_pretrained(folder).predict([RAW_EXAMPLE])[0].label == "retail"


def test_the_metadata_is_what_a_hub_reads(published, metrics):
    data = ModelCard.load(published / "README.md").data
    assert data.language == ["zh"]
    assert data.license == "other"
    assert "base_model" not in data.to_dict()
    assert data.pipeline_tag == "text-classification"
    values = {one.metric_name: one.metric_value for one in data.eval_results}
    assert values["macro-F1"] == round(metrics["macro_f1"], 4)
    assert values["accuracy"] == round(metrics["accuracy"], 4)
    assert {one.dataset_config for one in data.eval_results} == {"split by group"}


def test_both_cards_say_what_was_measured(published, metrics, evaluated_run):
    manifest = json.loads((evaluated_run / "manifest.json").read_text("utf-8"))
    low, high = metrics["ci"]["macro_f1"]
    (point,) = metrics["operating_points"]
    for card in cards(published):
        assert f"**{metrics['macro_f1']:.3f}**" in card
        assert f"{low:.3f}–{high:.3f}" in card
        assert f"| macro-F1 | {metrics['macro_f1']:.3f} |" in card
        assert f"{metrics['baseline']['macro_f1']:.3f}" in card
        assert f"{100 * metrics['contamination']['near']:.2f} %" in card
        assert f"{100 * point['observed']['recall']:.2f} %" in card
        assert f"{point['threshold']:.4g}" in card
        for name, row in metrics["per_label"].items():
            assert f"| {escape_markdown(name)} | {row['support']} | " in card
        worst = next(row for row in metrics["slices"] if row["n"] >= 10)
        assert f"| {escape_markdown(worst['slice'])} | {worst['n']} |" in card
        assert metrics["throughput"]["machine"] in card.replace("\\", "")
        assert f"{manifest['calibration']['temperature']}" in card
        assert f"{sum(manifest['data']['counts']['splits']['train'].values())}" in card


def test_the_chinese_card_has_the_sections_and_tables_of_the_english_one(published):
    english, chinese = cards(published)
    english = ModelCard(english).text
    for pattern in (r"^## ", r"^\|", r"^```python", r"^```bash", r"^- "):
        found = [len(re.findall(pattern, card, re.M)) for card in (english, chinese)]
        assert found[0] == found[1] > 0, pattern
    assert "[中文](README.zh-CN.md)" in english
    assert "[English](README.md)" in chinese
    assert code_of(english) == code_of(chinese)


def test_the_verdict_beside_the_baseline_follows_the_interval(copy, tmp_path):
    for name, macro_f1, said in (
        ("above", 0.0, "Its interval lies above the baseline."),
        ("below", 1.1, "**It is worse than the linear baseline**"),
    ):
        change_json(
            copy / "eval/test/metrics.json",
            lambda m, value=macro_f1: m["baseline"].update(macro_f1=value),
        )
        assert said in cards(write_published_folder(copy, tmp_path / name))[0]


def test_a_score_that_all_draws_agree_on_has_no_interval_and_is_published(copy, tmp_path):
    change_json(copy / "eval/test/metrics.json", lambda m: m["ci"].update(macro_f1=None))
    english, chinese = cards(write_published_folder(copy, tmp_path / "whole"))
    assert re.search(r"95 % interval\s–\)", english)
    assert "–" in chinese
    change_json(copy / "eval/test/metrics.json", lambda m: m["ci"].clear())
    with pytest.raises(UserError, match="bootstrap_samples=1000"):
        write_published_folder(copy, tmp_path / "without")


def test_terms_and_citations_of_the_data_are_in_the_card(copy, tmp_path):
    terms = {
        "name": "set", "title": "A | set", "home": "https://sets.example/a_b",
        "licence": "CC BY-NC", "commercial_use": "no", "citation": "A. 2020. https://doi.example/a_b",
    }  # fmt: skip
    change_json(copy / "manifest.json", lambda m: m["data"].update(terms=[terms]))
    english, chinese = cards(write_published_folder(copy, tmp_path / "clean"))
    assert "**A \\| set** (https://sets.example/a_b). Licence: CC BY-NC" in english
    assert "**not allowed**" in english
    assert "**不允许**" in chinese
    for card in (english, chinese):
        assert "- A. 2020. https://doi.example/a_b\n" in card


def test_what_the_encoder_read_without_labels_is_in_the_card_with_its_terms(copy, tmp_path):
    terms = {
        "name": "raw", "title": "Raw set", "home": None, "licence": "None stated",
        "commercial_use": "unclear", "citation": "B. 2021.",
    }  # fmt: skip
    scores = {"all": {"loss": 2.0, "accuracy": 0.25}}
    facts = {
        "base_model": {"name_or_path": str(tmp_path / "first"), "revision": None},
        "sources": ["raw", "inbox"], "terms": [terms], "messages": 1234, "held_out": 20,
        "set_aside": 56, "mask_pii": False, "mlm_probability": 0.15, "seed": 1, "steps": 789,
        "before": scores, "after": {"all": {"loss": 1.0, "accuracy": 0.5}},
    }  # fmt: skip
    change_json(copy / "manifest.json", lambda m: m.update(pretraining=facts))
    folder = write_published_folder(copy, tmp_path / "clean")
    english, chinese = cards(folder)
    for card in (english, chinese):
        details = ("1,234", "789", "56", "Raw set", "inbox", "- B. 2021.\n", "50.00 %", "first")
        assert [detail for detail in details if detail not in card] == []
        assert str(tmp_path) not in card
    assert "whose terms only the publisher knows" in english
    published = json.loads((folder / "manifest.json").read_text("utf-8"))["pretraining"]
    assert published["base_model"]["name_or_path"] == "first"
    doubts = unclear_terms(load_manifest(copy))
    assert any(doubt.startswith("raw: whether it may be used is unclear") for doubt in doubts)
    assert any(doubt.startswith("inbox: a file of your own") for doubt in doubts)
    with pytest.raises(UserError, match=r"pretrained with prepare\.mask_pii=false"):
        check_masked(load_manifest(copy), allowed=False)
    check_masked(load_manifest(copy), allowed=True)


def test_terms_of_an_older_run_are_those_of_its_prepared_data(copy, tmp_path):
    def forget(manifest):
        for key in ("sources", "terms", "counts"):
            del manifest["data"][key]

    change_json(copy / "manifest.json", forget)
    folder = write_published_folder(copy, tmp_path / "known")
    assert json.loads((folder / "manifest.json").read_text())["data"]["sources"] == ["messages"]
    change_json(copy / "manifest.json", lambda m: m["data"].update(path="gone"))
    folder = write_published_folder(copy, tmp_path / "unknown")
    assert "Where the data come from is not known" in cards(folder)[0]


@pytest.mark.slow
def test_the_evasion_suite_is_in_the_card(copy, tmp_path):
    assert run("eval", copy, "--robustness", "evaluation.bootstrap_samples=20") == 0
    suite = json.loads((copy / "eval/test/metrics.json").read_text("utf-8"))["robustness"]
    row = next(row for row in suite["rows"] if row["strength"] == 1.0)
    for card in cards(write_published_folder(copy, tmp_path / "clean")):
        name = escape_markdown(row["transform"])
        (line,) = [
            one for one in card.splitlines() if re.match(rf"\| (.*（)?{re.escape(name)}）? \|", one)
        ]
        assert f"{row['on']['macro_f1']:.3f} / {row['on']['recall']:.3f} |" in line
        assert line.endswith(f" {row['off']['macro_f1']:.3f} |")


def test_examples_are_the_sample_s_by_name_alone():
    labels = yaml.safe_load((ROOT / "configs/labels/sample.yaml").read_text("utf-8"))["labels"]
    for row in labels:
        assert sample_example(row["name"]), row
    assert sample_example("AD:Retail") == sample_example("retail")
    for parent, label in (("marketing", "retail"), ("fraud", "bank_phishing")):
        assert {"name": label, "parent": parent} in labels
        assert sample_example(parent) == sample_example(label)
    assert {"name": "bank_alert", "parent": "normal"} in labels
    assert {"name": "gambling", "parent": "illegal"} in labels
    assert sample_example("FR:Phishing(Bank)") is None
    assert sample_example("Other") is None


def test_markdown_of_labels_is_shown_as_it_is():
    assert escape_markdown("AD:Network_service | <b>\n*x*") == r"AD:Network\_service \| \<b\> \*x\*"
    assert escape_markdown("at https://a.example/b_c, x_y") == r"at https://a.example/b_c, x\_y"


def test_the_machine_has_a_name():
    assert re.search(r"\w.*, \d+ cores", machine_name(torch.device("cpu")))


def test_exported_run_is_published_with_its_speed_and_code(copy, monkeypatch, capsys):
    assert run("export", copy, "--format", "onnx", "safetensors") == 0
    folder = Path(capsys.readouterr().out.splitlines()[-1])
    assert folder == copy / "published"
    monkeypatch.chdir(copy)
    Path("in.csv").write_text(f"text\n{RAW_EXAMPLE}\n", "utf-8")
    for card in cards(folder):
        assert "[train]" not in card
        (command,) = re.findall(r"^```bash\nsmstune (.*)\n```", card, re.M)
        assert run(*command.split(), "--backend", "onnx") == 0
        assert Path("out.csv").read_text("utf-8-sig").startswith("text,label,")
        Path("out.csv").unlink()
        assert len(re.findall(r"^\| onnx fp32 \| .+ \| [\d.]+ \|", card, re.M)) == 1
    # Its name is taken; what is there is not overwritten.
    assert run("export", copy, "--format", "safetensors") == 2
    *_, code = code_of(cards(folder)[0])
    exec(code, found := {})
    expected = SmsClassifier.from_pretrained(copy, precision="fp32").predict_proba([RAW_EXAMPLE])
    assert found["scores"].tolist()[0] == pytest.approx(expected[0].tolist(), abs=1e-4)
