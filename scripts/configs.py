"""smstune configs, from a checkout."""

import sys

from smstune.commands.configs import main

if __name__ == "__main__":
    sys.exit(main())
