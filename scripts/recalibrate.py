"""smstune recalibrate, from a checkout."""

import sys

from smstune.commands.recalibrate import main

if __name__ == "__main__":
    sys.exit(main())
