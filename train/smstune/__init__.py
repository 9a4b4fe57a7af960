"""smstune: fine-tune a Chinese BERT on labelled marketing and fraud SMS."""

__version__ = "0.2.0"
