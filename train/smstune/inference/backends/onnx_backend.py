"""Logits by onnxruntime."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
import onnxruntime

from smstune.arrays import Floats
from smstune.config.choices import DeviceName, Precision
from smstune.errors import UserError
from smstune.inference.backends.threads import available_threads
from smstune.inference.tokenization import Batch


class OnnxBackend:
    """An exported form in onnxruntime.

    int8 on a CPU scores each message by itself, in as many threads as there are cores: its scale of
    activations is one for a whole batch, so in a batch the answer would depend on the others.
    """

    name: Literal["onnx"] = "onnx"

    def __init__(self, file: Path, device: DeviceName, precision: Precision) -> None:
        """Open an onnx file.

        Raises:
            UserError: if onnxruntime cannot compute on ``device``.
        """
        self.device = device
        self.precision = precision
        self.one_by_one = precision == "int8" and device == "cpu"
        threads = available_threads()
        # While one message is computed, onnxruntime lets other threads of Python run.
        self._callers = ThreadPoolExecutor(threads if self.one_by_one else 1)
        self._session = _open_session(file, device, 1 if self.one_by_one else threads)

    def run(self, batches: Iterable[Batch]) -> Iterator[Floats]:
        """Yield the logits of each batch, shape (batch, labels)."""
        return self._callers.map(self._logits, batches)

    def _logits(self, batch: Batch) -> Floats:
        (logits,) = self._session.run(["logits"], batch)
        return np.asarray(logits, np.float64)


def _open_session(file: Path, device: DeviceName, threads: int) -> onnxruntime.InferenceSession:
    provider = "CUDAExecutionProvider" if device == "cuda" else "CPUExecutionProvider"
    if provider not in onnxruntime.get_available_providers():
        raise UserError(
            "expected an onnxruntime that computes on a GPU, found one for the CPU: "
            "pip uninstall onnxruntime and pip install onnxruntime-gpu, or use --device cpu"
        )
    options = onnxruntime.SessionOptions()
    # By itself onnxruntime binds a thread to every core, also to those kept for others.
    options.intra_op_num_threads = threads
    # Threads that wait by spinning take the cores from torch and from other sessions beside:
    # measured at 85 ms a message for torch, which alone takes 31; what it costs is 0.6 of 8.4 ms.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Errors are raised; onnxruntime would also write them to stderr, above our line.
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(file, options, providers=[provider])
