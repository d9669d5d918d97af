"""A stand-in of the Hugging Face hub's HTTP API: repositories of models with commits, as far as `huggingface_hub` asks for it.

All files go with the commit itself; the hub's own store for large files is not there.
"""

import base64
import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


class Hub(ThreadingHTTPServer):
    """``commits``: by repository, the files of each commit, by name; ``tokens``: all that were sent."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.commits, self.tokens, self.private = {}, set(), {}
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def files(self, repo, revision="main"):
        commits = self.commits[repo]
        return commits[-1 if revision == "main" else [sha_of(files) for files in commits].index(revision)]


def sha_of(files):
    return hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        hub, path = self.server, unquote(urlsplit(self.path).path)
        hub.tokens.add(self.headers.get("Authorization"))
        if path == "/api/validate-yaml":
            assert json.loads(body)["content"].startswith("---\n")
            return self.answer({"errors": [], "warnings": []})
        if path == "/api/repos/create":
            asked = json.loads(body)
            repo = f"{asked['organization']}/{asked['name']}"
            if repo in hub.commits:
                return self.answer({"error": "there already", "url": f"{hub.url}/{repo}"}, 409)
            hub.commits[repo], hub.private[repo] = [{".gitattributes": b""}], asked.get("visibility")
            return self.answer({"url": f"{hub.url}/{repo}"})
        repo, action = path.removeprefix("/api/models/").rsplit("/", 2)[:2]
        if action == "preupload":
            files = [
                {"path": one["path"], "uploadMode": "regular", "shouldIgnore": False}
                for one in json.loads(body)["files"]
            ]
            return self.answer({"files": files})
        return self.answer(self.commit(repo, [json.loads(line) for line in body.splitlines()]))

    def commit(self, repo, lines):
        files = dict(self.server.files(repo))
        for line in lines:
            if line["key"] == "file":
                files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            elif line["key"] == "deletedFile":
                del files[line["value"]["path"]]
        self.server.commits[repo].append(files)
        return {"commitUrl": f"{self.server.url}/{repo}/commit/{sha_of(files)}", "commitOid": sha_of(files)}

    def do_GET(self):
        hub, parts = self.server, unquote(urlsplit(self.path).path).strip("/").split("/")
        api = parts[:2] == ["api", "models"]
        owner, name, action, revision, *rest = parts[2 if api else 0 :]
        repo = f"{owner}/{name}"
        if repo not in hub.commits:
            return self.answer({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        try:
            files = hub.files(repo, revision)
        except ValueError:
            return self.answer({"error": "Invalid rev id"}, 404, {"X-Error-Code": "RevisionNotFound"})
        if action == "tree":
            return self.answer([described(name, content) for name, content in files.items()])
        if action == "revision":
            siblings = [{"rfilename": name} for name in files]
            return self.answer({"id": repo, "sha": sha_of(files), "siblings": siblings})
        content = files["/".join(rest)]
        etag = {"ETag": f'"{described(name, content)["oid"]}"', "X-Repo-Commit": sha_of(files)}
        return self.answer(content, headers=etag)

    def do_HEAD(self):
        self.do_GET()

    def answer(self, body, status=200, headers=()):
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *args):
        pass


def described(name, content):
    oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    return {"type": "file", "path": name, "size": len(content), "oid": oid}


@contextmanager
def hub_standing_in(patch, cache):
    """While it lasts, `huggingface_hub` speaks to a hub on this machine; patch: pytest's ``monkeypatch``."""
    from huggingface_hub import constants

    hub = Hub()
    patch.setattr(constants, "ENDPOINT", hub.url)
    patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}")
    patch.setattr(constants, "HF_HUB_OFFLINE", False)
    patch.setattr(constants, "HF_HUB_CACHE", str(cache))
    thread = threading.Thread(target=hub.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()
