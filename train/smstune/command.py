"""Logging and exit status of a command; one line for each error of the user."""

from __future__ import annotations

import codecs
import errno
import functools
import io
import json
import logging
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import TextIO

from smstune.errors import GateError, UserError, is_out_of_memory
from smstune.language import (
    Message,
    preferred_language,
    translated,
    translated_log,
    use_language,
)

#: Seconds that another rank waits for rank 0 to report an error.
_RANK_0_SECONDS = 10
#: How error messages of Rust and Python give the system's error number.
_ERROR_NUMBER = re.compile(r"\(os error (\d+)\)|\[[Ee]rrno (\d+)\]")
#: torch's message for a checkpoint that was not written completely.
_TORCH_POSITION = re.compile(r"unexpected pos \d+ vs \d+")
#: What to do about an error of the system.
_ADVICE = {
    errno.ENOSPC: Message(
        "no space left on the device: free some or write elsewhere; complete files were kept"
    ),
    errno.EFBIG: Message(
        "the file would exceed the size limit: raise it (`ulimit -f`) or write to "
        "another file system"
    ),
    errno.EDQUOT: Message("disk quota exceeded: free some space or write elsewhere"),
    errno.ENOENT: Message("no such file or folder: check the path"),
    errno.EACCES: Message("permission denied: check the permissions of this path"),
    errno.EROFS: Message("the file system is read-only: write elsewhere"),
    errno.EISDIR: Message("expected a file and found a folder"),
    errno.ENOTDIR: Message("expected a folder and found a file"),
    errno.ENAMETOOLONG: Message("the name is too long for this file system: choose a shorter one"),
    errno.EBADF: Message(
        "a stream is closed or open for the other direction: check the redirections"
    ),
    errno.EIO: Message("the device reported an error: check it, or write elsewhere"),
    errno.ELOOP: Message("too many symbolic links: the links form a loop"),
}
#: Name of stdout's error handler.
_ESCAPED = "smstune.escaped"


def is_main_process() -> bool:
    """Return whether this is the only process, or rank 0 of a launcher."""
    return os.environ.get("RANK", "0") == "0"


def command(body: Callable[[Sequence[str] | None], None]) -> Callable[..., int]:
    """Turn a command's body into a ``main(argv) -> exit status``.

    Status 0: done. 2: the user can fix it, with one line on stderr and no traceback. 3: a required
    score or limit was missed. 130 and 143: ended by Ctrl-C and by SIGTERM. A bug keeps its
    traceback (status 1).
    """

    @functools.wraps(body)
    def main(argv: Sequence[str] | None = None) -> int:
        arguments = sys.argv[1:] if argv is None else argv
        use_language(preferred_language(arguments, os.environ))
        setup_logging()
        _escape_unprintable()
        try:
            body(argv)
            # The buffered output may not fit on the disk; at exit it is too late to report it.
            if sys.stdout is not None:
                sys.stdout.flush()
        except UserError as error:
            return _fail(error)
        except GateError as error:
            _fail(error)
            return 3
        except BrokenPipeError:
            # The reader of our output (``| head``) has closed the pipe.
            _discard_output()
            return 0
        except KeyboardInterrupt as error:
            if is_main_process():
                _report(Message("interrupted"))
            return 128 + getattr(error, "signal", signal.SIGINT)
        except Exception as error:
            explanation = explain_system_error(error)
            if explanation is None:
                raise
            status = _fail(explanation)
            try:
                sys.stdout.flush()
            except (AttributeError, OSError):
                _discard_output()
            return status
        return 0

    return main


def _escape_unprintable() -> None:
    """Let stdout escape characters that its encoding lacks, such as an emoji under GBK.

    Python fails on them otherwise; stderr escapes them by itself.
    """
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        codecs.register_error(_ESCAPED, _escaped)
        sys.stdout.reconfigure(errors=_ESCAPED)


def _escaped(error: UnicodeError) -> tuple[str, int]:
    """Return characters as JSON escapes them, because a line of stdout may be JSON."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end


def _discard_output() -> None:
    """Discard buffered output, on which Python would otherwise fail at exit."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(message: str | Exception) -> int:
    if not is_main_process():
        # Rank 0 usually hits the same error and reports it; the launcher then stops the others.
        time.sleep(_RANK_0_SECONDS)
    _report(message)
    return 2


def _report(message: str | Exception) -> None:
    # Closed by the caller (``2>&-``), it is None.
    if sys.stderr is not None:
        line = translated(Message("error: {message}", message=message))
        sys.stderr.write(f"{' '.join(line.split())}\n")


def explain_system_error(error: Exception) -> Message | None:
    """Return advice on a full disk, a missing file and the like, ``None`` for a bug."""
    if is_out_of_memory(error):
        return Message(
            "out of memory: close other programs, use fewer --workers, or a machine with more "
            "memory"
        )
    number = error.errno if isinstance(error, OSError) else None
    # safetensors and other wrappers give the system's error number only in their message.
    if number is None and (match := _ERROR_NUMBER.search(str(error))):
        number = int(match[1] or match[2])
    # torch.save gives no number, and reports a short write only as an unexpected position.
    if "PytorchStreamWriter failed" in str(error) or _TORCH_POSITION.search(str(error)):
        number = errno.ENOSPC
    advice = _ADVICE.get(number or 0)
    if advice is None or not isinstance(error, OSError) or not error.filename:
        return advice
    return Message("{advice} at {path}", advice=advice, path=error.filename)


class _Formatter(logging.Formatter):
    """Writes our own records in the reader's language."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """Return the record's text, translated if it is one of ours."""
        if not record.name.startswith("smstune") or not isinstance(record.msg, str):
            return record.message
        return translated_log(record.msg, record.args)


class _Handler(logging.StreamHandler[TextIO]):
    """Writes each record to stderr on its own line, above the progress bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        # Libraries draw bars in their own threads. To hide all bars, tqdm iterates over them
        # without a lock that its subclasses share, and fails if another thread adds one.
        in_main_thread = threading.current_thread() is threading.main_thread()
        if "tqdm" not in sys.modules or not in_main_thread:
            super().emit(record)
            return
        from tqdm import tqdm

        with tqdm.external_write_mode(file=self.stream):
            super().emit(record)


def setup_logging() -> None:
    """Send our log to stderr, one line per record, and silence libraries except for errors.

    Of several processes only rank 0 logs.
    """
    handler = _Handler(sys.stderr)
    handler.setFormatter(_Formatter())
    logging.getLogger().handlers = [handler]
    logging.captureWarnings(True)
    set_verbosity()
    if not is_main_process():
        logging.disable(logging.ERROR)
        os.environ["TQDM_DISABLE"] = "1"


def set_verbosity(*, quiet: bool = False, verbose: bool = False) -> None:
    """Log our progress and warnings, only warnings, or everything including the libraries."""
    our_level = logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO
    logging.getLogger("smstune").setLevel(our_level)
    logging.getLogger().setLevel(logging.INFO if verbose else logging.WARNING)
    # Users cannot act on what libraries tell developers through the module `warnings`.
    logging.getLogger("py.warnings").setLevel(logging.INFO if verbose else logging.ERROR)
    library_level = "info" if verbose else "error"
    libraries = {
        "transformers": "TRANSFORMERS",
        "datasets": "DATASETS",
        "huggingface_hub": "HF_HUB",
    }
    for library, prefix in libraries.items():
        # The library reads the variable when imported; in a notebook it may already be.
        os.environ[f"{prefix}_VERBOSITY"] = library_level
        logging.getLogger(library).setLevel(library_level.upper())
    # It has a handler of its own, and would log each line twice.
    logging.getLogger("huggingface_hub").propagate = False
