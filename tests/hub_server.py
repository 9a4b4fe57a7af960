"""A hub on this machine: the HTTP calls that huggingface_hub makes, and the ways a hub fails."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TOKEN = "hf_token_of_the_test"
USER = "tester"
#: A hub keeps these by Git LFS, everything else as it is.
LFS = (".safetensors", ".onnx", ".data", ".bin")


def git_sha(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Repository:
    """Commits of one repository: each a whole tree of path to bytes."""

    def __init__(self, private: bool) -> None:
        self.private = private
        self.commits: list[tuple[str, dict[str, bytes]]] = [("0" * 40, {})]

    def tree(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        if revision == "main":
            return self.commits[-1]
        return next((one for one in self.commits if one[0] == revision), None)

    def commit(self, tree: dict[str, bytes]) -> str:
        oid = hashlib.sha1(f"{len(self.commits)} {sorted(tree)}".encode()).hexdigest()
        self.commits.append((oid, tree))
        return oid


class Hub(ThreadingHTTPServer):
    """``requests`` holds what was asked; ``faults`` what goes wrong, by what the call is."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server_port}"
        self.repositories: dict[str, Repository] = {}
        self.storage: dict[str, bytes] = {}
        self.requests: list[str] = []
        # (method and a part of the path) -> statuses for the next calls, "stall" or "break".
        self.faults: dict[str, list[int | str]] = {}
        self.released = threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.released.set()
        self.shutdown()
        self.server_close()

    def asked(self, part: str) -> list[str]:
        return [request for request in self.requests if part in request]

    def handle_error(self, request, client_address) -> None:
        """A connection broken on purpose is no news."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *_: object) -> None: ...

    # --- answers

    def reply(self, status: int, content: object = b"", **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, status: int, code: str, message: str) -> None:
        self.reply(status, {"error": message}, X_Error_Code=code, X_Error_Message=message)

    # --- what comes in

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def fault(self) -> bool:
        """Fail this call where the test says so; return whether it is dealt with."""
        call = f"{self.command} {urlsplit(self.path).path}"
        self.server.requests.append(call)
        for part, faults in self.server.faults.items():
            if part in call and faults:
                what = faults.pop(0)
                if what == "stall":
                    self.server.released.wait(30)
                    self.close_connection = True
                elif what == "break":
                    # In the middle of what is sent, if anything is.
                    self.rfile.read(min(1024, int(self.headers.get("Content-Length", 0))))
                    self.connection.shutdown(socket.SHUT_RDWR)
                    self.close_connection = True
                elif what == "html":
                    self.body()
                    self.reply(200, b"<html>Sign in to this network</html>")
                else:
                    self.body()
                    self.refuse(int(what), "", "the test said so")
                return True
        return False

    def user(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def do_GET(self) -> None:
        if self.fault():
            return
        path = unquote(urlsplit(self.path).path)
        if path == "/api/whoami-v2":
            if self.user():
                self.reply(200, {"type": "user", "name": USER, "orgs": [{"name": "my-team"}]})
            else:
                self.refuse(401, "", "Invalid credentials in Authorization header")
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path):
            self.model_info(match[1], match[2] or "main")
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)", path):
            self.tree(match[1], match[2])
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self.resolve(*match.groups())
        else:
            self.refuse(404, "", f"no such call: {path}")

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        if self.fault():
            return
        path = unquote(urlsplit(self.path).path)
        content = self.body()
        if path == "/api/validate-yaml":
            self.reply(200, {"errors": [], "warnings": []})
        elif not self.user():
            self.refuse(401, "", "Invalid credentials in Authorization header")
        elif path == "/api/repos/create":
            self.create(json.loads(content))
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/main", path):
            if self.may_write(match[1]):
                self.preupload(match[1], json.loads(content))
        elif match := re.fullmatch(r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", path):
            if self.may_write(match[1]):
                self.batch(json.loads(content))
        elif path.startswith("/verify/"):
            self.reply(200 if path.removeprefix("/verify/") in self.server.storage else 404)
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", path):
            if self.may_write(match[1]):
                self.commit(match[1], content)
        else:
            self.refuse(404, "", f"no such call: {path}")

    def do_PUT(self) -> None:
        if self.fault():
            return
        content, oid = self.body(), urlsplit(self.path).path.removeprefix("/store/")
        if hashlib.sha256(content).hexdigest() != oid:
            self.refuse(400, "", "another checksum")
            return
        self.server.storage[oid] = content
        self.reply(200)

    # --- the calls

    def repository(self, name: str) -> Repository | None:
        """Return a repository that this caller may see; answer 404 otherwise."""
        found = self.server.repositories.get(name)
        if found is None or (found.private and not self.user()):
            # As the real hub does: to a stranger a private one is not there.
            status = 404 if self.user() else 401
            self.refuse(status, "RepoNotFound", "Repository not found")
            return None
        return found

    def may_write(self, name: str) -> bool:
        if name.partition("/")[0] in (USER, "my-team"):
            return True
        self.refuse(403, "", "You don't have the rights to write there")
        return False

    def create(self, wanted: dict) -> None:
        name = f"{wanted['organization']}/{wanted['name']}"
        if not self.may_write(name):
            return
        url = f"{self.server.endpoint}/{name}"
        if name in self.server.repositories:
            self.reply(409, {"error": "You already created this model repo", "url": url})
            return
        self.server.repositories[name] = Repository(wanted.get("visibility") == "private")
        self.reply(200, {"url": url})

    def preupload(self, name: str, wanted: dict) -> None:
        _, tree = self.server.repositories[name].commits[-1]
        rows = []
        for file in wanted["files"]:
            path = file["path"]
            lfs = path.endswith(LFS)
            row = {"path": path, "uploadMode": "lfs" if lfs else "regular", "shouldIgnore": False}
            if path in tree:
                content = tree[path]
                row["oid"] = hashlib.sha256(content).hexdigest() if lfs else git_sha(content)
            rows.append(row)
        self.reply(200, {"files": rows})

    def batch(self, wanted: dict) -> None:
        rows = []
        for row in wanted["objects"]:
            if row["oid"] not in self.server.storage:
                base = self.server.endpoint
                row["actions"] = {
                    "upload": {"href": f"{base}/store/{row['oid']}"},
                    "verify": {"href": f"{base}/verify/{row['oid']}"},
                }
            rows.append(row)
        self.reply(200, {"transfer": "basic", "objects": rows})

    def commit(self, name: str, content: bytes) -> None:
        repository = self.server.repositories[name]
        tree = dict(repository.commits[-1][1])
        for line in map(json.loads, content.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                tree[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                tree[value["path"]] = self.server.storage[value["oid"]]
            elif line["key"] == "deletedFile":
                del tree[value["path"]]
        oid = repository.commit(tree)
        url = f"{self.server.endpoint}/{name}/commit/{oid}"
        self.reply(200, {"commitUrl": url, "commitOid": oid})

    def model_info(self, name: str, revision: str) -> None:
        repository = self.repository(name)
        if repository is None:
            return
        found = repository.tree(revision)
        if found is None:
            self.refuse(404, "RevisionNotFound", "Invalid rev id")
            return
        siblings = [{"rfilename": path} for path in found[1]]
        info = {"id": name, "sha": found[0], "private": repository.private, "siblings": siblings}
        self.reply(200, info)

    def tree(self, name: str, revision: str) -> None:
        repository = self.repository(name)
        if repository is None:
            return
        rows = []
        for path, content in repository.tree(revision)[1].items():
            row = {"type": "file", "path": path, "size": len(content), "oid": git_sha(content)}
            if path.endswith(LFS):
                digest = hashlib.sha256(content).hexdigest()
                row["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 130}
            rows.append(row)
        self.reply(200, rows)

    def resolve(self, name: str, revision: str, path: str) -> None:
        repository = self.repository(name)
        if repository is None:
            return
        found = repository.tree(revision)
        if found is None:
            self.refuse(404, "RevisionNotFound", "Invalid rev id")
        elif path not in found[1]:
            self.refuse(404, "EntryNotFound", "Entry not found")
        else:
            content = found[1][path]
            lfs = path.endswith(LFS)
            etag = hashlib.sha256(content).hexdigest() if lfs else git_sha(content)
            self.reply(200, content, X_Repo_Commit=found[0], ETag=f'"{etag}"')
