# SPDX-License-Identifier: Apache-2.0
"""Git over HTTP on loopback, served by `git http-backend`.

    with GitServer(folder, users={"ci": "secret"}) as server:
        repo = Repo(server.root / "fleet.git")
        url = server.url("fleet.git")        # http://127.0.0.1:…/fleet.git
"""

import base64
import gzip
import http.server
import os
import pathlib
import subprocess
import threading

from e2e.testing.processes import free_port
from e2e.testing.repo import GIT_ENVIRONMENT


class GitServer:
    """Smart HTTP for all bare repositories under `root`.

    With `users` ({name: password}) every request needs basic authentication.
    `requests` counts what was answered, refusals included; `authorizations`
    are all headers of that name that came.
    """

    def __init__(self, root, users=None, port=None):
        self.root = pathlib.Path(root).absolute()
        self.root.mkdir(parents=True, exist_ok=True)
        self.users = users or {}
        self.port = port or free_port()
        self.requests = 0
        self.authorizations = set()
        self._server = None
        self._thread = None

    def url(self, name, user=None, password=None):
        credentials = f"{user}:{password}@" if user else ""
        return f"http://{credentials}127.0.0.1:{self.port}/{name}"

    def start(self):
        """Serves on the port; after stop() on the same one again."""
        outer = self

        class Handler(_BackendHandler):
            git_server = outer

        self._server = _Server(("127.0.0.1", self.port), Handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05},
            daemon=True,
        )
        self._thread.start()
        return self

    def stop(self):
        """Stops listening: from now on connections are refused."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self._server = None

    def allows(self, authorization):
        """The user that the header proves, or None."""
        scheme, _, credentials = (authorization or "").partition(" ")
        if scheme.lower() != "basic":
            return None
        try:
            decoded = base64.b64decode(credentials).decode()
        except ValueError:
            return None
        user, _, password = decoded.partition(":")
        known = self.users.get(user)
        return user if known is not None and known == password else None

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    # A connection that a client holds open must not hold up stop().
    block_on_close = False


class _BackendHandler(http.server.BaseHTTPRequestHandler):
    """One request: authentication, then `git http-backend` as a CGI."""

    protocol_version = "HTTP/1.1"
    git_server = None

    def do_GET(self):
        self._serve()

    def do_POST(self):
        self._serve()

    def log_message(self, format, *args):
        pass

    def _serve(self):
        body = self._body()
        self.git_server.requests += 1
        user = None
        if "Authorization" in self.headers:
            self.git_server.authorizations.add(self.headers["Authorization"])
        if self.git_server.users:
            user = self.git_server.allows(self.headers.get("Authorization"))
            if user is None:
                self._answer(401, [
                    ("WWW-Authenticate", 'Basic realm="git"'),
                    ("Content-Type", "text/plain"),
                ], b"authentication is needed\n")
                return
        # A proxy may hand on the whole address (RFC 9112, 3.2.2).
        target = self.path.removeprefix("http://")
        if target != self.path:
            target = "/" + target.partition("/")[2]
        path, _, query = target.partition("?")
        backend = subprocess.run(
            ["git", "http-backend"], input=body, capture_output=True,
            check=False, env={
                **os.environ, **GIT_ENVIRONMENT,
                "GIT_PROJECT_ROOT": str(self.git_server.root),
                "GIT_HTTP_EXPORT_ALL": "1",
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "CONTENT_LENGTH": str(len(body)),
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                "REMOTE_USER": user or "",
                "REMOTE_ADDR": self.client_address[0],
            },
        )
        head, _, content = backend.stdout.partition(b"\r\n\r\n")
        status = 200 if head else 500
        headers = []
        for line in head.decode("latin-1").split("\r\n"):
            name, _, value = line.partition(": ")
            if name.lower() == "status":
                status = int(value.split()[0])
            elif name:
                headers.append((name, value))
        self._answer(status, headers, content or backend.stderr)

    def _body(self):
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            chunks = []
            while True:
                size = int(self.rfile.readline().split(b";")[0], 16)
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
                if size == 0:
                    break
            body = b"".join(chunks)
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        return body

    def _answer(self, status, headers, content):
        self.send_response(status)
        for name, value in headers:
            if name.lower() != "content-length":
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
