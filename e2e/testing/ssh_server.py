# SPDX-License-Identifier: Apache-2.0
"""Git over SSH on loopback, served by OpenSSH's own sshd.

    with SshServer(folder) as server:
        url = server.url(repo)               # ssh://root@127.0.0.1:…/…
"""

import os
import pathlib
import pwd
import shutil
import subprocess

from e2e.testing.processes import Process, free_port


class SshServer:
    """An sshd of our own that serves repositories by absolute path.

    It makes its host key and one user key. `key_file` is the private key that
    is let in, `known_hosts` the line that a client needs to trust the host,
    `stranger_key_file` a key that is refused.
    """

    def __init__(self, directory):
        self.directory = pathlib.Path(directory).absolute()
        self.directory.mkdir(parents=True, exist_ok=True)
        self.user = pwd.getpwuid(os.getuid()).pw_name
        self.port = free_port()
        self.key_file = self.directory / "user_key"
        self.stranger_key_file = self.directory / "stranger_key"
        host_key = self.directory / "host_key"
        for key in (self.key_file, self.stranger_key_file, host_key):
            key.unlink(missing_ok=True)
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key,
                 "-C", "flotilla-tests"],
                check=True,
            )
        public = pathlib.Path(f"{host_key}.pub").read_text().split()
        self.known_hosts = (
            f"[127.0.0.1]:{self.port} {public[0]} {public[1]}"
        )
        authorized = self.directory / "authorized_keys"
        shutil.copy(f"{self.key_file}.pub", authorized)
        self._config = self.directory / "sshd_config"
        self._config.write_text(f"""\
Port {self.port}
ListenAddress 127.0.0.1
HostKey {host_key}
AuthorizedKeysFile {authorized}
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
AcceptEnv GIT_PROTOCOL
LogLevel VERBOSE
MaxStartups 100
""")
        self._process = None

    @staticmethod
    def missing():
        """What the machine lacks for this server, or ""."""
        if not _sshd():
            return "no sshd (Debian: openssh-server)"
        shell = pwd.getpwuid(os.getuid()).pw_shell
        if not shell or shell.endswith(("/nologin", "/false")):
            return f"this user's login shell is {shell}"
        return ""

    def url(self, path):
        """The ssh:// URL of a repository: a Repo or a path."""
        path = getattr(path, "path", path)
        return f"ssh://{self.user}@127.0.0.1:{self.port}{path}"

    def start(self):
        if os.getuid() == 0:
            # Where sshd locks itself in before a client has proved anything.
            os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
        self._process = Process(
            "sshd", [_sshd(), "-D", "-e", "-f", self._config],
            log=self.directory / "sshd.log",
        )
        self._process.wait_for_log("Server listening on")
        return self

    def stop(self):
        if self._process:
            self._process.kill()

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()


def _sshd():
    # sshd wants to be called by its absolute path.
    return shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin")
