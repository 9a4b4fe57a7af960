"""smstune suggest, from a checkout."""

import sys

from smstune.commands.suggest import main

if __name__ == "__main__":
    sys.exit(main())
