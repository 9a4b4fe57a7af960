"""Serve a run over HTTP, with a page at / to try the model.

Examples:
  smstune serve runs/fbs14
  SMSTUNE_API_KEY=... smstune serve runs/fbs14 --host 0.0.0.0 serve.queue_messages=4096
  SMSTUNE_REPORT_KEY=... smstune serve runs/fbs14          # also takes POST /v1/reports
"""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

from smstune.command import command
from smstune.commands.parser import command_parser, parse
from smstune.commands.run_arguments import add_run_arguments, find_run, load_run
from smstune.errors import UserError, how_to_install

if TYPE_CHECKING:
    from smstune.config.schema import MemoryConfig
    from smstune.deploy.server.reports import ReportDoor
    from smstune.inference.run import Run


@command
def main(argv: Sequence[str] | None) -> None:
    """Parse, load the run, print the address, serve until a signal arrives."""
    _open_standard_streams()
    parser = command_parser("serve", __doc__)
    add_run_arguments(parser)
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="serve.key=value",
        help="change the limits of the server",
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on (default: 127.0.0.1); if other machines can reach it, the "
        "environment variable SMSTUNE_API_KEY must hold a key",
    )
    parser.add_argument(
        "--port", type=int, default=8000, help="port to listen on (default: 8000); 0: any free port"
    )
    args = parse(parser, argv)
    # Explanations are computed by torch, whatever answers.
    folder, manifest = find_run(args, with_weights=find_spec("captum") is not None)
    try:
        from smstune.deploy.server.serve import bind, serve
    except ModuleNotFoundError as error:
        raise UserError(
            "the server needs the package {name}: {how_to_install}",
            name=error.name,
            how_to_install=how_to_install("serve"),
        ) from error
    key = _key("SMSTUNE_API_KEY")
    with bind(args.host, args.port, key) as listener:
        from smstune.inference.run_config import run_config

        classifier = load_run(args, folder, manifest)
        run = classifier.run
        config = run_config(run.path, run.manifest, "serve", args.overrides)
        announce = functools.partial(print, flush=True)
        door = _report_door(run, config.memory)
        serve(classifier, config.serve, listener, key=key, door=door, announce=announce)


def _key(variable: str) -> str | None:
    return os.environ.get(variable, "").strip() or None


def _report_door(run: Run, section: MemoryConfig) -> ReportDoor | None:
    """Return what takes reports, ``None`` without a key for them."""
    key, allow_key = _key("SMSTUNE_REPORT_KEY"), _key("SMSTUNE_ALLOW_KEY")
    if key is None:
        return None
    if allow_key == key:
        raise UserError(
            "SMSTUNE_ALLOW_KEY is SMSTUNE_REPORT_KEY: a report that allows needs a second key, "
            "choose another"
        )
    from smstune.deploy.learn.learn import open_teacher
    from smstune.deploy.server.reports import ReportDoor

    teacher = open_teacher(run.path, run.manifest, section, None)
    if teacher.reference is None:
        raise UserError(
            "the server can take no reports, because nothing is there to measure false alarms on: "
            "put the prepared folder at {folder}, or unset SMSTUNE_REPORT_KEY",
            folder=run.manifest.data.path,
        )
    return ReportDoor(key, allow_key, teacher.teach)


def _open_standard_streams() -> None:
    """Open closed standard streams on /dev/null, so that no connection gets their descriptors.

    Otherwise a library that writes a warning to descriptor 2 could send it to a client.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # open() takes the lowest free descriptor, which is this one.
            os.open(os.devnull, os.O_RDWR)
