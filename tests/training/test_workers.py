"""Workers of the data loader, which macOS and Python 3.14 do not fork."""

from __future__ import annotations

import pytest
import torch
from doors import TINY_OVERRIDES

from smstune.config.loading import load_config
from smstune.training.assemble import assemble

AUGMENTED = "data.augment={transforms: [homophones], share: 0.5, strength: [0.3, 0.3]}"


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
@pytest.mark.parametrize("overrides", [(), (AUGMENTED,)], ids=["plain", "augmented"])
def test_a_worker_that_is_started_anew_gives_the_same_batches(config_file, method, overrides):
    batches = []
    for workers in (0, 1):
        words = (*TINY_OVERRIDES, *overrides, f"training.dataloader_num_workers={workers}")
        loader = assemble(load_config(config_file, words)).trainer.get_eval_dataloader()
        train = assemble(load_config(config_file, words)).trainer.get_train_dataloader()
        if workers:
            # accelerate's loader iterates over torch's.
            loader.base_dataloader.multiprocessing_context = method
            train.base_dataloader.multiprocessing_context = method
        batches.append([next(iter(loader)), next(iter(train))])
    for here, there in zip(*batches, strict=True):
        assert here.keys() == there.keys()
        assert all(torch.equal(here[name], there[name]) for name in here)
