"""smstune prepare, from a checkout."""

import sys

from smstune.commands.prepare import main

if __name__ == "__main__":
    sys.exit(main())
