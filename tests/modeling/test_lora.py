"""LoRA through the door of finetune: what is trained, what is saved, what a stranger loads."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest
import torch
from doors import TINY_OVERRIDES, run
from safetensors.torch import load_file
from transformers import AutoTokenizer

from smstune.modeling.dropout import ByteDropout
from smstune.modeling.lora import merge_lora
from smstune.modeling.tokenization import load_tokenizer
from smstune.text.pii.placeholders import PLACEHOLDERS
from smstune.training import finetune as stage

pytest.importorskip("peft")

# Above 0.1, so that the adapters' dropout is known from the encoder's.
LORA = (*TINY_OVERRIDES, "model.lora={dropout: 0.25}", "training.learning_rate=1e-2")
TEXTS = ["您的账户已冻结，请点[URL]", "彩票中奖率百分百[PHONE]", "[PLACE]新店开业[PHONE]"]
# Loads the folder as one who has no peft does and prints the logits.
STRANGER = """
import json, sys
sys.modules["peft"] = None
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
model = AutoModelForSequenceClassification.from_pretrained(sys.argv[1]).eval()
batch = tokenizer(json.loads(sys.argv[2]), padding=True, return_tensors="pt")
with torch.inference_mode():
    print(json.dumps(model(**batch).logits.tolist()))
"""


def weights(folder):
    return load_file(folder / "model.safetensors")


@pytest.fixture(scope="module")
def lora_run(config_file, checkpoint, tmp_path_factory):
    """Return a LoRA run, and what its model was and said before the adapters were merged."""
    output = tmp_path_factory.mktemp("lora") / "run"
    seen = {}

    def look_and_merge(model):
        batch = load_tokenizer(str(checkpoint))(TEXTS, padding=True, return_tensors="pt")
        with torch.inference_mode():
            seen["logits"] = model.eval()(**batch).logits
            with model.disable_adapter():
                seen["untrained"] = model(**batch).logits
        seen["rates"] = {one.p for one in model.modules() if isinstance(one, ByteDropout)}
        seen["stock dropouts"] = sum(type(one) is torch.nn.Dropout for one in model.modules())
        return merge_lora(model)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "merge_lora", look_and_merge)
        assert run("finetune", config_file, *LORA, f"training.output_dir={output}") == 0
    return output, seen


def test_fresh_process_without_peft_gives_the_same_logits(lora_run):
    output, seen = lora_run
    call = [sys.executable, "-c", STRANGER, str(output), json.dumps(TEXTS)]
    done = subprocess.run(call, check=True, capture_output=True, text=True)
    logits = torch.tensor(json.loads(done.stdout))
    assert (logits - seen["untrained"]).abs().max() > 0.01
    torch.testing.assert_close(logits, seen["logits"], atol=1e-5, rtol=0)


def test_run_folder_is_that_of_a_stock_model(lora_run, finished_run, tmp_path):
    output, _ = lora_run
    names = {path.name for path in finished_run.iterdir()}
    assert {path.name for path in output.iterdir()} == names
    assert weights(output).keys() == weights(finished_run).keys()
    (tmp_path / "in.txt").write_text("\n".join(TEXTS), "utf-8")
    assert run("predict", output, tmp_path / "in.txt", tmp_path / "out.csv") == 0


def test_what_is_trained_and_what_is_not(lora_run, checkpoint):
    after = weights(lora_run[0])
    before = {f"bert.{name}": weight.float() for name, weight in weights(checkpoint).items()}
    changed = {
        name
        for name, weight in before.items()
        if not torch.equal(after[name][: len(weight)], weight)
    }
    assert changed == {
        *(
            f"bert.encoder.layer.{layer}.attention.self.{name}.weight"
            for layer in (0, 1)
            for name in ("query", "value")
        ),
        "bert.pooler.dense.weight",
        "bert.pooler.dense.bias",
    }
    # The update has the rank of its two factors.
    name = "bert.encoder.layer.0.attention.self.query.weight"
    assert torch.linalg.matrix_rank(after[name] - before[name], rtol=1e-3) == 8


def test_placeholders_come_to_differ(lora_run, checkpoint):
    ids = load_tokenizer(str(checkpoint)).convert_tokens_to_ids(list(PLACEHOLDERS))
    rows = weights(lora_run[0])["bert.embeddings.word_embeddings.weight"][ids]
    url, phone = (rows[PLACEHOLDERS.index(name)] for name in ("[URL]", "[PHONE]"))
    assert (url - phone).norm() > 0.05


def test_adapters_drop_by_cheap_masks_too(lora_run):
    _, seen = lora_run
    assert seen["rates"] == {0, 0.1, 0.25}
    assert seen["stock dropouts"] == 0


def test_checkpoints_are_small_and_resume_exactly(lora_run, config_file, tmp_path):
    output, _ = lora_run
    first, last = sorted(output.glob("checkpoints/*"), key=lambda path: int(path.name[11:]))
    assert not (first / "model.safetensors").exists()
    adapters = load_file(first / "adapter_model.safetensors")
    rows = [weight for name, weight in adapters.items() if "word_embeddings" in name]
    added = AutoTokenizer.from_pretrained(output).added_tokens_decoder.values()
    ours = [token.content for token in added if not token.special]
    assert set(ours) > set(PLACEHOLDERS)
    assert [len(weight) for weight in rows] == [len(ours)]
    shutil.copytree(first, tmp_path / "run/checkpoints" / first.name)
    overrides = (f"training.output_dir={tmp_path / 'run'}", "training.resume_from_checkpoint=true")
    assert run("finetune", config_file, *LORA, *overrides) == 0
    resumed, whole = (
        load_file(path / "adapter_model.safetensors")
        for path in (tmp_path / "run/checkpoints" / last.name, last)
    )
    assert resumed.keys() == whole.keys()
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)
    merged = weights(tmp_path / "run")
    assert all(torch.equal(merged[name], weight) for name, weight in weights(output).items())


def test_the_best_checkpoint_is_merged_and_not_the_last(lora_run):
    output, _ = lora_run
    state = json.loads((output / "trainer_state.json").read_text("utf-8"))
    assert state["best_global_step"] < state["global_step"]
    merged = weights(output)["bert.pooler.dense.weight"]
    for step, same in ((state["best_global_step"], True), (state["global_step"], False)):
        path = output / f"checkpoints/checkpoint-{step}/adapter_model.safetensors"
        kept = load_file(path)["base_model.model.bert.pooler.dense.weight"]
        assert torch.equal(merged, kept) is same


def test_gradient_checkpointing_reaches_the_lowest_layer(config_file, checkpoint, tmp_path):
    overrides = ("training.gradient_checkpointing=true", "training.max_steps=3")
    output = f"training.output_dir={tmp_path / 'run'}"
    targets = "model.lora.target_modules=[attention.self.query, dense]"
    assert run("finetune", config_file, *LORA, *overrides, targets, output) == 0
    name = "encoder.layer.0.attention.self.query.weight"
    assert not torch.equal(weights(tmp_path / "run")[f"bert.{name}"], weights(checkpoint)[name])


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (
            "model.lora.target_modules=[query, vaule]",
            "found vaule: this encoder has dense, key, query, value",
        ),
        ("model.from_scratch={}", "found model.from_scratch: remove one"),
        ("model.lora.rank=0", "model.lora.rank"),
        ("model.lora.rnk=4", "did you mean model.lora.rank?"),
    ],
)
def test_useless_adapters_end_with_status_2(config_file, tmp_path, capsys, override, expected):
    output = f"training.output_dir={tmp_path / 'run'}"
    assert run("finetune", config_file, *LORA, output, override) == 2
    assert expected in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "run").exists()


def test_peft_that_is_not_installed_is_told(config_file, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    output = f"training.output_dir={tmp_path / 'run'}"
    assert run("finetune", config_file, *LORA, output) == 2
    assert "-e '.[lora]'" in capsys.readouterr().err.splitlines()[-1]
