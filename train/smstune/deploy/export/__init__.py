"""A run in, its ONNX forms out, each checked against the run."""
