# SPDX-License-Identifier: Apache-2.0
"""The C++ Kubernetes client does its work on a real API server."""

import pathlib
import re
import subprocess
import unittest

from e2e.cluster.cluster import AGENT
from e2e.cluster.fleet import Fleet
from e2e.testing import binaries, junit


class KubeClientTest(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        cls.fleet = Fleet(["one", "two"])
        cls.addClassCleanup(cls.fleet.stop)
        cls.fleet.start()

    def _run(self, kubeconfig, objects=300):
        return subprocess.run(
            [binaries.find("common/kube/cluster_check"), str(kubeconfig),
             str(objects)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=240, check=False,
        )

    def _changed(self, change):
        """A kubeconfig like the first cluster's, changed by `change`."""
        text = pathlib.Path(
            self.fleet["one"].kubeconfig(AGENT)
        ).read_text(encoding="utf-8")
        path = pathlib.Path(self.fleet.directory) / "changed-kubeconfig"
        changed = change(text)
        self.assertNotEqual(text, changed)
        path.write_text(changed, encoding="utf-8")
        return path

    def test_every_check_passes(self):
        run = self._run(self.fleet["one"].kubeconfig(AGENT))
        print(run.stdout)
        checks = re.findall(r"^(ok|FAILED) ([^:]+): (.*)$", run.stdout, re.M)
        self.assertGreater(len(checks), 20, run.stdout)
        for outcome, name, text in checks:
            with self.subTest(name):
                self.assertEqual(outcome, "ok", text)
        self.assertEqual(run.returncode, 0, run.stdout)

    def test_a_server_of_another_ca_is_not_trusted(self):
        other = pathlib.Path(
            self.fleet["two"].kubeconfig(AGENT)
        ).read_text(encoding="utf-8")
        ca = re.search(r"certificate-authority(-data)?: .*", other).group(0)
        run = self._run(self._changed(
            lambda text: re.sub(
                r"certificate-authority(-data)?: .*", lambda _: ca, text
            )
        ))
        self.assertRegex(run.stdout, "FAILED version: UNAUTHENTICATED.*cert")

    def test_a_wrong_token_is_unauthenticated(self):
        run = self._run(self._changed(
            lambda text: re.sub(r"token: .*", "token: wrong", text)
        ))
        # /version is open to all; discovery is not.
        self.assertRegex(run.stdout, "FAILED .*: UNAUTHENTICATED")

    def test_no_server_is_unavailable(self):
        run = self._run(self._changed(
            lambda text: re.sub(r"(https://127\.0\.0\.1):\d+", r"\1:1", text)
        ))
        self.assertRegex(run.stdout, "FAILED version: UNAVAILABLE")


if __name__ == "__main__":
    junit.main()
