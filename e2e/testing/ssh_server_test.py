# SPDX-License-Identifier: Apache-2.0
"""The SSH server lets a real Git client in, and keeps strangers out."""

import os
import pathlib
import subprocess
import tempfile
import unittest

from e2e.testing import junit
from e2e.testing.repo import Repo
from e2e.testing.ssh_server import SshServer


class SshServerTest(unittest.TestCase):

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def _clone(self, url, ssh):
        """Clones; returns what git complained about, "" on success."""
        target = tempfile.mkdtemp(dir=self.folder)
        done = subprocess.run(
            ["git", "clone", "-q", url, target], capture_output=True,
            text=True, check=False, env={**os.environ, "GIT_SSH_COMMAND": ssh},
        )
        return "" if done.returncode == 0 else done.stderr

    def test_ssh_lets_in_who_has_the_key_and_trusts_the_host(self):
        missing = SshServer.missing()
        if missing:
            self.skipTest(missing)
        repo = Repo(self.folder / "fleet.git")
        repo.commit({"x": "1"}, "first")
        with SshServer(self.folder / "ssh") as server:
            known = self.folder / "known_hosts"
            known.write_text(server.known_hosts + "\n")
            nobody = self.folder / "no_known_hosts"
            nobody.touch()
            for key, hosts, complaint in (
                (server.key_file, known, ""),
                (server.stranger_key_file, known, "Permission denied"),
                (server.key_file, nobody, "Host key verification failed"),
            ):
                with self.subTest(key=key.name, hosts=hosts.name):
                    problem = self._clone(server.url(repo), (
                        f"ssh -F none -i {key} -o IdentitiesOnly=yes "
                        f"-o UserKnownHostsFile={hosts} -o BatchMode=yes "
                        "-o StrictHostKeyChecking=yes"
                    ))
                    self.assertIn(complaint, problem)
                    self.assertEqual(bool(complaint), bool(problem))


if __name__ == "__main__":
    junit.main()
