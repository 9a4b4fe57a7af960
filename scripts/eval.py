"""smstune eval, from a checkout."""

import sys

from smstune.commands.eval import main

if __name__ == "__main__":
    sys.exit(main())
