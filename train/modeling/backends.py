"""What computes the logits of a batch: torch, or onnxruntime on an exported form."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from train.command import UserError
from train.modeling.artifact import WEIGHTS, Artifact, Manifest
from train.modeling.exported import EXPORTED, how_to_export, load_export
from train.modeling.pooling import use_first_token_layer
from train.runtime import (
    Precision,
    PrecisionChoice,
    multiplies_bf16,
    pick_attention,
    pick_precision,
)

if TYPE_CHECKING:
    import onnxruntime

BackendChoice = Literal["auto", "torch", "onnx"]
#: What the collator makes: ``input_ids`` and ``attention_mask``, shape (batch, tokens).
Batch = dict[str, torch.Tensor]

#: The number formats of torch's weights.
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class TorchBackend:
    """The run's own weights in torch."""

    name: Literal["torch"] = "torch"

    def __init__(self, artifact: Artifact, device: torch.device, precision: Precision) -> None:
        model = AutoModelForSequenceClassification.from_pretrained(
            artifact.path,
            config=artifact.config,
            dtype=DTYPES[precision],
            attn_implementation=pick_attention(device),
        )
        use_first_token_layer(model)
        self.model: PreTrainedModel = model.to(device).eval()
        self.device = device
        self.precision = precision

    @torch.inference_mode()
    def __call__(self, batch: Batch) -> NDArray[np.float64]:
        """Return the logits of a batch, shape (batch, labels)."""
        inputs = {name: tensor.to(self.device) for name, tensor in batch.items()}
        logits: NDArray[np.float64] = self.model(**inputs).logits.to("cpu", torch.float64).numpy()
        return logits


class OnnxBackend:
    """An exported form in onnxruntime."""

    name: Literal["onnx"] = "onnx"

    def __init__(self, file: Path, device: torch.device, precision: Precision) -> None:
        self.session = open_session(file, device)
        self.device = device
        self.precision = precision

    def __call__(self, batch: Batch) -> NDArray[np.float64]:
        """Return the logits of a batch, shape (batch, labels)."""
        inputs = {name: tensor.numpy() for name, tensor in batch.items()}
        (logits,) = self.session.run(["logits"], inputs)
        return np.asarray(logits, np.float64)


Backend = TorchBackend | OnnxBackend


def open_session(file: Path, device: torch.device) -> onnxruntime.InferenceSession:
    """Open an onnx file with as many threads as torch has.

    Raises:
        UserError: if onnxruntime is not installed, or cannot compute on ``device``.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError(
            "expected onnxruntime for the backend onnx, found none: pip install 'smstune[onnx]'"
        ) from error
    provider = "CUDAExecutionProvider" if device.type == "cuda" else "CPUExecutionProvider"
    if provider not in onnxruntime.get_available_providers():
        raise UserError(
            "expected an onnxruntime that computes on a GPU, found one for the CPU: "
            "pip install onnxruntime-gpu, or use --device cpu"
        )
    options = onnxruntime.SessionOptions()
    # By itself onnxruntime binds a thread to every core, also to those kept for others.
    options.intra_op_num_threads = torch.get_num_threads()
    # Threads that wait by spinning take the cores from torch and from other sessions beside:
    # measured at 85 ms a message for torch, which alone takes 31; what it costs is 0.6 of 8.4 ms.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(file, options, providers=[provider])


def pick_backend(
    path: Path,
    manifest: Manifest,
    device: torch.device,
    backend: BackendChoice,
    precision: PrecisionChoice,
) -> tuple[Literal["torch", "onnx"], Precision]:
    """Return what computes a run's logits, and in which number format.

    ``auto`` takes what was measured to be the fastest of what lies there. On a CPU: int8 (it passed
    its gate), then bf16 in torch where the processor multiplies it, then fp32 in onnxruntime, then
    fp32 in torch. On a GPU torch. Where ``model.safetensors`` was left out, onnx.

    Raises:
        UserError: if what is asked for is not there or does not go together.
    """
    export = load_export(path, manifest) if backend != "torch" else None
    there = [one for one, name in EXPORTED.items() if export and name in export.files]
    if backend == "auto":
        backend = _automatic(path, there, device, precision)
    if backend == "torch":
        return "torch", pick_precision(device, precision)
    if precision == "bf16":
        raise UserError("expected precision auto, fp32, int8 or fp16 with onnx, found bf16")
    chosen: Precision
    if precision == "auto":
        best: Precision = "fp16" if device.type == "cuda" else "int8"
        chosen = best if best in there else "fp32"
    else:
        chosen = precision
    if chosen not in there:
        raise UserError(
            f"expected onnx/{EXPORTED[chosen]} in the run folder {path}, found none: "
            f"{how_to_export(chosen)}"
        )
    return "onnx", chosen


def _automatic(
    path: Path, there: list[Precision], device: torch.device, precision: PrecisionChoice
) -> Literal["torch", "onnx"]:
    if there and not (path / WEIGHTS).is_file():
        return "onnx"
    if precision == "int8":
        return "onnx"
    if device.type == "cuda" or precision in ("bf16", "fp16") or not find_spec("onnxruntime"):
        return "torch"
    if precision == "auto" and "int8" in there:
        return "onnx"
    plain = precision == "fp32" or not multiplies_bf16(device)
    return "onnx" if plain and "fp32" in there else "torch"
