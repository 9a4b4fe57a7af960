"""How a command ends: log, exit status, one line for each error of the user."""

from __future__ import annotations

import errno
import functools
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence

from smstune.errors import GateError, UserError

#: Seconds that another process waits for the first to tell an error.
_PATIENCE = 10


def is_main_process() -> bool:
    """Say whether this process writes: the only one, or the first that a launcher started."""
    return os.environ.get("RANK", "0") == "0"


def command(body: Callable[[Sequence[str] | None], None]) -> Callable[..., int]:
    """Turn a script's body into a ``main(argv) -> exit status``.

    Status 0: done. 2: the user can mend it, one line on stderr and no traceback. 3: a gate was not
    kept. 130, 143: ended by Ctrl-C, by SIGTERM. A bug keeps its traceback (status 1).
    """

    @functools.wraps(body)
    def main(argv: Sequence[str] | None = None) -> int:
        setup_logging()
        try:
            body(argv)
        except UserError as error:
            return _fail(str(error))
        except GateError as error:
            _fail(str(error))
            return 3
        except BrokenPipeError:
            # The reader of our output (``| head``) has gone; nothing is left to tell it.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except KeyboardInterrupt as error:
            if is_main_process():
                _tell("interrupted")
            return 128 + getattr(error, "signal", signal.SIGINT)
        except Exception as error:
            explanation = explain_system_error(error)
            if explanation is None:
                raise
            return _fail(explanation)
        return 0

    return main


def _fail(message: str) -> int:
    if not is_main_process():
        # The first process mostly finds the same, tells it, and the launcher ends us.
        time.sleep(_PATIENCE)
    _tell(message)
    return 2


def _tell(message: str) -> None:
    sys.stderr.write(f"error: {' '.join(message.split())}\n")


def explain_system_error(error: Exception) -> str | None:
    """Say what a user can do about a full disk, a missing file and the like; ``None`` for a bug."""
    number = error.errno if isinstance(error, OSError) else None
    # safetensors and torch.save report a full disk in words of their own.
    if "No space left on device" in str(error) or "PytorchStreamWriter failed" in str(error):
        number = errno.ENOSPC
    where = f" at {error.filename}" if isinstance(error, OSError) and error.filename else ""
    advice = {
        errno.ENOSPC: "no space left on the device: free some or write elsewhere; "
        "files already complete were kept",
        errno.EDQUOT: "disk quota exceeded: free some space or write elsewhere",
        errno.ENOENT: "no such file or folder: check the path",
        errno.EACCES: "permission denied: check the rights of this path",
        errno.EROFS: "the file system is read-only: write elsewhere",
        errno.EISDIR: "expected a file and found a folder",
        errno.ENOTDIR: "expected a folder and found a file",
        errno.ELOOP: "too many symbolic links: the path runs in a circle",
    }.get(number or 0)
    return None if advice is None else f"{advice}{where}"


def setup_logging(level: int = logging.INFO) -> None:
    """Send our log to stderr, one line a record, and keep the libraries to warnings.

    Of several processes only the first speaks.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logging.getLogger().handlers = [handler]
    logging.getLogger().setLevel(logging.WARNING)
    logging.getLogger("smstune").setLevel(level)
    if not is_main_process():
        logging.disable(logging.ERROR)
        os.environ["TQDM_DISABLE"] = "1"
