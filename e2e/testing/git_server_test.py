# SPDX-License-Identifier: Apache-2.0
"""The Git server speaks to a real Git client as a hosted one does."""

import os
import pathlib
import subprocess
import tempfile
import unittest

from e2e.testing import junit
from e2e.testing.git_server import GitServer
from e2e.testing.repo import Repo, git


class GitServerTest(unittest.TestCase):

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.root = self.folder / "served"
        self.root.mkdir()

    def _clone(self, url, **environment):
        """Clones; returns what git complained about, "" on success."""
        target = tempfile.mkdtemp(dir=self.folder)
        done = subprocess.run(
            ["git", "clone", "-q", url, target], capture_output=True,
            text=True, check=False,
            env={**os.environ, "GIT_TERMINAL_PROMPT": "0", **environment},
        )
        self.cloned = pathlib.Path(target)
        return "" if done.returncode == 0 else done.stderr

    def test_changes_are_seen_by_the_next_fetch(self):
        repo = Repo(self.root / "fleet.git")
        first = repo.commit({"a/x.yaml": "1", "b.yaml": "2"}, "first")
        second = repo.commit({"a/x.yaml": "3", "b.yaml": None}, "second")

        with GitServer(self.root) as server:
            self.assertEqual(self._clone(server.url("fleet.git")), "")

        self.assertNotEqual(first, second)
        self.assertEqual(git("rev-parse", "HEAD", cwd=self.cloned), second)
        self.assertEqual((self.cloned / "a/x.yaml").read_text(), "3")
        self.assertFalse((self.cloned / "b.yaml").exists())
        self.assertGreater(server.requests, 1)

    def test_basic_authentication_lets_only_the_right_password_in(self):
        Repo(self.root / "fleet.git").commit({"x": "1"}, "first")

        with GitServer(self.root, users={"ci": "secret"}) as server:
            for user, password, complaint in (
                ("ci", "secret", ""),
                ("ci", "wrong", "Authentication failed"),
                ("other", "secret", "Authentication failed"),
                (None, None, "could not read Username"),
            ):
                with self.subTest(user=user, password=password):
                    problem = self._clone(
                        server.url("fleet.git", user, password)
                    )
                    self.assertIn(complaint, problem)
                    self.assertEqual(bool(complaint), bool(problem))

    def test_a_repository_that_is_not_there_is_not_found(self):
        with GitServer(self.root) as server:
            self.assertIn("not found", self._clone(server.url("no.git")))

    def test_a_stopped_server_refuses_and_comes_back_on_its_port(self):
        Repo(self.root / "fleet.git").commit({"x": "1"}, "first")
        server = GitServer(self.root).start()
        self.addCleanup(server.stop)
        url = server.url("fleet.git")

        server.stop()
        self.assertIn("Failed to connect", self._clone(url))
        server.start()

        self.assertEqual(self._clone(url), "")

    def test_a_push_of_more_than_a_buffer_arrives(self):
        repo = Repo(self.root / "fleet.git")
        repo.commit({"x": "1"}, "first")
        git("config", "http.receivepack", "true", cwd=repo.path)

        with GitServer(self.root) as server:
            self.assertEqual(self._clone(server.url("fleet.git")), "")
            (self.cloned / "big").write_bytes(os.urandom(3_000_000))
            git("add", "big", cwd=self.cloned)
            git("commit", "-q", "-m", "big", cwd=self.cloned)
            git("push", "-q", "origin", "HEAD:main", cwd=self.cloned)

        self.assertEqual(
            repo.head(), git("rev-parse", "HEAD", cwd=self.cloned)
        )


if __name__ == "__main__":
    junit.main()
