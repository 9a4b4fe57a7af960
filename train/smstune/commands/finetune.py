"""Fine-tune an encoder on a prepared folder.

Examples:
  smstune finetune fbs14 model.name_or_path=PATH training.seed=1
  smstune finetune mine.yaml training.resume_from_checkpoint=true
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from smstune.command import command, is_main_process
from smstune.commands.parser import command_parser, parse


def finetune(config: str | Path, overrides: Sequence[str] = ()) -> Path:
    """Fine-tune as a configuration says and return the run folder.

    ``config`` is a YAML file or the name of a shipped configuration; ``overrides`` are words of
    the form ``key.path=value``.

    Raises:
        UserError: if configuration, data and checkpoint do not fit, or the run folder is taken.
    """
    from smstune.config.loading import load_config
    from smstune.config.shipped import find_config

    settings = load_config(find_config(config), overrides)
    from smstune.data.prepared import require_prepared
    from smstune.inference.labels import LabelMap

    labels = settings.prepare.labels
    require_prepared(
        settings.data.path,
        LabelMap.from_yaml(find_config(labels)) if labels else None,
        _how_to_prepare(str(config), overrides, known=bool(settings.prepare.inputs)),
    )
    from smstune.training.finetune import finetune as train

    return train(settings)


def _how_to_prepare(config: str, overrides: Sequence[str], *, known: bool) -> str:
    """Return the command that prepares the data of a configuration, in backquotes.

    ``known`` says whether the configuration names the messages.
    """
    for_data = [word for word in overrides if word.startswith(("data.path=", "prepare."))]
    words = shlex.join(["smstune", "prepare", "--config", config, *for_data])
    return f"`{words}`" if known else f"`{words} INPUT`, where INPUT is your messages"


@command
def main(argv: Sequence[str] | None) -> None:
    """Parse, check, fine-tune, print the run folder."""
    parser = command_parser("finetune", __doc__)
    parser.add_argument("config", nargs="?", help="YAML file or shipped configuration")
    parser.add_argument("overrides", nargs="*", metavar="key.path=value", help="change one key")
    parser.add_argument(
        "--schema", action="store_true", help="print the JSON schema of a configuration"
    )
    args = parse(parser, argv)
    if args.schema:
        from smstune.config.loading import config_schema

        print(config_schema())
        return
    if args.config is None:
        parser.error("expected a configuration, found none")
    run = finetune(args.config, args.overrides)
    if is_main_process():
        print(run)
