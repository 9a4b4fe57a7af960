"""Training speed compared with the stock example's, in one run on one machine."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForSequenceClassification,
    Trainer,
    TrainingArguments,
    default_data_collator,
)

from smstune.benchmark.processes import call_in_fresh_process, peak_rss_gib
from smstune.config.schema import Config
from smstune.data.prepared import load_split
from smstune.files import temporary_folder
from smstune.inference.backends.first_token import FirstTokenLayer
from smstune.inference.backends.torch_devices import multiplies_bf16, pick_device
from smstune.inference.labels import LabelMap
from smstune.modeling.tokenization import (
    PaddingCollator,
    build_encoder,
    load_tokenizer,
    tokenize_dataset,
)
from smstune.training.assemble import assemble

#: The stock example's default: transformers' examples/pytorch/text-classification.
_STOCK_LENGTH = 128
_MATRIX_SIDE = 2048
#: Seconds that the whole benchmark may take.
_SECONDS = 600.0
#: The share of a setup's time for which training is planned: steps vary, and saving is not counted.
_PLANNED_SHARE = 0.6
#: Batches, and at most how many seconds, that tell how long a message takes.
_TRIAL_BATCHES, _TRIAL_SECONDS = 8, 20.0


@dataclass(frozen=True)
class TrainingSpeed:
    """Speed of one setup, measured on ``messages``.

    ``gflops`` is the model's arithmetic per second: 6 operations per encoder weight and token
    (Kaplan et al. 2020), 4 if the weight is frozen and needs no gradient, padding and a last layer
    that computes one token not counted. ``matrix_share`` is ``gflops`` divided by this machine's
    rate for a matrix product. ``ratio`` is the speed divided by that of the stock setup.
    """

    setup: str
    messages: int
    messages_per_second: float
    peak_rss_gib: float
    gflops: float
    ratio: float
    matrix_share: float


@dataclass(frozen=True)
class _Limits:
    """At most so many messages, and the time (``time.time``) to end by."""

    messages: int
    end: float


@dataclass(frozen=True)
class _Measurement:
    messages: int
    messages_per_second: float
    peak_rss_gib: float
    gflops: float


def benchmark_training(
    config: Config, messages: int = 960, seconds: float = _SECONDS
) -> list[TrainingSpeed]:
    """Measure one pass over at most ``messages`` with each setup, each in a fresh process.

    All setups together take about ``seconds`` at most: each measures as many messages of the same
    sample as its share of the time allows, at least a batch. Warm-up steps are not counted; the
    speed is the one that the Trainer reports. The setups: ``ours`` is ``config``; ``stock`` is a
    plain Trainer with the defaults of transformers' run_classification.py (fp32, padding to 128);
    ``stock tuned`` uses the best of its flags (dynamic padding, grouping by length, bf16 if the
    processor multiplies it). All run on the GPU if there is one.
    """
    end = time.time() + seconds
    setups: dict[str, Callable[[Config, _Limits, Path], _Measurement]] = {
        "ours": _ours,
        "stock tuned": _stock_tuned,
        "stock": _stock,
    }
    peak = matrix_rate()
    measured: dict[str, _Measurement] = {}
    for name, measure in setups.items():
        # A setup that needs less than its share leaves the rest to the next ones.
        share = (end - time.time()) / (len(setups) - len(measured))
        limits = _Limits(messages, time.time() + share)
        with temporary_folder() as folder:
            measured[name] = call_in_fresh_process(measure, config, limits, folder)
    return [
        TrainingSpeed(
            setup=name,
            messages=speed.messages,
            messages_per_second=speed.messages_per_second,
            peak_rss_gib=speed.peak_rss_gib,
            gflops=speed.gflops,
            ratio=speed.messages_per_second / measured["stock"].messages_per_second,
            matrix_share=speed.gflops / peak,
        )
        for name, speed in measured.items()
    ]


def matrix_rate() -> float:
    """Return the GFLOP/s of a matrix product of side 2048 on the device that trains, best of 10.

    In bf16 if the processor multiplies it, otherwise in fp32: torch would emulate bf16 in one
    thread, and a single product would take minutes.
    """
    device = pick_device()
    dtype = torch.bfloat16 if multiplies_bf16(device) else torch.float32
    left = torch.randn(_MATRIX_SIDE, _MATRIX_SIDE, dtype=dtype, device=device)
    best = float("inf")
    for _ in range(10):
        started = time.perf_counter()
        left @ left
        if device.type == "cuda":
            # The call returns before the product is there.
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
    return 2 * _MATRIX_SIDE**3 / best / 1e9


def _ours(config: Config, limits: _Limits, folder: Path) -> _Measurement:
    training = config.training.model_copy(
        update={"output_dir": folder, "num_train_epochs": 1.0, "report_to": []}
    )
    trainer = assemble(config.model_copy(update={"training": training})).trainer
    trainer.args.eval_strategy = trainer.args.save_strategy = "no"
    return _measure(trainer, limits)


def _stock(config: Config, limits: _Limits, folder: Path) -> _Measurement:
    return _measure(_stock_trainer(config, folder, tuned=False), limits)


def _stock_tuned(config: Config, limits: _Limits, folder: Path) -> _Measurement:
    return _measure(_stock_trainer(config, folder, tuned=True), limits)


def _stock_trainer(config: Config, folder: Path, *, tuned: bool) -> Trainer:
    labels = LabelMap.load(config.data.path / "labels.json")
    tokenizer = load_tokenizer(config.model.name_or_path)
    table = load_split(config.data.path, "train")
    length = min(_STOCK_LENGTH, config.data.max_length)
    encoder = build_encoder(tokenizer, length)
    encoded = tokenize_dataset(table, encoder, labels)
    if not tuned:
        encoded = encoded.map(
            lambda batch: tokenizer.pad(
                {"input_ids": batch["input_ids"]}, padding="max_length", max_length=length
            ),
            batched=True,
        )
    model = AutoModelForSequenceClassification.from_pretrained(
        config.model.name_or_path,
        num_labels=len(labels.names),
        # A run may have been trained with other labels.
        ignore_mismatched_sizes=True,
        dtype=torch.float32,
        trust_remote_code=False,
    )
    model.resize_token_embeddings(len(tokenizer))
    device = pick_device()
    arguments = TrainingArguments(
        output_dir=str(folder),
        use_cpu=device.type == "cpu",
        num_train_epochs=1,
        per_device_train_batch_size=config.training.per_device_train_batch_size,
        save_strategy="no",
        report_to="none",
        bf16=tuned and multiplies_bf16(device),
        train_sampling_strategy="group_by_length" if tuned else "random",
    )
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=encoded,
        data_collator=(
            PaddingCollator(encoder.padding, device.type) if tuned else default_data_collator
        ),
    )
    trainer.args.remove_unused_columns = not tuned
    return trainer


def _measure(trainer: Trainer, limits: _Limits) -> _Measurement:
    """Train one pass over a fixed sample of the data and return its speed.

    The sample is smaller than ``limits`` asks for if that many would take too long.
    """
    dataset: Any = trainer.train_dataset
    dataset = dataset.shuffle(seed=0).select(range(min(limits.messages, len(dataset))))
    trainer.train_dataset = dataset
    per_message = _seconds_per_message(trainer)
    affordable = int(_PLANNED_SHARE * (limits.end - time.time()) / per_message)
    batch = trainer.args.per_device_train_batch_size
    # Whole batches, at least one.
    messages = min(len(dataset), max(1, affordable // batch) * batch)
    trainer.train_dataset = dataset = dataset.select(range(messages))
    speed = trainer.train().metrics["train_samples_per_second"]
    model: Any = trainer.model
    operations = _operations_per_token(model)
    mask = dataset["attention_mask"] if "attention_mask" in dataset.column_names else None
    lengths = map(sum, mask) if mask else map(len, dataset["input_ids"])
    return _Measurement(
        messages=messages,
        messages_per_second=speed,
        peak_rss_gib=peak_rss_gib(),
        gflops=operations * sum(lengths) / messages * speed / 1e9,
    )


def _seconds_per_message(trainer: Trainer) -> float:
    """Return the time of a training step without the optimizer's, the mean over some batches.

    The first batch is not counted if there are others: first calls are slower.
    """
    model: Any = trainer.model
    # Trainer.train sets it.
    trainer.current_gradient_accumulation_steps = 1
    batches = itertools.islice(trainer.get_train_dataloader(), _TRIAL_BATCHES)
    messages = seconds = 0.0
    for number, batch in enumerate(batches):
        if number == 1:
            messages = seconds = 0.0
        started = time.perf_counter()
        # Trainer.train wraps the model so.
        with trainer.accelerator.autocast():
            trainer.training_step(model, batch)
        seconds += time.perf_counter() - started
        messages += len(batch["labels"])
        if seconds > _TRIAL_SECONDS:
            break
    model.zero_grad()
    return seconds / messages


def _operations_per_token(model: torch.nn.Module) -> int:
    last = [
        f"{name}." for name, module in model.named_modules() if isinstance(module, FirstTokenLayer)
    ]
    return sum(
        (6 if weight.requires_grad else 4) * weight.numel()
        for name, weight in model.named_parameters()
        if ".encoder." in name and not name.startswith(tuple(last))
    )
