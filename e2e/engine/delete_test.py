# SPDX-License-Identifier: Apache-2.0
"""What the agent deletes, in which order, and what it leaves."""

import unittest

from e2e.options.case import Case
from e2e.story.documents import (
    config_map, deployment, namespace, text, toy_crd,
)
from e2e.story.scene import Scene
from e2e.testing import junit
from e2e.testing.processes import wait_until

GROUP = "delete.flotilla.test"


def claim(name, **annotations):
    return {
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "annotations": annotations},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }


def toy(name, ns=None):
    metadata = {"name": name}
    if ns:
        metadata["namespace"] = ns
    return {"apiVersion": f"{GROUP}/v1", "kind": "Toy", "metadata": metadata}


def event(api_version, **fields):
    """An Event: one object that two API groups serve."""
    return {
        "apiVersion": api_version, "kind": "Event",
        "metadata": {"name": "twice"},
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingInstance": "x", "action": "Test", "reason": "Test",
        "type": "Normal", **fields,
    }


def setUpModule():
    Case.share(Scene({"dev": {"env": "dev"}}))


class DeleteTest(Case):

    def deletions(self, mark):
        return "\n".join(self.scene.deletes({"dev": mark}))

    def notes(self):
        """What `describe deployment` says was left on purpose."""
        return self.scene.manager.cli(
            "describe", "deployment", f"{self.name}-app", "--cluster", "dev"
        )

    def drop(self, *files, **more):
        self.head = self.repo().commit(
            {**{f"app/{file}": None for file in files}, **more}
        )
        self.sync()

    def give_finalizer(self, kind, name, namespace=None, value=("x.test/y",)):
        self.dev.patch(kind, name, {
            "metadata": {"finalizers": list(value) or None},
        }, namespace or self.name)

    def test_data_stays_unless_git_gave_it_up(self):
        self.commit({
            "data.yaml": text(claim("data")),
            "scratch.yaml": text(
                claim("scratch", **{"flotilla.dev/on-remove": "delete"})
            ),
            "x.yaml": text(config_map("x")),
        }, defaultNamespace=self.name)
        self.follow()
        wait_until(lambda: self.live("scratch", "PersistentVolumeClaim"), 30,
                   "the claims")
        mark = self.mark()

        self.drop("data.yaml", "scratch.yaml")
        self.ready()

        self.assertTrue(self.live("data", "PersistentVolumeClaim"))
        self.assertIsNone(self.live("scratch", "PersistentVolumeClaim"))
        self.assertNotIn("/data", self.deletions(mark))
        with self.subTest("and when the GitRepo is deleted"):
            self.commit({"data.yaml": text(claim("data"))})
            self.sync()
            wait_until(
                lambda: self.scene.resources(gitrepo=self.name), 30, "claims"
            )
            self.leave()
            self.assertTrue(self.live("data", "PersistentVolumeClaim"))

    def test_a_namespace_goes_only_when_it_is_empty(self):
        members = {
            "ns.yaml": text(namespace("shop")),
            "m.yaml": text(config_map("m", namespace="shop")),
            "x.yaml": text(config_map("x")),
        }
        self.commit(members, defaultNamespace=self.name)
        self.follow()
        self.ready()
        self.put_config_map("theirs", {"a": "b"}, namespace="shop")

        self.drop("ns.yaml", "m.yaml")
        self.ready()
        self.assertIsNone(self.live("m", namespace="shop"))
        self.assertTrue(self.live("theirs", namespace="shop"))
        self.assertIn("namespace shop stays: with it would go configmap "
                      "shop/theirs", self.notes())

        with self.subTest("once it is empty it does"):
            self.commit(members, defaultNamespace=self.name)
            self.sync()
            self.ready()
            self.dev.delete("ConfigMap", "theirs", "shop")
            self.drop("ns.yaml", "m.yaml")
            self.ready()
            wait_until(
                lambda: not self.dev.find("Namespace", "shop"), 30,
                "no Namespace shop",
            )

    def test_a_kind_with_objects_of_others_stays(self):
        self.commit({
            "crd.yaml": text(toy_crd(GROUP)), "toy.yaml": text(toy("ours")),
            "x.yaml": text(config_map("x")),
        }, deleteCRDResources=True, defaultNamespace=self.name)
        self.follow()
        self.ready()
        self.dev.apply(toy("theirs", self.name))

        self.drop("crd.yaml", "toy.yaml")
        self.ready()

        self.assertIsNone(self.live("ours", "Toy"))
        self.assertTrue(self.live("theirs", "Toy"))
        self.assertIn("toy.delete.flotilla.test", self.notes())
        self.dev.delete("CustomResourceDefinition", f"toys.{GROUP}")

    def test_a_finalizer_that_never_ends_is_named_and_others_go(self):
        self.commit({
            "stuck.yaml": text(config_map("stuck")),
            "account.yaml": text({
                "apiVersion": "v1", "kind": "ServiceAccount",
                "metadata": {"name": "later"},
            }),
            "x.yaml": text(config_map("x")),
        }, defaultNamespace=self.name)
        self.follow()
        self.ready()
        self.give_finalizer("ConfigMap", "stuck")
        self.addCleanup(self.remove, "ConfigMap", "stuck", self.name)

        self.drop("stuck.yaml", "account.yaml")

        wait_until(
            lambda: not self.live("later", "ServiceAccount"), 90,
            "no ServiceAccount later",
        )
        self.wait_told("waits for finalizers: x.test/y")
        self.give_finalizer("ConfigMap", "stuck", value=())
        self.ready()
        self.assertIsNone(self.live("stuck"))

    def test_pods_end_before_what_they_need(self):
        self.commit({
            "web.yaml": text(deployment("web", 2)),
            "settings.yaml": text(config_map("settings")),
            "x.yaml": text(config_map("x")),
        }, defaultNamespace=self.name)
        self.follow()
        self.ready()
        self.drop("web.yaml", "settings.yaml")
        self.ready()

        self.assertIsNone(self.live("settings"))
        self.assertEqual(self.dev.list("Pod", self.name), [])

    def test_an_object_that_moved_to_another_api_group_stays(self):
        about = {"kind": "Namespace", "name": self.name,
                 "namespace": self.name}
        self.commit({"x.yaml": text(
            config_map("x"),
            event("v1", involvedObject=about,
                  reportingComponent="flotilla.test/x"),
        )}, defaultNamespace=self.name)
        self.follow()
        wait_until(lambda: self.live("twice", "Event"), 30, "the Event")
        uid = self.live("twice", "Event")["metadata"]["uid"]
        mark = self.mark()

        self.commit({"x.yaml": text(
            config_map("x"),
            event("events.k8s.io/v1", regarding=about,
                  reportingController="flotilla.test/x"),
        )}, defaultNamespace=self.name)
        self.sync()
        self.ready()

        self.assertEqual(
            self.live("twice", "Event")["metadata"]["uid"], uid
        )
        self.assertEqual(self.deletions(mark), "")

    def test_what_was_made_anew_by_others_is_not_deleted(self):
        self.commit({
            "y.yaml": text(config_map("y")), "x.yaml": text(config_map("x")),
        }, defaultNamespace=self.name, correctDrift={"enabled": False})
        self.follow()
        self.ready()
        self.dev.delete("ConfigMap", "y", self.name)
        self.put_config_map("y", {"of": "others"})
        mark = self.mark()

        self.drop("y.yaml")
        self.ready()

        self.assertEqual(self.live("y")["data"], {"of": "others"})
        self.assertEqual(self.deletions(mark), "")


if __name__ == "__main__":
    junit.main()
