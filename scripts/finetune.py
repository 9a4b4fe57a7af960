"""Fine-tune on a prepared folder.

python scripts/finetune.py configs/fbs14.yaml model.name_or_path=PATH training.seed=1
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from smstune.command import command, is_main_process
from smstune.config.loading import config_schema, load_config


@command
def main(argv: Sequence[str] | None) -> None:
    """Parse, fine-tune, print the run folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", nargs="?", help="YAML file")
    parser.add_argument("overrides", nargs="*", metavar="key.path=value")
    parser.add_argument("--schema", action="store_true", help="print the JSON schema of a config")
    args = parser.parse_args(argv)
    if args.schema:
        print(config_schema())
        return
    if args.config is None:
        parser.error("expected a configuration file, found none")
    config = load_config(args.config, args.overrides)
    # Loaded late, so that a misspelt key is told at once.
    from smstune.training.finetune import finetune

    run = finetune(config)
    if is_main_process():
        print(run)


if __name__ == "__main__":
    sys.exit(main())
