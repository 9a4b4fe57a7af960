"""Logits by onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from smstune.config.choices import Precision
from smstune.errors import UserError, how_to_install

if TYPE_CHECKING:
    import onnxruntime
    import torch

    from smstune.inference.tokenization import Batch


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


def open_session(file: Path, device: torch.device) -> onnxruntime.InferenceSession:
    """Open an onnx file with as many threads as torch has.

    Raises:
        UserError: if onnxruntime is not installed, or cannot compute on ``device``.
    """
    import torch

    try:
        import onnxruntime
    except ImportError as error:
        raise UserError(
            f"expected onnxruntime for the backend onnx, found none: {how_to_install('onnx')}"
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
