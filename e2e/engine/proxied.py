# SPDX-License-Identifier: Apache-2.0
"""A world whose agent talks to its API server through a fault proxy."""

import base64

from e2e.cluster.cluster import AGENT
from e2e.cluster.fault_proxy import FaultProxy
from e2e.options.case import Case
from e2e.story.scene import Scene
from e2e.testing.processes import wait_until

# In every secret place of every case; nothing that people see may hold it.
CANARY = "canary-7be2"
FORMS = [CANARY.encode()] + [
    base64.b64encode(b"x" * shift + CANARY.encode())[4:-4]
    for shift in range(3)
]


class ProxiedScene(Scene):
    """The cluster dev; `proxy` stands between it and its agent."""

    def __init__(self):
        super().__init__({"dev": {"env": "dev"}})
        self.proxy = None

    def start_clusters(self, progress=lambda line: None):
        super().start_clusters(progress)
        self.proxy = FaultProxy(self.fleet["dev"], AGENT)

    def stop(self):
        if self.proxy:
            self.proxy.stop()
        super().stop()


class ProxiedCase(Case):
    """Knows what must hold after each fault."""

    @property
    def proxy(self):
        return self.scene.proxy

    @property
    def agent(self):
        return self.scene.agents["dev"]

    def deletions(self, mark):
        return self.scene.deletes({"dev": mark})

    def uids(self, kind="ConfigMap"):
        return {
            found["metadata"]["name"]: found["metadata"]["uid"]
            for found in self.dev.list(kind, self.name)
        }

    def deliver(self, files, **options):
        """Commits and syncs."""
        self.commit(files, defaultNamespace=self.name, **options)
        self.sync()

    def wait_troubled(self, *words, timeout=60):
        """Waits until the state is not Ready and says these words."""

        def told():
            state, message = self.state()
            if state == "Ready" or any(
                word.lower() not in message.lower() for word in words
            ):
                raise AssertionError(f"it is {state}: {message}")
            return True

        wait_until(told, timeout, f"a state that says {words}")

    def said(self):
        """All that people can read, but Git and the clusters."""
        cli = self.scene.manager.cli
        logs = [
            program.process.log for program in
            (self.scene.manager, *self.scene.agents.values())
        ]
        texts = [
            cli("get", kind, *output)
            for kind in ("gitrepos", "clusters", "deployments", "resources",
                         "drift")
            for output in ((), ("-o", "json"))
        ] + [cli("describe", "gitrepo", self.name)]
        for log in logs:
            with open(log, encoding="utf-8", errors="replace") as file:
                texts.append(file.read())
        return "\n".join(texts).encode()

    def assert_no_secret(self):
        said = self.said()
        for form in FORMS:
            at = said.find(form)
            self.assertEqual(
                at, -1, f"a secret leaves: ...{said[max(0, at - 300):at + 50]}"
            )
