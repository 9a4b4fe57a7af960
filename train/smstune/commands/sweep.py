"""Train many runs as one experiment: seeds, named variants, or a search; needs the extra sweep.

The section `sweep` of the configuration says what varies. Started again, the command skips finished
runs and resumes an unfinished one.

Examples:
  smstune sweep sweeps/recipes model.name_or_path=PATH
  smstune sweep fbs14 'sweep={seeds: [42, 43, 44], output_dir: runs/seeds}'
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from importlib.util import find_spec

from smstune.command import command
from smstune.commands.finetune import require_inputs
from smstune.commands.parser import command_parser, parse
from smstune.errors import UserError, how_to_install, require_training_packages
from smstune.ray_cluster import ray_cluster, require_ray


@command
def main(argv: Sequence[str] | None) -> None:
    """Parse, check everything, train, print the summary and the paths."""
    parser = command_parser("sweep", __doc__)
    parser.add_argument("config", help="YAML file or name of a shipped configuration")
    parser.add_argument(
        "overrides", nargs="*", metavar="key.path=value", help="override keys of the configuration"
    )
    parser.add_argument(
        "--engine",
        choices=["local", "ray"],
        default="local",
        help="where to train: on this machine, one run after the other (local, the default), or on "
        "a Ray cluster, several at once",
    )
    args = parse(parser, argv)
    require_training_packages("sweep")
    if args.engine == "ray":
        require_ray()
    from smstune.config.loading import load_config
    from smstune.config.shipped import find_config
    from smstune.sweep.plan import (
        ConfigSource,
        check_space,
        keep_plan,
        plan_variants,
        planned_runs,
    )

    source = ConfigSource(find_config(args.config), args.overrides)
    section = load_config(source.path, source.overrides).sweep
    if section is None:
        raise UserError(
            "{config} has no section sweep: add one, or give 'sweep={{seeds: [42, 43, 44]}}'",
            config=args.config,
        )
    if section.space is not None:
        if find_spec("optuna") is None:
            raise UserError(
                "sweep.space needs the package optuna: {how_to_install}",
                how_to_install=how_to_install("sweep"),
            )
        check_space(source, section.space)
    variants = plan_variants(source, section)
    for variant in variants:
        first = planned_runs(variant, section)[0].config
        require_inputs(first, args.config, args.overrides)
    from smstune.sweep.sweep import run_sweep

    with ray_cluster(show_logs=True) if args.engine == "ray" else nullcontext():
        keep_plan(section, variants)
        path = run_sweep(source, section, variants, args.engine)
    from smstune.reporting.terminal import render_terminal
    from smstune.sweep.report import summary_table
    from smstune.sweep.results import SweepResult

    sweep = SweepResult.model_validate_json(path.read_bytes())
    print(render_terminal(summary_table(sweep)), end="")
    for name in ("best.yaml", "report.html"):
        print(path.with_name(name))
    print(path)
    if sweep.failed:
        raise UserError(
            "{n_failed} runs failed: see the errors above, and start the sweep again",
            n_failed=len(sweep.failed),
        )
