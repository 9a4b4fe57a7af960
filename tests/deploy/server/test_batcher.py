"""The queue through the HTTP port: batches, a full queue, clients that leave, a graceful stop."""

from __future__ import annotations

import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest
from serving import serving

# A batch waits a second for others, so that what happens meanwhile is no matter of luck.
PATIENT = ("serve.batch_wait_ms=1000", "serve.queue_messages=64", "serve.max_messages=64")


@pytest.fixture
def served(learned_run, tmp_path):
    with serving(tmp_path, learned_run, *PATIENT) as found:
        yield found


def classify(served, count):
    with httpx2.Client(base_url=served.address, timeout=60) as client:
        return client.post("/v1/classify", json={"texts": [f"第{n}条" for n in range(count)]})


def test_batches_full_queue_and_clients_that_leave(served):
    with ThreadPoolExecutor(9) as pool:
        # Eight requests within a moment are one batch.
        done = [pool.submit(classify, served, 2) for _ in range(8)]
        assert {one.result().status_code for one in done} == {200}
        assert served.metric("smstune_batch_messages_sum") == 16
        assert served.metric("smstune_batch_messages_count") < 4

        first = pool.submit(classify, served, 60)
        served.wait_for_queue(60)
        refused = classify(served, 5)
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.json()["found"] == "60 waiting and 5 in this request"
        assert classify(served, 4).status_code == 200
        assert first.result().status_code == 200
        assert served.metric('smstune_rejected_total{reason="busy or stopping"}') == 1

    with pytest.raises(httpx2.ReadTimeout):
        httpx2.post(f"{served.address}/v1/classify", json={"texts": ["a"] * 60}, timeout=0.3)
    messages = served.metric("smstune_messages_total")
    served.wait_for_queue(0)
    assert classify(served, 60).status_code == 200
    assert served.metric("smstune_messages_total") == messages + 60
    assert served.metric('smstune_requests_total{path="/v1/classify",status="499"}') == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_stop_finishes_what_was_taken(served, number):
    host, port = httpx2.URL(served.address).host, httpx2.URL(served.address).port
    with (
        ThreadPoolExecutor(1) as pool,
        # Somebody who never sends the rest of a body holds nobody up.
        socket.create_connection((host, port)) as stalled,
    ):
        stalled.sendall(b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
        taken = pool.submit(classify, served, 8)
        served.wait_for_queue(8)
        served.child.send_signal(number)
        end = time.monotonic() + 5
        while (ready := served.client.get("/readyz")).status_code == 200:
            assert time.monotonic() < end
        assert ready.json()["found"] == "a server that is stopping"
        late = classify(served, 1)
        assert (late.status_code, late.json()["found"]) == (503, "a server that is stopping")
        assert late.headers["retry-after"] == "1"
        answers = taken.result()
        assert (answers.status_code, len(answers.json()["answers"])) == (200, 8)
        assert served.child.wait(15) == 0
    assert "Traceback" not in served.said


def test_stop_within_its_bound(learned_run, tmp_path):
    patient = ("serve.batch_wait_ms=1000", "serve.stop_seconds=1", "serve.batch_messages=256")
    large = "serve.max_body_bytes=8388608"
    with serving(tmp_path, learned_run, *patient, large) as served, ThreadPoolExecutor(1) as pool:
        # Many characters: more than a second's work for the normaliser.
        texts = [f"{n}点com" * 2000 for n in range(256)]
        body = {"texts": texts}
        taken = pool.submit(httpx2.post, f"{served.address}/v1/classify", json=body, timeout=60)
        served.wait_for_queue(256)
        served.child.send_signal(signal.SIGTERM)
        started = time.monotonic()
        assert taken.result().status_code == 503
        assert time.monotonic() - started < 10
        assert served.child.wait(60) == 0
