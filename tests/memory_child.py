"""A script whose process gets little more memory as soon as its model computes.

python tests/memory_child.py SCRIPT [arguments]
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

from child import add_to_trainer
from doors import script
from transformers import TrainerCallback

from smstune.inference.classifier import SmsClassifier

#: Less than the activations of a batch take, enough for an error message.
MORE_BYTES = 8 * 2**20


def limit_memory():
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MORE_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


class LimitMemory(TrainerCallback):
    def on_step_begin(self, args, state, control, **kwargs):
        limit_memory()


def limit_scoring():
    encoder_logits = SmsClassifier.encoder_logits

    def limited(self, texts, progress=None):
        limit_memory()
        return encoder_logits(self, texts, progress)

    SmsClassifier.encoder_logits = limited


if __name__ == "__main__":
    if sys.argv[1] == "finetune":
        add_to_trainer(LimitMemory())
    else:
        limit_scoring()
    sys.exit(script(sys.argv[1])(sys.argv[2:]))
