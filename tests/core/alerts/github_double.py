"""A double of GitHub's REST API for issues, with the faults that the real one has.

Answers as the documentation of version 2022-11-28 says: status codes, headers of limits, pagination by ``Link``,
comments in ascending order, labels that exist already are 422. What a request did is kept although its answer may be
lost.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlencode, urlsplit

TOKEN = "github_pat_of_the_double"
REPOSITORY = "owner/watched"


class GitHubDouble:
    """Issues, comments and labels of one repository; ``faults`` are taken by the next matching requests."""

    def __init__(self):
        self.issues: dict[int, dict] = {}
        self.comments: dict[int, list[dict]] = {}
        self.labels: set[str] = set()
        self.requests: list[tuple[str, str]] = []
        self.faults: list[tuple[str, str, object]] = []
        self.deleted: set[int] = set()
        self.moved: set[int] = set()
        self.association = "OWNER"
        self.page_size = 100
        self.port = 0
        self.holding, self.arriving = threading.Event(), threading.Event()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def fail(self, method, path, answer, times=1):
        """The next ``times`` requests that match are answered so: (status, headers, body), or ``drop`` after they took
        effect, or ``refuse`` before; ``late`` is one that takes effect when ``arriving`` is set, and is not answered
        either."""
        self.faults += [(method, path, answer)] * times

    def texts(self, number=1):
        return [comment["body"] for comment in self.comments[number]]

    def add_issue(self, title, body, labels=(), association=None, state="open"):
        number = len(self.issues) + len(self.deleted) + 1
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.issues[number] = {
            "number": number,
            "id": 1000 + number,
            "title": title,
            "body": body,
            "state": state,
            "labels": [{"name": name} for name in labels],
            "created_at": now,
            "updated_at": now,
            "author_association": association or self.association,
            "user": {"login": "somebody", "type": "User"},
            "url": f"{self.address}/repos/{REPOSITORY}/issues/{number}",
        }
        self.comments[number] = []
        return self.issues[number]

    @contextmanager
    def serving(self, port: int = 0) -> Iterator[GitHubDouble]:
        double = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def _handle(self):
                length = int(self.headers.get("content-length") or 0)
                body = json.loads(self.rfile.read(length)) if length else {}
                method, path = self.command, urlsplit(self.path).path
                double.requests.append((method, path))
                fault = next((f for f in double.faults if f[0] == method and re.fullmatch(f[1], path)), None)
                if fault is not None:
                    double.faults.remove(fault)
                answer = fault[2] if fault else None
                if answer == "refuse":
                    self.close_connection = True
                    return
                if isinstance(answer, tuple):
                    self._answer(*answer)
                    return
                if answer == "late":
                    double.holding.set()
                    double.arriving.wait(60)
                result = double.answer(method, self.path, body, self.headers.get("authorization", ""))
                if answer in ("drop", "late"):
                    self.close_connection = True
                    return
                self._answer(*result)

            def _answer(self, status, headers, document):
                data = json.dumps(document).encode()
                self.send_response(status)
                for name, value in {"content-type": "application/json", **headers}.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PATCH = _handle

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        server.daemon_threads = True
        self.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def answer(self, method, target, body, authorization):
        limits = {"x-ratelimit-remaining": "4999", "x-ratelimit-reset": str(int(time.time()) + 3600)}
        if authorization.split(" ")[-1] != TOKEN:
            return 401, limits, {"message": "Bad credentials"}
        path, query = urlsplit(target).path, parse_qs(urlsplit(target).query)
        base = f"/repos/{REPOSITORY}"
        if path == "/repos/other/moved/issues/9":
            return 200, limits, {**self.issues[1], "number": 9, "url": f"{self.address}{path}"}
        if not path.startswith(base):
            return 404, limits, {"message": "Not Found"}
        rest = path.removeprefix(base)
        if method == "GET" and rest == "":
            return 200, limits, {"full_name": REPOSITORY, "url": f"{self.address}{base}", "name": "watched"}
        if rest == "/labels" and method == "POST":
            if body["name"] in self.labels:
                return 422, limits, {"message": "Validation Failed", "errors": [{"code": "already_exists"}]}
            self.labels.add(body["name"])
            return 201, limits, {"name": body["name"], "color": body["color"]}
        if found := re.fullmatch(r"/labels/(.+)", rest):
            known = found[1] in self.labels
            return (200, limits, {"name": found[1]}) if known else (404, limits, {"message": "Not Found"})
        if rest == "/issues" and method == "POST":
            issue = self.add_issue(body["title"], body["body"], body.get("labels", ()))
            return 201, limits, issue
        if rest == "/issues":
            wanted = {name for names in query.get("labels", []) for name in names.split(",")}
            chosen = [one for one in self.issues.values() if wanted <= {label["name"] for label in one["labels"]}]
            ordered = sorted(chosen, key=lambda issue: -issue["number"])
            return self._page(ordered, target, query, limits)
        found = re.fullmatch(r"/issues/(\d+)(/comments)?", rest)
        number = int(found[1]) if found else 0
        if number in self.moved and method == "GET":
            return 301, {**limits, "location": f"{self.address}/repos/other/moved/issues/9"}, {"message": "Moved"}
        if number in self.deleted:
            return 410, limits, {"message": "This issue was deleted"}
        if number not in self.issues:
            return 404, limits, {"message": "Not Found"}
        if found[2] and method == "POST":
            comment = {
                "id": len(self.comments[number]) + 1,
                "url": f"{self.address}/repos/{REPOSITORY}/issues/comments/{len(self.comments[number]) + 1}",
                "created_at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                "body": body["body"],
                "author_association": self.association,
                "user": {"login": "somebody", "type": "User"},
            }
            self.comments[number].append(comment)
            return 201, limits, comment
        if found[2]:
            since = query.get("since", [""])[0]
            newer = [one for one in self.comments[number] if one["created_at"] >= since]
            return self._page(newer, target, query, limits)
        if method == "PATCH":
            self.issues[number].update({name: value for name, value in body.items() if name == "state"})
        return 200, limits, self.issues[number]

    def _page(self, items, target, query, limits):
        page = int(query.get("page", ["1"])[0])
        start = (page - 1) * self.page_size
        headers = dict(limits)
        if start + self.page_size < len(items):
            path, rest = urlsplit(target).path, {name: found[0] for name, found in query.items() if name != "page"}
            headers["link"] = f'<{self.address}{path}?{urlencode({**rest, "page": page + 1})}>; rel="next"'
        return 200, headers, items[start : start + self.page_size]
