"""Unlabelled messages and a configuration in, an encoder folder out.

Order: masking, masked_trainer, assemble, pretrain.
"""
