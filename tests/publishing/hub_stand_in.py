"""A Hub on this machine: repositories of datasets, with the part of its API that publishing calls.

It keeps what the Hub keeps: large files by their hash, and commits that appear as a whole. It refuses what the Hub
refuses: a token that it does not know, a name of another owner, a commit on an older version, and a commit of a large
file that was not sent.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import yaml

OWNER, TOKEN = "group", "hf_of_the_group"


@dataclass
class Repo:
    """A repository: its settings, its files, and the summaries of its commits."""

    private: bool = False
    gated: str | bool = False
    files: dict[str, bytes] = field(default_factory=lambda: {".gitattributes": b"*.parquet filter=lfs"})
    commits: list[str] = field(default_factory=lambda: ["initial commit"])

    @property
    def sha(self) -> str:
        return hashlib.sha1(f"{len(self.commits)}{self.commits[-1]}".encode()).hexdigest()


@dataclass
class Hub:
    """The state of the stand-in, and what was asked of it."""

    endpoint: str = ""
    repos: dict[str, Repo] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)  # by SHA-256
    sent: Counter[str] = field(default_factory=Counter)  # large files that arrived whole, by SHA-256
    calls: list[str] = field(default_factory=list)
    before_a_file: Callable[[str], None] = lambda oid: None
    before_a_commit: Callable[[], None] = lambda: None


class Refusal(Exception):
    """An answer with an error code."""

    def __init__(self, code: int, reason: str, **more: str) -> None:
        super().__init__(reason)
        self.code, self.more = code, more


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def _answer(self) -> None:
        try:
            self._send(200, self._route(self._body()))
        except Refusal as refusal:
            self._send(refusal.code, {"error": str(refusal), **refusal.more})
        except BrokenPipeError:
            pass

    do_GET = do_PUT = do_POST = do_HEAD = _answer  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _send(self, code: int, content: Any) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _route(self, body: bytes) -> Any:
        path = self.path.partition("?")[0]
        if self.command == "HEAD":
            return {}
        self.hub.calls.append(f"{self.command} {self.path}")
        if path.startswith("/large/"):
            return self._receive(path.removeprefix("/large/"), body)
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            raise Refusal(401, "Invalid user token.")
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if path == "/api/validate-yaml":
            yaml.safe_load(json.loads(body)["content"].split("---")[1])
            return {"errors": [], "warnings": []}
        found = re.fullmatch(r"/(?:api/)?datasets/([^/]+/[^/.]+)(?:\.git)?(/.*)?", path)
        if found is None or found[1] not in self.hub.repos:
            raise Refusal(404, f"there is no {path}")
        return self._ask(found[1], self.hub.repos[found[1]], (found[2] or "").strip("/"), body)

    def _create(self, asked: dict[str, Any]) -> Any:
        name = f"{asked['organization']}/{asked['name']}"
        url = f"{self.hub.endpoint}/datasets/{name}"
        if asked["organization"] != OWNER:
            raise Refusal(403, "You don't have the rights to create a dataset under this namespace")
        if name in self.hub.repos:
            raise Refusal(409, "You already created this dataset repo", url=url)
        private = asked.get("private") or asked.get("visibility") == "private"
        self.hub.repos[name] = Repo(private=bool(private))
        return {"url": url}

    def _ask(self, name: str, repo: Repo, what: str, body: bytes) -> Any:
        if what == "revision/absent":
            raise Refusal(404, "Revision not found")
        if what == "" or what.startswith("revision/"):
            siblings = [{"rfilename": file} for file in sorted(repo.files)]
            return {"id": name, "sha": repo.sha, "private": repo.private, "gated": repo.gated, "siblings": siblings}
        if what.startswith(f"resolve/{repo.sha}/"):
            return repo.files[what.removeprefix(f"resolve/{repo.sha}/")]
        if what == "settings":
            repo.gated = json.loads(body)["gated"]
            return {}
        if what.startswith("preupload/"):
            return {"files": [_mode(file, repo) for file in json.loads(body)["files"]]}
        if what == "info/lfs/objects/batch":
            return {"transfer": "basic", "objects": list(map(self._wanted, json.loads(body)["objects"]))}
        if what.startswith("commit/"):
            return self._commit(name, repo, [json.loads(line) for line in body.splitlines()])
        raise Refusal(404, f"there is no {what}")

    def _wanted(self, entry: dict[str, Any]) -> dict[str, Any]:
        if entry["oid"] in self.hub.large:
            return entry
        return {**entry, "actions": {"upload": {"href": f"{self.hub.endpoint}/large/{entry['oid']}"}}}

    def _receive(self, oid: str, body: bytes) -> Any:
        self.hub.before_a_file(oid)
        if hashlib.sha256(body).hexdigest() != oid:
            raise Refusal(400, "the hash is another one")
        self.hub.large[oid] = body
        self.hub.sent[oid] += 1
        return {}

    def _commit(self, name: str, repo: Repo, lines: list[dict[str, Any]]) -> Any:
        self.hub.before_a_commit()
        files = dict(repo.files)
        for line in lines[1:]:
            kind, value = line["key"], line["value"]
            if kind == "deletedFile":
                del files[value["path"]]
            elif kind == "lfsFile":
                if value["oid"] not in self.hub.large:
                    raise Refusal(400, f"{value['path']} was not sent")
                files[value["path"]] = self.hub.large[value["oid"]]
            else:
                files[value["path"]] = base64.b64decode(value["content"])
        if lines[0]["value"].get("parentCommit", repo.sha) != repo.sha:
            raise Refusal(412, "A commit has happened since. Please refresh and try again.")
        repo.files = files
        repo.commits.append(lines[0]["value"]["summary"])
        url = f"{self.hub.endpoint}/datasets/{name}"
        asked_for = {"pullRequestUrl": f"{url}/discussions/1"} if "create_pr=1" in self.path else {}
        return {"commitUrl": f"{url}/commit/{repo.sha}", "commitOid": repo.sha, **asked_for}


def _mode(file: dict[str, Any], repo: Repo) -> dict[str, Any]:
    """How a file is to be sent, and the id of the one that is there, as the client computes it."""
    large = file["path"].endswith(".parquet")
    there = repo.files.get(file["path"])
    oid = None
    if there is not None:
        plain = hashlib.sha1(b"blob %d\0" % len(there) + there).hexdigest()
        oid = hashlib.sha256(there).hexdigest() if large else plain
    mode = "lfs" if large else "regular"
    return {"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid}


@contextmanager
def hub_stand_in() -> Iterator[Hub]:
    """Run a Hub on a free port of this machine."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": hub}))
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
