"""smstune sweep, from a checkout."""

import sys

from smstune.commands.sweep import main

if __name__ == "__main__":
    sys.exit(main())
