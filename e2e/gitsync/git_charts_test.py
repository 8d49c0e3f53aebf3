# SPDX-License-Identifier: Apache-2.0
"""Charts that lie in a Git repository, for `flotilla render` and a manager."""

import json
import pathlib
import subprocess
import tempfile
import unittest

from e2e.testing import binaries, junit
from e2e.testing.flotilla import Manager
from e2e.testing.git_server import GitServer
from e2e.testing.processes import wait_until
from e2e.testing.repo import Repo, git

PASSWORD = "canary-51d2"


def chart(version, name="web"):
    return {
        f"{name}/Chart.yaml":
            f"apiVersion: v2\nname: {name}\nversion: {version}\n",
        f"{name}/templates/a.yaml":
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n"
            "  name: {{ .Release.Name }}-{{ .Chart.Version }}\n",
    }


class GitChartsTest(unittest.TestCase):

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.charts = Repo(self.folder / "open" / "charts.git")
        self.first = self.charts.commit(chart("1.0.0"))
        git("push", "-q", "origin", "HEAD:refs/tags/v1", cwd=self.charts.work)
        self.charts.commit(chart("2.0.0"))
        git("push", "-q", "origin", "HEAD:refs/heads/next",
            cwd=self.charts.work)
        self.charts.commit(chart("3.0.0"))
        self.server = GitServer(self.folder / "open").start()
        self.addCleanup(self.server.stop)

    def render(self, address):
        app = self.folder / "app"
        app.mkdir(exist_ok=True)
        (app / "fleet.yaml").write_text(
            f"helm:\n  releaseName: r\n  chart: {json.dumps(address)}\n")
        return subprocess.run(
            [binaries.find("tools/ctl/flotilla"), "render", app], text=True,
            capture_output=True, timeout=60, check=False,
            env={"TMPDIR": str(self.folder)})

    def test_the_ref_says_which_one(self):
        url = "git::" + self.server.url("charts.git") + "//web"
        for query, version in (("?ref=v1", "1.0.0"), ("?ref=next", "2.0.0"),
                               ("?ref=main&depth=1", "3.0.0"), ("", "3.0.0"),
                               (f"?ref={self.first}", "1.0.0")):
            with self.subTest(query=query):
                done = self.render(url + query)
                self.assertEqual(0, done.returncode, done.stderr)
                self.assertIn(f"name: r-{version}\n", done.stdout)
        self.assertEqual([], list(self.folder.glob("flotilla-*")))

    def test_what_is_wrong_is_said_with_file_and_line(self):
        url = "git::" + self.server.url("charts.git")
        for address, words in (
                (url + "//web?ref=v9", '"v9"'),
                (url + "//nothing", "nothing"),
                (url, "no Chart.yaml"),
                ("git::" + self.server.url("absent.git"), "no Git repository"),
                ("git::" + self.charts.file_url() + "//web", "https://")):
            with self.subTest(address=address):
                done = self.render(address)
                self.assertEqual(1, done.returncode)
                self.assertIn("fleet.yaml:3: chart ", done.stderr)
                self.assertIn(words, done.stderr)

    def test_a_manager_sends_credentials_where_the_expression_matches(self):
        secret = Repo(self.folder / "closed" / "charts.git")
        secret.commit(chart("4.0.0"))
        closed = GitServer(self.folder / "closed", users={"ci": PASSWORD})
        closed.start()
        self.addCleanup(closed.stop)
        fleet = Repo(self.folder / "fleet.git")
        address = "git::" + closed.url("charts.git") + "//web"
        fleet.commit({"app/fleet.yaml": f"helm:\n  chart: {address}\n"})
        manager = Manager(self.folder / "manager").start()
        self.addCleanup(manager.stop)

        def apply(**spec):
            manager.cli("apply", "-f", "-", stdin=json.dumps({
                "apiVersion": "fleet.cattle.io/v1alpha1", "kind": "GitRepo",
                "metadata": {"name": "app", "namespace": "fleet-default"},
                "spec": {"repo": fleet.file_url(), "branch": "main",
                         "helmSecretName": "helm", **spec}}))

        manager.cli("apply", "-f", "-", stdin=json.dumps({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "helm", "namespace": "fleet-default"},
            "type": "kubernetes.io/basic-auth",
            "stringData": {"username": "ci", "password": PASSWORD}}))
        apply()
        wait_until(
            lambda: "helmRepoURLRegex" in manager.cli("describe", "gitrepo",
                                                      "app"),
            30, "the error that credentials are kept back")
        self.assertEqual(set(), closed.authorizations)

        apply(helmRepoURLRegex="git::http://127\\.0\\.0\\.1")
        wait_until(lambda: "app-app" in manager.cli("get", "bundles"), 30,
                   "the bundle of the chart")
        self.assertNotEqual(set(), closed.authorizations)
        self.assertNotIn(PASSWORD, manager.log())
        self.assertNotIn(PASSWORD, manager.cli("describe", "gitrepo", "app"))


if __name__ == "__main__":
    junit.main()
