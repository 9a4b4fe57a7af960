"""The bytes of HTTP: malformed requests, ambiguous ends, HEAD, and half-closed connections."""

from __future__ import annotations

import json
import re
import socket
from email import message_from_bytes

import pytest
from serving import serving

GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
JSON = b"Content-Type: application/json\r\n"
BODY = '{"text": "您好"}'.encode()
CHUNKS = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)


@pytest.fixture(scope="module")
def served(learned_run, tmp_path_factory):
    # A batch waits, so that a client is half closed before its answer is there.
    with serving(tmp_path_factory.mktemp("http"), learned_run, "serve.batch_wait_ms=600") as found:
        yield found


def post(version=b"1.1", headers=b"", body=BODY):
    return b"POST /v1/classify HTTP/%b\r\nHost: x\r\n%b%b\r\n%b" % (version, JSON, headers, body)


def exchange(served, sent, *, half_close=False):
    """Send bytes; return statuses and, of the last answer, headers and body.

    An answer that leaves the connection open makes this fail by its timeout.
    """
    with served.connect() as connection:
        connection.settimeout(4)
        connection.sendall(sent)
        if half_close:
            connection.shutdown(socket.SHUT_WR)
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    statuses = [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", received)]
    head, _, body = received.rpartition(b"\r\n\r\n")
    headers = message_from_bytes(head.rpartition(b"HTTP/1.1 ")[2].partition(b"\r\n")[2])
    # That something is to follow is no answer.
    return [status for status in statuses if status != 100], headers, body


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"hello\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 20_000,
        "GET /路 HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
        post(headers=b"Content-Length: 1\r\nContent-Length: 2\r\n"),
        post(headers=b"Content-Length: -1\r\n"),
        post(headers=b"Transfer-Encoding: gzip\r\n"),
        post(headers=b"Transfer-Encoding: chunked\r\n", body=b"zz\r\n"),
    ],
)
def test_malformed_requests_get_json(served, sent):
    statuses, headers, body = exchange(served, sent)
    assert statuses == [400]
    assert (headers["content-type"], headers["connection"]) == ("application/json", "close")
    assert json.loads(body).keys() == {"expected", "found", "what_to_do"}
    assert served.said.splitlines() == [served.address]


@pytest.mark.parametrize(
    "sent",
    [
        post(headers=b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", body=CHUNKS),
        post(headers=b"Transfer-Encoding: chunked\r\nContent-Length: 6\r\n", body=CHUNKS),
        post(b"1.0", b"Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n", CHUNKS),
    ],
)
def test_a_body_with_two_ends_is_refused_with_what_follows(served, sent):
    statuses, headers, body = exchange(served, sent + GET)
    assert (statuses, headers["connection"]) == ([400], "close")
    assert "Transfer-Encoding" in json.loads(body)["found"]


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/", "/openapi.json"])
def test_head(served, path):
    response = served.client.head(path)
    assert (response.status_code, response.content) == (200, b"")
    assert int(response.headers["content-length"]) > 0
    assert served.client.head("/v1/classify").status_code == 405


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_a_client_that_closes_its_sending_half_is_answered(served, version):
    sent = post(version, b"Content-Length: %d\r\n" % len(BODY))
    statuses, _, body = exchange(served, sent, half_close=True)
    assert (statuses, len(json.loads(body)["answers"])) == ([200], 1)


def test_a_client_that_sent_two_requests_and_closes_is_answered_twice(served):
    sent = post(headers=b"Content-Length: %d\r\n" % len(BODY))
    statuses, _, body = exchange(served, sent + GET, half_close=True)
    assert (statuses, body) == ([200, 200], b"alive\n")


@pytest.mark.parametrize("sent", [b"GET /heal", post(headers=b"Content-Length: 99\r\n")])
def test_half_a_request_is_malformed(served, sent):
    statuses, _, body = exchange(served, sent, half_close=True)
    assert statuses == [400]
    assert "before the end of the request" in json.loads(body)["found"]
