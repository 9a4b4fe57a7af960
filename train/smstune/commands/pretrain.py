"""Let an encoder read unlabelled messages before it is fine-tuned.

Examples:
  smstune pretrain pretrain model.name_or_path=PATH
  smstune pretrain mine.yaml training.resume_from_checkpoint=true
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from smstune.command import command, is_main_process
from smstune.commands.parser import command_parser, parse
from smstune.errors import require_training_packages


def pretrain(config: str | Path, overrides: Sequence[str] = ()) -> Path:
    """Train an encoder to predict masked tokens and return its folder.

    ``config`` is a YAML file or the name of a shipped configuration; ``overrides`` have the form
    ``key.path=value``.

    Raises:
        UserError: if configuration, messages and checkpoint do not fit each other, or the folder
            already exists.
    """
    from smstune.config.loading import load_config
    from smstune.config.shipped import find_config

    settings = load_config(find_config(config), overrides)
    from smstune.inference.fetch import require_encoder

    require_encoder(settings.model.name_or_path, revision=settings.model.revision)
    from smstune.training.pretraining.pretrain import pretrain as train

    return train(settings)


@command
def main(argv: Sequence[str] | None) -> None:
    """Parse, check, pretrain, print the encoder folder."""
    parser = command_parser("pretrain", __doc__)
    parser.add_argument("config", help="YAML file or name of a shipped configuration")
    parser.add_argument(
        "overrides", nargs="*", metavar="key.path=value", help="override keys of the configuration"
    )
    args = parse(parser, argv)
    require_training_packages("pretrain")
    folder = pretrain(args.config, args.overrides)
    if is_main_process():
        print(folder)
