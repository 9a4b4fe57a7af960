"""scripts/finetune.py or scripts/pretrain.py, sending itself a signal as a step ends.

python tests/child.py STEP:SIGNAL[:RANK] [pretrain] CONFIG [key=value ...]
"""

from __future__ import annotations

import functools
import os
import signal
import sys

from doors import script
from transformers import TrainerCallback

from smstune.training import finetune as stage
from smstune.training.pretraining import pretrain as pretraining


class SendSignal(TrainerCallback):
    def __init__(self, step, name, rank="0"):
        self.step, self.number = int(step), signal.Signals[name]
        self.here = os.environ.get("RANK", "0") == rank

    def on_step_end(self, args, state, control, **kwargs):
        if self.here and state.global_step == self.step:
            os.kill(os.getpid(), self.number)


def add_to_trainer(callback, patch=setattr):
    """Let every trainer that is assembled have ``callback``."""
    for module, name in ((stage, "assemble"), (pretraining, "assemble_pretraining")):
        patch(module, name, functools.partial(build_with_callback, getattr(module, name), callback))


def build_with_callback(build, callback, *arguments):
    parts = build(*arguments)
    parts.trainer.add_callback(callback)
    return parts


if __name__ == "__main__":
    add_to_trainer(SendSignal(*sys.argv[1].split(":")))
    words = sys.argv[2:]
    command = "pretrain" if words[0] == "pretrain" else "finetune"
    sys.exit(script(command)(words[command == "pretrain" :]))
