"""smstune audit, from a checkout."""

import sys

from smstune.commands.audit import main

if __name__ == "__main__":
    sys.exit(main())
