"""An encoder and its tokenizer in, a model ready for training out."""
