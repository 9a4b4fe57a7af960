"""List the shipped configurations, or print one.

Every command that takes a configuration also takes the name of a shipped one, such as fbs14 or
recipes/lora. Label files are called labels/NAME.

Examples:
  smstune configs
  smstune configs recipes/lora > mine.yaml
"""

from __future__ import annotations

from collections.abc import Sequence

from smstune.command import command
from smstune.commands.parser import command_parser, parse


@command
def main(argv: Sequence[str] | None) -> None:
    """Parse, print the names or the configuration."""
    parser = command_parser("configs", __doc__)
    parser.add_argument(
        "name", nargs="?", help="name of the configuration to print; without it, list all names"
    )
    args = parse(parser, argv)
    from smstune.config.shipped import config_names, find_config

    if args.name:
        print(find_config(args.name).read_text("utf-8"), end="")
    else:
        print("\n".join(config_names()))
