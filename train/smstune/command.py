"""How a command ends: log, exit status, one line for each error of the user."""

from __future__ import annotations

import errno
import functools
import logging
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Sequence
from typing import TextIO

from smstune.errors import GateError, UserError

#: Seconds that another rank leaves to rank 0 to report an error.
_RANK_0_SECONDS = 10
#: How Rust and Python words in an error name the number of the system's error.
_TOLD_NUMBER = re.compile(r"\(os error (\d+)\)|\[[Ee]rrno (\d+)\]")
#: torch's words for a checkpoint that could not be written to its end.
_TORCH_POSITION = re.compile(r"unexpected pos \d+ vs \d+")


def is_main_process() -> bool:
    """Say whether this process writes: the only one, or the first that a launcher started."""
    return os.environ.get("RANK", "0") == "0"


def command(body: Callable[[Sequence[str] | None], None]) -> Callable[..., int]:
    """Turn a command's body into a ``main(argv) -> exit status``.

    Status 0: done. 2: the user can fix it, one line on stderr and no traceback. 3: a required
    score or limit was missed. 130, 143: ended by Ctrl-C, by SIGTERM. A bug keeps its traceback
    (status 1).
    """

    @functools.wraps(body)
    def main(argv: Sequence[str] | None = None) -> int:
        setup_logging()
        try:
            body(argv)
            # What the buffer holds may not fit on the disk; at exit it is too late to say so.
            if sys.stdout is not None:
                sys.stdout.flush()
        except UserError as error:
            return _fail(str(error))
        except GateError as error:
            _fail(str(error))
            return 3
        except BrokenPipeError:
            # The reader of our output (``| head``) has gone: there is nobody to report to.
            _give_up_output()
            return 0
        except KeyboardInterrupt as error:
            if is_main_process():
                _report("interrupted")
            return 128 + getattr(error, "signal", signal.SIGINT)
        except Exception as error:
            explanation = explain_system_error(error)
            if explanation is None:
                raise
            status = _fail(explanation)
            try:
                sys.stdout.flush()
            except (AttributeError, OSError):
                _give_up_output()
            return status
        return 0

    return main


def _give_up_output() -> None:
    """Let what standard output still holds go nowhere, or Python would fail on it at its end."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(message: str) -> int:
    if not is_main_process():
        # Rank 0 usually hits the same error and reports it; the launcher then stops the others.
        time.sleep(_RANK_0_SECONDS)
    _report(message)
    return 2


def _report(message: str) -> None:
    # Closed by the caller (``2>&-``), it is None.
    if sys.stderr is not None:
        sys.stderr.write(f"error: {' '.join(message.split())}\n")


def explain_system_error(error: Exception) -> str | None:
    """Say what a user can do about a full disk, a missing file and the like; ``None`` for a bug."""
    number = error.errno if isinstance(error, OSError) else None
    # safetensors, and what wraps an error of the system, give its number in words of their own.
    if number is None and (told := _TOLD_NUMBER.search(str(error))):
        number = int(told[1] or told[2])
    # torch.save gives none, and finds a short write only as a position that is not where it was.
    if "PytorchStreamWriter failed" in str(error) or _TORCH_POSITION.search(str(error)):
        number = errno.ENOSPC
    where = f" at {error.filename}" if isinstance(error, OSError) and error.filename else ""
    advice = {
        errno.ENOSPC: "no space left on the device: free some or write elsewhere; "
        "files already complete were kept",
        errno.EFBIG: "the file would be larger than is allowed: raise the limit (`ulimit -f`) or "
        "write to another file system",
        errno.EDQUOT: "disk quota exceeded: free some space or write elsewhere",
        errno.ENOENT: "no such file or folder: check the path",
        errno.EACCES: "permission denied: check the rights of this path",
        errno.EROFS: "the file system is read-only: write elsewhere",
        errno.EISDIR: "expected a file and found a folder",
        errno.ENOTDIR: "expected a folder and found a file",
        errno.ENAMETOOLONG: "the name is too long for this file system: choose a shorter one",
        errno.EBADF: "a stream is closed or open for the other direction: check the redirections",
        errno.EIO: "the device reports an error: check it, or write elsewhere",
        errno.ELOOP: "too many symbolic links: the path runs in a circle",
    }.get(number or 0)
    return None if advice is None else f"{advice}{where}"


class _Handler(logging.StreamHandler[TextIO]):
    """Writes a record to stderr as a line of its own, above a progress bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        if "tqdm" not in sys.modules:
            super().emit(record)
            return
        from tqdm import tqdm

        with tqdm.external_write_mode(file=self.stream):
            super().emit(record)


def setup_logging() -> None:
    """Send our log to stderr, one line a record, and keep the libraries to errors.

    Of several processes only the first speaks.
    """
    handler = _Handler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logging.getLogger().handlers = [handler]
    logging.captureWarnings(True)
    set_verbosity()
    if not is_main_process():
        logging.disable(logging.ERROR)
        os.environ["TQDM_DISABLE"] = "1"


def set_verbosity(*, quiet: bool = False, verbose: bool = False) -> None:
    """Choose what the log holds: our progress and warnings, warnings alone, or all of everybody."""
    ours = logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO
    logging.getLogger("smstune").setLevel(ours)
    logging.getLogger().setLevel(logging.INFO if verbose else logging.WARNING)
    # What libraries tell a developer by the module `warnings` is nothing that a user can act on.
    logging.getLogger("py.warnings").setLevel(logging.INFO if verbose else logging.ERROR)
    library_level = "info" if verbose else "error"
    for library in ("transformers", "datasets"):
        # The variable is read when the library is imported; in a notebook it may be already.
        os.environ[f"{library.upper()}_VERBOSITY"] = library_level
        logging.getLogger(library).setLevel(library_level.upper())
