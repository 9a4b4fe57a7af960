"""How the server starts and what it needs afterwards: port, descriptors, signals, its folder."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time

import httpx2
import pytest
from doors import run
from serving import serving, start

TEXT = "【云禾银行】您的账户存在异常，请登录 http://yh-app.example/k2p 核实"


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def wait_until_ready(address):
    end = time.monotonic() + 120
    while True:
        assert time.monotonic() < end
        try:
            return httpx2.get(f"{address}/readyz", timeout=60)
        except httpx2.ConnectError:
            time.sleep(0.1)


def answers(served):
    classified = served.client.post("/v1/classify", json={"text": TEXT})
    explained = served.client.post("/v1/explain", json={"text": TEXT})
    assert (classified.status_code, explained.status_code) == (200, 200)
    return classified.json(), explained.json()


def test_the_later_of_two_servers_on_a_port_ends_at_once(learned_run, tmp_path):
    port = str(free_port())
    started = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        started.append(start(tmp_path / name, learned_run, "--port", port))
    try:
        end = time.monotonic() + 120
        while all(child.poll() is None for child, _ in started):
            assert time.monotonic() < end
            time.sleep(0.05)
        loser, (said, error) = next(pair for pair in started if pair[0].poll() is not None)
        (line,) = error.read_text("utf-8").splitlines()
        assert line.startswith("error: ")
        assert "in use" in line
        assert (loser.returncode, said.read_text("utf-8")) == (2, "")
        # Before the other one has loaded its model: it listens, but has not said so.
        _, (winner_said, _) = next(pair for pair in started if pair[0] is not loser)
        assert winner_said.read_text("utf-8") == ""
        assert wait_until_ready(f"http://127.0.0.1:{port}").text == "ready\n"
    finally:
        for child, _ in started:
            child.kill()
            child.wait()


@pytest.mark.parametrize("closed", ["<&- >&-", "<&- >&- 2>&-"])
def test_without_standard_streams(learned_run, tmp_path, closed):
    port = str(free_port())
    child, _ = start(tmp_path, learned_run, "--port", port, shell=f"exec {closed}; exec")
    try:
        address = f"http://127.0.0.1:{port}"
        assert wait_until_ready(address).status_code == 200
        answer = httpx2.post(f"{address}/v1/classify", json={"text": TEXT}, timeout=60)
        assert answer.status_code == 200
        # What writes to a standard stream must not write to a client.
        targets = [os.readlink(f"/proc/{child.pid}/fd/{descriptor}") for descriptor in range(3)]
        assert not any(target.startswith("socket:") for target in targets), targets
        child.send_signal(signal.SIGTERM)
        assert child.wait(30) == 0
    finally:
        child.kill()
        child.wait()


def test_nohup_outlives_its_terminal(learned_run, tmp_path):
    with serving(tmp_path, learned_run, shell="trap '' HUP; exec") as served:
        served.child.send_signal(signal.SIGHUP)
        time.sleep(0.5)
        answers(served)


def test_the_folder_may_go_after_the_start(learned_run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(learned_run, folder)
    with serving(tmp_path, folder) as served:
        # Before anything was asked: neither answer may wait with its files for the first request.
        shutil.rmtree(folder)
        before = answers(served)
        folder.mkdir()
        (folder / "manifest.json").write_text("{}", "utf-8")
        assert answers(served) == before
        assert "openapi" in served.client.get("/openapi.json").text
        assert served.client.get("/").status_code == 200


def test_the_folder_may_be_copied_over_after_the_start(learned_run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(learned_run, folder)
    with serving(tmp_path, folder) as served:
        before = answers(served)
        for path in folder.rglob("*"):
            if path.is_file():
                # In place, as cp does: the file keeps its inode and is cut before it is filled.
                path.write_bytes(b"")
        assert answers(served) == before


def test_an_exported_form_is_served_without_the_weights(learned_run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(learned_run, folder)
    assert run("export", folder, "--format", "onnx") == 0
    (folder / "model.safetensors").unlink()
    with serving(tmp_path, folder) as served:
        assert served.client.get("/readyz").text == "ready\n"
        assert served.client.post("/v1/classify", json={"text": TEXT}).status_code == 200
        refused = served.client.post("/v1/explain", json={"text": TEXT})
        assert refused.status_code == 501
        assert refused.json()["expected"] == "model.safetensors in the run folder"
