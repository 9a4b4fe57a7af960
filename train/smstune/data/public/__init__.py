"""The name of a public data set in, its files out, downloaded once its terms are accepted."""
