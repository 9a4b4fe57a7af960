"""smstune publish, from a checkout."""

import sys

from smstune.commands.publish import main

if __name__ == "__main__":
    sys.exit(main())
