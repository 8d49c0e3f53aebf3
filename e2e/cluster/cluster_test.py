# SPDX-License-Identifier: Apache-2.0
"""The test clusters do what the tests that use them rely on."""

import pathlib
import re
import stat
import time
import unittest

from e2e.cluster.audit_log import AuditLog
from e2e.cluster.cluster import AGENT, JANE
from e2e.cluster.fleet import Fleet
from e2e.cluster.kube_client import ApiError, KubeClient
from e2e.testing import junit
from e2e.testing.processes import wait_until


def _namespace(name):
    return {
        "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name},
    }


def _config_map(name, data, namespace="default"):
    return {
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace}, "data": data,
    }


def _deployment(name, namespace, replicas=2, labels=None):
    labels = {"app": name, **(labels or {})}
    return {
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "main", "image": "nginx"}]},
            },
        },
    }


def _available(deployments):
    return deployments and all(
        deployment.get("status", {}).get("availableReplicas", 0)
        == deployment["spec"]["replicas"]
        for deployment in deployments
    )


class ClusterTest(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        cls.fleet = Fleet(["dev", "prod"])
        cls.addClassCleanup(cls.fleet.stop)
        cls.fleet.start(progress=print)
        cls.dev = cls.fleet["dev"]
        cls.admin = cls.dev.client()

    def test_runs_the_pods_of_a_deployment(self):
        self.admin.apply(_namespace("runs"))
        self.admin.apply(_deployment("web", "runs"))

        self.admin.wait("Deployment", _available, "runs")

        pods = self.admin.list("Pod", "runs", labels="app=web")
        self.assertEqual([p["status"]["phase"] for p in pods], ["Running"] * 2)

    def test_nodes_renew_their_lease(self):
        node = f"{self.dev.name}-node-0"
        lease = wait_until(
            lambda: self.admin.find(
                "Lease", node, "kube-node-lease", "coordination.k8s.io/v1"
            ), 30, "lease of the node",
        )
        wait_until(
            lambda: self.admin.get(
                "Lease", node, "kube-node-lease", "coordination.k8s.io/v1"
            )["spec"]["renewTime"] > lease["spec"]["renewTime"],
            30, "second renewal",
        )

    def test_pods_that_are_made_to_fail_never_become_ready(self):
        self.admin.apply(_namespace("fails"))
        for reason in ("crash", "image"):
            self.admin.apply(_deployment(
                reason, "fails", 1, {"flotilla.test/fail": reason}
            ))

        def waiting(pods):
            reasons = {
                pod["metadata"]["labels"]["app"]:
                    status["state"]["waiting"]["reason"]
                for pod in pods
                for status in pod.get("status", {}).get(
                    "containerStatuses", []
                )
            }
            return reasons if len(reasons) == 2 else None

        reasons = self.admin.wait("Pod", waiting, "fails")

        self.assertEqual(reasons, {
            "crash": "CrashLoopBackOff", "image": "ImagePullBackOff",
        })
        deployments = self.admin.list("Deployment", "fails")
        self.assertFalse(_available(deployments))

    def test_a_job_completes(self):
        self.admin.apply({
            "apiVersion": "batch/v1", "kind": "Job",
            "metadata": {"name": "once", "namespace": "default"},
            "spec": {"template": {"spec": {
                "restartPolicy": "Never",
                "containers": [{"name": "main", "image": "busybox"}],
            }}},
        })

        self.admin.wait(
            "Job", lambda jobs: jobs[0].get("status", {}).get("succeeded"),
            "default",
        )

    def test_deleting_a_namespace_deletes_what_is_in_it(self):
        self.admin.apply(_namespace("goes"))
        self.admin.apply(_deployment("web", "goes"))
        self.admin.wait("Deployment", _available, "goes")

        self.admin.delete("Namespace", "goes")

        self.admin.wait(
            "Namespace",
            lambda found: "goes" not in [n["metadata"]["name"] for n in found],
        )
        self.assertEqual(self.admin.list("Pod", "goes"), [])

    def test_clusters_do_not_see_each_other(self):
        self.admin.apply(_config_map("only-in-dev", {}))

        self.assertIsNone(self.fleet["prod"].client().find(
            "ConfigMap", "only-in-dev", "default"
        ))

    def test_the_audit_log_tells_users_and_verbs_apart(self):
        agent, jane = self.dev.client(AGENT), self.dev.client(JANE)
        before = self.dev.audit_log.mark()
        agent.apply(_config_map("audited", {"a": "1"}), field_manager="boat")
        jane.patch("ConfigMap", "audited", {"data": {"a": "2"}}, "default")
        jane.get("ConfigMap", "audited", "default")
        agent.delete("ConfigMap", "audited", "default")

        by_agent = self.dev.audit(
            since=before, user=AGENT, verbs=AuditLog.WRITES
        )
        by_jane = self.dev.audit(
            since=before, user=JANE, resource="configmaps"
        )

        self.assertEqual([e["verb"] for e in by_agent], ["patch", "delete"])
        self.assertEqual(by_agent[0]["fieldManager"], "boat")
        self.assertEqual([e["verb"] for e in by_jane], ["patch", "get"])
        self.assertEqual(self.dev.audit(user="nobody"), [])

    def test_manual_changes_bear_the_name_of_who_made_them(self):
        self.admin.apply(_namespace("manual"))
        self.admin.apply(_deployment("web", "manual", 1))

        self.dev.client(JANE).scale("Deployment", "web", "manual", 3)

        live = self.admin.get("Deployment", "web", "manual")
        self.assertEqual(live["spec"]["replicas"], 3)
        self.assertIn("kubectl", [
            entry["manager"] for entry in live["metadata"]["managedFields"]
        ])

    def test_an_api_server_comes_back_with_what_it_had(self):
        self.admin.apply(_config_map("lasting", {"a": "1"}))
        port = self.dev.port

        self.dev.kill_api_server()
        with self.assertRaises(OSError):
            self.admin.create(_config_map("refused", {}))
        self.dev.start_api_server()

        self.assertEqual(self.dev.port, port)
        live = self.admin.get("ConfigMap", "lasting", "default")
        self.assertEqual(live["data"], {"a": "1"})
        self.admin.apply(_deployment("after-restart", "default"))
        self.admin.wait("Deployment", _available, "default", timeout=60)

    def test_a_paused_api_server_does_not_answer_and_goes_on_later(self):
        self.dev.pause_api_server()
        try:
            with self.assertRaises(TimeoutError):
                self.admin.request("POST", "/version", timeout=0.5)
        finally:
            self.dev.resume_api_server()

        wait_until(self.admin.ready, 30, "an answer after the pause")

    def test_a_watch_shows_changes_as_they_come(self):
        seen = []
        started = time.monotonic()
        for kind, obj in self.admin.watch("ConfigMap", "kube-public"):
            seen.append((kind, obj["metadata"]["name"]))
            if kind == "ADDED" and obj["metadata"]["name"] != "watched":
                self.admin.apply(_config_map("watched", {}, "kube-public"))
            if obj["metadata"]["name"] == "watched":
                if kind == "DELETED":
                    break
                self.admin.delete("ConfigMap", "watched", "kube-public")

        self.assertEqual(
            seen[-2:], [("ADDED", "watched"), ("DELETED", "watched")]
        )
        self.assertLess(time.monotonic() - started, 10)

    def test_unknown_users_and_kinds_are_refused(self):
        stranger = self.dev.client()
        stranger._token = "made-up"
        with self.assertRaises(ApiError) as refused:
            stranger.list("Pod")
        self.assertEqual(refused.exception.code, 401)
        with self.assertRaises(LookupError):
            self.admin.list("Submarine")

    def test_kubeconfigs_are_private_and_name_the_user(self):
        path = pathlib.Path(self.dev.kubeconfig(JANE))

        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)
        text = path.read_text(encoding="utf-8")
        self.assertIn(f"server: {self.dev.url}\n", text)
        token = re.search("token: (.*)", text).group(1)
        client = KubeClient(self.dev.port, self.dev.ca_file, token)
        review = client.create({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "SelfSubjectReview", "metadata": {"name": ""},
        })
        self.assertEqual(review["status"]["userInfo"]["username"], JANE)

    def test_a_second_run_in_the_same_directory_is_refused(self):
        with self.assertRaisesRegex(RuntimeError, "in use by another run"):
            Fleet(1, self.fleet.directory)


if __name__ == "__main__":
    junit.main()
