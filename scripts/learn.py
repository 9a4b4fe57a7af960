"""smstune learn, from a checkout."""

import sys

from smstune.commands.learn import main

if __name__ == "__main__":
    sys.exit(main())
