# SPDX-License-Identifier: Apache-2.0
"""What counts as drift on a real API server, and what does not."""

import base64
import json
import re
import subprocess

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


class ContestTest(DriftCase):

    def test_a_fight_is_left_and_shown_and_a_revision_takes_it_up(self):
        self.deliver(config_map("x", {"a": "1"}))

        def fight(i):
            self.dev.patch("ConfigMap", "x", {"data": {"a": f"theirs-{i}"}},
                           self.name, field_manager="fighter")

        for i in range(5):
            fight(i)
            wait_until(lambda: self.live("x")["data"]["a"] == "1", 30,
                       f"correction {i}")
        mark = self.mark()
        fight(5)
        self.wait_state("Modified", "theirs-5", "fighter")
        self.wait_resource("x", "fighter did such a thing more than 5 times")
        self.seen()
        self.assertEqual(self.writes_but_barrier(mark), [])

        with self.subTest("a restart is no new round"):
            self.scene.agents["dev"].restart()
            self.scene.wait_online()
            self.seen()
            self.assertEqual(self.writes_but_barrier(mark), [])
            self.assertEqual(self.live("x")["data"]["a"], "theirs-5")
            self.wait_state("Modified", "theirs-5", "fighter")
        self.again(config_map("x", {"a": "2"}))
        self.assertEqual(self.live("x")["data"]["a"], "2")


PODS = {
    "metadata": {"creationTimestamp": None, "labels": {"app": "odd"}},
    "spec": {
        "containers": [{
            "name": "main", "image": "nginx", "args": [], "command": None,
            "ports": [{"containerPort": 80, "name": "http"}],
            "env": [{"name": "A", "value": "1"}, {"name": "B", "value": ""}],
            "resources": {
                "requests": {"cpu": "1000m", "memory": "0.5Gi"},
                "limits": {"cpu": 2, "memory": "1024Mi"},
            },
            "readinessProbe": {"httpGet": {"port": "http", "path": "/"}},
            "securityContext": {},
        }],
        "nodeSelector": {}, "tolerations": [], "volumes": None,
    },
}
WORKLOAD = {"selector": {"matchLabels": {"app": "odd"}}, "template": PODS}


def odd(kind, name="odd", api_version="v1", **rest):
    return {"apiVersion": api_version, "kind": kind,
            "metadata": {"name": name, "creationTimestamp": None,
                         "annotations": None, "labels": {}},
            **rest}


# What the server keeps in another form than it was written.
ODD = [
    odd("Deployment", api_version="apps/v1", status={},
        spec={**WORKLOAD, "replicas": 1, "strategy": {}}),
    odd("StatefulSet", api_version="apps/v1",
        spec={**WORKLOAD, "serviceName": "odd", "replicas": 0,
              "volumeClaimTemplates": [{
                  "metadata": {"name": "data", "creationTimestamp": None},
                  "spec": {"accessModes": ["ReadWriteOnce"], "resources": {
                      "requests": {"storage": "1024Mi"}}},
                  "status": {},
              }]}),
    odd("Service", spec={
        "clusterIP": "", "selector": {"app": "odd"}, "type": "ClusterIP",
        "ports": [{"port": 80, "targetPort": "http"},
                  {"port": 53, "protocol": "UDP", "name": "dns"},
                  {"port": 53, "protocol": "TCP", "name": "dns-tcp"}][:1],
    }, status={"loadBalancer": {}}),
    odd("Service", "headless", spec={
        "clusterIP": "None", "selector": {"app": "odd"},
        "ports": [{"port": 53, "protocol": "UDP", "name": "dns"},
                  {"port": 53, "protocol": "TCP", "name": "dns-tcp"}],
    }),
    odd("ConfigMap", "empty", data={}, binaryData=None),
    odd("ConfigMap", "null", data=None),
    odd("Secret", "strings", stringData={"a": "b"}, data={"c": "ZA=="}),
    odd("Secret", "nothing", type="Opaque", data={}),
    odd("ServiceAccount", imagePullSecrets=[], secrets=None),
    odd("Role", api_version="rbac.authorization.k8s.io/v1", rules=[]),
    odd("RoleBinding", api_version="rbac.authorization.k8s.io/v1",
        roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "Role",
                 "name": "odd"},
        subjects=[{"kind": "ServiceAccount", "name": "odd"}]),
    odd("NetworkPolicy", api_version="networking.k8s.io/v1", spec={
        "podSelector": {}, "ingress": [], "egress": [{}],
        "policyTypes": ["Ingress", "Egress"],
    }),
    odd("PodDisruptionBudget", api_version="policy/v1", spec={
        "maxUnavailable": "25%", "selector": {"matchLabels": {"app": "odd"}},
    }),
    odd("LimitRange", spec={"limits": [{
        "type": "Container", "default": {"cpu": "0.5", "memory": "1G"},
    }]}),
    odd("ResourceQuota", spec={"hard": {"cpu": "8000m", "pods": 99}}),
    odd("CronJob", api_version="batch/v1", spec={
        "schedule": "0 0 1 1 *", "suspend": None, "jobTemplate": {
            "metadata": {"creationTimestamp": None},
            "spec": {"template": {
                "spec": {**PODS["spec"], "restartPolicy": "Never"},
            }},
        },
    }),
    odd("Ingress", api_version="networking.k8s.io/v1", spec={"rules": [{
        "host": "odd.test", "http": {"paths": [{
            "path": "/", "pathType": "Prefix", "backend": {
                "service": {"name": "odd", "port": {"number": 80}},
            },
        }]},
    }]}, status={"loadBalancer": {}}),
    {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "odds.drift.flotilla.test",
                     "creationTimestamp": None},
        "spec": {
            "group": "drift.flotilla.test", "scope": "Namespaced",
            "names": {"kind": "Odd", "plural": "odds"},
            "versions": [{
                "name": "v1", "served": True, "storage": True,
                "schema": {"openAPIV3Schema": {
                    "type": "object",
                    "x-kubernetes-preserve-unknown-fields": True,
                    "properties": {"spec": {
                        "type": "object",
                        "x-kubernetes-preserve-unknown-fields": True,
                        "properties": {
                            "size": {"x-kubernetes-int-or-string": True},
                            "mode": {"type": "string", "default": "calm"},
                            "kept": {"type": "string", "nullable": True},
                            "gone": {"type": "string"},
                        },
                    }},
                }},
                "subresources": {"status": {}},
            }],
        },
        "status": {"acceptedNames": {"kind": "", "plural": ""},
                   "conditions": None, "storedVersions": None},
    },
    odd("Odd", api_version="drift.flotilla.test/v1", spec={
        "size": "10%", "kept": None, "gone": None, "free": {
            "null": None, "empty": {}, "none": [], "list": [[1], [{}]],
            "number": 1.0, "big": 9007199254740993,
        },
    }, status={"phase": "written in Git"}),
]


def without_nulls(value):
    """As Helm and Flotilla send it."""
    if isinstance(value, dict):
        return {key: without_nulls(part) for key, part in value.items()
                if part is not None}
    if isinstance(value, list):
        return [without_nulls(part) for part in value]
    return value


class UntouchedTest(DriftCase):

    maxDiff = None

    def kubectl_differs(self, manifest):
        """What kubectl diff --server-side says of an object of ours."""
        live = self.live(
            manifest["metadata"]["name"], manifest["kind"],
            namespace="" if manifest["kind"].startswith("Custom") else None,
        )
        sent = without_nulls(manifest)
        metadata = sent["metadata"]
        for marks in ("labels", "annotations"):
            metadata[marks] = {
                **(metadata.get(marks) or {}),
                **{key: value
                   for key, value in live["metadata"].get(marks, {}).items()
                   if key.startswith("flotilla.dev/")},
            }
        if "namespace" in live["metadata"]:
            metadata["namespace"] = self.name
        result = subprocess.run(
            ["kubectl", "diff", "--server-side", "--force-conflicts",
             "--field-manager=flotilla", "-f", "-", "--kubeconfig",
             self.scene.fleet["dev"].kubeconfig()],
            input=json.dumps(sent), capture_output=True, text=True,
            check=False,
        )
        if result.returncode > 1:
            raise AssertionError(result.stderr)
        # An empty list and none are one to the server, and yet a generation.
        return [
            line for line in result.stdout.splitlines()
            if re.match(r"[+-](?![+-])", line)
            and not re.match(r".\s+generation: ", line)
        ]

    def modified(self):
        return {
            (found["key"]["kind"], found["key"]["name"])
            for found in self.scene.resources(gitrepo=self.name)
            if found.get("sync") == "SYNC_STATE_DRIFTED"
        }

    def test_nothing_is_modified_after_an_apply(self):
        mark = self.mark()
        self.deliver(*ODD)
        applied = [line for line in self.writes(mark) if self.name in line
                   or "odds.drift" in line]
        self.assertEqual(len(applied), len(set(applied)), applied)
        mark = self.mark()

        self.seen()
        self.scene.agents["dev"].restart()
        self.scene.wait_online()
        self.seen()
        self.ready()

        self.assertEqual(self.writes_but_barrier(mark), [])
        self.assertEqual(
            [record for record in self.drift()
             if record["key"]["name"] != "barrier"], [],
        )
        for manifest in ODD:
            with self.subTest(manifest["kind"]):
                self.assertEqual(self.kubectl_differs(manifest), [])

    def test_a_name_that_is_twice_in_env(self):
        twice = deployment("twice")
        twice["spec"]["template"]["spec"]["containers"][0]["env"] = [
            {"name": "A", "value": "1"}, {"name": "A", "value": "2"},
        ]
        self.deliver(twice)
        mark = self.mark()
        self.seen()
        self.assertEqual(self.writes_but_barrier(mark), [])
        self.assertEqual(self.modified(), set())

    def test_the_verdict_is_that_of_kubectl(self):
        def web(name):
            found = deployment(name, 1)
            found["spec"]["template"]["spec"]["containers"][0].update(
                resources={"limits": {"cpu": "1000m"}},
                env=[{"name": "A", "value": "1"}],
            )
            return found

        main = "/spec/template/spec/containers/0"
        edits = {
            "value": [("replace", f"{main}/image", "other")],
            "removal": [("remove", f"{main}/env", None)],
            "addition": [("add", f"{main}/env/-",
                          {"name": "B", "value": "2"})],
            "annotation": [("add", "/metadata/annotations/x", "y")],
            "label": [("add", "/metadata/labels/x", "y")],
            "spelling": [("replace", f"{main}/resources/limits/cpu", "1")],
            "default": [("replace", "/spec/revisionHistoryLimit", 3)],
            "replicas": [("replace", "/spec/replicas", 0)],
            "list": [("add", f"{main}/args", ["x"])],
            "container": [("add", "/spec/template/spec/containers/-",
                           {"name": "side", "image": "x"})],
            "nothing": [],
        }
        objects = {name: web(name) for name in edits}
        self.deliver(*objects.values(), correctDrift={"enabled": False})

        for name, operations in edits.items():
            self.dev.patch(
                "Deployment", name,
                [{"op": op, "path": path, "value": value}
                 for op, path, value in operations],
                self.name, patch_type="json", field_manager="jane",
            )
        theirs = {
            ("Deployment", name) for name, manifest in objects.items()
            if self.kubectl_differs(manifest)
        }

        wait_until(lambda: self.modified() == theirs, 30,
                   f"the same verdict as {sorted(theirs)}")
        for name in ("value", "removal", "replicas"):
            self.assertIn(("Deployment", name), theirs)
        for name in ("nothing", "addition", "annotation"):
            self.assertNotIn(("Deployment", name), theirs)


if __name__ == "__main__":
    junit.main()
