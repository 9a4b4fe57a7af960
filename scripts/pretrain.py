"""smstune pretrain, from a checkout."""

import sys

from smstune.commands.pretrain import main

if __name__ == "__main__":
    sys.exit(main())
