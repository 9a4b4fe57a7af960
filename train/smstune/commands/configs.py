"""List the shipped configurations, or print one.

Wherever a command takes a configuration, the name of a shipped one does, too. Label files are
named labels/NAME, recipes recipes/NAME.

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
    """Parse, print."""
    parser = command_parser("configs", __doc__)
    parser.add_argument("name", nargs="?", help="print this configuration")
    args = parse(parser, argv)
    from smstune.config.shipped import config_names, find_config

    if args.name:
        print(find_config(args.name).read_text("utf-8"), end="")
    else:
        print("\n".join(config_names()))
