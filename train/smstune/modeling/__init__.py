"""An encoder and its tokenizer in, a model ready to be trained out."""
