"""A run in, its ONNX files out, each checked against the run."""
