"""scripts/serve.py as a process of its own, and what it was heard to say."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
from doors import ROOT

#: The server's main, with a model that fails on a message with this mark, quoting the message.
FAILS = "失败标记"
_CODE = f"""
import sys
from doors import script
from smstune.inference.classifier import SmsClassifier

predict = SmsClassifier.predict

def failing(self, texts):
    if any({FAILS!r} in text for text in texts):
        raise ValueError(texts)
    return predict(self, texts)

SmsClassifier.predict = failing
sys.exit(script("serve")(sys.argv[1:]))
"""


@dataclass
class Served:
    """A running server."""

    child: subprocess.Popen
    address: str
    client: httpx2.Client
    said_in: tuple[Path, Path]

    @property
    def said(self) -> str:
        """All of stdout and stderr so far."""
        return "".join(path.read_text("utf-8") for path in self.said_in)

    def metric(self, name: str) -> float:
        """Return the sum of the samples whose name and labels start with ``name``."""
        lines = self.client.get("/metrics").text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


@contextmanager
def serving(folder: Path, run: Path, *arguments: str, headers=None, **environment: str):
    """Start a server on a free port, wait until it listens, and end it."""
    said_in = (folder / "stdout", folder / "stderr")
    words = [sys.executable, "-c", _CODE, str(run), "--port", "0", "--precision", "fp32"]
    path = os.pathsep.join((str(ROOT / "train"), str(ROOT / "tests")))
    variables = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **environment}
    with said_in[0].open("w") as stdout, said_in[1].open("w") as stderr:
        child = subprocess.Popen(
            [*words, *arguments], env=variables, stdout=stdout, stderr=stderr, cwd=folder
        )
    try:
        end = time.monotonic() + 120
        while not (address := said_in[0].read_text("utf-8")):
            assert child.poll() is None, said_in[1].read_text("utf-8")
            assert time.monotonic() < end
            time.sleep(0.1)
        address = address.strip()
        with httpx2.Client(base_url=address, headers=headers, timeout=60) as client:
            yield Served(child, address, client, said_in)
    finally:
        child.kill()
        child.wait()
