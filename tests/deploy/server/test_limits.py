"""No client can stop the others: explanations, waits, connections, and bodies that are held."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPResponse

import httpx2
import pytest
from serving import SLOW, serving

HEAD = b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


def post(served, path, body):
    return httpx2.post(served.address + path, json=body, timeout=60)


def answer_on(connection):
    """Return status, headers and problem of the answer that comes next on a raw connection."""
    response = HTTPResponse(connection)
    response.begin()
    return response.status, response.headers, json.loads(response.read())


def test_explanations_take_no_room_of_classify(learned_run, tmp_path):
    limits = ("serve.queue_messages=256", "serve.max_wait_seconds=60")
    with serving(tmp_path, learned_run, *limits) as served, ThreadPoolExecutor(6) as pool:
        # Four fill their queue, each as long as 64 messages.
        bodies = [{"text": f"{SLOW * 4}{number}"} for number in range(6)]
        asked = [pool.submit(post, served, "/v1/explain", body) for body in bodies]
        served.wait_for_queue(256)
        assert post(served, "/v1/classify", {"texts": ["您好"] * 256}).status_code == 200
        statuses = [request.result().status_code for request in asked]
    assert sorted(statuses) == [200, 200, 200, 200, 503, 503]


@pytest.mark.parametrize("path", ["/v1/classify", "/v1/explain"])
def test_who_would_wait_too_long_is_refused(learned_run, tmp_path, path):
    with serving(tmp_path, learned_run, "serve.max_wait_seconds=1") as served:
        # The server learns that a message takes half a second.
        for _ in range(2):
            assert post(served, path, {"text": SLOW}).status_code == 200
        with ThreadPoolExecutor(12) as pool:
            bodies = [{"text": f"{SLOW}{number}"} for number in range(12)]
            answers = list(pool.map(lambda body: post(served, path, body), bodies))
        refused = [answer for answer in answers if answer.status_code == 503]
        assert 0 < len(refused) < 12
        for answer in refused:
            assert answer.json()["expected"] == "a wait of at most 1 s"
            assert int(answer.headers["retry-after"]) >= 2
        # An idle server takes whatever its other limits allow.
        if path == "/v1/classify":
            assert post(served, path, {"texts": [SLOW] * 5}).status_code == 200


def test_connections(learned_run, tmp_path):
    with serving(tmp_path, learned_run, "serve.max_connections=3") as served:
        first, *idle = (served.connect() for _ in range(3))
        with served.connect() as late:
            status, headers, problem = answer_on(late)
            assert (status, problem["expected"]) == (503, "at most 3 connections")
            assert headers["retry-after"] == "1"
            assert late.recv(1) == b""
        # Those that came before are served as ever.
        body = b'{"text": "\xe6\x82\xa8"}'
        first.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        assert answer_on(first)[0] == 200
        for connection in (first, *idle):
            connection.close()
        end = time.monotonic() + 10
        while (answer := post(served, "/v1/classify", {"text": "您"})).status_code == 503:
            assert time.monotonic() < end
        assert answer.status_code == 200


@pytest.mark.slow
def test_a_connection_that_asks_nothing_is_closed(learned_run, tmp_path):
    with (
        serving(tmp_path, learned_run) as served,
        served.connect() as silent,
        served.connect() as half,
    ):
        half.sendall(b"GET /healthz HT")
        assert silent.recv(1) == half.recv(1) == b""


def test_a_body_that_does_not_end(learned_run, tmp_path):
    with serving(tmp_path, learned_run, "serve.body_seconds=1") as served:
        with served.connect() as stalled:
            stalled.sendall(HEAD + b"Content-Length: 9\r\n\r\n{")
            status, headers, problem = answer_on(stalled)
            assert (status, headers["connection"]) == (408, "close")
            assert problem["expected"] == "a whole body within 1 s"
            assert stalled.recv(1) == b""
        # The time to be scored is no part of it.
        slow = {"texts": [SLOW] * 3}
        assert post(served, "/v1/classify", slow).status_code == 200
        assert served.metric('smstune_rejected_total{reason="slow"}') == 1


def test_bytes_in_flight(learned_run, tmp_path):
    limits = ("serve.max_body_bytes=1024", "serve.max_bytes_in_flight=4096")
    with serving(tmp_path, learned_run, *limits) as served:
        holders = [served.connect() for _ in range(5)]
        for connection in holders:
            connection.sendall(HEAD + b"Content-Length: 1024\r\n\r\n" + b" " * 1000)
            # The order in which they are read is that in which they were sent.
            time.sleep(0.1)
        status, headers, problem = answer_on(holders[-1])
        assert (status, headers["retry-after"], headers["connection"]) == (503, "1", "close")
        assert holders[-1].recv(1) == b""
        assert problem["expected"] == "at most 4096 bytes of requests at a time"
        # The others may go on, and what was counted is free after the answer.
        holders[0].sendall(b'{"text": "a"}'.rjust(24))
        assert answer_on(holders[0])[0] == 200
        assert post(served, "/v1/classify", {"text": "a" * 900}).status_code == 200
        for connection in holders:
            connection.close()
        assert post(served, "/v1/classify", {"text": "您好"}).status_code == 200
