"""scripts/serve.py as a process of its own, what it was heard to say, and raw connections to it."""

from __future__ import annotations

import os
import signal
import socket
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
#: A message takes half a second of the thread that scores or explains it for each of these marks.
SLOW = "缓慢标记"
_CODE = f"""
import sys
import time
from doors import script
from smstune.inference.classifier import SmsClassifier

predict = SmsClassifier.predict

def failing(self, texts):
    if any({FAILS!r} in text for text in texts):
        raise ValueError(texts)
    return predict(self, texts)

preprocess = SmsClassifier.preprocess

def sluggish(self, texts):
    time.sleep(0.5 * sum(text.count({SLOW!r}) for text in texts))
    return preprocess(self, texts)

SmsClassifier.predict = failing
SmsClassifier.preprocess = sluggish
sys.exit(script("serve")(sys.argv[1:]))
"""


@dataclass
class Served:
    """A running server."""

    child: subprocess.Popen
    address: str
    client: httpx2.Client
    said_in: tuple[Path, Path]

    def connect(self) -> socket.socket:
        """Return a connection to the server."""
        url = httpx2.URL(self.address)
        return socket.create_connection((url.host, url.port), timeout=20)

    def wait_for_queue(self, messages: int) -> None:
        """Wait until so many messages are taken and not yet answered."""
        end = time.monotonic() + 20
        while self.metric("smstune_queue_messages ") != messages:
            assert time.monotonic() < end
            time.sleep(0.01)

    @property
    def said(self) -> str:
        """All of stdout and stderr so far."""
        return "".join(path.read_text("utf-8") for path in self.said_in)

    def metric(self, name: str) -> float:
        """Return the sum of the samples whose name and labels start with ``name``."""
        lines = self.client.get("/metrics").text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def start(folder: Path, run: Path, *arguments: str, shell: str = "exec", **environment: str):
    """Start a server by ``sh``, which executes it after ``shell``; return process and outputs."""
    said_in = (folder / "stdout", folder / "stderr")
    words = [sys.executable, "-c", _CODE, str(run), "--precision", "fp32", *arguments]
    path = os.pathsep.join((str(ROOT / "train"), str(ROOT / "tests")))
    variables = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **environment}
    with said_in[0].open("w") as stdout, said_in[1].open("w") as stderr:
        command = ["sh", "-c", f'{shell} "$@"', "sh", *words]
        child = subprocess.Popen(
            command,
            env=variables,
            stdout=stdout,
            stderr=stderr,
            cwd=folder,
            # Where the tests run under nohup, the server would ignore SIGHUP.
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
        )
    return child, said_in


@contextmanager
def serving(folder: Path, run: Path, *arguments: str, headers=None, **options: str):
    """Start a server on a free port, wait until it listens, and end it."""
    child, said_in = start(folder, run, "--port", "0", *arguments, **options)
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
