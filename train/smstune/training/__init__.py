"""A prepared folder and a configuration in, a run folder out.

Order: learning_rate, regularisers, tracking, terminal, interrupt, resume, arguments, epoch_order,
augment, trainer, save, loop, distillation, assemble, finetune, pretraining.
"""
