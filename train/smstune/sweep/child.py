"""One run of a sweep, in a process of its own: python -m smstune.sweep.child RUN.yaml.

With ``--trial JOURNAL NUMBER`` it is a trial of an optuna study and reports each epoch's score.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from smstune.command import command, set_verbosity


@command
def main(argv: Sequence[str] | None) -> None:
    """Parse, train unless it is done, evaluate on validation."""
    parser = argparse.ArgumentParser()
    parser.add_argument("config", type=Path)
    parser.add_argument("--trial", nargs=2, metavar=("JOURNAL", "NUMBER"))
    parser.add_argument("--quiet", action="store_true")
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--lang")
    args = parser.parse_args(argv)
    set_verbosity(quiet=args.quiet, verbose=args.verbose)
    _end_with_the_sweep()
    from smstune.config.loading import load_config

    config = load_config(args.config)
    if args.trial is None:
        from smstune.sweep.training import train_and_score

        train_and_score(config)
        return
    from smstune.sweep.search import train_trial

    journal, number = args.trial
    train_trial(config, Path(journal), int(number))


def _end_with_the_sweep() -> None:
    """Send ourselves SIGTERM, which leaves a checkpoint, when the sweep's process is gone.

    Its end of our standard input closes with it, even if it was killed.
    """

    def wait() -> None:
        # Not sys.stdin, whose lock would hold up the interpreter's end.
        os.read(0, 1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
