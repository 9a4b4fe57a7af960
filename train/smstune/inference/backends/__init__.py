"""Token ids in, logits out, by torch or onnxruntime."""
