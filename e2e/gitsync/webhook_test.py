# SPDX-License-Identifier: Apache-2.0
"""Webhooks against a running manager: a hint to fetch and no more."""

import base64
import concurrent.futures
import hashlib
import hmac
import http.client
import json
import pathlib
import tempfile
import unittest

from e2e.testing import junit
from e2e.testing.flotilla import Manager
from e2e.testing.git_server import GitServer
from e2e.testing.processes import free_port, wait_until
from e2e.testing.repo import Repo

SECRET = "canary-9c41"


def git_repo(name, url, **spec):
    return json.dumps({
        "apiVersion": "fleet.cattle.io/v1alpha1",
        "kind": "GitRepo",
        "metadata": {"name": name, "namespace": "fleet-default"},
        # Nothing but a webhook has it looked at after the first time.
        "spec": {"repo": url, "branch": "main", "disablePolling": True,
                 **spec},
    })


def secret(name, namespace, **data):
    return json.dumps({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace},
        "type": "Opaque",
        "stringData": data,
    })


class WebhookTest(unittest.TestCase):

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.repo = Repo(self.folder / "git" / "fleet.git")
        self.first = self.repo.commit({"a.yaml": "kind: x\n"}, "one")
        self.server = GitServer(self.folder / "git").start()
        self.addCleanup(self.server.stop)
        self.port = free_port()
        self.manager = Manager(self.folder / "manager", [
            "--webhook-listen", f"127.0.0.1:{self.port}"]).start()
        self.addCleanup(self.manager.stop)
        self.apply(secret("gitjob-webhook", "cattle-fleet-system",
                          github=SECRET, gitlab=SECRET))
        self.apply(git_repo("app", self.server.url("fleet.git")))
        self.wait_commit("app", self.first)

    def apply(self, document):
        self.manager.cli("apply", "-f", "-", stdin=document)

    def commit_of(self, name):
        repos = self.manager.cli_json("get", "gitrepos", name)["gitRepos"]
        return repos[0].get("commit", {}).get("id")

    def wait_commit(self, name, commit):
        wait_until(lambda: self.commit_of(name) == commit, 20,
                   f"commit {commit} of {name}")

    def post(self, body, headers, method="POST"):
        connection = http.client.HTTPConnection("127.0.0.1", self.port,
                                                timeout=30)
        connection.request(method, "/", body, headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, text

    def github(self, url=None, branch="main", key=SECRET, after="0" * 40):
        body = json.dumps({
            "ref": f"refs/heads/{branch}", "after": after,
            "repository": {"html_url": url or self.server.url("fleet")},
        }).encode()
        signature = hmac.new(key.encode(), body, hashlib.sha256).hexdigest()
        return self.post(body, {"X-GitHub-Event": "push",
                                "X-Hub-Signature-256": f"sha256={signature}"})

    def test_a_push_is_fetched_without_a_poll(self):
        second = self.repo.commit({"a.yaml": "kind: y\n"}, "two")
        status, text = self.github()
        self.assertEqual((200, "GitRepos that will be fetched: 1\n"), (status, text))
        self.wait_commit("app", second)

        third = self.repo.commit({"a.yaml": "kind: z\n"}, "three")
        body = json.dumps({
            "ref": "refs/heads/main",
            "project": {"git_http_url": self.server.url("fleet.git")}})
        status, _ = self.post(body, {"X-Gitlab-Event": "Push Hook",
                                     "X-Gitlab-Token": SECRET})
        self.assertEqual(200, status)
        self.wait_commit("app", third)

    def test_the_commit_that_it_names_is_never_deployed(self):
        second = self.repo.commit({"a.yaml": "kind: y\n"}, "two")
        # A replay of an old push: what counts is what the server has.
        self.assertEqual(200, self.github(after=self.first)[0])
        self.wait_commit("app", second)
        self.assertEqual(200, self.github(after=self.first)[0])
        self.assertEqual(second, self.commit_of("app"))

    def test_a_wrong_secret_fetches_nothing(self):
        self.repo.commit({"a.yaml": "kind: y\n"}, "two")
        requests = self.server.requests
        for key in ("", "guess"):
            status, text = self.github(key=key)
            self.assertEqual(401, status)
            self.assertIn("cattle-fleet-system/gitjob-webhook", text)
            self.assertNotIn(SECRET, text)
        basic = base64.b64encode(b"a:b").decode()
        self.assertEqual(401, self.post("{}", {
            "X-Vss-ActivityId": "1", "Authorization": f"Basic {basic}"})[0])
        self.assertEqual(requests, self.server.requests)
        self.assertEqual(self.first, self.commit_of("app"))
        self.assertNotIn(SECRET, self.manager.log())

    def test_its_own_secret_opens_a_gitrepo(self):
        self.apply(secret("hook", "fleet-default", github="own-secret"))
        self.apply(git_repo("own", self.server.url("fleet.git"),
                            webhookSecret="hook"))
        self.wait_commit("own", self.first)
        second = self.repo.commit({"a.yaml": "kind: y\n"}, "two")
        self.assertEqual("GitRepos that will be fetched: 1\n",
                         self.github(key="own-secret")[1])
        self.wait_commit("own", second)
        self.assertEqual(self.first, self.commit_of("app"))

    def test_rubbish_and_floods_do_no_harm(self):
        for body in (b"null", b"[" * 100_000, b"\x00\xff", b'{"ref":7}',
                     b'{"repository":null,"ref":[]}', b""):
            signature = hmac.new(SECRET.encode(), body,
                                 hashlib.sha256).hexdigest()
            status, _ = self.post(body, {
                "X-GitHub-Event": "push",
                "X-Hub-Signature-256": f"sha256={signature}"})
            self.assertIn(status, (200, 400), body[:20])
        # Refused by its length: it need not be sent.
        self.assertEqual(413, self.post(b"x", {
            "X-GitHub-Event": "push", "Content-Length": str(6 << 20)})[0])
        self.assertEqual(405, self.post(None, {}, "GET")[0])
        self.assertEqual(400, self.post(b"{}", {})[0])

        requests = self.server.requests
        with concurrent.futures.ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(lambda _: self.github()[0], range(200)))
        self.assertEqual({200}, set(answers))
        last = self.repo.commit({"a.yaml": "kind: last\n"}, "last")
        self.assertEqual(200, self.github()[0])
        self.wait_commit("app", last)
        # Polls are one a second; each asks the server a few times.
        self.assertLess(self.server.requests - requests, 60)


if __name__ == "__main__":
    junit.main()
