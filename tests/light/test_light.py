"""The light install: no torch, no transformers, and what still works; run by `make test-light`.

``SMSTUNE_LIGHT`` is the folder that tests/try_light.sh prepares: ``run``, its published form, and
the answers of the installation that trained it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from hub_server import TOKEN, Hub, Repository

from smstune.commands.__main__ import COMMANDS
from smstune.text.probes import probe_digest

FOLDER = Path(os.environ.get("SMSTUNE_LIGHT", "/nowhere"))
ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "train/smstune/data/sample/examples.txt"
GOLDEN = ROOT / "tests/golden/normalizer.json"
NOT_INSTALLED = ("torch", "transformers", "datasets", "sklearn", "scipy", "captum", "pyarrow")
NOT_IMPORTED = ("huggingface_hub", "jinja2", "python_calamine", "xlsxwriter")

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="run by make test-light")


def smstune(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a user does."""
    call = [sys.executable, "-m", "smstune.commands", *map(str, words)]
    variables = {**os.environ, **environment}
    return subprocess.run(call, capture_output=True, text=True, check=False, env=variables)


def test_nothing_heavy_is_installed():
    assert [name for name in NOT_INSTALLED if find_spec(name)] == []


def test_answers_are_those_of_the_training_installation(tmp_path):
    output = tmp_path / "answers.csv"
    done = smstune("predict", FOLDER / "run", EXAMPLES, output)
    assert done.returncode == 0, done.stderr
    assert output.read_bytes() == (FOLDER / "expected.csv").read_bytes()


def test_a_csv_is_scored_without_what_it_does_not_need(tmp_path):
    source = tmp_path / "in.csv"
    source.write_text("text\n恭喜中奖，点击领取\n", "utf-8")
    words = [str(path) for path in (FOLDER / "run", source, tmp_path / "out.csv")]
    code = (
        f"import sys\nfrom smstune.commands.predict import main\nstatus = main({words})\n"
        f"print(status, [name for name in {NOT_IMPORTED} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"


def test_one_message():
    done = smstune("predict", FOLDER / "run", "--text", "恭喜中奖，点击领取", "--json")
    answer = json.loads(done.stdout)
    assert answer["scores"][answer["label"]] == max(answer["scores"].values())


def test_a_published_run_is_scored_by_its_name(tmp_path):
    hub = Hub()
    published = FOLDER / "run/published"
    paths = [path for path in published.rglob("*") if path.is_file()]
    repository = hub.repositories["my-team/sms"] = Repository(private=False)
    repository.commit({path.relative_to(published).as_posix(): path.read_bytes() for path in paths})
    output = tmp_path / "answers.csv"
    environment = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path), "HF_TOKEN": TOKEN}
    done = smstune("predict", "my-team/sms", EXAMPLES, output, **environment)
    assert done.returncode == 0, done.stderr
    assert output.read_bytes() == (FOLDER / "expected.csv").read_bytes()
    asked = [request for request in hub.requests if request.startswith("GET")]
    assert any("onnx/model_int8.onnx" in request for request in asked)
    assert not any("model.safetensors" in request for request in asked)
    hub.close()


def test_outgoing_messages_are_audited(tmp_path):
    source = tmp_path / "in.csv"
    source.write_text("text\n全场五折，回T退订\n您的验证码是123456\n", "utf-8")
    done = smstune("audit", FOLDER / "run", source, "--output", tmp_path / "audit")
    assert done.returncode == 0, done.stderr
    assert "<table>" in (tmp_path / "audit/audit.html").read_text("utf-8")


def test_a_report_is_learned_and_recognised(tmp_path):
    run = shutil.copytree(FOLDER / "run", tmp_path / "run")
    label = json.loads((run / "manifest.json").read_text("utf-8"))["labels"][0]
    reports, others = tmp_path / "reports.csv", tmp_path / "others.csv"
    text = "尊敬的客户，您的包裹因地址不详被退回，请点击链接补充信息"
    reports.write_text(f"text,label,action\n{text},{label},block\n", "utf-8")
    rows = [f"第{number}条别的短信{chr(0x4E00 + number)},{label}" for number in range(3)]
    others.write_text("\n".join(["text,label", *rows]) + "\n", "utf-8")
    # Nothing of another label: the bound is 1.
    assert smstune("learn", run, reports, "--validation", others).returncode == 3
    done = smstune("learn", run, reports, "--validation", others, "--force")
    assert done.returncode == 0, done.stderr
    answer = json.loads(smstune("predict", run, "--text", text, "--json").stdout)
    assert (answer["decision"], answer["campaign"]["id"]) == ("block", 1)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name):
    done = smstune(name, "--help")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (["prepare", "in.csv"], "train"),
        (["finetune", "quickstart"], "train"),
        (["eval", "run"], "train"),
        (["export", "run", "--format", "onnx"], "train"),
        (["publish", "run", "my-team/sms"], "train"),
        (["compare", "a", "b"], "train"),
        (["sweep", "quickstart"], "train"),
        (["benchmark", "inference", "run"], "train"),
        (["serve", str(FOLDER / "run")], "serve"),
        (["predict", str(FOLDER / "run"), str(EXAMPLES), "out.parquet"], "parquet"),
        (["predict", str(FOLDER / "run"), "in.parquet", "out.csv"], "parquet"),
    ],
)
def test_what_needs_an_extra_names_it_in_one_line(tmp_path, monkeypatch, words, extra):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.parquet").write_bytes(b"")
    done = smstune(*words)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert f"[{extra}]" in line


def test_a_run_without_an_export_names_the_command(tmp_path):
    run = shutil.copytree(FOLDER / "run", tmp_path / "run")
    shutil.rmtree(run / "onnx")
    manifest = json.loads((run / "manifest.json").read_text("utf-8"))
    hashes = manifest["sha256"]
    manifest["sha256"] = {name: hashes[name] for name in hashes if not name.startswith("onnx/")}
    del manifest["checksum"]
    (run / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    done = smstune("predict", run, "--text", "您好")
    assert done.returncode == 2
    assert "--format onnx-int8" in done.stderr.splitlines()[-1]


def test_text_is_normalised_as_where_runs_are_trained():
    assert probe_digest() == json.loads(GOLDEN.read_text("utf-8"))["probe_digest"]
