"""smstune compare, from a checkout."""

import sys

from smstune.commands.compare import main

if __name__ == "__main__":
    sys.exit(main())
