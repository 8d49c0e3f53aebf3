# SPDX-License-Identifier: Apache-2.0
"""What counts as drift on a real API server, and what does not."""

import base64

from e2e.options.case import Case
from e2e.story.documents import config_map, deployment, text
from e2e.story.scene import Scene
from e2e.testing import junit
from e2e.testing.processes import wait_until

OFF = {"enabled": False}


def patches(*entries):
    return {"comparePatches": list(entries)}


def pointers(*paths, kind="Deployment", api_version="apps/v1", **more):
    return {"apiVersion": api_version, "kind": kind,
            "jsonPointers": list(paths), **more}


def image(found):
    return found["spec"]["template"]["spec"]["containers"][0]["image"]


def setUpModule():
    Case.share(Scene({"dev": {"env": "dev"}}))


class DriftCase(Case):

    def drift(self, **wanted):
        return [
            record for record in self.scene.drift()
            if record["key"].get("namespace") == self.name
            and all(record.get(key) == value
                    for key, value in wanted.items())
        ]

    def seen(self, name="barrier"):
        """Returns once all earlier events have been judged."""
        self.dev.patch("ConfigMap", name, {"data": {"key": "else"}},
                       self.name, field_manager="barrier")
        wait_until(lambda: self.live(name)["data"]["key"] == "value", 30,
                   "the correction of the barrier")

    def writes_but_barrier(self, mark):
        return [line for line in self.writes(mark, self.name)
                if "/barrier" not in line and "kube-" not in line]

    def deliver(self, *objects, diff=None, **options):
        options["diff"] = diff or {}
        self.commit({"all.yaml": text(*objects, config_map("barrier"))},
                    **options)
        self.follow()
        self.ready()

    def again(self, *objects, diff=None, **options):
        options["diff"] = diff or {}
        self.commit({"all.yaml": text(*objects, config_map("barrier"))},
                    **options)
        self.sync()
        self.ready()


class IgnoreTest(DriftCase):

    def test_an_ignored_field_is_left_and_a_revision_does_not_reset_it(self):
        rule = patches(pointers("/spec/replicas"))
        self.deliver(deployment("web", 2), diff=rule)
        mark = self.mark()

        self.dev.scale("Deployment", "web", self.name, 4)
        self.seen()
        self.assertEqual(self.writes_but_barrier(mark), [])
        self.assertEqual(self.drift(path="spec.replicas"), [])
        self.ready()

        changed = deployment("web", 2)
        changed["spec"]["template"]["spec"]["containers"][0]["image"] = "n:2"
        self.again(changed, diff=rule)
        live = self.live("web", "Deployment")
        self.assertEqual((live["spec"]["replicas"], image(live)), (4, "n:2"))

        with self.subTest("the rule goes, and what it left is drift"):
            self.again(changed)
            self.scene.wait_drift(
                name="web", namespace=self.name, path="spec.replicas",
                action="DRIFT_ACTION_CORRECTED", fieldManager="kubectl",
            )
            self.assertEqual(
                self.live("web", "Deployment")["spec"]["replicas"], 2
            )

    def test_rules_alone_deliver_nothing(self):
        self.deliver(deployment("web", 2))
        mark = self.mark()

        self.again(deployment("web", 2),
                   diff=patches(pointers("/spec/replicas")))
        self.dev.scale("Deployment", "web", self.name, 3)
        self.seen()

        self.assertEqual(self.writes_but_barrier(mark), [])
        self.assertEqual(self.drift(path="spec.replicas"), [])

    def test_globs_and_lists_and_whole_parts(self):
        self.deliver(
            deployment("web", 1), config_map("x", {"a": "1", "b": "2"}),
            diff=patches(
                pointers("/spec/template/spec/containers/0/image",
                         kind="Deploy*", api_version="*/v1"),
                pointers("/data", kind="ConfigMap", api_version="v1",
                         name="x"),
            ),
        )
        mark = self.mark()

        self.dev.patch(
            "Deployment", "web", [{
                "op": "replace", "value": "other",
                "path": "/spec/template/spec/containers/0/image",
            }], self.name, patch_type="json", field_manager="jane",
        )
        self.dev.patch("ConfigMap", "x", {"data": {"a": "9", "b": None}},
                       self.name, field_manager="jane")
        self.seen()

        self.assertEqual(self.writes_but_barrier(mark), [])
        self.assertEqual(image(self.live("web", "Deployment")), "other")
        self.assertEqual(self.live("x")["data"], {"a": "9"})

    def test_operations_match_exactly_and_fail_together(self):
        def operations(name, *paths):
            return {
                "apiVersion": "v1", "kind": "ConfigMap", "name": name,
                "namespace": self.name,
                "operations": [{"op": "remove", "path": path}
                               for path in paths],
            }

        self.deliver(
            config_map("works", {"a": "1"}), config_map("fails", {"a": "1"}),
            diff=patches(operations("works", "/data/a"),
                         operations("fails", "/data/a", "/data/none")),
        )

        for name in ("works", "fails"):
            self.dev.patch("ConfigMap", name, {"data": {"a": "9"}},
                           self.name, field_manager="jane")
        self.scene.wait_drift(
            name="fails", namespace=self.name, path="data.a",
            action="DRIFT_ACTION_CORRECTED",
        )
        self.seen()

        self.assertEqual(self.live("works")["data"], {"a": "9"})
        self.assertEqual(self.live("fails")["data"], {"a": "1"})

    def test_an_absence_that_is_ignored_is_left(self):
        rule = patches({
            "apiVersion": "v1", "kind": "ConfigMap", "name": "tmp-.*",
            "namespace": self.name, "operations": [{"op": "ignore"}],
        })
        self.deliver(config_map("tmp-1"), diff=rule)
        mark = self.mark()

        self.dev.delete("ConfigMap", "tmp-1", self.name)
        self.seen()

        self.assertEqual(self.writes_but_barrier(mark), [])
        self.assertEqual(self.drift(operation="DRIFT_OPERATION_OBJECT_DELETED"),
                         [])
        self.ready()
        with self.subTest("without the rule it is made again"):
            self.again(config_map("tmp-1"))
            wait_until(lambda: self.live("tmp-1"), 30, "tmp-1")


class WellKnownTest(DriftCase):

    def test_replicas_that_an_autoscaler_sets_are_its_own(self):
        scaler = {
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "web"},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1",
                                   "kind": "Deployment", "name": "web"},
                "minReplicas": 3, "maxReplicas": 5,
            },
        }
        self.deliver(deployment("web", 1), scaler)
        wait_until(
            lambda: self.live("web", "Deployment")["spec"]["replicas"] == 3,
            60, "the autoscaler",
        )
        mark = self.mark()
        self.seen()
        self.assertEqual(self.writes_but_barrier(mark), [])
        self.assertEqual(self.drift(path="spec.replicas"), [])

        with self.subTest("a revision does not reset them"):
            changed = deployment("web", 1)
            changed["spec"]["template"]["spec"]["containers"][0]["image"] = "n"
            self.again(changed, scaler)
            live = self.live("web", "Deployment")
            self.assertEqual((live["spec"]["replicas"], image(live)), (3, "n"))
            self.assertEqual(self.drift(path="spec.replicas"), [])

        with self.subTest("what a person sets is put right"):
            self.dev.delete("HorizontalPodAutoscaler", "web", self.name)
            self.dev.scale("Deployment", "web", self.name, 7)
            self.scene.wait_drift(
                name="web", namespace=self.name, path="spec.replicas",
                fieldManager="kubectl",
            )

    def test_a_ca_that_others_put_in_stays(self):
        def hook(bundle):
            return {
                "apiVersion": "admissionregistration.k8s.io/v1",
                "kind": "ValidatingWebhookConfiguration",
                "metadata": {"name": self.name},
                "webhooks": [{
                    "name": "x.flotilla.test",
                    "clientConfig": {"url": "https://127.0.0.1:1/x", **bundle},
                    "rules": [{"apiGroups": ["none.flotilla.test"],
                               "apiVersions": ["v1"], "operations": ["*"],
                               "resources": ["none"]}],
                    "sideEffects": "None", "failurePolicy": "Ignore",
                    "admissionReviewVersions": ["v1"],
                }],
            }

        with open(self.scene.fleet["dev"].ca_file, "rb") as file:
            theirs = base64.b64encode(file.read()).decode()
        for ours in ({}, {"caBundle": "Cg=="}):
            with self.subTest(ours):
                self.deliver(hook(ours))
                mark = self.mark()
                self.dev.patch(
                    "ValidatingWebhookConfiguration", self.name, [{
                        "op": "add", "value": theirs,
                        "path": "/webhooks/0/clientConfig/caBundle",
                    }], patch_type="json",
                    field_manager="cert-manager-cainjector",
                )
                self.seen()
                live = self.live(self.name, "ValidatingWebhookConfiguration",
                                 namespace="")
                self.assertEqual(
                    live["webhooks"][0]["clientConfig"]["caBundle"], theirs
                )
                self.assertEqual([
                    line for line in self.writes(mark)
                    if "webhookconfig" in line
                ], [])
                self.leave()


if __name__ == "__main__":
    junit.main()
