"""Tries everything that uses a GPU, in nine minutes, and writes its numbers beside the CPU's.

Started by ``make gpu-check``. Without a GPU it measures nothing.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from smstune.benchmark.processes import sigterm_raises
from smstune.benchmark.timed_steps import (
    DONE,
    Numbers,
    Outcome,
    Processor,
    Step,
    numbers_table,
    run_steps,
    steps_table,
)
from smstune.command import command
from smstune.errors import UserError
from smstune.files import file_hash, file_written_whole
from smstune.language import Message
from smstune.paths import user_path
from smstune.reporting.document import Report, Section
from smstune.reporting.markdown import render_markdown

#: Seconds for all steps; reading and writing the report take a few more.
_SECONDS = 530.0
#: Steps of a short fine-tune, and the checkpoint from which it is resumed.
_SHORT, _HALF = 40, 20
#: The edge of a table in the terminal, between two cells.
_EDGES = str.maketrans("┃", "│")

# Started by its file's name, this module has another.
logger = logging.getLogger("smstune.benchmark.gpu_check")


@dataclass(frozen=True)
class Inputs:
    """The prepared folder, the encoder, and the new folder for runs and report."""

    prepared: Path
    encoder: str
    folder: Path


@command
def main(argv: Sequence[str] | None) -> None:
    """Parse, check, run the steps and write the report."""
    parser = argparse.ArgumentParser("gpu_check", description=__doc__)
    parser.add_argument("prepared", type=user_path, help="prepared folder of FBS-14")
    parser.add_argument("encoder", help="hub id or folder of an encoder")
    parser.add_argument("folder", type=user_path, help="new folder for the runs and report.md")
    args = parser.parse_args(argv)
    import torch

    if not torch.cuda.is_available():
        logger.info("torch sees no GPU here: nothing was measured")
        return
    inputs = Inputs(args.prepared, args.encoder, args.folder)
    if not (inputs.prepared / "train.parquet").is_file():
        raise UserError(
            "no prepared data in {folder}: run `smstune prepare --config fbs14`, or name the "
            "folder with `make gpu-check DATA=FOLDER`",
            folder=inputs.prepared,
        )
    if inputs.folder.exists():
        raise UserError("{folder} exists: remove it or name another", folder=inputs.folder)
    inputs.folder.mkdir(parents=True)
    machine = Message(
        "{gpu}, torch {torch}, CUDA {cuda}.",
        gpu=torch.cuda.get_device_name(),
        torch=torch.__version__,
        cuda=torch.version.cuda,
    )
    steps = gpu_steps(inputs, has_onnxruntime_gpu=_has_onnxruntime_gpu())
    with sigterm_raises():
        report = check(steps, inputs.folder / "report.md", machine, _SECONDS)
    logger.info("wrote %s", report)


def check(steps: Sequence[Step], report: Path, machine: Message, seconds: float) -> Path:
    """Run the steps within ``seconds`` and return ``report``, written anew after each of them."""
    outcomes: list[Outcome] = []
    for outcome in run_steps(steps, seconds):
        outcomes.append(outcome)
        with file_written_whole(report) as path:
            path.write_text(render_markdown(_report(outcomes, len(steps), machine)), "utf-8")
    return report


def _report(outcomes: Sequence[Outcome], n_steps: int, machine: Message) -> Report:
    n_done = sum(outcome.status == DONE for outcome in outcomes)
    done = Message("{n_done} of {n_steps} steps are done.", n_done=n_done, n_steps=n_steps)
    numbers = Section(
        Message("Numbers"),
        Message("Short fine-tunes on the CPU show its speed, not what a whole one scores."),
        [numbers_table(outcomes)],
    )
    return Report(
        title=Message("GPU check"),
        opening=[machine, done],
        figure=None,
        sections=[numbers, Section(Message("Steps"), "", [steps_table(outcomes)])],
    )


def _has_onnxruntime_gpu() -> bool:
    import onnxruntime

    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()


def gpu_steps(inputs: Inputs, *, has_onnxruntime_gpu: bool) -> list[Step]:
    """Return all steps; that of onnxruntime on the GPU only where it can run there."""
    run, messages = inputs.folder / "bf16", str(inputs.prepared / "test.parquet")
    training = ["benchmark", "train", *_model(inputs), "--messages", "320"]
    exported = partial(_file_sizes, run / "onnx")
    steps = [
        _finetune(inputs, "bf16", 150, "training.precision=bf16"),
        _finetune(inputs, "fp16", 45, "training.precision=fp16", "training.num_train_epochs=1"),
        _finetune(
            inputs, "compiled", 60, "training.torch_compile=true", "training.num_train_epochs=1"
        ),
        _short_on_cpu(inputs),
        *resume_steps(inputs, "GPU"),
        _evaluation(run, "GPU", "eval, torch"),
        _evaluation(run, "CPU", "eval, torch"),
        _step("export", "GPU", 60, ["export", run, "--format", "onnx", "onnx-fp16"], exported),
    ]
    if has_onnxruntime_gpu:
        steps.append(_evaluation(run, "GPU", "eval, onnxruntime", "--backend", "onnx"))
    steps.append(_evaluation(run, "CPU", "eval, onnxruntime", "--backend", "onnx"))
    both: tuple[tuple[Processor, str], ...] = (("GPU", "cuda"), ("CPU", "cpu"))
    for processor, device in both:
        output = inputs.folder / f"answers-{device}.csv"
        predict = ["predict", run, messages, output, "--device", device]
        steps.append(_step("predict", processor, 40, predict, partial(_rows_of_csv, output)))
    for processor, _ in both:
        steps.append(_step("benchmark train", processor, 90, training, speeds))
    for processor, _ in both:
        inference = ["benchmark", "inference", run, "--messages", "200"]
        steps.append(_step("benchmark inference", processor, 60, inference, speeds))
    dedup = ["benchmark", "dedup", messages, "--sizes", "10000", "100000"]
    # It uses no GPU: a number of the machine's processor alone.
    return [*steps, _step("benchmark dedup", "CPU", 30, dedup, speeds)]


def resume_steps(inputs: Inputs, processor: Processor, *overrides: str) -> list[Step]:
    """Return a short fine-tune and the same one resumed from its middle, whose weights must agree.

    ``overrides`` change the configuration of both.
    """
    whole, resumed = inputs.folder / "whole", inputs.folder / "resumed"
    short = [
        "finetune",
        *_model(inputs),
        f"training.max_steps={_SHORT}",
        f"training.save_steps={_HALF}",
        # None of the few checkpoints may go.
        f"training.save_total_limit={_SHORT}",
        "training.report_to=[]",
        *overrides,
    ]
    again = [*short, f"training.output_dir={resumed}", "training.resume_from_checkpoint=true"]
    resume = _step("resume", processor, 40, again, partial(_same_weights, whole, resumed))
    name = f"checkpoint-{_HALF}"

    def copy_checkpoint() -> None:
        shutil.copytree(whole / "checkpoints" / name, resumed / "checkpoints" / name)

    return [
        _step(
            "short fine-tune",
            processor,
            40,
            [*short, f"training.output_dir={whole}"],
            partial(_training_speed, whole),
        ),
        Step(resume.name, processor, resume.command, resume.seconds, resume.read, copy_checkpoint),
    ]


def _model(inputs: Inputs) -> list[str]:
    """Return the configuration and its overrides for data and encoder."""
    return ["fbs14", f"data.path={inputs.prepared}", f"model.name_or_path={inputs.encoder}"]


def _step(
    name: str,
    processor: Processor,
    seconds: float,
    arguments: Sequence[object],
    read: Callable[[str], Numbers],
) -> Step:
    words = [sys.executable, "-m", "smstune", *map(str, arguments)]
    return Step(name, processor, words, seconds, read)


def _finetune(inputs: Inputs, name: str, seconds: float, *overrides: str) -> Step:
    run = inputs.folder / name
    words = ["finetune", *_model(inputs), f"training.output_dir={run}", *overrides]
    return _step(f"fine-tune, {name}", "GPU", seconds, words, partial(_training_numbers, run))


def _short_on_cpu(inputs: Inputs) -> Step:
    """Return a fine-tune of few steps, shown beside the whole one in bf16."""
    run = inputs.folder / "cpu"
    words = ["finetune", *_model(inputs), f"training.output_dir={run}"]
    words.append(f"training.max_steps={_SHORT}")
    return _step("fine-tune, bf16", "CPU", 60, words, partial(_training_speed, run))


def _evaluation(run: Path, processor: Processor, name: str, *arguments: str) -> Step:
    device = "cuda" if processor == "GPU" else "cpu"
    words = ["eval", run, "--device", device, *arguments, "evaluation.bootstrap_samples=0"]
    return _step(name, processor, 40, words, partial(_evaluation_numbers, run))


def _training_numbers(run: Path, _printed: str) -> Numbers:
    facts = json.loads((run / "manifest.json").read_text("utf-8"))["training"]
    return {
        **_training_speed(run, _printed),
        "validation macro-F1": facts["best_validation_macro_f1"],
        "seconds": facts["wall_seconds"],
    }


def _training_speed(run: Path, _printed: str) -> Numbers:
    facts = json.loads((run / "manifest.json").read_text("utf-8"))["training"]
    return {
        "device and precision": f"{facts['device']}, {facts['precision']}",
        "messages/s": facts["messages_per_second"],
    }


def _same_weights(whole: Path, resumed: Path, _printed: str) -> Numbers:
    hashes = {file_hash(run / "model.safetensors") for run in (whole, resumed)}
    return {"same weights, bit for bit": "yes" if len(hashes) == 1 else "NO"}


def _evaluation_numbers(run: Path, _printed: str) -> Numbers:
    metrics = json.loads((run / "eval/test/metrics.json").read_text("utf-8"))
    speed = metrics["throughput"]
    return {
        "backend and precision": f"{speed['backend']}, {speed['precision']}",
        "macro-F1": metrics["macro_f1"],
        "accuracy": metrics["accuracy"],
        "messages/s": speed["messages_per_second"],
    }


def _file_sizes(folder: Path, _printed: str) -> Numbers:
    return {f"{path.name}, MB": path.stat().st_size / 1e6 for path in sorted(folder.glob("*.onnx"))}


def _rows_of_csv(path: Path, _printed: str) -> Numbers:
    return {"lines": float(len(path.read_text("utf-8").splitlines()))}


def speeds(printed: str) -> Numbers:
    """Return the numbers per second, and the ratios, of the tables that a benchmark printed.

    A number's name is that of its column after the first cell of its row.
    """
    numbers: dict[str, float | str] = {}
    head: list[str] = []
    for line in printed.splitlines():
        if line[:1] not in ("┃", "│"):
            continue
        cells = [cell.strip() for cell in line.translate(_EDGES).strip("│").split("│")]
        if line[0] == "┃":
            head = cells
            continue
        for column, cell in list(zip(head, cells, strict=True))[1:]:
            if column.endswith("per second") or column in ("ratio", "recall", "seconds"):
                numbers[f"{cells[0]}: {column}"] = cell
    if not numbers:
        raise ValueError(Message("it printed no table of speeds"))
    return numbers


if __name__ == "__main__":
    sys.exit(main())
