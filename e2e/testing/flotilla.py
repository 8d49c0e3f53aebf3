# SPDX-License-Identifier: Apache-2.0
"""Flotilla's own programs as a test, the demo or a benchmark runs them.

    manager = Manager(folder / "manager").start()
    agent = Agent(
        "dev", folder / "dev", cluster.kubeconfig(AGENT), manager
    ).start()
    manager.cli("apply", "-f", "gitrepo.yaml")
    manager.cli_json("get", "clusters")

Each keeps its ports and its data directory when it is killed and started
again. The programs come from Bazel: list `//manager`, `//agent` and
`//tools/ctl:flotilla` in the `data` of whatever uses this.
"""

import json
import os
import pathlib
import socket
import subprocess

from e2e.testing import binaries
from e2e.testing.processes import Process, ProcessError, free_port, wait_until

MANAGER = "manager/manager"
AGENT = "agent/agent"
CLI = "tools/ctl/flotilla"


class CliError(Exception):
    """A command of `flotilla` that failed: `code`, `stdout`, `stderr`."""

    def __init__(self, arguments, done):
        self.code = done.returncode
        self.stdout = done.stdout
        self.stderr = done.stderr
        super().__init__(
            f"flotilla {' '.join(arguments)}: exit code {self.code}\n"
            f"{self.stderr}{self.stdout}"
        )


class _Program:
    """What Manager and Agent share: one Process with a folder of its own."""

    def __init__(self, name, directory):
        self.name = name
        self.directory = pathlib.Path(directory).absolute()
        self.directory.mkdir(parents=True, exist_ok=True)
        self.data_dir = self.directory / "data"
        self.process = None

    def _launch(self, argv):
        if self.process is None:
            self.process = Process(
                self.name, argv, log=self.directory / "log"
            )
        else:
            self.process.argv = [str(part) for part in argv]
            self.process.start()

    def kill(self):
        """SIGKILL: no chance to write anything more."""
        if self.process:
            self.process.kill()

    def stop(self):
        """SIGTERM; returns the exit code, None when it had to be killed."""
        return self.process.terminate() if self.process else None

    def pause(self):
        self.process.pause()

    def resume(self):
        self.process.resume()

    def log(self):
        """What it has logged since its last start."""
        return self.process.output()


class Manager(_Program):
    """A manager on loopback, with two ports of its own."""

    def __init__(self, directory, arguments=(), name="manager"):
        super().__init__(name, directory)
        self.address = f"127.0.0.1:{free_port()}"
        self.admin_address = f"127.0.0.1:{free_port()}"
        self.arguments = list(arguments)

    def start(self, timeout=30):
        """Starts it, again after a kill; returns once people can ask it."""
        self._launch([
            binaries.find(MANAGER),
            "--data-dir", self.data_dir,
            "--listen", self.address,
            "--admin-listen", self.admin_address,
            *self.arguments,
        ])
        wait_until(
            self._answers_or_ended, timeout, f"answer of {self.name}",
            every=0.02,
        )
        if not self.process.running():
            raise ProcessError(
                f"{self.name} ended:\n{self.process.log_tail()}"
            )
        return self

    def restart(self):
        self.kill()
        return self.start()

    def token(self, cluster, labels=None, workspace="fleet-default"):
        """A join token for a new cluster; `labels` is a dictionary."""
        arguments = [
            "token", "create", "--workspace", workspace, "--name", cluster,
        ]
        if labels:
            arguments += [
                "--labels", ",".join(f"{k}={v}" for k, v in labels.items())
            ]
        return self.cli(*arguments).strip()

    def cli(self, *arguments, stdin=None, timeout=60):
        """Runs `flotilla` against this manager; returns its output."""
        return cli(
            *arguments, server=self.admin_address, stdin=stdin,
            timeout=timeout,
        )

    def cli_json(self, *arguments):
        """As cli(), with `-o json`, decoded."""
        return json.loads(self.cli(*arguments, "-o", "json"))

    def _answers_or_ended(self):
        if not self.process.running():
            return True
        host, _, port = self.admin_address.partition(":")
        with socket.create_connection((host, int(port)), timeout=1):
            return True


class Agent(_Program):
    """The agent of one cluster, outside it, with a kubeconfig.

    A join token is asked from the manager at the first start, unless one is
    given.
    """

    def __init__(
        self, name, directory, kubeconfig, manager, labels=None, token=None,
        workspace="fleet-default", arguments=(),
    ):
        super().__init__(name, directory)
        self.kubeconfig = kubeconfig
        self.manager = manager
        self.labels = labels
        self.token = token
        self.workspace = workspace
        self.arguments = list(arguments)

    def start(self):
        """Starts it, again after a kill; does not wait for anything."""
        if self.token is None:
            self.token = self.manager.token(
                self.name, self.labels, self.workspace
            )
        self._launch([
            binaries.find(AGENT),
            "--kubeconfig", self.kubeconfig,
            "--manager", self.manager.address,
            "--token", self.token,
            "--data-dir", self.data_dir,
            *self.arguments,
        ])
        return self

    def restart(self):
        self.kill()
        return self.start()


def cli(*arguments, server=None, stdin=None, timeout=60):
    """Runs `flotilla`; returns its output, raises CliError on failure."""
    arguments = [str(argument) for argument in arguments]
    environment = dict(os.environ)
    if server:
        environment["FLOTILLA_SERVER"] = server
    done = subprocess.run(
        [binaries.find(CLI), *arguments], input=stdin, text=True,
        capture_output=True, timeout=timeout, check=False, env=environment,
    )
    if done.returncode != 0:
        raise CliError(arguments, done)
    return done.stdout
