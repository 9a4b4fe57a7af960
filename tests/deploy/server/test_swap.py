"""Another model without downtime, as docs/operations.md describes it."""

from __future__ import annotations

import shutil
import signal
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx2
import pytest
from serving import SLOW, serving


class Proxy(BaseHTTPRequestHandler):
    """Forwards to the first of the addresses; on no connection or 503 to the next, as nginx."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {"Content-Type": "application/json"}
        for address in list(self.server.addresses):
            try:
                answer = httpx2.post(
                    f"{address}{self.path}", content=body, headers=headers, timeout=60
                )
            except httpx2.TransportError:
                continue
            if answer.status_code != 503:
                break
        self.send_response(answer.status_code)
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    def log_message(self, *_):
        pass


@contextmanager
def proxy_of(addresses):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    server.addresses = addresses
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def load_on(address, statuses):
    """Send messages from four clients without a break; some take half a second."""
    stop = threading.Event()

    def ask(number):
        while not stop.is_set():
            content = {"text": f"{SLOW if number == 0 else ''}恭喜中奖"}
            try:
                answer = httpx2.post(f"{address}/v1/classify", json=content, timeout=60)
            except httpx2.TransportError:
                statuses.append("no answer")
            else:
                statuses.append(answer.status_code)

    clients = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for client in clients:
        client.start()
    try:
        yield
    finally:
        stop.set()
        for client in clients:
            client.join()


def wait_for_more(statuses, count=12):
    goal = len(statuses) + count
    for _ in range(600):
        if len(statuses) >= goal:
            return
        time.sleep(0.1)
    pytest.fail("no answers in a minute")


@pytest.mark.slow
def test_no_request_is_lost_while_a_model_is_exchanged(learned_run, tmp_path):
    new_run = shutil.copytree(learned_run, tmp_path / "better")
    folders = [tmp_path / name for name in ("old", "new")]
    for folder in folders:
        folder.mkdir()
    statuses = []
    with serving(folders[0], learned_run) as old, serving(folders[1], new_run) as new:
        addresses = [old.address]
        with proxy_of(addresses) as door, load_on(door, statuses):
            wait_for_more(statuses)
            assert new.client.get("/readyz").status_code == 200
            assert 'run="better"' in new.client.get("/metrics").text
            assert new.metric("smstune_messages_total ") == 0
            addresses[:] = [new.address, old.address]
            wait_for_more(statuses)
            assert new.metric("smstune_messages_total ") > 0
            # Back, so that the old one is stopped while it has requests.
            addresses[:] = [old.address, new.address]
            wait_for_more(statuses)
            old.child.send_signal(signal.SIGTERM)
            assert old.child.wait(30) == 0
            wait_for_more(statuses)
    assert set(statuses) == {200}
