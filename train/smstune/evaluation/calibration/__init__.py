"""Logits of validation in, a calibration out: temperature, cascade, operating points."""
