# SPDX-License-Identifier: Apache-2.0
"""The agent is killed at each of its writes, before and after the server has
them, and finishes what it began."""

import unittest

from e2e.cluster.fault_proxy import WRITES, rule
from e2e.engine.proxied import ProxiedCase, ProxiedScene
from e2e.story.documents import config_map, deployment, namespace, text
from e2e.testing import junit
from e2e.testing.processes import wait_until

# Reviews of rights and the like are no writes.
_PATH = "/namespaces(/|\\?)"
# More than one delivery can have; the loop ends at the first that is too many.
_MOST = 40


def setUpModule():
    ProxiedCase.share(ProxiedScene())


class KillTest(ProxiedCase):

    def round(self, step):
        """Objects of which each round replaces some and changes the others."""
        return {
            "app.yaml": text(
                config_map("settings", {"step": step}),
                deployment("web", labels={"step": step}),
                config_map(f"only-{step}"),
                namespace(f"ns-{step}"),
                config_map("inside", {"step": step}, namespace=f"ns-{step}"),
            ),
            "kept.yaml": text(config_map("kept")),
        }

    def settle(self, step):
        """Waits for what the round means, and checks that it is all."""
        self.ready()
        mine = {
            f"only-{step}", "settings", "kept", "kube-root-ca.crt",
        }
        self.assertEqual(set(self.uids()), mine)
        self.assertEqual(self.live("settings")["data"], {"step": step})
        self.assertEqual(
            self.live("inside", namespace=f"ns-{step}")["data"],
            {"step": step},
        )
        wait_until(
            lambda: self.namespaces() == [f"ns-{step}"], 30,
            f"ns-{step} and no other",
        )

    def kill_at(self, action, number, step):
        """Whether there was a write of that number in the delivery."""
        with self.proxy.breaking(rule(
            action, WRITES, _PATH, skip=number, times=1,
            pid=self.agent.process.pid,
        )) as acted:
            self.deliver(self.round(step))
            wait_until(
                lambda: not self.agent.process.running()
                or self.finished(step), 60,
                "a dead agent, or the end of the delivery",
            )
            killed = acted() > 0
        if killed:
            self.agent.process.wait(10)
            self.agent.start()
        return killed

    def finished(self, step):
        """Whether the delivery has come to its end."""
        found = self.scene.deployments(self.name)
        return (
            [(each["state"], each["commit"]["id"]) for each in found]
            == [("Ready", self.head)]
            and self.namespaces() == [f"ns-{step}"]
        )

    def namespaces(self):
        return [
            found["metadata"]["name"] for found in self.dev.list("Namespace")
            if found["metadata"]["name"].startswith("ns-")
        ]

    def every(self, action):
        self.commit(self.round("first"), defaultNamespace=self.name)
        self.follow()
        self.settle("first")
        uids = self.uids()
        web = self.live("web", "Deployment")["metadata"]["uid"]
        before = "first"
        for number in range(_MOST):
            step = f"{action}-{number}"
            with self.subTest(step):
                mark = self.mark()
                gone, before = before, step
                killed = self.kill_at(action, number, step)
                self.settle(step)
                self.assertEqual(set(self.deletions(mark)), {
                    f"dev: delete configmaps {self.name}/only-{gone}",
                    f"dev: delete configmaps ns-{gone}/inside",
                    f"dev: delete namespaces ns-{gone}/ns-{gone}",
                })
                for name in ("settings", "kept"):
                    self.assertEqual(self.uids()[name], uids[name])
                self.assertEqual(
                    self.live("web", "Deployment")["metadata"]["uid"], web
                )
            if not killed:
                break
        # Creations, changes and deletions of the rounds: none was left out.
        self.assertGreaterEqual(number, 7)
        self.assertLess(number, _MOST - 1)

    def test_before_the_server_has_the_write(self):
        self.every("kill")

    def test_after_the_server_has_the_write(self):
        self.every("kill-after")


if __name__ == "__main__":
    junit.main()
