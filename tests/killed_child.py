"""A script that kills itself as it is about to rename a file of a folder for the Nth time.

python tests/killed_child.py N FOLDER SCRIPT [arguments]
"""

from __future__ import annotations

import os
import signal
import sys

from doors import script


def kill_before_renaming(number, folder):
    renamed = 0

    def count(event, arguments):
        nonlocal renamed
        if event == "os.rename" and str(arguments[0]).startswith(folder):
            renamed += 1
            if renamed == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)


if __name__ == "__main__":
    kill_before_renaming(int(sys.argv[1]), sys.argv[2])
    sys.exit(script(sys.argv[3])(sys.argv[4:]))
