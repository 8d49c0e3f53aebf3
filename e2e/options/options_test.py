# SPDX-License-Identifier: Apache-2.0
"""What the options of a bundle do in a cluster: rights, order, namespaces,
what stays and what goes."""

import unittest

from e2e.cluster.cluster import AGENT, JANE
from e2e.options.case import ACCOUNTS, Case
from e2e.story.documents import (
    bundle, config_map, deployment, namespace, on, text,
)
from e2e.story.scene import Scene
from e2e.testing import junit
from e2e.testing.processes import wait_until

FAILING = {"flotilla.test/fail": "crash"}
CRD = "CustomResourceDefinition"


def crd(kind, status=False):
    """A kind of group options.flotilla.test."""
    plural = kind.lower() + "s"
    return {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": CRD,
        "metadata": {"name": f"{plural}.options.flotilla.test"},
        "spec": {
            "group": "options.flotilla.test", "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural,
                      "singular": kind.lower(), "listKind": f"{kind}List"},
            "versions": [{
                "name": "v1", "served": True, "storage": True,
                "schema": {"openAPIV3Schema": {
                    "type": "object",
                    "x-kubernetes-preserve-unknown-fields": True,
                }},
                **({"subresources": {"status": {}}} if status else {}),
            }],
        },
    }


def setUpModule():
    Case.share(Scene({"dev": {"env": "dev"}}))


class AccountTest(Case):

    def users(self, mark, namespace=None):
        """As whom the agent has written into a namespace."""
        return {
            event.get("impersonatedUser", {}).get("username", AGENT)
            for event in self.scene.fleet["dev"].audit(
                since=mark, user=AGENT, namespace=namespace or self.name,
                verbs=self.scene.fleet["dev"].audit_log.WRITES,
            )
        }

    def account(self, name):
        return f"system:serviceaccount:{ACCOUNTS}:{name}"

    def test_an_account_that_is_missing_is_waited_for(self):
        self.make_namespace()
        self.allow("deployer", ["configmaps"])
        mark = self.mark()

        self.commit({"x.yaml": text(config_map("x"))},
                    serviceAccount="deployer")
        self.follow()

        self.wait_told(
            f"service account deployer does not exist in namespace {ACCOUNTS}"
        )
        self.assertEqual(self.writes(mark), [])
        self.make_account("deployer")
        self.ready()
        self.assertEqual(
            self.users(mark), {self.account("deployer")}
        )
        with self.subTest("it goes, and what runs stays"):
            uid = self.live("x")["metadata"]["uid"]
            self.remove("ServiceAccount", "deployer", ACCOUNTS)
            self.wait_told("service account deployer does not exist")
            self.assertEqual(self.live("x")["metadata"]["uid"], uid)
        with self.subTest("the bundle goes when the account is there again"):
            self.scene.delete("gitrepo", self.name)
            self.wait_state(
                "Deleting", "service account deployer does not exist"
            )
            self.make_account("deployer")
            self.scene.wait_gone(self.name)
            self.assertIsNone(self.live("x"))

    def test_rights_end_at_the_namespace_of_the_account(self):
        self.make_namespace()
        self.make_namespace("foreign")
        self.make_account("local")
        self.allow("local", ["configmaps"])
        mark = self.mark()

        self.commit({
            "x.yaml": text(config_map("x")),
            "y.yaml": text(config_map("y", namespace="foreign")),
        }, serviceAccount="local")
        self.follow()

        self.wait_told(
            "app/y.yaml: configmap foreign/y", self.account("local"),
            "cannot patch resource",
        )
        self.assertTrue(self.live("x"))
        self.assertIsNone(self.live("y", namespace="foreign"))
        self.assertEqual(self.users(mark), {self.account("local")})
        with self.subTest("it is taken out of the repository"):
            self.head = self.repo().commit({"app/y.yaml": None})
            self.sync()
            self.ready()

    def test_a_bundle_that_names_none_acts_as_fleet_default(self):
        self.make_namespace()
        self.make_account("fleet-default")
        self.allow("fleet-default", ["configmaps"])
        mark = self.mark()

        self.commit({"x.yaml": text(config_map("x"))},
                    defaultNamespace=self.name)
        self.follow()
        self.ready()

        self.assertEqual(self.users(mark), {self.account("fleet-default")})
        with self.subTest("without it, as the agent itself"):
            self.remove("ServiceAccount", "fleet-default", ACCOUNTS)
            mark = self.mark()
            self.head = self.repo().commit(
                {"app/x.yaml": text(config_map("x", {"key": "two"}))}
            )
            self.sync()
            self.ready()
            self.assertEqual(self.users(mark), {AGENT})


class DependsOnTest(Case):

    def map(self, value):
        return text(config_map("x", {"key": value}))

    def base(self, **labels):
        return text(deployment("base", labels=labels))

    def options(self, path, **options):
        return text({
            "defaultNamespace": f"{self.name}-{path}", **options,
        })

    def has(self, path):
        found = self.live("x", namespace=f"{self.name}-{path}")
        return found and found["data"]["key"]

    def test_nothing_is_applied_before_what_it_depends_on(self):
        base = f"{self.name}-base"
        mark = self.mark()
        self.head = self.repo().commit({
            "base/fleet.yaml": self.options("base", labels={"tier": "base"}),
            "base/base.yaml": self.base(**FAILING),
            "named/fleet.yaml": self.options(
                "named", dependsOn=[{"name": base}]),
            "named/x.yaml": self.map("one"),
            "chosen/fleet.yaml": self.options("chosen", dependsOn=[
                {"selector": {"matchLabels": {"tier": "base"}}},
            ]),
            "chosen/x.yaml": self.map("one"),
            "eager/fleet.yaml": self.options("eager", dependsOn=[
                {"name": base, "acceptedStates": ["Ready", "NotReady"]},
            ]),
            "eager/x.yaml": self.map("one"),
        })
        self.follow(paths=("base", "named", "chosen", "eager"))

        self.wait_state("NotReady", path="base")
        self.wait_state("Ready", path="eager")
        waits = f"dependent bundle(s) are not ready: [{base} (NotReady)]"
        for path in ("named", "chosen"):
            self.wait_state("WaitApplied", waits, path=path)
            self.assertEqual(self.writes(mark, f"{self.name}-{path}"), [])
        self.wait_told("WaitApplied", waits)
        with self.subTest("it comes to be ready"):
            self.head = self.repo().commit({"base/base.yaml": self.base()})
            self.sync()
            self.ready(4)
            self.assertEqual(self.has("named"), "one")
            self.assertEqual(self.has("chosen"), "one")
        with self.subTest("what runs stays while the next one waits"):
            self.head = self.repo().commit({
                "base/base.yaml": self.base(**FAILING),
                "named/x.yaml": self.map("two"),
            })
            self.sync()
            self.wait_state("WaitApplied", waits, path="named")
            self.wait_state("Ready", path="chosen")
            self.assertEqual(self.has("named"), "one")
            self.head = self.repo().commit({"base/base.yaml": self.base()})
            self.sync()
            self.ready(4)
            self.assertEqual(self.has("named"), "two")

    def test_a_bundle_that_is_not_there_is_waited_for(self):
        other = f"{self.name}-other"
        mark = self.mark()
        self.commit({"x.yaml": self.map("one")}, dependsOn=[{"name": other}])
        self.follow()

        self.wait_state("WaitApplied", "no bundles matching labels", other)
        self.assertEqual(self.writes(mark), [])
        self.addCleanup(self.scene.delete, "bundle", other, True)
        self.scene.apply(bundle(other, [config_map("other")], on("dev")))
        self.ready()


class NamespaceTest(Case):

    def meta(self, name=None):
        return self.dev.get("Namespace", name or self.name)["metadata"]

    def test_default_namespace_is_for_objects_that_name_none(self):
        self.commit({"x.yaml": text(
            namespace(f"{self.name}-own"),
            config_map("x"),
            config_map("y", namespace=f"{self.name}-own"),
        )})
        self.commit({}, defaultNamespace=self.name)
        self.follow()
        self.ready()

        self.assertTrue(self.live("x"))
        self.assertTrue(self.live("y", namespace=f"{self.name}-own"))

    def test_namespace_takes_every_object(self):
        self.commit({
            "x.yaml": text(config_map("x"),
                           config_map("y", namespace="default")),
        }, namespace=self.name, defaultNamespace="kube-public")
        self.follow()
        self.ready()

        self.assertTrue(self.live("x"))
        self.assertTrue(self.live("y"))
        self.assertIsNone(self.live("y", namespace="default"))
        with self.subTest("an object without a namespace is told"):
            self.head = self.repo().commit(
                {"app/z.yaml": text(namespace(f"{self.name}-z"))}
            )
            self.sync()
            self.wait_told("app/z.yaml:2", f"`namespace: {self.name}`")
            self.assertTrue(self.live("x"))
            self.assertIsNone(
                self.dev.find("Namespace", f"{self.name}-z")
            )

    def test_labels_and_annotations_are_exactly_those(self):
        kept = {
            "kubernetes.io/metadata.name": self.name,
            "pod-security.kubernetes.io/enforce": "baseline",
        }
        self.make_namespace(
            labels={**kept, "old": "1"}, annotations={"theirs": "1"},
        )
        self.commit(
            {"x.yaml": text(config_map("x"))},
            namespaceLabels={"team": "blue"},
            namespaceAnnotations={"note": "hello"},
        )
        self.follow()
        self.ready()

        def settled(labels, annotations):
            meta = self.meta()
            self.assertEqual(meta["labels"], {**kept, **labels})
            self.assertEqual(meta["annotations"], annotations)
            return True

        def wait_settled(*maps):
            wait_until(lambda: settled(*maps), 20, f"labels {maps}")

        wait_settled({"team": "blue"}, {"note": "hello"})
        with self.subTest("others in the repository"):
            self.commit({}, namespaceLabels={"team": "red", "tier": "web"},
                        namespaceAnnotations={"more": "x"})
            self.sync()
            self.ready()
            wait_settled({"team": "red", "tier": "web"}, {"more": "x"})
        with self.subTest("somebody changes them"):
            self.dev.patch("Namespace", self.name, {"metadata": {
                "labels": {"team": "green", "tier": None, "mine": "1"},
            }}, field_manager="janes-editor")
            wait_settled({"team": "red", "tier": "web"}, {"more": "x"})
        with self.subTest("nothing differs"):
            mark = self.mark()
            self.scene.agents["dev"].restart()
            self.scene.wait_online()
            self.ready()
            self.assertEqual(self.writes(mark), [])
        with self.subTest("they are asked for no more"):
            self.commit({}, namespaceLabels={})
            self.sync()
            self.ready()
            settled({"team": "red", "tier": "web"}, {"more": "x"})
            self.dev.patch("Namespace", self.name, {"metadata": {
                "labels": {"team": "green"},
            }}, field_manager="janes-editor")
            self.commit({"x.yaml": text(config_map("x", {"k": "v"}))})
            self.sync()
            self.ready()
            self.assertEqual(self.meta()["labels"]["team"], "green")

    def test_an_account_that_may_not_label_it_is_told(self):
        self.make_namespace()
        self.make_account("unlabelled")
        self.allow("unlabelled", ["configmaps"])
        self.commit(
            {"x.yaml": text(config_map("x"))}, serviceAccount="unlabelled",
            namespaceLabels={"team": "blue"},
        )
        self.follow()

        self.wait_told(
            f"namespace {self.name}: its labels cannot be set",
            "unlabelled",
        )
        self.assertTrue(self.live("x"))
        with self.subTest("they are asked for no more"):
            self.commit({}, serviceAccount="unlabelled")
            self.sync()
            self.ready()


class LeavingTest(Case):

    def test_keep_resources_leaves_every_object(self):
        self.commit({"x.yaml": text(config_map("x"))}, keepResources=True)
        self.follow()
        self.ready()
        uid = self.live("x")["metadata"]["uid"]
        marks = self.scene.marks()

        self.leave()

        self.assertEqual(self.live("x")["metadata"]["uid"], uid)
        self.assertEqual(self.scene.writes(marks), [])
        with self.subTest("and they can be had again"):
            self.commit({"x.yaml": text(config_map("x", {"key": "two"}))})
            self.follow()
            self.ready()
            self.assertEqual(self.live("x")["metadata"]["uid"], uid)
            self.assertEqual(self.live("x")["data"], {"key": "two"})
            # What was kept is the bundle's again, with its options.
            self.leave()
            self.assertTrue(self.live("x"))

    def test_delete_namespace_takes_one_that_nobody_else_is_in(self):
        self.commit({"x.yaml": text(config_map("x"))}, deleteNamespace=True)
        self.follow()
        self.ready()
        other = f"{self.name}-other"
        self.addCleanup(self.scene.delete, "bundle", other, True)
        self.scene.apply(bundle(
            other, [config_map("other")], on("dev"), self.name,
            deleteNamespace=True,
        ))
        self.scene.wait_ready(bundle=other, count=1)

        self.leave()

        self.assertIsNone(self.live("x"))
        self.assertTrue(self.live("other"))
        self.scene.delete("bundle", other)
        self.scene.wait_gone(bundle=other)
        self.assertIsNone(self.dev.find("Namespace", self.name))

    def test_delete_namespace_never_takes_default(self):
        self.commit({"x.yaml": text(config_map("from-options"))},
                    defaultNamespace="default", deleteNamespace=True)
        self.follow()
        self.ready()
        marks = self.scene.marks()

        self.leave()

        self.assertEqual(
            self.scene.deletes(marks),
            ["dev: delete configmaps default/from-options"],
        )

    def test_crds_go_only_where_that_is_asked_for(self):
        kept, dropped = crd("Kept"), crd("Dropped")
        self.head = self.repo().commit({
            "kept/fleet.yaml": text({"defaultNamespace": self.name}),
            "kept/crd.yaml": text(kept),
            "kept/x.yaml": text(config_map("x")),
            "dropped/fleet.yaml": text({
                "defaultNamespace": self.name, "deleteCRDResources": True,
            }),
            "dropped/crd.yaml": text(dropped),
            "dropped/y.yaml": text(config_map("y")),
        })
        self.follow(paths=("kept", "dropped"))
        self.ready(2)

        def there(which):
            found = self.dev.find(CRD, which["metadata"]["name"])
            return found and "deletionTimestamp" not in found["metadata"]

        with self.subTest("its file goes"):
            self.head = self.repo().commit({
                "kept/crd.yaml": None, "dropped/crd.yaml": None,
            })
            self.sync()
            self.ready(2)
            self.assertTrue(there(kept))
            wait_until(lambda: not there(dropped), 20, "end of the CRD")
        with self.subTest("the GitRepo goes"):
            self.head = self.repo().commit({
                "kept/crd.yaml": text(kept), "dropped/crd.yaml": text(dropped),
            })
            self.sync()
            self.ready(2)
            self.leave()
            self.assertTrue(there(kept))
            self.assertFalse(there(dropped))
            self.assertIsNone(self.live("x"))


class OwnershipTest(Case):

    def setUp(self):
        super().setUp()
        self.jane = self.scene.fleet["dev"].client(JANE)

    def test_a_foreign_object_is_taken_over_only_where_that_is_asked_for(self):
        self.make_namespace()
        self.jane.apply(
            config_map("theirs", {"mode": "hers"}, self.name),
            field_manager="janes-editor",
        )
        uid = self.live("theirs")["metadata"]["uid"]
        self.commit({"x.yaml": text(config_map("theirs", {"mode": "ours"}))},
                    defaultNamespace=self.name)
        self.follow()

        self.wait_told(
            "the object exists and is not Flotilla's", "data.mode",
            "janes-editor", "helm.takeOwnership",
        )
        self.assertEqual(self.live("theirs")["data"], {"mode": "hers"})
        self.commit({}, helm={"takeOwnership": True})
        self.sync()
        self.ready()
        self.assertEqual(self.live("theirs")["data"], {"mode": "ours"})
        self.assertEqual(self.live("theirs")["metadata"]["uid"], uid)
        self.leave()
        self.assertIsNone(self.live("theirs"))

    def test_ignored_conditions_do_not_count(self):
        self.commit({"x.yaml": text(crd("Widget", status=True), {
            "apiVersion": "options.flotilla.test/v1", "kind": "Widget",
            "metadata": {"name": "w"}, "spec": {"size": 1},
        })}, deleteCRDResources=True)
        self.follow()
        self.ready()
        self.dev.patch("Widget", "w", {"status": {"conditions": [{
            "type": "Ready", "status": "False", "reason": "NoMetrics",
            "message": "no metrics known",
        }]}}, self.name, subresource="status")
        self.wait_state("NotReady")
        self.wait_resource("w", "no metrics known")

        self.commit({}, deleteCRDResources=True, ignore={"conditions": [
            {"type": "Ready", "status": "False", "reason": "NoMetrics"},
        ]})
        self.sync()
        self.ready()

        with self.subTest("another reason counts"):
            self.dev.patch("Widget", "w", {"status": {"conditions": [{
                "type": "Ready", "status": "False", "reason": "Broken",
                "message": "it is broken",
            }]}}, self.name, subresource="status")
            self.wait_state("NotReady")
            self.wait_resource("w", "it is broken")

    def test_the_nearest_correct_drift_counts(self):
        def change(mode):
            self.jane.patch(
                "ConfigMap", "x", {"data": {"key": mode}}, self.name,
                field_manager="janes-editor",
            )

        off, an_on = {"enabled": False}, {"enabled": True}
        self.commit({"x.yaml": text(config_map("x"))},
                    defaultNamespace=self.name)
        self.follow(correctDrift=off)
        self.ready()
        mark = self.mark()

        change("of the GitRepo")
        self.wait_state("Modified", "data.key", "janes-editor")
        self.assertEqual(self.live("x")["data"], {"key": "of the GitRepo"})
        self.assertEqual(self.writes(mark), [])
        with self.subTest("fleet.yaml before the GitRepo"):
            self.commit({}, correctDrift=an_on)
            self.sync()
            self.ready()
            self.assertEqual(self.live("x")["data"], {"key": "value"})
            change("of fleet.yaml")
            self.scene.wait_drift(
                name="x", namespace=self.name,
                action="DRIFT_ACTION_CORRECTED",
            )
            self.assertEqual(self.live("x")["data"], {"key": "value"})
        with self.subTest("a target before fleet.yaml"):
            self.commit({}, correctDrift=an_on, targetCustomizations=[
                {"name": "dev", "clusterName": "dev", "correctDrift": off},
            ])
            self.sync()
            self.ready()
            change("of the target")
            self.wait_state("Modified", "data.key")
            self.assertEqual(self.live("x")["data"], {"key": "of the target"})


if __name__ == "__main__":
    junit.main()
