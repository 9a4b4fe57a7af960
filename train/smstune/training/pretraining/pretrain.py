"""Domain pretraining: an encoder reads unlabelled messages before it is fine-tuned."""

from __future__ import annotations

import logging
import os
import shlex
from pathlib import Path

from accelerate.utils import broadcast_object_list
from transformers import set_seed

from smstune.config.loading import dump_config
from smstune.config.schema import Config
from smstune.data.public.registry import terms_of
from smstune.errors import UserError
from smstune.files import put_in_place, scratch_folder, write_json
from smstune.inference.manifest import PRETRAINING
from smstune.inference.origin import PretrainingFacts
from smstune.training.loop import train_to_the_end
from smstune.training.pretraining.assemble import (
    AssembledPretraining,
    assemble_pretraining,
)
from smstune.training.pretraining.masked_trainer import ALL_SOURCES, logged_scores
from smstune.training.resume import checkpoint_to_resume
from smstune.training.terminal import describe_kept

logger = logging.getLogger(__name__)


def pretrain(config: Config) -> Path:
    """Train an encoder to predict masked tokens, as ``config`` says, and return its folder.

    The folder is one for ``model.name_or_path``: the encoder of the epoch with the lowest loss on
    held-out messages, its tokenizer, and ``pretraining.json``, which is written last. A killed
    training is resumed as a fine-tune is.

    Raises:
        UserError: if messages, checkpoint or configuration do not fit, or the folder is taken.
        Interrupted: if SIGTERM or Ctrl-C ended the training at a checkpoint.
    """
    section = config.pretrain
    if section is None:
        raise UserError(
            "expected a section pretrain, found none: name pretrain.inputs and pretrain.protect, "
            "as in the shipped configuration pretrain"
        )
    training = config.training
    folder = training.output_dir
    checkpoint = checkpoint_to_resume(folder, resume=training.resume_from_checkpoint)
    assembled = assemble_pretraining(config, section)
    (checkpoint,) = broadcast_object_list([checkpoint])
    trainer = assembled.trainer
    # Each process draws dropout masks of its own.
    set_seed(training.seed + trainer.args.process_index)
    # A resumed training has the scores from before its first step in its checkpoint.
    trainer.args.eval_on_start = checkpoint is None
    _log_start(assembled)
    train_to_the_end(trainer, assembled.config, checkpoint)
    if trainer.is_world_process_zero():
        facts = _facts(assembled, section.mlm_probability)
        _save(assembled, facts)
        logger.info("%s", describe_kept(trainer.state))
        _warn_without_gain(facts)
        logger.info("next: smstune finetune CONFIG model.name_or_path=%s", shlex.quote(str(folder)))
    return folder


def _log_start(assembled: AssembledPretraining) -> None:
    corpus, setup = assembled.corpus, assembled.setup
    logger.info(
        "pretraining %s on %s, %s",
        assembled.config.model.name_or_path,
        setup.device.type,
        setup.precision,
    )
    logger.info(
        "%s messages to read, %s held out", f"{len(corpus.training):,}", f"{len(corpus.held_out):,}"
    )


def _facts(assembled: AssembledPretraining, mlm_probability: float) -> PretrainingFacts:
    config, corpus, state = assembled.config, assembled.corpus, assembled.trainer.state
    commit = getattr(assembled.masked.model.config, "_commit_hash", None)
    validations = {row["step"]: row for row in state.log_history if "eval_loss" in row}
    before, after = (
        logged_scores(validations[step], corpus.held_out_sources)
        for step in (0, state.best_global_step or 0)
    )
    earlier = assembled.earlier
    sources = [input_.source for input_ in corpus.inputs]
    terms = terms_of(sources)
    if earlier is not None:
        sources = [*earlier.sources, *sources]
        terms = [*earlier.terms, *terms]
    return PretrainingFacts(
        base_model={
            "name_or_path": config.model.name_or_path,
            "revision": commit or config.model.revision,
        },
        sources=list(dict.fromkeys(sources)),
        terms=list({set_terms.name: set_terms for set_terms in terms}.values()),
        messages=len(corpus.training),
        held_out=len(corpus.held_out),
        set_aside=corpus.read.set_aside,
        mask_pii=config.prepare.mask_pii and (earlier is None or earlier.mask_pii),
        mlm_probability=mlm_probability,
        seed=config.training.seed,
        steps=state.best_global_step or 0,
        before=before,
        after=after,
    )


def _save(assembled: AssembledPretraining, facts: PretrainingFacts) -> None:
    """Write the files of the encoder folder whole, ``pretraining.json`` last."""
    folder = assembled.config.training.output_dir
    model = assembled.masked.model
    # A classifier that is fine-tuned from it starts from its checkpoint's pooler.
    weights = model.state_dict() | assembled.masked.pooler
    with scratch_folder(folder / PRETRAINING) as scratch:
        model.save_pretrained(scratch, state_dict=weights)
        assembled.tokenizer.save_pretrained(scratch)
        (scratch / "config.yaml").write_text(dump_config(assembled.config), "utf-8")
        assembled.trainer.state.save_to_json(str(scratch / "trainer_state.json"))
        write_json(scratch / PRETRAINING, facts.to_json())
        for name in sorted(os.listdir(scratch), key=lambda name: (name == PRETRAINING, name)):
            put_in_place(scratch / name, folder / name)


def _warn_without_gain(facts: PretrainingFacts) -> None:
    if facts.after[ALL_SOURCES].loss >= facts.before[ALL_SOURCES].loss:
        logger.warning(
            "warning: held-out messages are predicted no better than before: more messages, more "
            "steps or another training.learning_rate may help"
        )
