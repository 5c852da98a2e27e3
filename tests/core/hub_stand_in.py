"""A small stand-in for the Hub on 127.0.0.1: models and datasets from folders, with gates."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """Serves `models`: id -> folder. Those in `gated` are refused; each request is in `asked`.

    The id of a dataset begins with "datasets/", and may end with "@" and a revision.
    """

    daemon_threads = True

    def __init__(
        self, models: dict[str, Path], gated: set[str], answer: type[BaseHTTPRequestHandler]
    ) -> None:
        super().__init__(("127.0.0.1", 0), answer)
        self.models, self.gated = models, gated
        self.asked: list[str] = []
        self.authorized: set[str] = set()
        """What was said of who asks."""
        self.sent: dict[str, int] = {}
        """Bytes sent of each file."""
        self.ranges: list[tuple[str, int]] = []
        """The files that were asked for in part, and from which byte on."""
        self.spoiled: set[str] = set()
        """The files whose last byte is sent wrong."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.server.asked.append(f"{self.command} {self.path}")
        self.server.authorized.add(self.headers.get("Authorization", ""))
        if path.startswith(("/api/datasets/", "/datasets/")):
            return self._dataset(unquote(path))
        about = re.fullmatch(r"/api/models/([^/]+/[^/]+)(/revision/[^/]+|/tree/.+)?", path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)", path)
        id = (about or file)[1] if about or file else ""
        folder = self.server.models.get(id)
        if folder is None:
            self.say(401, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        elif id in self.server.gated and file:
            self.say(403, {"error": "gated"}, {"X-Error-Code": "GatedRepo"})
        elif file:
            self._send(folder / file[2])
        elif about and about[2] and about[2].startswith("/tree"):
            self.say(200, [entry(f) for f in sorted(folder.iterdir())])
        else:
            siblings = [{"rfilename": f.name} for f in sorted(folder.iterdir())]
            self.say(200, {"id": id, "sha": COMMIT, "siblings": siblings, "private": False})
        return None

    def _dataset(self, path: str) -> None:
        about = re.fullmatch(r"/api/datasets/([^/]+/[^/]+)(?:/revision/(.+))?", path)
        file = re.fullmatch(
            r"/datasets/([^/]+/[^/]+)/resolve/(refs/convert/parquet|\w+)/(.+)", path
        )
        id = f"datasets/{(about or file)[1]}" if about or file else ""
        revision = (about or file)[2] if about or file else None
        folder = self.server.models.get(id)
        if revision not in (None, "main", COMMIT):
            folder = self.server.models.get(f"{id}@{revision}")
        if id not in self.server.models:
            self.say(401, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        elif folder is None:
            self.say(404, {"error": "no revision"}, {"X-Error-Code": "RevisionNotFound"})
        elif id in self.server.gated and file:
            self.say(403, {"error": "gated"}, {"X-Error-Code": "GatedRepo"})
        elif file:
            self._send(folder / file[3])
        else:
            files = sorted(inside for inside in folder.rglob("*") if inside.is_file())
            siblings = [
                {"rfilename": inside.relative_to(folder).as_posix(), "size": inside.stat().st_size}
                for inside in files
            ]
            card = folder / ".card.json"
            about = {"id": id.removeprefix("datasets/"), "sha": revision or COMMIT}
            about["cardData"] = json.loads(card.read_text()) if card.exists() else None
            self.say(200, {**about, "siblings": siblings, "private": False})

    do_HEAD = do_GET

    def say(self, status: int, body: object, headers: dict[str, str] | None = None) -> None:
        content = json.dumps(body).encode()
        self._head(status, len(content), {"Content-Type": "application/json", **(headers or {})})
        if self.command != "HEAD":
            self.wfile.write(content)

    def _send(self, file: Path) -> None:
        if not file.is_file():
            return self.say(404, {"error": "no file"}, {"X-Error-Code": "EntryNotFound"})
        content = file.read_bytes()
        if file.name in self.server.spoiled:
            content = content[:-1] + bytes([content[-1] ^ 1])
        etag = hashlib.sha256(content).hexdigest()
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start, end = 0, len(content)
        if wanted:
            start, end = int(wanted[1]), min(int(wanted[2] or end) + 1, end)
            self.server.ranges.append((file.name, start))
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(content)}"
        self._head(206 if wanted else 200, end - start, headers)
        if self.command == "GET":
            for at in range(start, end, 65_536):
                piece = content[at : min(at + 65_536, end)]
                self.wfile.write(piece)
                self.server.sent[file.name] = self.server.sent.get(file.name, 0) + len(piece)
        return None

    def _head(self, status: int, length: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(length)}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Quiet: what was asked is in `server.asked`."""


def entry(file: Path) -> dict:
    content = file.read_bytes()
    blob = b"blob %d\0" % len(content) + content
    told = {
        "type": "file",
        "path": file.name,
        "size": len(content),
        "oid": hashlib.sha1(blob, usedforsecurity=False).hexdigest(),
    }
    if file.suffix == ".safetensors":
        sha256 = hashlib.sha256(content).hexdigest()
        told["lfs"] = {"oid": sha256, "size": len(content), "pointerSize": 134}
    return told


@contextmanager
def serve(models: dict[str, Path], gated: set[str] = frozenset()) -> Iterator[Hub]:
    hub = Hub(models, set(gated), Answer)
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
