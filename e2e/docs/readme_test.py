# SPDX-License-Identifier: Apache-2.0
"""Runs the commands of README.md that need no cluster, as they stand there.

What needs clusters (`bazel run agent`, `kubectl`) is told by the demo, which
e2e/story/demo_test.py runs; `bazel run manager` is what this test starts.
"""

import itertools
import os
import pathlib
import re
import shlex
import subprocess
import tempfile
import unittest

from e2e.testing import binaries, junit
from e2e.testing.flotilla import Manager
from e2e.testing.repo import GIT_ENVIRONMENT, Repo

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEFAULT_ADMIN = "127.0.0.1:7444"
# The first words of lines for a shell, from the root of the work tree.
SHELL = {"cp", "sed", "(cd"}
# The first words of lines that other tests run.
ELSEWHERE = {"./tools/demo", "./tools/test", "./tools/setup", "bazel", "alias",
             "kubectl"}
# What only an agent can have told, and what stands in its place here.
FROM_AGENTS = {
    "flotilla get facts dev -o yaml > facts.yaml":
        "kubeVersion: v1.31.7\nkinds:\n"
        "- {version: v1, kind: ConfigMap, plural: configmaps, namespaced: true}\n"
        "- {version: v1, kind: Service, plural: services, namespaced: true}\n"
        "- {group: apps, version: v1, kind: Deployment, plural: deployments, "
        "namespaced: true}\n",
    "flotilla get document Cluster dev -o yaml > cluster.yaml":
        "apiVersion: fleet.cattle.io/v1alpha1\nkind: Cluster\n"
        "metadata: {name: dev, namespace: fleet-default}\n",
}


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

        example = ROOT / "docs" / "examples" / "gitops-fleet"
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
        """`flotilla ... > FILE` writes into a file, as a shell does."""
        into = None
        if ">" in words:
            into = self.folder / words[-1]
            words = words[:-2]
        done = self._run_program(words)
        if into is not None:
            into.write_text(done.stdout)
        return done

    def _run_program(self, words):
        program = {
            "flotilla": lambda: binaries.find("tools/ctl/flotilla"),
            "grpcurl": lambda: binaries.find("e2e/cluster/grpcurl/grpcurl"),
        }[words[0]]()
        words = [
            self.manager.admin_address if word == DEFAULT_ADMIN
            else re.sub("^~/", f"{self.folder}/", word)
            for word in words
        ]
        return subprocess.run(
            [program, *words[1:]], cwd=self.folder, text=True,
            capture_output=True, timeout=60, check=False,
            env={"FLOTILLA_SERVER": self.manager.admin_address,
                 "HOME": str(self.folder)},
        )

    def _shell(self, line):
        return subprocess.run(
            ["bash", "-euc", line], cwd=ROOT, text=True, capture_output=True,
            timeout=60, check=False,
            env={**os.environ, **GIT_ENVIRONMENT, "HOME": str(self.folder)},
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
            if line in FROM_AGENTS:
                (self.folder / line.split()[-1]).write_text(FROM_AGENTS[line])
                continue
            if line.split()[0] in SHELL:
                with self.subTest(command=line):
                    done = self._shell(line)
                    self.assertEqual(0, done.returncode, done.stderr)
                continue
            for words in alternatives(line):
                with self.subTest(command=" ".join(words)):
                    done = self._run(words)
                    self.assertEqual(0, done.returncode, done.stderr)
                    ran += 1
        self.assertGreater(ran, 10)
        self.assertLessEqual(FROM_AGENTS.keys(), set(lines))

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
