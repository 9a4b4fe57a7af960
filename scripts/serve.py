"""smstune serve, from a checkout."""

import sys

from smstune.commands.serve import main

if __name__ == "__main__":
    sys.exit(main())
