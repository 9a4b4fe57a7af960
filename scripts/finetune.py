"""smstune finetune, from a checkout."""

import sys

from smstune.commands.finetune import main

if __name__ == "__main__":
    sys.exit(main())
