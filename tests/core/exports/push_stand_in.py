"""A small stand-in for the Hub that takes what is pushed: repositories in folders, each commit
whole or not at all, behind tokens. It speaks what huggingface_hub speaks: create, validate,
preupload, LFS batch, upload and verify, commit; what it has can be downloaded as from
tests.core.hub_stand_in.
"""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.core.hub_stand_in import Answer, Hub

TOKENS = {"hf_owner_secret": "ada", "hf_reader_secret": ""}
"""Token -> in whose name it may write; empty: nobody's."""


class PushHub(Hub):
    def __init__(self, folder: Path) -> None:
        super().__init__({}, set(), _Takes)
        self.folder = folder
        self.private: dict[str, bool] = {}
        self.commits: dict[str, list[str]] = {}
        self.messages: list[str] = []
        self.blobs: dict[str, bytes] = {}
        """sha256 -> content of what was uploaded, in a commit or not."""
        self.cut_after: int | None = None
        """Bytes of an upload after which the connection is cut."""
        self.slow = threading.Event()
        """While it is set, uploads wait."""
        self.full = False

    def add(self, repo: str, private: bool) -> None:
        """An empty repository."""
        self.models[repo] = self.folder / repo.replace("/", "--")
        self.models[repo].mkdir(parents=True)
        self.private[repo], self.commits[repo] = private, []

    def files(self, repo: str) -> dict[str, str]:
        """Name -> sha256 of what anybody who may can download."""
        folder = self.models[repo]
        return {
            file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()
        }


class _Takes(Answer):
    server: PushHub

    @property
    def _writer(self) -> str | None:
        """Who asks; None for nobody that is known."""
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        self.server.authorized.add(token)
        return TOKENS.get(token)

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        about = re.fullmatch(r"/api/models/([^/]+/[^/]+)", path)
        if not about or about[1] not in self.server.models:
            return super().do_GET()
        self.server.asked.append(f"GET {self.path}")
        repo = about[1]
        if self.server.private[repo] and self._writer is None:
            return self.say(401, {"error": "no"}, {"X-Error-Code": "RepoNotFound"})
        files = sorted(self.server.models[repo].iterdir())
        readme = self.server.models[repo] / "README.md"
        head = _head(readme.read_text("utf-8")) if readme.exists() else {}
        sha = (self.server.commits[repo] or ["0" * 40])[-1]
        return self.say(200, {
            "id": repo, "sha": sha, "private": self.server.private[repo],
            "siblings": [{"rfilename": file.name} for file in files],
            "tags": head.get("tags", []),
        })  # fmt: skip

    def do_POST(self) -> None:
        self.server.asked.append(f"POST {self.path}")
        body = self._body()
        path = self.path.partition("?")[0]
        if path == "/api/validate-yaml":
            return self._validate(json.loads(body)["content"])
        writer = self._writer
        if writer is None:
            return self.say(401, {"error": "Invalid username or password."})
        if path == "/api/repos/create":
            return self._create(json.loads(body), writer)
        preupload = re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/main", path)
        batch = re.fullmatch(r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", path)
        commit = re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", path)
        repo = next((found[1] for found in (preupload, batch, commit) if found), "")
        if path == "/verify":
            told = json.loads(body)
            there = len(self.server.blobs.get(told["oid"], b"")) == told["size"]
            return self.say(200 if there else 404, {})
        if repo.partition("/")[0] != writer:
            return self.say(403, {"error": "You don't have the rights to write here."})
        if preupload:
            files = [
                {
                    "path": file["path"], "shouldIgnore": False,
                    "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                }
                for file in json.loads(body)["files"]
            ]  # fmt: skip
            return self.say(200, {"files": files})
        if batch:
            return self._batch(json.loads(body)["objects"])
        return self._commit(repo, [json.loads(line) for line in body.splitlines()])

    def do_PUT(self) -> None:
        self.server.asked.append(f"PUT {self.path}")
        while self.server.slow.is_set():
            threading.Event().wait(0.05)
        if self.server.cut_after is not None:
            self.rfile.read(self.server.cut_after)
            self.close_connection = True
            self.connection.close()
            return
        content = self._body()
        oid = self.path.removeprefix("/lfs/")
        if hashlib.sha256(content).hexdigest() != oid:
            return self.say(400, {"error": "another content"})
        self.server.blobs[oid] = content
        self.say(200, {})

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _validate(self, content: str) -> None:
        base = _head(content).get("base_model", "ada/any")
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", str(base)):
            what = {"message": f'"base_model" with value "{base}" is not valid.'}
            return self.say(400, {"errors": [what], "warnings": []})
        return self.say(200, {"errors": [], "warnings": []})

    def _create(self, asked: dict[str, Any], writer: str) -> None:
        owner = asked.get("organization") or writer
        if not writer or owner != writer:
            return self.say(403, {"error": "You don't have the rights to create a model here."})
        if self.server.full:
            return self.say(403, {"error": "Private repository storage limit reached."})
        repo = f"{owner}/{asked['name']}"
        url = {"url": f"{self.server.url}/{repo}"}
        if repo in self.server.models:
            return self.say(409, {**url, "error": "You already created this model repo"})
        self.server.add(repo, asked.get("visibility") == "private")
        return self.say(200, url)

    def _batch(self, wanted: list[dict[str, Any]]) -> None:
        objects = []
        for one in wanted:
            actions = {
                "upload": {"href": f"{self.server.url}/lfs/{one['oid']}"},
                "verify": {"href": f"{self.server.url}/verify"},
            }
            known = one["oid"] in self.server.blobs
            objects.append({**one, **({} if known else {"actions": actions})})
        self.say(200, {"transfer": "basic", "objects": objects})

    def _commit(self, repo: str, lines: list[dict[str, Any]]) -> None:
        folder, commits = self.server.models[repo], self.server.commits[repo]
        for line in lines:
            value = line["value"]
            match line["key"]:
                case "header":
                    self.server.messages.append(value["summary"])
                case "file":
                    (folder / value["path"]).write_bytes(base64.b64decode(value["content"]))
                case "lfsFile":
                    (folder / value["path"]).write_bytes(self.server.blobs[value["oid"]])
                case "deletedFile":
                    (folder / value["path"]).unlink()
        commits.append(hashlib.sha1(repr(lines).encode()).hexdigest())
        url = f"{self.server.url}/{repo}/commit/{commits[-1]}"
        self.say(200, {"commitUrl": url, "commitOid": commits[-1], "success": True})


def _head(text: str) -> dict[str, Any]:
    found = re.match(r"---\n(.*?\n)---\n", text, re.DOTALL)
    return yaml.safe_load(found[1]) if found else {}


@contextmanager
def serve(folder: Path) -> Iterator[PushHub]:
    hub = PushHub(folder)
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        hub.slow.clear()
        hub.shutdown()
        hub.server_close()
