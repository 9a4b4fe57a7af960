"""Answer over HTTP, with a page to try the model at /.

Examples:
  smstune serve runs/fbs14
  SMSTUNE_API_KEY=... smstune serve runs/fbs14 --host 0.0.0.0 serve.queue_messages=4096
"""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence

from smstune.command import command
from smstune.commands.parser import command_parser, parse
from smstune.commands.run_arguments import add_run_arguments, find_run, load_run
from smstune.errors import UserError, how_to_install


@command
def main(argv: Sequence[str] | None) -> None:
    """Parse, load, serve until a signal; print the address."""
    _open_standard_streams()
    parser = command_parser("serve", __doc__)
    add_run_arguments(parser)
    parser.add_argument(
        "overrides", nargs="*", metavar="serve.key=value", help="change the limits of the server"
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on (127.0.0.1); any other needs SMSTUNE_API_KEY",
    )
    parser.add_argument("--port", type=int, default=8000, help="port (8000); 0: any free one")
    args = parse(parser, argv, intermixed=True)
    folder, manifest = find_run(args)
    try:
        from smstune.deploy.server.serve import bind, serve
    except ModuleNotFoundError as error:
        raise UserError(
            f"expected the server's packages, found no {error.name}: {how_to_install('serve')}"
        ) from error
    key = os.environ.get("SMSTUNE_API_KEY", "").strip() or None
    with bind(args.host, args.port, key) as listener:
        from smstune.inference.run import run_config

        classifier = load_run(args, folder, manifest)
        artifact = classifier.artifact
        section = run_config(artifact.path, artifact.manifest, "serve", args.overrides).serve
        announce = functools.partial(print, flush=True)
        serve(classifier, section, listener, key=key, announce=announce)


def _open_standard_streams() -> None:
    """Let closed standard streams lead nowhere, so that no connection gets their numbers.

    A library that writes its warnings to descriptor 2 would write them to a client.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest free number is taken.
            os.open(os.devnull, os.O_RDWR)
