# SPDX-License-Identifier: Apache-2.0
"""Repositories that tests and the demo commit to.

    repo = Repo("/tmp/x/fleet.git")
    commit = repo.commit({"simple/cm.yaml": "..."}, "add a config map")
    repo.revert()
    url = repo.file_url()                    # file:///tmp/x/fleet.git
"""

import os
import pathlib
import shutil
import subprocess

# The people's own Git configuration must not change what tests do.
GIT_ENVIRONMENT = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_AUTHOR_NAME": "Flotilla Tests",
    "GIT_AUTHOR_EMAIL": "tests@flotilla.example",
    "GIT_COMMITTER_NAME": "Flotilla Tests",
    "GIT_COMMITTER_EMAIL": "tests@flotilla.example",
}


def git(*arguments, cwd=None, stdin=None):
    """Runs git; returns its output without the last newline."""
    done = subprocess.run(
        ["git", *map(str, arguments)], cwd=cwd, input=stdin, text=True,
        capture_output=True, check=False,
        env={**os.environ, **GIT_ENVIRONMENT},
    )
    if done.returncode != 0:
        raise RuntimeError(
            f"git {' '.join(map(str, arguments))}: {done.stderr.strip()}"
        )
    return done.stdout.rstrip("\n")


class Repo:
    """A bare repository, made if it is not there, and a clone to work in.

    Every change is pushed at once: what commit() returns can be fetched.
    """

    def __init__(self, path, branch="main"):
        self.path = pathlib.Path(path).absolute()
        self.branch = branch
        self.work = self.path.with_name(self.path.name + ".work")
        if not self.path.exists():
            git("init", "-q", "--bare", f"--initial-branch={branch}",
                self.path)
        if not self.work.exists():
            git("clone", "-q", self.path, self.work)
            git("checkout", "-q", "-B", branch, cwd=self.work)

    def file_url(self):
        return self.path.as_uri()

    def head(self):
        """The branch's commit, as the bare repository has it."""
        return git("rev-parse", f"refs/heads/{self.branch}", cwd=self.path)

    def write(self, files):
        """Writes {path: text or bytes} without committing; None removes."""
        for path, content in files.items():
            file = self.work / path
            if content is None:
                if file.is_dir():
                    shutil.rmtree(file)
                else:
                    file.unlink()
                continue
            file.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                file.write_bytes(content)
            else:
                file.write_text(content, encoding="utf-8")

    def copy(self, folder, to="."):
        """Copies a folder's content into the work tree."""
        shutil.copytree(folder, self.work / to, dirs_exist_ok=True)

    def move(self, old, new):
        (self.work / new).parent.mkdir(parents=True, exist_ok=True)
        git("mv", old, new, cwd=self.work)

    def commit(self, files=None, message="change"):
        """Writes `files`, commits the whole work tree, pushes; the commit."""
        self.write(files or {})
        git("add", "--all", cwd=self.work)
        git("commit", "-q", "--allow-empty", "-m", message, cwd=self.work)
        return self._push()

    def link(self, commits, message="change"):
        """Puts submodules {path: commit} into the tree and pushes."""
        for path, commit in commits.items():
            git("update-index", "--add", "--cacheinfo",
                f"160000,{commit},{path}", cwd=self.work)
        git("commit", "-q", "-m", message, cwd=self.work)
        return self._push()

    def revert(self, commit="HEAD"):
        """`git revert` of one commit, pushed; returns the new commit."""
        git("revert", "--no-edit", commit, cwd=self.work)
        return self._push()

    def force_to(self, commit):
        """Moves the branch to another commit, as a forced push does."""
        git("reset", "-q", "--hard", commit, cwd=self.work)
        return self._push("--force")

    def _push(self, *options):
        git("push", "-q", *options, "origin", f"HEAD:{self.branch}",
            cwd=self.work)
        return self.head()
