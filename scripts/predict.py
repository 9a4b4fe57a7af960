"""smstune predict, from a checkout."""

import sys

from smstune.commands.predict import main

if __name__ == "__main__":
    sys.exit(main())
