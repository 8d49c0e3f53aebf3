# SPDX-License-Identifier: Apache-2.0
"""The manager's Git fetcher against real servers, good and bad."""

import hashlib
import http.server
import json
import os
import pathlib
import resource
import socket
import socketserver
import ssl
import struct
import subprocess
import tempfile
import threading
import unittest
import urllib.parse
import zlib

from e2e.testing import binaries, junit
from e2e.testing.git_server import GitServer
from e2e.testing.repo import GIT_ENVIRONMENT, Repo, git
from e2e.testing.ssh_server import SshServer

CANARY = "canary-7d1f"


def size_of(number):
    """A number as deltas begin with two of."""
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def packed(kind, content, base=b""):
    """An object of a pack; `base` is the id of what a delta is against."""
    rest = len(content) >> 4
    head = bytearray([kind << 4 | len(content) & 0xF])
    while rest:
        head[-1] |= 0x80
        head.append(rest & 0x7F)
        rest >>= 7
    return bytes(head) + base + zlib.compress(content)


class Proxy:
    """An HTTP proxy that knows where some hosts are."""

    def __init__(self, ports):
        self._ports = ports
        self.asked = []
        self._server = socketserver.ThreadingTCPServer(
            ("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def _handler(self):
        proxy = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                first = self.rfile.readline().decode()
                method, target, version = first.split()
                if method == "CONNECT":
                    while self.rfile.readline().strip():
                        pass
                    name, send = target, b""
                    self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
                else:
                    url = urllib.parse.urlsplit(target)
                    name = f"{url.hostname}:{url.port or 80}"
                    path = url.path + ("?" + url.query if url.query else "")
                    send = f"{method} {path} {version}\r\n".encode()
                proxy.asked.append(name)
                there = socket.create_connection(
                    ("127.0.0.1", proxy._ports[name]))
                there.sendall(send)

                def back():
                    while data := there.recv(65536):
                        self.connection.sendall(data)
                    self.connection.shutdown(socket.SHUT_WR)

                thread = threading.Thread(target=back, daemon=True)
                thread.start()
                while data := self.rfile.read1(65536):
                    there.sendall(data)
                there.shutdown(socket.SHUT_WR)
                thread.join()
                there.close()

        return Handler

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever,
                         daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()


class GitServersTest(unittest.TestCase):

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.root = self.folder / "served"
        self.root.mkdir()
        self.repo = Repo(self.root / "fleet.git")
        self.head = self.repo.commit({"a/x.yaml": "1", "b.yaml": "2"}, "one")

    def _fetch(self, url, memory=None, **fields):
        """What fetch_once says: (first word, the whole).

        With `memory` it cannot have more bytes than that.
        """
        request = {"directory": str(self.folder / "clones"), "url": url,
                   "branch": "main", **fields}
        done = subprocess.run(
            [binaries.find("manager/gitsync/fetch_once")],
            input=json.dumps(request), capture_output=True, text=True,
            timeout=60, check=False,
            preexec_fn=None if memory is None else lambda: resource.setrlimit(
                resource.RLIMIT_DATA, (memory, memory)),
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn(CANARY, done.stdout + done.stderr)
        return done.stdout.split(" ")[0], done.stdout

    def _assert_fetched(self, result, head=None):
        self.assertEqual(
            result[1],
            f"OK {head or self.head}\na\na/x.yaml\nb.yaml\n",
        )

    def _certificate(self, name, host="127.0.0.1"):
        """A CA and a certificate by it for `host`; (CA PEM, context)."""
        folder = self.folder / name
        folder.mkdir()

        def openssl(*arguments):
            subprocess.run(["openssl", *arguments], cwd=folder, check=True,
                           capture_output=True)

        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt",
                "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                "-subj", f"/CN={name} CA", "-keyout", "ca.key",
                "-out", "ca.pem")
        openssl("req", "-newkey", "ec", "-pkeyopt",
                "ec_paramgen_curve:prime256v1", "-nodes", "-subj",
                "/CN=server", "-keyout", "server.key", "-out", "server.csr")
        kind = "IP" if host[0].isdigit() else "DNS"
        (folder / "ext").write_text(f"subjectAltName={kind}:{host}\n")
        openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.pem",
                "-CAkey", "ca.key", "-CAcreateserial", "-days", "1",
                "-extfile", "ext", "-out", "server.pem")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "server.pem", folder / "server.key")
        return (folder / "ca.pem").read_text(), context

    def test_http_follows_the_branch(self):
        with GitServer(self.root) as server:
            url = server.url("fleet.git")
            self._assert_fetched(self._fetch(url))
            before = server.requests
            self._assert_fetched(self._fetch(url))
            self.assertEqual(server.requests, before + 1)
            second = self.repo.commit({"b.yaml": "3"}, "two")
            self._assert_fetched(self._fetch(url), second)
            self._assert_fetched(self._fetch(url, revision=self.head))

    def test_http_with_the_right_password_only(self):
        with GitServer(self.root, users={"ci": CANARY}) as server:
            url = server.url("fleet.git")
            self._assert_fetched(
                self._fetch(url, username="ci", password=CANARY))
            self._assert_fetched(
                self._fetch(server.url("fleet.git", "ci", CANARY)))
            word, text = self._fetch(url, username="ci",
                                     password=CANARY + "x")
            self.assertEqual(word, "UNAUTHENTICATED", text)
            self.assertIn("wrong credentials", text)
            self.assertIn("Secret w/creds", text)
            word, text = self._fetch(url)
            self.assertEqual(word, "UNAUTHENTICATED", text)
            self.assertIn("asks for credentials", text)

    def test_a_very_large_file_takes_no_memory(self):
        with open(self.repo.work / "huge.yaml", "wb") as file:
            # A thousandth of it once it is packed.
            file.truncate(300 << 20)
        head = self.repo.commit({}, "huge")
        with GitServer(self.root) as server:
            _, text = self._fetch(server.url("fleet.git"), memory=200 << 20)
        self.assertEqual(text.split()[:2], ["OK", head], text)

    def test_a_delta_that_unpacks_to_very_much_is_refused(self):
        base, copies = bytes(1 << 20), 300
        delta = (size_of(len(base)) + size_of(copies * len(base))
                 # Copy 1 MiB from the beginning: size 0x100000.
                 + b"\xc0\x10" * copies)
        blob = git("hash-object", "-w", "--stdin", cwd=self.repo.path,
                   stdin=base.decode())
        bomb = hashlib.sha1(b"blob %d\0" % (copies * len(base)))
        for _ in range(copies):
            bomb.update(base)
        pack = b"PACK" + struct.pack(">II", 2, 2)
        pack += packed(3, base)
        pack += packed(7, delta, bytes.fromhex(blob))
        pack += hashlib.sha1(pack).digest()
        subprocess.run(["git", "index-pack", "--stdin"], cwd=self.repo.path,
                       input=pack, check=True, capture_output=True)
        tree = git("mktree", cwd=self.repo.path,
                   stdin=f"100644 blob {blob}\ta\n"
                         f"100644 blob {bomb.hexdigest()}\tb\n")
        commit = subprocess.run(
            ["git", "commit-tree", "-m", "bomb", tree], cwd=self.repo.path,
            env={**os.environ, **GIT_ENVIRONMENT}, check=True, text=True,
            capture_output=True).stdout.strip()
        git("update-ref", "refs/heads/main", commit, cwd=self.repo.path)
        with GitServer(self.root) as server:
            word, text = self._fetch(server.url("fleet.git"),
                                     memory=200 << 20)
        self.assertEqual(word, "RESOURCE_EXHAUSTED", text)
        self.assertIn("too large when it is unpacked", text)

    def test_what_is_missing_is_named(self):
        Repo(self.root / "empty.git")
        with GitServer(self.root) as server:
            word, text = self._fetch(server.url("nope.git"))
            self.assertEqual(word, "NOT_FOUND", text)
            self.assertIn(server.url("nope.git"), text)
            word, text = self._fetch(server.url("empty.git"))
            self.assertEqual(word, "FAILED_PRECONDITION", text)
            self.assertIn("is empty", text)
            word, text = self._fetch(server.url("fleet.git"), branch="nope")
            self.assertEqual(word, "NOT_FOUND", text)
            self.assertIn('no branch "nope"; it has "main"', text)
            word, text = self._fetch(server.url("fleet.git"),
                                     revision="a" * 40)
            self.assertEqual(word, "NOT_FOUND", text)
        word, text = self._fetch(server.url("fleet.git"))
        self.assertEqual(word, "UNAVAILABLE", text)
        self.assertIn(f"127.0.0.1:{server.port}", text)

    def test_a_redirect_to_another_host_is_not_followed(self):
        asked = []

        class Elsewhere(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                asked.append(dict(self.headers))
                self.send_response(500)
                self.end_headers()

            def log_message(self, *_):
                pass

        elsewhere = http.server.HTTPServer(("127.0.0.1", 0), Elsewhere)
        target = f"127.0.0.1:{elsewhere.server_port}"

        class Redirect(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(302)
                self.send_header("Location", f"http://{target}{self.path}")
                self.end_headers()

            def log_message(self, *_):
                pass

        redirect = http.server.HTTPServer(("127.0.0.1", 0), Redirect)
        for server in (elsewhere, redirect):
            threading.Thread(target=server.serve_forever, daemon=True).start()
            self.addCleanup(server.server_close)
            self.addCleanup(server.shutdown)
        # Another port is another server; so is another name of this one.
        for name in (target, target.replace("127.0.0.1", "localhost")):
            with self.subTest(name):
                target = name
                word, text = self._fetch(
                    f"http://127.0.0.1:{redirect.server_port}/fleet.git",
                    username="ci", password=CANARY)
                self.assertEqual(word, "FAILED_PRECONDITION", text)
                self.assertIn("redirects to", text)
        self.assertEqual(asked, [])

    def test_a_server_that_talks_nonsense_is_an_error(self):
        class Nonsense(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(self.server.code)
                body = b"\x00\xff<html>" * 1000
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        server = http.server.HTTPServer(("127.0.0.1", 0), Nonsense)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        for code, expected in ((200, "UNAVAILABLE"), (404, "NOT_FOUND"),
                               (403, "PERMISSION_DENIED"),
                               (500, "UNAVAILABLE"), (503, "UNAVAILABLE")):
            with self.subTest(code):
                server.code = code
                word, text = self._fetch(
                    f"http://127.0.0.1:{server.server_port}/fleet.git")
                self.assertEqual(word, expected, text)

    def test_https_needs_a_certificate_of_a_known_ca(self):
        ca, context = self._certificate("good")
        other_ca, _ = self._certificate("other")
        wrong_ca, wrong_host = self._certificate("elsewhere", "127.0.0.9")
        for bundle, served, insecure, expected in (
            (ca, context, "", "OK"),
            ("", context, "yes", "OK"),
            ("", context, "", "FAILED_PRECONDITION"),
            (other_ca, context, "", "FAILED_PRECONDITION"),
            ("rubbish", context, "", "FAILED_PRECONDITION"),
            (wrong_ca, wrong_host, "", "FAILED_PRECONDITION"),
        ):
            with self.subTest(expected=expected, insecure=insecure):
                server = GitServer(self.root)
                server.start()
                self.addCleanup(server.stop)
                listening = server._server.socket
                server._server.socket = served.wrap_socket(
                    listening, server_side=True)
                url = server.url("fleet.git").replace("http:", "https:")
                word, text = self._fetch(url, ca=bundle, insecure=insecure)
                self.assertEqual(word, expected, text)
                if expected != "OK":
                    self.assertIn("not trusted", text)
                    self.assertIn("spec.caBundle", text)

    def test_a_proxy_is_asked_for_everything(self):
        """By CONNECT for https, with the whole address for http."""
        ca, context = self._certificate("git", "git.example")
        with GitServer(self.root) as plain, GitServer(self.root) as secure:
            secure._server.socket = context.wrap_socket(
                secure._server.socket, server_side=True)
            with Proxy({"git.example:443": secure.port,
                        "git.example:80": plain.port}) as proxy:
                self._assert_fetched(self._fetch(
                    "https://git.example/fleet.git", ca=ca,
                    https_proxy=proxy.url))
                self._assert_fetched(self._fetch(
                    "http://git.example/fleet.git", http_proxy=proxy.url))
                # The certificate is still that of the server.
                word, text = self._fetch("https://git.example/fleet.git",
                                         https_proxy=proxy.url,
                                         directory=str(self.folder / "c2"))
                self.assertEqual(word, "FAILED_PRECONDITION", text)
                self.assertIn("not trusted", text)
            self.assertEqual(proxy.asked[0], "git.example:443")
            self.assertIn("git.example:80", proxy.asked)

    def test_a_submodule_elsewhere_gets_no_credentials(self):
        other_root = self.folder / "other"
        other_root.mkdir()
        inner = Repo(other_root / "inner.git")
        inner_head = inner.commit({"in.yaml": "1"}, "inner")
        same = Repo(self.root / "same.git")
        same_head = same.commit({"same.yaml": "1"}, "same")
        with GitServer(self.root, users={"ci": CANARY}) as server, \
                GitServer(other_root) as other:
            self.repo.commit({".gitmodules": (
                '[submodule "a"]\n\tpath = mod/a\n\turl = ../same.git\n'
                '[submodule "b"]\n\tpath = mod/b\n'
                f"\turl = {other.url('inner.git')}\n")}, "modules")
            head = self.repo.link({"mod/a": same_head, "mod/b": inner_head},
                                  "link them")
            word, text = self._fetch(server.url("fleet.git"), username="ci",
                                     password=CANARY)
            self.assertEqual(word, "OK", text)
            self.assertIn(head, text)
            self.assertIn("mod/a/same.yaml\n", text)
            self.assertIn("mod/b/in.yaml\n", text)
            self.assertEqual(other.authorizations, set())

    def test_ssh_with_known_host_and_right_key_only(self):
        if SshServer.missing():
            self.skipTest(SshServer.missing())
        with SshServer(self.folder / "ssh") as server:
            url = server.url(self.repo)
            key = server.key_file.read_text()
            self._assert_fetched(self._fetch(
                url, key=key, known_hosts=server.known_hosts))

            word, text = self._fetch(url, key=key)
            self.assertEqual(word, "FAILED_PRECONDITION", text)
            self.assertIn("unknown SSH host key", text)
            self.assertIn("SHA256:", text)
            # The line that it says to add is the right one.
            self.assertIn(server.known_hosts, text)

            fields = server.known_hosts.split()
            other = pathlib.Path(f"{server.stranger_key_file}.pub")
            changed = f"{fields[0]} {other.read_text()}"
            word, text = self._fetch(url, key=key, known_hosts=changed)
            self.assertEqual(word, "FAILED_PRECONDITION", text)
            self.assertIn("has changed", text)

            word, text = self._fetch(
                url, key=server.stranger_key_file.read_text(),
                known_hosts=server.known_hosts)
            self.assertEqual(word, "UNAUTHENTICATED", text)
            self.assertIn("wrong credentials", text)

            for key_text in ("", "not a key"):
                word, text = self._fetch(url, key=key_text,
                                         known_hosts=server.known_hosts)
                self.assertEqual(word, "UNAUTHENTICATED", text)

            word, text = self._fetch(server.url("/nope.git"), key=key,
                                     known_hosts=server.known_hosts)
            self.assertEqual(word, "NOT_FOUND", text)

            second = self.repo.commit({"b.yaml": "3"}, "two")
            self._assert_fetched(self._fetch(
                url, key=key, known_hosts=server.known_hosts), second)


if __name__ == "__main__":
    junit.main()
