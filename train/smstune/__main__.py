"""python -m smstune NAME: the same as smstune NAME."""

import sys

from smstune.commands.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
