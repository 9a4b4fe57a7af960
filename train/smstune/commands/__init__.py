"""One file for each command: its parser and its main(argv)."""
