"""A student by the door: what it learns, what it keeps, what it says of its teacher."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from child import SendSignal, add_to_trainer
from doors import TINY_OVERRIDES, change_json, name_in_manifest, run, write_csv
from safetensors.torch import load_file, save_file
from torch.nn import functional

from smstune import SmsClassifier
from smstune.config.loading import load_config
from smstune.data.prepared import load_split
from smstune.modeling.losses import teacher_divergence
from smstune.training.assemble import assemble
from smstune.training.distillation import distill as stage

NO_DROPOUT = ("model.hidden_dropout=0", "model.attention_dropout=0", "model.classifier_dropout=0")
RESUME = "training.resume_from_checkpoint=true"
#: Messages of no label that resemble none of the prepared ones, the first with a rare character.
OTHERS = (
    "明天下午三点在老地方见面，记得带上那本书。龘",
    "妈妈做了红烧肉，周末早点回家吃饭吧。",
    "航班因天气原因延误，请耐心等待登机通知。",
    "图书馆的自习室已满，下次请提前预约座位。",
    "快递放在门口的柜子里了，密码发到微信上。",
    "孩子今天的作业是背诵课文第三段和抄写生词。",
)


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory, messages):
    """Return a file of OTHERS, one of them twice, and of all prepared messages."""
    with messages.open(encoding="utf-8") as stream:
        texts = [row["text"] for row in csv.DictReader(stream)]
    path = tmp_path_factory.mktemp("unlabelled") / "unlabelled.csv"
    return write_csv(path, [(text,) for text in (*OTHERS, OTHERS[0], *texts)], ("text",))


@pytest.fixture(scope="module")
def student_of(config_file):
    """Return a function that fine-tunes a student and returns the exit status."""

    def train(teacher, output, *overrides):
        keys = (f"distillation.teacher={teacher}", f"training.output_dir={output}")
        return run("finetune", config_file, *TINY_OVERRIDES, *keys, *overrides)

    return train


@pytest.fixture
def assembled(config_file, joined_run, unlabelled, tmp_path):
    """Return a function that assembles a student of the joined run, ready for a step."""

    def build(*overrides):
        keys = (
            f"distillation.teacher={joined_run}",
            f"distillation.unlabelled=[{unlabelled}]",
            f"training.output_dir={tmp_path / 'run'}",
        )
        arguments = [*TINY_OVERRIDES, *NO_DROPOUT, *keys, *overrides]
        ready = assemble(load_config(config_file, arguments))
        ready.trainer.state.max_steps = 10
        ready.trainer.create_optimizer()
        ready.trainer.current_gradient_accumulation_steps = 1
        return ready

    return build


def teacher_logits(folder, texts):
    """Return what encoder and linear model give together, nothing of it calibrated."""
    classifier = SmsClassifier.from_pretrained(folder, device="cpu", precision="fp32")
    weight = classifier.run.manifest.calibration.linear_weight
    assert weight > 0
    return classifier.encoder_logits(texts) + weight * classifier.linear_scores(texts)


def test_rows_are_the_labelled_and_then_the_unlabelled_with_the_teacher_s_logits(
    assembled, joined_run, prepared
):
    ready = assembled("distillation.temperature=3")
    rows, train = ready.trainer.train_dataset, ready.data.splits["train"]
    # Copies of training messages are merged, those of validation and test are set aside.
    assert len(ready.distilled.unlabelled) == len(OTHERS)
    assert len(rows) == len(train) + len(OTHERS)
    labels = [ready.data.labels.label2id[name] for name in train["label"]]
    assert rows["labels"] == [*labels, *[-1] * len(OTHERS)]
    clean = ready.data.preparation.text.preprocess
    texts = [*train["text"], *map(clean, OTHERS)]
    assert rows["input_ids"] == ready.encoder.encode(texts)
    expected = teacher_logits(joined_run, texts)
    assert np.abs(np.array(rows["teacher_logits"]) - expected).max() < 1e-4
    # The priors and weights of rare labels are those of the labelled messages alone.
    assert sum(label >= 0 for label in rows["labels"]) == len(train)


def mixed_batch(ready, size=8):
    """Return labelled and unlabelled rows in turn."""
    rows = ready.trainer.train_dataset
    mixed = [row for pair in zip(range(size), range(-1, -size, -1), strict=False) for row in pair]
    return [rows[row] for row in mixed[:size]]


@pytest.mark.parametrize("name", ["cross_entropy", "focal", "ldam", "logit_adjusted"])
def test_the_loss_is_hinton_s_and_without_a_label_the_teacher_s_term_alone(assembled, name):
    share, temperature = 0.3, 2.5
    ready = assembled(
        f"distillation.weight={share}",
        f"distillation.temperature={temperature}",
        f"loss.name={name}",
        "loss.class_weights=inverse",
    )
    trainer = ready.trainer
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0])
    trainer.objective = dataclasses.replace(trainer.objective, class_weights=weights)
    batch = trainer.data_collator(mixed_batch(ready))
    labels, teacher = batch["labels"], batch["teacher_logits"]
    loss = trainer.compute_loss(trainer.model, dict(batch)).item()
    inputs = {key: batch[key] for key in ("input_ids", "attention_mask")}
    logits = trainer.model(**inputs).logits.detach()
    total = 0.0
    for row, label in enumerate(labels.tolist()):
        p = torch.softmax(teacher[row] / temperature, dim=0)
        q = torch.softmax(logits[row] / temperature, dim=0)
        total += share * temperature**2 * (p * (p / q).log()).sum().item()
        if label >= 0:
            own = trainer.objective.loss(logits[row : row + 1], labels[row : row + 1])
            total += (1 - share) * weights[label].item() * own.item()
    assert {-1} < set(labels.tolist())
    assert loss == pytest.approx(total / len(labels), rel=1e-5)


@pytest.mark.parametrize("options", [(), ("loss.r_drop=1", "loss.fgm=0.5")], ids=["plain", "both"])
def test_accumulated_steps_have_the_gradient_of_one(assembled, options):
    ready = assembled(*options)
    trainer, rows = ready.trainer, mixed_batch(ready)
    gradients = []
    # The last of the small batches has no label at all.
    rows = sorted(rows, key=lambda row: -row["labels"])
    for size in (8, 2):
        trainer.model.zero_grad()
        batches = [trainer.data_collator(rows[at : at + size]) for at in range(0, 8, size)]
        count = trainer._get_num_items_in_batch(batches, trainer.args.device)
        assert int(count) == 8
        for batch in batches:
            trainer.training_step(trainer.model, dict(batch), count)
        named = trainer.model.named_parameters()
        gradients.append({key: weight.grad.clone() for key, weight in named})
    whole, parts = gradients
    assert max(gradient.abs().max() for gradient in whole.values()) > 1e-3
    for key, gradient in whole.items():
        assert torch.allclose(gradient, parts[key], atol=1e-6), key


def test_the_vocabulary_has_the_characters_of_unlabelled_messages(assembled):
    rare = OTHERS[0][-1]
    student = assembled("model.from_scratch={num_hidden_layers: 1, hidden_size: 8}")
    assert rare in student.tokenizer.get_vocab()


def of_rotated_labels(learned_run, folder):
    """Return a copy of a run that answers each label's successor."""
    shutil.copytree(learned_run, folder, ignore=shutil.ignore_patterns("checkpoints", "logs"))
    weights = load_file(folder / "model.safetensors")
    for name in ("classifier.weight", "classifier.bias"):
        weights[name] = weights[name].roll(1, dims=0)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    name_in_manifest(folder, "model.safetensors")
    return folder


def test_a_student_answers_as_its_teacher_and_not_as_the_labels_say(
    student_of, learned_run, prepared, tmp_path
):
    teacher = of_rotated_labels(learned_run, tmp_path / "teacher")
    output = tmp_path / "student"
    overrides = (
        f"model.name_or_path={learned_run}",
        "model.pooling=mean",
        "distillation={weight: 1, temperature: 2}",
        f"distillation.teacher={teacher}",
        # One checkpoint: the true labels of validation would choose the one that learned least.
        "training.num_train_epochs=1",
        "training.per_device_train_batch_size=1",
    )
    assert student_of(teacher, output, *overrides) == 0
    texts = list(load_split(prepared, "train")["text"])
    answers = SmsClassifier.from_pretrained(output).predict_proba(texts).argmax(axis=1)
    expected = SmsClassifier.from_pretrained(teacher).predict_proba(texts).argmax(axis=1)
    # The student started from a run that answers none of the messages so.
    assert (answers == expected).mean() > 0.7


def weights_of(folder):
    return load_file(folder / "model.safetensors")


def test_a_student_stopped_and_resumed_has_the_same_weights_without_asking_again(
    student_of, joined_run, unlabelled, tmp_path, monkeypatch, capsys
):
    overrides = (f"distillation.unlabelled=[{unlabelled}]", "training.save_steps=3")
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert student_of(joined_run, whole, *overrides) == 0
    with monkeypatch.context() as patch:
        add_to_trainer(SendSignal(5, "SIGTERM"), patch.setattr)
        assert student_of(joined_run, stopped, *overrides) == 143

    def asked(*_arguments):
        pytest.fail("the teacher was asked again")

    monkeypatch.setattr(stage, "compute_answers", asked)
    answers = stopped / "teacher_answers.safetensors"
    content = answers.read_bytes()
    other = of_other_weights(joined_run, tmp_path / "other")
    for teacher, keys, reason in (
        (joined_run, ["distillation.unlabelled=[]"], "has answers to other messages"),
        (other, overrides, "of another teacher"),
    ):
        capsys.readouterr()
        assert student_of(teacher, stopped, *keys, RESUME) == 2
        assert reason in one_line(capsys)
    answers.write_bytes(content[:50])
    assert student_of(joined_run, stopped, *overrides, RESUME) == 2
    assert "is damaged" in one_line(capsys)
    answers.write_bytes(content)
    assert student_of(joined_run, stopped, *overrides, RESUME) == 0
    left, right = weights_of(whole), weights_of(stopped)
    assert all(torch.equal(left[name], right[name]) for name in left)
    state = json.loads((whole / "trainer_state.json").read_text("utf-8"))
    # 104 labelled and 6 unlabelled messages in batches of 8, twice.
    assert state["max_steps"] == 28


def one_line(capsys):
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    return line


def of_other_weights(folder, copy):
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("checkpoints", "logs"))
    weights = {name: weight + 1e-3 for name, weight in weights_of(copy).items()}
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    name_in_manifest(copy, "model.safetensors")
    return copy


@pytest.fixture(scope="module")
def student(student_of, joined_run, unlabelled, tmp_path_factory):
    """Return the run folder of a student with one layer of the joined run."""
    output = tmp_path_factory.mktemp("runs") / "student"
    overrides = (
        f"model.name_or_path={joined_run}",
        "model.keep_layers=[1]",
        "model.pooling=mean",
        "model.linear=true",
        f"distillation.unlabelled=[{unlabelled}]",
        "distillation.weight=0.75",
    )
    assert student_of(joined_run, output, *overrides) == 0
    return output


def test_the_manifest_names_the_teacher_and_all_that_was_learned_from(student, joined_run):
    manifest, teacher = (
        json.loads((folder / "manifest.json").read_text("utf-8"))
        for folder in (student, joined_run)
    )
    assert manifest["distillation"] == {
        "teacher": joined_run.name,
        "teacher_sha256": teacher["sha256"]["model.safetensors"],
        "temperature": 4.0,
        "weight": 0.75,
        "unlabelled": len(OTHERS),
    }
    assert manifest["data"]["sources"] == ["messages", "unlabelled"]
    assert teacher["distillation"] is None


@pytest.mark.slow
def test_a_student_is_evaluated_exported_and_published_like_any_run(
    student, joined_run, tmp_path, capsys
):
    output = tmp_path / "student"
    shutil.copytree(student, output)
    assert run("eval", output, "evaluation.bootstrap_samples=50") == 0
    capsys.readouterr()
    assert run("export", output, "--format", "onnx", "safetensors") == 0
    published = Path(capsys.readouterr().out.splitlines()[-1])
    answers = [
        SmsClassifier.from_pretrained(folder, backend=backend, precision="fp32").predict(OTHERS)
        for folder, backend in ((output, "torch"), (output, "onnx"), (published, "onnx"))
    ]
    for expected, exported, downloaded in zip(*answers, strict=True):
        assert exported.scores == pytest.approx(expected.scores, abs=1e-4)
        assert downloaded.scores == pytest.approx(exported.scores, abs=1e-6)
    english, chinese = (
        (published / name).read_text("utf-8") for name in ("README.md", "README.zh-CN.md")
    )
    assert f"the answers of a teacher, the model {joined_run.name} (" in english
    assert "also its answers to 6 messages without labels." in english
    assert f"教师模型 {joined_run.name}（" in chinese
    assert "对 6 条无标签短信的输出" in chinese
    # The unlabelled messages have terms, too.
    assert "- **unlabelled**: messages of the publisher's own" in english


def without_a_run(joined_run, folder):
    return folder, "no folder at"


def a_prepared_folder(joined_run, folder):
    shutil.copytree(joined_run, folder, ignore=shutil.ignore_patterns("checkpoints", "logs"))
    (folder / "train.parquet").touch()
    return folder, "found the prepared folder"


def changed(joined_run, folder, change):
    shutil.copytree(joined_run, folder, ignore=shutil.ignore_patterns("checkpoints", "logs"))
    change_json(folder / "manifest.json", change)
    return folder


def of_another_label(joined_run, folder):
    def change(manifest):
        manifest["labels"][2] = "weather"

    reason = "retail is missing, weather is not in the data"
    return changed(joined_run, folder, change), reason


def in_another_order(joined_run, folder):
    return changed(joined_run, folder, lambda manifest: manifest["labels"].reverse()), (
        "expected the labels in the order gambling, bank_phishing, retail, bank_alert, found "
        "bank_alert, retail"
    )


def of_other_parents(joined_run, folder):
    def change(manifest):
        manifest["parents"][0] = "fraud"

    return changed(joined_run, folder, change), "the parents of gambling in"


def of_unmasked_messages(joined_run, folder):
    def change(manifest):
        manifest["text"]["mask_pii"] = False

    return changed(joined_run, folder, change), "it was trained with mask_pii=false"


def of_another_normaliser(joined_run, folder):
    def change(manifest):
        manifest["text"]["normalizer_version"] = 0

    return changed(joined_run, folder, change), "it was trained with normalizer_version=0"


@pytest.mark.parametrize(
    "teacher",
    [
        without_a_run,
        a_prepared_folder,
        of_another_label,
        in_another_order,
        of_other_parents,
        of_unmasked_messages,
        of_another_normaliser,
    ],
)
def test_a_teacher_that_does_not_fit_is_refused(student_of, joined_run, tmp_path, capsys, teacher):
    folder, reason = teacher(joined_run, tmp_path / "teacher")
    capsys.readouterr()
    assert student_of(folder, tmp_path / "run") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert reason in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (("data.augment={transforms: [symbols]}",), "does not go with data.augment"),
        (
            ("training.class_balanced_sampling=true", "distillation.unlabelled=[a.csv]"),
            "does not go with training.class_balanced_sampling",
        ),
        (("distillation.unlabelled=[nowhere.csv]",), "found nothing at nowhere.csv"),
        (("distillation.unlabelled=[EMPTY]",), "found none: 0 rows without a usable text"),
        (("distillation.unlabelled=[TRAIN]",), "every message is one of the training messages"),
        (("distillation.weight=0",), "distillation.weight"),
        (("distillation.temperature=0",), "distillation.temperature"),
    ],
)
def test_what_cannot_be_distilled_is_refused(
    student_of, joined_run, prepared, tmp_path, capsys, overrides, reason
):
    empty = write_csv(tmp_path / "empty.csv", [], ("text",))
    words = {"EMPTY": str(empty), "TRAIN": str(prepared / "train.parquet")}
    for word, path in words.items():
        overrides = tuple(override.replace(word, path) for override in overrides)
    capsys.readouterr()
    assert student_of(joined_run, tmp_path / "run", *overrides) == 2
    assert reason in one_line(capsys)
    assert not (tmp_path / "run").exists()


def test_a_teacher_of_other_splits_is_warned_of(student_of, joined_run, tmp_path, capsys):
    def change(manifest):
        manifest["data"]["sha256"]["test.parquet"] = "0" * 64

    folder = changed(joined_run, tmp_path / "teacher", change)
    capsys.readouterr()
    assert student_of(folder, tmp_path / "run", "training.max_steps=1") == 0
    assert "scores of the student may be too high" in capsys.readouterr().err


def test_a_message_s_divergence_by_torch():
    student, teacher = torch.randn(5, 3), torch.randn(5, 3)
    expected = functional.kl_div(
        (student / 3).log_softmax(-1), (teacher / 3).softmax(-1), reduction="none"
    ).sum(-1)
    assert torch.allclose(teacher_divergence(student, teacher, 3.0), 9 * expected, atol=1e-6)
