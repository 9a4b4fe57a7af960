"""Fine-tune an encoder on a prepared folder.

Examples:
  smstune finetune fbs14 model.name_or_path=PATH training.seed=1
  smstune finetune mine.yaml training.resume_from_checkpoint=true
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from smstune.command import command, is_main_process
from smstune.commands.parser import command_parser, parse
from smstune.errors import require_training_packages

if TYPE_CHECKING:
    from smstune.config.schema import Config


def finetune(config: str | Path, overrides: Sequence[str] = ()) -> Path:
    """Fine-tune a model as the configuration says and return the run folder.

    ``config`` is a YAML file or the name of a shipped configuration; ``overrides`` have
    the form ``key.path=value``.

    Raises:
        UserError: if configuration, data and checkpoint do not fit each other, or the run folder
            already exists.
    """
    from smstune.config.loading import load_config
    from smstune.config.shipped import find_config

    settings = load_config(find_config(config), overrides)
    require_inputs(settings, config, overrides)
    from smstune.training.finetune import finetune as train

    return train(settings)


def require_inputs(settings: Config, config: str | Path, overrides: Sequence[str]) -> None:
    """Check that a configuration's data, encoder and teacher are there, before torch is imported.

    ``config`` and ``overrides`` are what the user gave, for the command that prepares the data.

    Raises:
        UserError: if not.
    """
    from smstune.config.shipped import find_config
    from smstune.data.prepare import table_options
    from smstune.data.prepared import require_prepared
    from smstune.data.readers.catalogue import check_input, parse_input
    from smstune.inference.fetch import require_encoder
    from smstune.inference.labels import LabelMap
    from smstune.inference.manifest import load_manifest

    labels = settings.prepare.labels
    require_prepared(
        settings.data.path,
        LabelMap.from_yaml(find_config(labels)) if labels else None,
        _how_to_prepare(str(config), overrides, names_inputs=bool(settings.prepare.inputs)),
    )
    model = settings.model
    if model.from_scratch is None:
        require_encoder(model.name_or_path, revision=model.revision)
    if settings.distillation is not None:
        load_manifest(settings.distillation.teacher)
        options = table_options(settings.prepare, labelled=False)
        for text in settings.distillation.unlabelled:
            check_input(parse_input(text, settings.prepare.source), options)


def _how_to_prepare(config: str, overrides: Sequence[str], *, names_inputs: bool) -> str:
    """Return the command, in backquotes, that prepares the data of a configuration.

    ``names_inputs`` says whether the configuration names the messages.
    """
    for_data = [word for word in overrides if word.startswith(("data.path=", "prepare."))]
    words = shlex.join(["smstune", "prepare", "--config", config, *for_data])
    return f"`{words}`" if names_inputs else f"`{words} INPUT`, where INPUT is your messages"


@command
def main(argv: Sequence[str] | None) -> None:
    """Parse, check, fine-tune, print the run folder."""
    parser = command_parser("finetune", __doc__)
    parser.add_argument("config", nargs="?", help="YAML file or name of a shipped configuration")
    parser.add_argument(
        "overrides", nargs="*", metavar="key.path=value", help="override keys of the configuration"
    )
    parser.add_argument(
        "--schema", action="store_true", help="print the JSON schema of configurations and exit"
    )
    args = parse(parser, argv)
    require_training_packages("finetune")
    if args.schema:
        from smstune.config.loading import config_schema

        print(config_schema())
        return
    if args.config is None:
        parser.error("no configuration: name a YAML file or a shipped configuration")
    run = finetune(args.config, args.overrides)
    if is_main_process():
        print(run)
