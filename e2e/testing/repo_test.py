# SPDX-License-Identifier: Apache-2.0
"""What a Repo commits is what its bare repository then has."""

import pathlib
import tempfile
import unittest

from e2e.testing import junit
from e2e.testing.repo import Repo, git


class RepoTest(unittest.TestCase):

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)

    def test_a_revert_brings_back_what_was(self):
        repo = Repo(self.root / "fleet.git")
        repo.commit({"x.yaml": "old"}, "first")
        repo.commit({"x.yaml": "new", "y.yaml": "added"}, "second")

        head = repo.revert()

        self.assertEqual(repo.head(), head)
        self.assertEqual(git("show", "main:x.yaml", cwd=repo.path), "old")
        self.assertEqual(
            git("ls-tree", "--name-only", "main", cwd=repo.path), "x.yaml"
        )

    def test_a_moved_folder_and_a_forced_push_are_published(self):
        repo = Repo(self.root / "fleet.git")
        first = repo.commit({"old/x.yaml": "1"}, "first")
        repo.move("old", "new")
        repo.commit(message="rename")
        listed = git("ls-tree", "-r", "--name-only", "main", cwd=repo.path)
        self.assertEqual(listed, "new/x.yaml")

        repo.force_to(first)

        self.assertEqual(repo.head(), first)

    def test_a_repository_can_be_fetched_by_its_path(self):
        repo = Repo(self.root / "fleet.git", branch="trunk")
        head = repo.commit({"x.yaml": "1"}, "first")

        listed = git("ls-remote", repo.file_url(), "refs/heads/trunk")

        self.assertEqual(listed.split()[0], head)

    def test_an_empty_repository_has_no_branch(self):
        repo = Repo(self.root / "empty.git")

        self.assertEqual(git("ls-remote", repo.file_url()), "")

    def test_a_failing_git_command_says_what_git_said(self):
        with self.assertRaisesRegex(RuntimeError, "clone.*does not exist"):
            git("clone", "-q", self.root / "nowhere", self.root / "x")


if __name__ == "__main__":
    junit.main()
