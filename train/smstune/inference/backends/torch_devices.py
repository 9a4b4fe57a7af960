"""Device, number format and attention of torch on this machine."""

from __future__ import annotations

import ctypes
import os

import torch

from smstune.config.choices import Attention, DeviceChoice, Precision, PrecisionChoice
from smstune.errors import UserError
from smstune.inference.backends.processor import processor_name

#: Parameters of glibc's mallopt: the number of blocks allocated with mmap, and the free bytes at
#: the end of the heap above which memory is returned.
_M_MMAP_MAX, _M_TRIM_THRESHOLD = -4, -1


def pick_device(choice: DeviceChoice = "auto") -> torch.device:
    """Return the device to compute on: ``auto`` takes the GPU if there is one.

    Raises:
        UserError: if ``cuda`` is asked for and there is none.
    """
    if choice == "cpu":
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda")
    if choice == "cuda":
        raise UserError("expected a CUDA GPU, found none: use --device cpu or auto")
    return torch.device("cpu")


def pick_precision(device: torch.device, choice: PrecisionChoice = "auto") -> Precision:
    """Return the number format in which torch multiplies matrices on ``device``.

    ``auto`` takes bf16 wherever the processor multiplies it natively, on a CPU too: measured at
    3 times the speed of fp32 with AVX512-BF16. fp16 is never chosen by itself.

    Raises:
        UserError: if fp16 is asked for on a CPU, or int8, which only an export has.
    """
    if choice == "int8":
        raise UserError("expected precision auto, fp32, bf16 or fp16 with torch, found int8")
    if choice == "fp16" and device.type == "cpu":
        raise UserError("expected precision auto, fp32 or bf16 on a CPU, found fp16")
    if choice != "auto":
        return choice
    return "bf16" if multiplies_bf16(device) else "fp32"


def multiplies_bf16(device: torch.device) -> bool:
    """Return whether ``device`` multiplies bf16 in its own circuits."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def pick_attention(device: torch.device) -> Attention:
    """Return the attention implementation that is fastest on ``device``.

    On a CPU sdpa's backward takes 44 % of a training step at SMS lengths; eager is faster there in
    training and in inference. On a GPU sdpa is.
    """
    return "sdpa" if device.type == "cuda" else "eager"


def machine_name(device: torch.device) -> str:
    """Return what computes on ``device``, for a reader of a speed: the GPU, or CPU and cores."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return processor_name()


def hide_loading_bars() -> None:
    """Hide the bar that transformers draws while it loads weights; downloads keep theirs."""
    from transformers.utils.logging import set_tqdm_hook

    set_tqdm_hook(lambda make, args, kwargs: make(*args, **{**kwargs, "disable": True}))


def keep_freed_memory() -> None:
    """Let this process keep the memory it frees, where the C library can be set to do so (glibc).

    By default a tensor of some size is given back to the system when freed and fetched anew, page
    by page, in the next step: a tenth of the processor's time in training on a CPU.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
