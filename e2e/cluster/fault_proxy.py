# SPDX-License-Identifier: Apache-2.0
"""A proxy in front of one API server that breaks what it is told to break.

    proxy = FaultProxy(cluster, AGENT)      # before the agent starts
    with proxy.breaking(rule("answer", code=503, body="<html>")):
        ...

Faults that an API server makes by its own means are in faults.py.
"""

import contextlib
import json
import pathlib
import urllib.request

from e2e.testing import binaries
from e2e.testing.processes import Process, free_port, wait_until

WRITES = ("POST", "PUT", "PATCH", "DELETE")
WATCHES = "[?&]watch="


def rule(action, methods=(), path="", skip=0, times=0, **more):
    """A rule as faultproxy/main.go describes it; `path` is a regex."""
    return {
        "action": action, "methods": list(methods), "path": path,
        "skip": skip, "times": times, **more,
    }


class FaultProxy:
    """Has the kubeconfig of `user` lead to the proxy; nobody else's does."""

    def __init__(self, cluster, user):
        port = free_port()
        control = free_port()
        pki = cluster.ca_file
        self._control = f"http://127.0.0.1:{control}/"
        self._process = Process(
            f"{cluster.name}: faultproxy", [
                binaries.find("e2e/cluster/faultproxy/faultproxy"),
                "--listen", f"127.0.0.1:{port}",
                "--control", f"127.0.0.1:{control}",
                "--server", cluster.url, "--certificate", pki,
                "--key", pki.with_suffix(".key"),
            ], log=cluster.directory / "faultproxy.log",
        )
        wait_until(lambda: self.rules() == [], 30, "answer of the proxy")
        kubeconfig = pathlib.Path(cluster.kubeconfig(user))
        kubeconfig.write_text(kubeconfig.read_text(encoding="utf-8").replace(
            cluster.url, f"https://127.0.0.1:{port}"
        ), encoding="utf-8")

    def stop(self):
        self._process.kill()

    @contextlib.contextmanager
    def breaking(self, *rules):
        """The rules hold while it lasts; gives a function that counts.

        The function returns how often the first rule has acted.
        """
        self._ask("PUT", rules)
        try:
            yield lambda: self.rules()[0]["Acted"]
        finally:
            self._ask("PUT", [])

    def rules(self):
        """The rules with what they "Matched" and how often they "Acted"."""
        return self._ask("GET") or []

    def cut_all(self):
        """Ends every connection, with the watches on them."""
        self._ask("DELETE")

    def _ask(self, method, body=None):
        request = urllib.request.Request(
            self._control, method=method,
            data=None if body is None else json.dumps(body).encode(),
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            text = answer.read()
        return json.loads(text) if text else None
