"""Which device, backend and number format compute the logits of a run."""

from __future__ import annotations

import logging
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from smstune.config.choices import (
    BackendChoice,
    DeviceChoice,
    DeviceName,
    Precision,
    PrecisionChoice,
)
from smstune.errors import UserError, how_to_install
from smstune.inference.backends.exported import EXPORTED, how_to_export, load_export
from smstune.inference.manifest import Manifest

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from smstune.inference.backends.onnx_backend import OnnxBackend
    from smstune.inference.backends.torch_backend import TorchBackend

    Backend = TorchBackend | OnnxBackend

#: What a machine has where a GPU may be used: the drivers of NVIDIA, of Windows' Linux, of AMD.
_DRIVERS = (Path("/dev/nvidiactl"), Path("/dev/dxg"), Path("/dev/kfd"))


def pick_run_device(choice: DeviceChoice = "auto") -> DeviceName:
    """Return the device to answer on: ``auto`` takes a GPU that can be used.

    torch, which takes seconds to import, is asked only on a machine that has the driver of a GPU.

    Raises:
        UserError: if ``cuda`` is asked for and there is none, or another device.
    """
    if choice not in get_args(DeviceChoice):
        raise UserError(
            "expected the device auto, cpu or cuda, found {choice}: use cpu (smstune does not "
            "compute on mps, the GPUs of Apple)",
            choice=choice,
        )
    has_driver = any(path.exists() for path in _DRIVERS) or shutil.which("nvidia-smi") is not None
    if choice == "cpu" or (choice == "auto" and not has_driver):
        return "cpu"
    if find_spec("torch"):
        from smstune.inference.backends.torch_devices import pick_device

        return "cuda" if pick_device(choice).type == "cuda" else "cpu"
    from onnxruntime import get_available_providers

    if "CUDAExecutionProvider" in get_available_providers():
        return "cuda"
    if choice == "cuda":
        raise UserError(
            "expected a GPU that onnxruntime can use, found none: use --device cpu, or see "
            "docs/export.md for onnxruntime-gpu"
        )
    return "cpu"


def pick_backend(
    path: Path,
    manifest: Manifest,
    device: DeviceName,
    backend: BackendChoice,
    precision: PrecisionChoice,
    *,
    has_weights: bool,
) -> tuple[Literal["torch", "onnx"], Precision]:
    """Return what computes a run's logits, and in which number format.

    ``auto`` takes what was measured to be the fastest of what the folder has. On a CPU: int8 (it
    passed its gate), then bf16 in torch where the processor multiplies it, then fp32 in
    onnxruntime, then fp32 in torch. On a GPU torch. ``has_weights``: whether ``model.safetensors``,
    which torch needs, can be had; without it onnx.

    Raises:
        UserError: if the folder lacks what is asked for, or the two choices exclude each other.
    """
    export = load_export(path, manifest) if backend != "torch" else None
    files = export.files if export else {}
    stale = [name for name, file in files.items() if not file.belongs_to(manifest.calibration)]
    usable = [form for form, name in EXPORTED.items() if name in files and name not in stale]
    if stale:
        logger.warning(
            "warning: the thresholds of onnx/%s were fitted under another calibration of the run, "
            "so it is not used: export the run again",
            ", onnx/".join(stale),
        )
    if backend == "auto":
        can_use_torch = has_weights and find_spec("torch") is not None
        backend = _automatic(usable, device, precision, can_use_torch=can_use_torch)
    if backend == "torch":
        _require_torch(path)
        import torch

        from smstune.inference.backends.torch_devices import pick_precision

        return "torch", pick_precision(torch.device(device), precision)
    if precision == "bf16":
        raise UserError("expected precision auto, fp32, int8 or fp16 with onnx, found bf16")
    chosen: Precision
    if precision == "auto":
        best: Precision = "fp16" if device == "cuda" else "int8"
        chosen = best if best in usable else "fp32"
    else:
        chosen = precision
    if chosen not in usable:
        raise UserError(
            "expected onnx/{name} exported under the run's current calibration in {path}, found "
            "none: {how_to_export}",
            name=EXPORTED[chosen],
            path=path,
            how_to_export=how_to_export(chosen),
        )
    return "onnx", chosen


def _automatic(
    usable: list[Precision],
    device: DeviceName,
    precision: PrecisionChoice,
    *,
    can_use_torch: bool,
) -> Literal["torch", "onnx"]:
    if not usable:
        return "torch"
    if precision == "int8" or not can_use_torch:
        return "onnx"
    if device == "cuda" or precision in ("bf16", "fp16"):
        return "torch"
    if precision == "auto" and "int8" in usable:
        return "onnx"
    import torch

    from smstune.inference.backends.torch_devices import multiplies_bf16

    plain = precision == "fp32" or not multiplies_bf16(torch.device(device))
    return "onnx" if plain and "fp32" in usable else "torch"


def _require_torch(path: Path) -> None:
    if not find_spec("torch"):
        raise UserError(
            "expected torch, which computes with model.safetensors of {path}, found none: use an "
            "exported form (`smstune export {path} --format onnx-int8` where torch is installed), "
            "or {how_to_install}",
            path=path,
            how_to_install=how_to_install("train"),
        )
