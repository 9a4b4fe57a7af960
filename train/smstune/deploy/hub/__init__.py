"""An evaluated run in, a commit on a hub out, with a model card."""
