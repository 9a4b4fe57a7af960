"""The program `smstune`: runs the command that its first argument names."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

from smstune import __version__
from smstune.language import Message, preferred_language, translated, use_language

#: In the order in which a new user meets them.
COMMANDS = (
    "prepare", "pretrain", "finetune", "eval", "predict", "export", "serve", "learn", "recalibrate",
    "audit", "publish", "compare", "suggest", "sweep", "benchmark", "configs",
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command named by the first argument and return its exit status."""
    name, *rest = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    if name in ("-h", "--help"):
        print(usage())
        return 0
    if name == "--version":
        print(f"smstune {__version__}")
        return 0
    if name not in COMMANDS:
        # Imported here: it takes a little of every command's start.
        import difflib

        near = difflib.get_close_matches(name, COMMANDS, n=1, cutoff=0.5)
        hint = Message(", did you mean {name}?", name=near[0]) if near else ""
        use_language(preferred_language(rest, os.environ))
        error = Message(
            "error: unknown command {name!r}{hint}: the commands are {commands}",
            name=name,
            hint=hint,
            commands=", ".join(COMMANDS),
        )
        sys.stderr.write(f"{translated(error)}\n")
        return 2
    status: int = import_module(f"smstune.commands.{name}").main(rest)
    return status


def usage() -> str:
    """Return the text of ``smstune --help``: each command with its docstring's first line."""
    lines = ["usage: smstune COMMAND ...", "       smstune COMMAND --help", ""]
    for name in COMMANDS:
        documentation = import_module(f"smstune.commands.{name}").__doc__ or ""
        lines.append(f"  {name:<11} {documentation.partition(chr(10))[0]}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
