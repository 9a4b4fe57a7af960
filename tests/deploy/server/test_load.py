"""The server for half a minute at twice what it can do: no wrong answer, none lost, flat memory."""

from __future__ import annotations

import asyncio
import csv
import random
import time

import httpx2
import numpy as np
import pytest
from doors import SAMPLE
from serving import serving

from smstune.inference.classifier import SmsClassifier

TEXTS_A_REQUEST = 32
MEASURED_SECONDS = 6
LOAD_SECONDS = 30
MIB = 2**20


class Caller:
    """Sends random messages and keeps what came back."""

    def __init__(self, address, texts, expected):
        self.client = httpx2.AsyncClient(
            base_url=address,
            timeout=60,
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=200),
        )
        self.texts, self.expected = texts, expected
        self.statuses, self.wrong, self.seconds = [], 0, []

    async def call(self):
        rows = random.choices(range(len(self.texts)), k=TEXTS_A_REQUEST)
        started = time.monotonic()
        body = {"texts": [self.texts[row] for row in rows]}
        response = await self.client.post("/v1/classify", json=body)
        self.statuses.append(response.status_code)
        self.seconds.append(time.monotonic() - started)
        if response.status_code == 200:
            answers = response.json()["answers"]
            self.wrong += len(answers) != len(rows)
            for answer, row in zip(answers, rows, strict=False):
                label, scores = self.expected[row]
                close = np.allclose(list(answer["scores"].values()), scores, atol=1e-4)
                self.wrong += not (answer["label"] == label and close)
        else:
            assert int(response.headers["retry-after"]) >= 1

    async def capacity(self):
        """Return requests a second of four callers that each wait for their answer."""
        end = time.monotonic() + MEASURED_SECONDS

        async def one():
            while time.monotonic() < end:
                await self.call()

        await asyncio.gather(*(one() for _ in range(4)))
        assert set(self.statuses) == {200}
        return len(self.statuses) / MEASURED_SECONDS

    async def load(self, rate):
        """Send ``rate`` requests a second, whatever comes back."""
        calls, started = [], time.monotonic()
        while (passed := time.monotonic() - started) < LOAD_SECONDS:
            due = int(passed * rate) - len(calls)
            calls += [asyncio.create_task(self.call()) for _ in range(due)]
            await asyncio.sleep(0.01)
        await asyncio.gather(*calls)
        return len(calls)

    async def memory(self):
        lines = (await self.client.get("/metrics")).text.splitlines()
        (found,) = (one for one in lines if one.startswith("process_resident_memory_bytes "))
        return float(found.split()[1])


@pytest.mark.slow
def test_twice_the_capacity(learned_run, tmp_path):
    random.seed(0)
    with SAMPLE.open(encoding="utf-8", newline="") as stream:
        texts = [row["text"] for row in csv.DictReader(stream)]
    classifier = SmsClassifier.from_pretrained(learned_run, device="cpu", precision="fp32")
    expected = [(one.label, list(one.scores.values())) for one in classifier.predict(texts)]

    async def whole(address):
        caller = Caller(address, texts, expected)
        rate = await caller.capacity()
        before = await caller.memory()
        caller.statuses.clear(), caller.seconds.clear()
        sent = await caller.load(2 * rate)
        return caller, rate, sent, await caller.memory() - before

    with serving(tmp_path, learned_run, "serve.queue_messages=512") as served:
        caller, rate, sent, grown = asyncio.run(whole(served.address))
        assert served.client.get("/readyz").status_code == 200
        assert served.metric("smstune_queue_messages ") == 0
    counts = {status: caller.statuses.count(status) for status in set(caller.statuses)}
    print(
        f"{rate:.0f} requests/s; then {sent} sent, {counts}, memory +{grown / MIB:.1f} MiB, "
        f"p99 {np.percentile(caller.seconds, 99):.2f} s"
    )
    assert set(counts) == {200, 503}
    assert sum(counts.values()) == sent > 1.5 * rate * LOAD_SECONDS
    assert counts[200] > 0.25 * rate * LOAD_SECONDS
    assert caller.wrong == 0
    assert grown < 64 * MIB
