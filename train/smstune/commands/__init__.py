"""One file per command: its parser and its main(argv)."""
