"""Arguments that several commands take, and the run that they name."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from smstune.config.choices import BackendChoice, DeviceChoice, PrecisionChoice

if TYPE_CHECKING:
    from smstune.inference.classifier import SmsClassifier
    from smstune.inference.manifest import Manifest


def add_backend_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what computes a run's answers to a command line."""
    parser.add_argument(
        "--backend",
        choices=get_args(BackendChoice),
        default="auto",
        help="what computes the scores; auto: the fastest that the run folder holds",
    )
    parser.add_argument(
        "--device",
        choices=get_args(DeviceChoice),
        default="auto",
        help="where; auto: the GPU if there is one",
    )


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the run, and what computes its answers, to a command line."""
    parser.add_argument("run", help="run folder, published folder, or ORG/NAME on a hub")
    add_backend_arguments(parser)
    parser.add_argument(
        "--precision",
        choices=get_args(PrecisionChoice),
        default="auto",
        help="number format; auto: the fastest on this machine",
    )


def find_run(arguments: argparse.Namespace) -> tuple[Path, Manifest]:
    """Return the run folder and its manifest, before anything heavy is imported.

    Raises:
        UserError: if there is no finished run.
    """
    from smstune.inference.fetch import local_folder
    from smstune.inference.manifest import load_manifest

    folder = local_folder(arguments.run)
    return folder, load_manifest(folder)


def load_run(arguments: argparse.Namespace, folder: Path, manifest: Manifest) -> SmsClassifier:
    """Load what ``add_run_arguments`` asked for.

    Raises:
        UserError: if its parts do not belong together, or what is asked for is not there.
    """
    from smstune.inference.classifier import SmsClassifier

    return SmsClassifier.from_run(
        folder,
        manifest,
        backend=arguments.backend,
        device=arguments.device,
        precision=arguments.precision,
    )
