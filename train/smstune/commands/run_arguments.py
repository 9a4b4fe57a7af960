"""Arguments shared by several commands, and loading the run they name."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from smstune.config.choices import BackendChoice, DeviceChoice, PrecisionChoice

if TYPE_CHECKING:
    from smstune.inference.classifier import SmsClassifier
    from smstune.inference.manifest import Manifest


def add_backend_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--backend`` and ``--device``."""
    parser.add_argument(
        "--backend",
        choices=get_args(BackendChoice),
        default="auto",
        help="library that computes the scores; auto: the fastest that the run folder allows on "
        "this machine",
    )
    parser.add_argument(
        "--device",
        # Not as choices: argparse would refuse mps with its usage and without a reason.
        metavar=f"{{{','.join(get_args(DeviceChoice))}}}",
        default="auto",
        help="device to compute on; auto: a GPU if there is one, otherwise the CPU",
    )


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the run, ``--backend``, ``--device`` and ``--precision``."""
    parser.add_argument("run", help="run folder, published folder, or ORG/NAME on the hub")
    add_backend_arguments(parser)
    parser.add_argument(
        "--precision",
        choices=get_args(PrecisionChoice),
        default="auto",
        help="number format to compute in; auto: the fastest available",
    )


def find_run(arguments: argparse.Namespace, *, with_weights: bool = False) -> tuple[Path, Manifest]:
    """Return the run folder and its manifest without importing anything heavy.

    Of a repository on the hub the torch weights are fetched if they answer, or ``with_weights``.

    Raises:
        UserError: if there is no finished run.
    """
    from smstune.inference.fetch import local_folder
    from smstune.inference.manifest import load_manifest

    folder = local_folder(
        arguments.run,
        backend=arguments.backend,
        device=arguments.device,
        precision=arguments.precision,
        with_weights=with_weights,
    )
    return folder, load_manifest(folder)


def load_run(arguments: argparse.Namespace, folder: Path, manifest: Manifest) -> SmsClassifier:
    """Load the classifier that the arguments of ``add_run_arguments`` describe.

    Raises:
        UserError: if its files do not fit each other, or the requested form does not exist.
    """
    from smstune.inference.classifier import SmsClassifier

    return SmsClassifier.from_run(
        folder,
        manifest,
        backend=arguments.backend,
        device=arguments.device,
        precision=arguments.precision,
    )
