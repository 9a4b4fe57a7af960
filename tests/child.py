"""scripts/finetune.py, sending itself a signal as a step ends.

python tests/child.py STEP:SIGNAL[:RANK] CONFIG [key=value ...]
"""

from __future__ import annotations

import os
import signal
import sys

from doors import script
from transformers import TrainerCallback

from smstune.training import finetune as stage


class SendSignal(TrainerCallback):
    def __init__(self, step, name, rank="0"):
        self.step, self.number = int(step), signal.Signals[name]
        self.here = os.environ.get("RANK", "0") == rank

    def on_step_end(self, args, state, control, **kwargs):
        if self.here and state.global_step == self.step:
            os.kill(os.getpid(), self.number)


def add_to_trainer(callback, patch=setattr):
    """Let every trainer that is assembled have ``callback``."""
    build = stage.assemble

    def build_with_callback(config):
        parts = build(config)
        parts.trainer.add_callback(callback)
        return parts

    patch(stage, "assemble", build_with_callback)


if __name__ == "__main__":
    add_to_trainer(SendSignal(*sys.argv[1].split(":")))
    sys.exit(script("finetune")(sys.argv[2:]))
