"""An evaluated run in, a commit on a hub with a model card out."""
