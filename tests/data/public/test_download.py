"""The downloader, against a real server on this machine that misbehaves in every way we know."""

from __future__ import annotations

import hashlib
import re
import shutil
import socket
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from smstune.data.public import download as download_module
from smstune.data.public.download import download, require_safe_address
from smstune.errors import UserError

BODY = hashlib.shake_256(b"smstune").digest(200_000)
OTHER = hashlib.shake_256(b"changed").digest(200_000)
SHA256 = hashlib.sha256(BODY).hexdigest()
QUICK = {"timeout": 1.0, "backoff": 0.01, "attempts": 3}


class Answer(SimpleNamespace):
    """What the server says to one request; the last answer is given again and again."""

    def __init__(self, **fields):
        defaults = {
            "status": 200,
            "body": BODY,
            "etag": '"one"',
            "cut": None,
            "stall": False,
            "trickle": False,
            "ranges": True,
            "if_range": True,
            "length": True,
            "headers": {},
        }
        super().__init__(**{**defaults, **fields})


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.seen.append(dict(self.headers))
        answer = server.answers.pop(0) if len(server.answers) > 1 else server.answers[0]
        start, body = self.begin(answer)
        partial = start > 0
        self.send_response(206 if partial else answer.status)
        if partial:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        if answer.etag:
            self.send_header("ETag", answer.etag)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.length:
            length = len(body) - start if answer.length is True else answer.length
            self.send_header("Content-Length", str(length))
        self.end_headers()
        self.send_body(answer, body[start:])
        self.close_connection = True

    def begin(self, answer):
        wanted = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        same = self.headers.get("If-Range") == answer.etag or not answer.if_range
        resumed = wanted and same and answer.ranges and answer.status == 200
        return (int(wanted[1]) if resumed else 0), answer.body

    def send_body(self, answer, body):
        if answer.trickle:
            for byte in body[:40]:
                self.wfile.write(bytes([byte]))
                time.sleep(0.05)
        self.wfile.write(body[: answer.cut])
        self.wfile.flush()
        if answer.stall:
            self.server.gone.wait(2)

    def log_message(self, *_args):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_args):
        """A client that hangs up is what these tests are about."""


@contextmanager
def serving(*answers):
    """Give a server with an answer a request; it notes the headers of each in ``seen``."""
    server = Server(("127.0.0.1", 0), Handler)
    server.answers, server.seen, server.gone = list(answers), [], threading.Event()
    server.url = f"http://127.0.0.1:{server.server_port}/set.zip"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.gone.set()
        server.shutdown()
        server.server_close()
        thread.join()


def leftovers(folder):
    return sorted(path.name for path in folder.iterdir())


def test_whole_file_is_fetched_checked_and_shown_on_stderr(tmp_path, capsys):
    with serving(Answer()) as server:
        path = download(server.url, tmp_path / "new" / "set.zip", sha256=SHA256, **QUICK)
    assert path.read_bytes() == BODY
    assert leftovers(path.parent) == ["set.zip"]
    assert server.seen[0]["Accept-Encoding"] == "identity"
    printed = capsys.readouterr()
    assert "set.zip" in printed.err
    assert not printed.out


def test_file_that_is_there_is_not_fetched_again_and_a_wrong_one_not_overwritten(tmp_path):
    target = tmp_path / "set.zip"
    target.write_bytes(BODY)
    with serving(Answer()) as server:
        download(server.url, target, sha256=SHA256, **QUICK)
        download(server.url, target, **QUICK)
        target.write_bytes(b"mine")
        with pytest.raises(UserError, match="remove it"):
            download(server.url, target, sha256=SHA256, **QUICK)
    assert not server.seen
    assert target.read_bytes() == b"mine"


def test_body_cut_off_is_resumed_by_range(tmp_path):
    with serving(Answer(cut=70_000), Answer()) as server:
        path = download(server.url, tmp_path / "set.zip", sha256=SHA256, **QUICK)
    assert path.read_bytes() == BODY
    assert [request.get("Range") for request in server.seen] == [None, "bytes=70000-"]
    assert server.seen[1]["If-Range"] == '"one"'


def test_part_is_kept_on_failure_and_resumed_by_the_next_run(tmp_path):
    with serving(Answer(cut=70_000), Answer(status=503)) as server:
        with pytest.raises(UserError, match=r"503.*70000 bytes are kept"):
            download(server.url, tmp_path / "set.zip", sha256=SHA256, **QUICK)
        assert not (tmp_path / "set.zip").exists()
        assert (tmp_path / "set.zip.part").read_bytes() == BODY[:70_000]
        server.answers = [Answer()]
        path = download(server.url, tmp_path / "set.zip", sha256=SHA256, **QUICK)
    assert path.read_bytes() == BODY
    assert server.seen[-1]["Range"] == "bytes=70000-"
    assert leftovers(tmp_path) == ["set.zip"]


def test_date_serves_to_resume_where_the_etag_is_weak(tmp_path):
    date = "Mon, 09 Mar 2015 11:38:00 GMT"
    dated = {"etag": 'W/"one"', "headers": {"Last-Modified": date}, "if_range": False}
    with serving(Answer(cut=70_000, **dated), Answer(**dated)) as server:
        download(server.url, tmp_path / "set.zip", sha256=SHA256, **QUICK)
    assert server.seen[1]["If-Range"] == date


def test_range_that_ends_early_is_no_whole_file(tmp_path):
    short = Answer(cut=10_000, length=10_000)
    with serving(Answer(cut=70_000), short, Answer()) as server:
        path = download(server.url, tmp_path / "set.zip", **QUICK)
    assert server.seen[2]["Range"] == "bytes=80000-"
    assert path.read_bytes() == BODY


@pytest.mark.parametrize("etag", [None, 'W/"one"'])
def test_without_a_strong_validator_the_file_is_fetched_anew(tmp_path, etag):
    with serving(Answer(cut=70_000, etag=etag), Answer(etag=etag)) as server:
        path = download(server.url, tmp_path / "set.zip", **QUICK)
    assert path.read_bytes() == BODY
    assert "Range" not in server.seen[1]


def test_server_that_ignores_range_is_read_from_the_start(tmp_path):
    with serving(Answer(cut=70_000), Answer(ranges=False)) as server:
        path = download(server.url, tmp_path / "set.zip", sha256=SHA256, **QUICK)
    assert "Range" in server.seen[1]
    assert path.read_bytes() == BODY


@pytest.mark.parametrize("if_range", [True, False])
def test_changed_file_is_never_glued(tmp_path, if_range):
    changed = Answer(body=OTHER, etag='"two"', if_range=if_range)
    with serving(Answer(cut=70_000), changed) as server:
        path = download(server.url, tmp_path / "set.zip", **QUICK)
    assert "Range" in server.seen[1]
    assert path.read_bytes() == OTHER


def test_part_of_another_address_is_not_used(tmp_path):
    with serving(Answer(cut=70_000), Answer(status=503)) as server:
        with pytest.raises(UserError):
            download(server.url, tmp_path / "set.zip", **QUICK)
        server.answers = [Answer(body=OTHER)]
        path = download(f"{server.url}?v=2", tmp_path / "set.zip", **QUICK)
    assert path.read_bytes() == OTHER


def test_part_that_is_whole_already_is_fetched_anew(tmp_path):
    (tmp_path / "set.zip.part").write_bytes(BODY)
    with serving(Answer(status=416, body=b""), Answer()) as server:
        (tmp_path / "set.zip.part.etag").write_text(f'{server.url}\n"one"', "utf-8")
        path = download(server.url, tmp_path / "set.zip", sha256=SHA256, **QUICK)
    assert server.seen[0]["Range"] == f"bytes={len(BODY)}-"
    assert path.read_bytes() == BODY


@pytest.mark.parametrize("how", ["stall", "trickle"])
def test_stalled_server_is_given_up_in_bounded_time(tmp_path, how):
    begin = time.monotonic()
    with (
        serving(Answer(cut=0, **{how: True})) as server,
        pytest.raises(UserError, match="gave up after 2 attempts"),
    ):
        download(server.url, tmp_path / "set.zip", timeout=0.2, attempts=2, backoff=0.01)
    assert time.monotonic() - begin < 3
    assert len(server.seen) == 2


def test_stall_in_the_middle_is_resumed(tmp_path):
    with serving(Answer(cut=70_000, stall=True), Answer()) as server:
        path = download(server.url, tmp_path / "set.zip", sha256=SHA256, timeout=0.3, backoff=0.01)
    assert server.seen[1]["Range"] == "bytes=70000-"
    assert path.read_bytes() == BODY


def test_wrong_checksum_says_both_and_leaves_nothing(tmp_path):
    found = hashlib.sha256(OTHER).hexdigest()
    with (
        serving(Answer(body=OTHER)) as server,
        pytest.raises(UserError, match=f"expected SHA-256 {SHA256} .* found {found}"),
    ):
        download(server.url, tmp_path / "set.zip", sha256=SHA256, **QUICK)
    assert not leftovers(tmp_path)


def test_server_error_is_tried_again(tmp_path):
    with serving(Answer(status=500, body=b"oops"), Answer(status=429), Answer()) as server:
        path = download(server.url, tmp_path / "set.zip", sha256=SHA256, **QUICK)
    assert path.read_bytes() == BODY
    assert len(server.seen) == 3


@pytest.mark.parametrize("status", [403, 404])
def test_missing_file_is_told_at_once(tmp_path, status):
    with (
        serving(Answer(status=status, body=b"no"), Answer()) as server,
        pytest.raises(UserError, match=f"answered {status}.*by hand"),
    ):
        download(server.url, tmp_path / "set.zip", **QUICK)
    assert len(server.seen) == 1
    assert not (tmp_path / "set.zip").exists()


def test_server_that_is_not_there_is_told(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(UserError, match=r"gave up after 2 attempts.*check the connection"):
        download(f"http://127.0.0.1:{port}/x", tmp_path / "x", attempts=2, backoff=0.01)


# The first one says its size and is refused by it: no byte of its body ever comes.
@pytest.mark.parametrize("answer", [Answer(cut=0, stall=True), Answer(length=False)])
def test_file_over_the_limit_is_refused(tmp_path, answer, monkeypatch):
    monkeypatch.setattr(download_module, "MAX_BYTES", 100_000)
    with (
        serving(answer) as server,
        pytest.raises(UserError, match="at most 100000 bytes"),
    ):
        download(server.url, tmp_path / "set.zip", **QUICK)
    assert not (tmp_path / "set.zip").exists()
    assert not (tmp_path / "set.zip.part").exists()


def test_file_that_does_not_fit_the_disk_is_refused_before_it_is_fetched(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=1000))
    with serving(Answer()) as server, pytest.raises(UserError, match="free 200000 bytes on"):
        download(server.url, tmp_path / "set.zip", **QUICK)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_disk_that_fills_up_meanwhile_is_told(tmp_path):
    (tmp_path / "set.zip.part").symlink_to("/dev/full")
    with serving(Answer()) as server, pytest.raises(UserError, match="free more on its disk"):
        download(server.url, tmp_path / "set.zip", **QUICK)
    assert len(server.seen) == 1


def test_compressed_body_is_refused(tmp_path):
    answer = Answer(headers={"Content-Encoding": "gzip"})
    with serving(answer) as server, pytest.raises(UserError, match="sent it as gzip"):
        download(server.url, tmp_path / "set.zip", **QUICK)


def test_redirect_on_this_machine_is_followed(tmp_path):
    moved = Answer(status=302, body=b"", headers={"Location": "/elsewhere"})
    with serving(moved, Answer()) as server:
        path = download(server.url, tmp_path / "set.zip", sha256=SHA256, **QUICK)
    assert path.read_bytes() == BODY


@pytest.mark.parametrize(
    "location", ["http://example.com/set.zip", "file:///etc/passwd", "http://127.0.0.1.example.com"]
)
def test_redirect_to_an_unsafe_address_is_refused(tmp_path, location):
    moved = Answer(status=302, body=b"", headers={"Location": location})
    with serving(moved) as server, pytest.raises(UserError, match=r"leads to .*expected an https"):
        download(server.url, tmp_path / "set.zip", **QUICK)
    assert len(server.seen) == 1


def test_endless_redirects_end(tmp_path):
    moved = Answer(status=302, body=b"", headers={"Location": "/again"})
    with serving(moved) as server, pytest.raises(UserError, match="at most 5 redirects"):
        download(server.url, tmp_path / "set.zip", **QUICK)
    assert len(server.seen) == 6


@pytest.mark.parametrize(
    "url",
    ["http://example.com/x", "ftp://example.com/x", "/etc/passwd", "https://", "http://[::1", ""],
)
def test_unsafe_address_is_refused(tmp_path, url):
    with pytest.raises(UserError, match="expected an https:// address"):
        download(url, tmp_path / "x")


@pytest.mark.parametrize("url", ["https://example.com/x", "http://localhost:8/x", "http://[::1]/x"])
def test_safe_address_passes(url):
    require_safe_address(url)
