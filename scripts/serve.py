"""Serve a run over HTTP, with a page to try it at /.

python scripts/serve.py runs/fbs14
SMSTUNE_API_KEY=... python scripts/serve.py runs/fbs14 --host 0.0.0.0 serve.queue_messages=4096
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
from collections.abc import Sequence

from smstune.command import command
from smstune.commands.run_arguments import add_run_arguments, load_run
from smstune.errors import UserError
from smstune.inference.run import run_config


@command
def main(argv: Sequence[str] | None) -> None:
    """Parse, load, serve until a signal; print the address."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_run_arguments(parser)
    parser.add_argument("overrides", nargs="*", metavar="serve.key=value")
    parser.add_argument("--host", default="127.0.0.1", help="others than this machine need a key")
    parser.add_argument("--port", type=int, default=8000, help="0: any that is free")
    args = parser.parse_intermixed_args(argv)
    try:
        from smstune.deploy.server.serve import bind, serve
    except ModuleNotFoundError as error:
        raise UserError(
            f"expected the server's packages, found no {error.name}: pip install 'smstune[serve]'"
        ) from error
    key = os.environ.get("SMSTUNE_API_KEY", "").strip() or None
    with bind(args.host, args.port, key) as listener:
        classifier = load_run(args)
        section = run_config(classifier.artifact.path, "serve", args.overrides).serve
        announce = functools.partial(print, flush=True)
        serve(classifier, section, listener, key=key, announce=announce)


if __name__ == "__main__":
    sys.exit(main())
