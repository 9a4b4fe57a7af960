"""What the commands that use a run have in common: how it is loaded."""

from __future__ import annotations

import argparse
from typing import get_args

from train.modeling.backends import BackendChoice
from train.modeling.classifier import SmsClassifier
from train.runtime import DeviceChoice, PrecisionChoice


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the run, and what computes its answers, to a command line."""
    parser.add_argument("run", help="run folder, published folder, or ORG/NAME on a hub")
    for name, choices in (
        ("--backend", BackendChoice),
        ("--device", DeviceChoice),
        ("--precision", PrecisionChoice),
    ):
        parser.add_argument(name, choices=get_args(choices), default="auto")


def load_run(arguments: argparse.Namespace) -> SmsClassifier:
    """Load what ``add_run_arguments`` asked for.

    Raises:
        UserError: if its parts do not belong together, or what is asked for is not there.
    """
    return SmsClassifier.from_pretrained(
        arguments.run,
        backend=arguments.backend,
        device=arguments.device,
        precision=arguments.precision,
    )
