"""Messages and their campaigns in, the split of each and its contamination out."""
