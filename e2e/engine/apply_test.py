# SPDX-License-Identifier: Apache-2.0
"""How the agent's engine applies: what it replaces and what it takes over."""

import unittest

from e2e.options.case import Case
from e2e.story.documents import config_map, deployment, text
from e2e.story.scene import Scene
from e2e.testing import junit
from e2e.testing.processes import wait_until


def claim(size):
    return {
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": size}},
        },
    }


def selecting(app):
    """Deployment web, whose selector cannot be changed."""
    found = deployment("web", labels={"app": app})
    found["spec"]["selector"]["matchLabels"] = {"app": app}
    return found


def setUpModule():
    Case.share(Scene({"dev": {"env": "dev"}}))


class ForceTest(Case):

    def uid(self, *names):
        return self.live(*names)["metadata"]["uid"]

    def deletions(self, mark):
        return self.scene.deletes({"dev": mark})

    def test_an_immutable_field_is_named_and_force_makes_it_anew(self):
        self.commit({"web.yaml": text(selecting("one"))}, helm={})
        self.follow()
        self.ready()
        uid = self.uid("web", "Deployment")
        mark = self.mark()

        self.commit({"web.yaml": text(selecting("two"))}, helm={})
        self.sync()
        self.wait_told("field spec.selector is immutable", "helm.force: true")
        self.assertEqual(self.deletions(mark), [])
        self.assertEqual(self.uid("web", "Deployment"), uid)

        self.commit({"web.yaml": text(selecting("two"))},
                    helm={"force": True})
        self.sync()
        self.ready()
        live = self.live("web", "Deployment")
        self.assertNotEqual(live["metadata"]["uid"], uid)
        self.assertEqual(live["spec"]["selector"]["matchLabels"],
                         {"app": "two"})
        self.assertEqual(len(self.deletions(mark)), 1)

    def test_a_claim_is_never_replaced(self):
        self.commit({"data.yaml": text(claim("1Gi"))}, helm={"force": True})
        self.follow()
        wait_until(lambda: self.live("data", "PersistentVolumeClaim"), 30,
                   "the claim")
        uid = self.uid("data", "PersistentVolumeClaim")
        mark = self.mark()

        changed = claim("1Gi")
        changed["spec"]["accessModes"] = ["ReadWriteMany"]
        self.commit({"data.yaml": text(changed)}, helm={"force": True})
        self.sync()

        self.wait_told("is immutable", "because its data would go with it")
        self.assertEqual(self.deletions(mark), [])
        self.assertEqual(self.uid("data", "PersistentVolumeClaim"), uid)

    def test_drift_that_cannot_be_put_back_is_made_anew(self):
        self.commit({"x.yaml": text(config_map("x", {"key": "one"}))},
                    correctDrift={"enabled": True, "force": True})
        self.follow()
        self.ready()
        uid = self.uid("x")

        self.dev.patch("ConfigMap", "x", {
            "data": {"key": "two"}, "immutable": True,
        }, self.name)

        wait_until(lambda: self.live("x") and self.uid("x") != uid, 30,
                   "another ConfigMap x")
        self.assertEqual(self.live("x")["data"], {"key": "one"})
        self.assertNotIn("immutable", self.live("x"))
        self.wait_state("Ready")


if __name__ == "__main__":
    junit.main()
