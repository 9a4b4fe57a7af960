"""Errors that end a command with their own exit status."""

from __future__ import annotations

import errno
import re
from importlib.util import find_spec

from smstune.language import Message

#: What the extra ``train`` adds, by the names under which it is imported.
_TRAINING_PACKAGES = (
    "torch",
    "transformers",
    "datasets",
    "accelerate",
    "evaluate",
    "sklearn",
    "scipy",
    "captum",
    "onnx",
    "onnxscript",
    "pyarrow",
    "pypinyin",
    "rich",
    "rjieba",
)


#: How torch on a CPU (Linux, Windows), C++, onnxruntime and oneDNN say that no memory is
#: left, which have no type of error for it.
_NO_MEMORY = re.compile(
    r"DefaultCPUAllocator: (?:can't allocate|not enough) memory|std::bad_alloc|bad allocation"
    r"|Failed to allocate memory|could not create a (?:primitive|memory)$"
)


class UserError(ValueError):
    """An error that the user can fix; the message names the problem and the fix."""

    def __init__(self, template: str, /, **values: object) -> None:
        super().__init__(Message(template, **values))


class GateError(Exception):
    """A required score or limit was missed; the message names it and the actual value."""

    def __init__(self, template: str, /, **values: object) -> None:
        super().__init__(Message(template, **values))


class Interrupted(KeyboardInterrupt):
    """A signal stopped the command after all work was saved; ``signal`` is its number."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.signal = number


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that no memory is left, on the CPU or a GPU."""
    # By name: torch takes seconds to import.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    # onnxruntime's errors are of its own types.
    return _NO_MEMORY.search(str(error)) is not None


def require_training_packages(command: str) -> None:
    """Refuse a command that needs the extra ``train`` where only the base install is there.

    Raises:
        UserError: naming what is missing and how to install it.
    """
    missing = [name for name in _TRAINING_PACKAGES if find_spec(name) is None]
    if missing:
        raise UserError(
            "smstune {command} needs more than the base install, which has no "
            "{missing}: {how_to_install}",
            command=command,
            missing=", ".join(missing),
            how_to_install=how_to_install("train"),
        )


def how_to_install(extra: str) -> Message:
    """Return how to install an extra of smstune, which is not on a package index yet."""
    return Message(
        "in a checkout run pip install -c constraints.txt -e '.[{extra}]', with a wheel "
        "pip install 'smstune-VERSION-py3-none-any.whl[{extra}]'",
        extra=extra,
    )
