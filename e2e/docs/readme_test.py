# SPDX-License-Identifier: Apache-2.0
"""Runs the commands of README.md that need no cluster, as they stand there.

What needs clusters (`bazel run agent`, `kubectl`) is told by the demo, which
e2e/story/demo_test.py runs; `bazel run manager` is what this test starts.
"""

import itertools
import pathlib
import re
import shlex
import shutil
import subprocess
import tempfile
import unittest

from e2e.testing import binaries, junit
from e2e.testing.flotilla import Manager
from e2e.testing.repo import Repo

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEFAULT_ADMIN = "127.0.0.1:7444"
# The first words of lines that other tests run.
ELSEWHERE = {"./tools/demo", "./tools/test", "./tools/setup", "bazel", "alias",
             "kubectl"}


def commands(text):
    """The lines of the sh blocks, without comments."""
    for block in re.findall(r"```sh\n(.*?)```", text, re.S):
        for line in block.splitlines():
            line = re.split(r"\s+#", line)[0].strip()
            if line:
                yield line


def alternatives(line):
    """`get a|b -o json` as `get a -o json` and `get b -o json`."""
    choices = [word.split("|") for word in shlex.split(line)]
    return [list(words) for words in itertools.product(*choices)]


class ReadmeTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.manager = Manager(self.folder / "manager").start()
        self.addCleanup(self.manager.kill)

        repo = Repo(self.folder / "gitops-fleet")
        example = ROOT / "docs" / "examples" / "gitops-fleet"
        repo.copy(example)
        repo.commit(message="the exercise repository")
        documents = self.folder / "fleet-resources"
        shutil.copytree(example / "fleet-resources", documents)
        for path in documents.iterdir():
            path.write_text(re.sub(
                r"repo: \S+", f"repo: {repo.file_url()}", path.read_text()
            ))
        # With a history, for `flotilla diff`.
        history = Repo(self.folder / "history.git")
        history.copy(example / "helm", "helm")
        history.commit(message="one")
        history.commit({"helm/extra.yaml": (
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: extra}\n")},
            "two")
        (self.folder / "DIR").symlink_to(history.work / "helm")
        (self.folder / "targets.yaml").write_text(
            "targets: [{name: all, clusterSelector: {}}]\n")
        (self.folder / "bundle.yaml").write_text(
            "apiVersion: fleet.cattle.io/v1alpha1\nkind: Bundle\n"
            "metadata: {name: app}\n"
            "spec: {targets: [{clusterSelector: {}}]}\n")
        (self.folder / "clusters.yaml").write_text(
            "apiVersion: fleet.cattle.io/v1alpha1\nkind: Cluster\n"
            "metadata: {name: one, namespace: fleet-default}\n")

    def _run(self, words):
        program = {
            "flotilla": lambda: binaries.find("tools/ctl/flotilla"),
            "grpcurl": lambda: binaries.find("e2e/cluster/grpcurl/grpcurl"),
        }[words[0]]()
        words = [
            self.manager.admin_address if word == DEFAULT_ADMIN else word
            for word in words
        ]
        return subprocess.run(
            [program, *words[1:]], cwd=self.folder, text=True,
            capture_output=True, timeout=60, check=False,
            env={"FLOTILLA_SERVER": self.manager.admin_address,
                 "HOME": str(self.folder)},
        )

    def test_the_commands_of_the_readme_work_in_their_order(self):
        text = (ROOT / "README.md").read_text()
        lines = list(commands(text))
        # Removing comes last, whatever the order of the page.
        removal = "flotilla delete gitrepo simple"
        self.assertIn(removal, text)
        ran = 0
        for line in [*lines, removal]:
            if line.split()[0] in ELSEWHERE:
                continue
            for words in alternatives(line):
                with self.subTest(command=" ".join(words)):
                    done = self._run(words)
                    self.assertEqual(0, done.returncode, done.stderr)
                    ran += 1
        self.assertGreater(ran, 10)

    def test_the_secret_of_the_readme_is_taken(self):
        text = (ROOT / "README.md").read_text()
        (document,) = re.findall(r"```yaml\n(.*?)```", text, re.S)
        path = self.folder / "secret.yaml"
        path.write_text(document)
        done = self._run(["flotilla", "apply", "-f", str(path)])
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertIn("secret fleet-default/git-credentials created",
                      done.stdout)


if __name__ == "__main__":
    junit.main()
