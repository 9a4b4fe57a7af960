"""Logits of validation in, a calibration out: temperature, label biases, operating points."""
