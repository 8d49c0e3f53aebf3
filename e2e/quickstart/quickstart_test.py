# SPDX-License-Identifier: Apache-2.0
"""Fleet's quickstart on a real API server: kubectl is the only door.

The manager has the rights of docs/examples/management-cluster/rbac.yaml and no
more. Cases run in the order of their names and build on one another.
"""

import base64
import json
import re
import time
import unittest

from e2e.cluster.cluster import AGENT
from e2e.cluster.kube_client import ApiError
from e2e.quickstart.world import FLEET, KUBECTL, NAMESPACE, ROOT, WORKSPACE
from e2e.quickstart.world import World
from e2e.testing import junit
from e2e.testing.flotilla import Agent, CliError
from e2e.testing.processes import wait_until

CRDS = ROOT / "manager" / "frontend" / "crds"
FINALIZER = "flotilla.dev/finalizer"


def setUpModule():
    global world
    world = World()
    unittest.addModuleCleanup(world.stop)
    world.start(install_foreign_kind)


def install_foreign_kind():
    """Fleet's own kind is there already, with a column more than ours."""
    world.client.apply_yaml(re.sub(
        r"  labels:\n    app.*\n  annotations:\n    flotilla.*\n", "",
        (CRDS / "helmops.yaml").read_text(),
    ).replace("- name: Repo\n", "- name: Repository\n"), "fleet")
    world.foreign = world.crd("helmops")["spec"]


class QuickstartTest(unittest.TestCase):

    def objects_when_ready(self, name):
        """`status.resources` by type, once each object is Ready."""
        shown = (world.find(name) or {}).get("status", {}).get("resources", [])
        if not shown or any(one["state"] != "Ready" for one in shown):
            return None
        return {one["type"]: one for one in shown}

    def test_01_kinds_of_somebody_else_stay_and_ours_are_there(self):
        helmops = world.crd("helmops")
        self.assertEqual(helmops["spec"], world.foreign)
        self.assertEqual(helmops["metadata"]["generation"], 1)
        self.assertIn("helmops.fleet.cattle.io is not ours",
                      world.manager.log())
        columns, _ = world.client.table("GitRepo", WORKSPACE, FLEET)
        self.assertEqual(columns, [
            "Name", "Repo", "Commit", "BundleDeployments-Ready", "Status",
        ])
        for kind, wanted in {
            "Cluster": ["Bundles-Ready", "Last-Seen", "Status"],
            "ClusterGroup": ["Clusters-Ready", "Bundles-Ready", "Status"],
            "Bundle": ["BundleDeployments-Ready", "Status"],
            "ClusterRegistrationToken": ["Secret-Name"],
            "GitRepoRestriction": [
                "Default-ServiceAccount", "Allowed-ServiceAccounts",
            ],
        }.items():
            with self.subTest(kind=kind):
                columns, _ = world.client.table(kind, WORKSPACE, FLEET)
                self.assertEqual(columns, ["Name", *wanted])
        for workspace in (WORKSPACE, "fleet-default"):
            self.assertTrue(world.client.find("Namespace", workspace))

    def test_02_a_registration_token_brings_a_cluster_in(self):
        world.apply("registration-token.yaml")
        secret = wait_until(
            lambda: world.client.find("Secret", "local", WORKSPACE), 20,
            "Secret of the ClusterRegistrationToken",
        )
        values = base64.b64decode(secret["data"]["values"]).decode()
        self.assertIn(f"managerAddress: '{world.manager.address}'", values)
        token = base64.b64decode(secret["data"]["token"]).decode()
        wait_until(
            lambda: (world.find("local", "ClusterRegistrationToken") or {})
            .get("status", {}).get("secretName") == "local",
            20, "status of the ClusterRegistrationToken",
        )
        world.agent = Agent(
            "local", world.directory / "agent",
            world.cluster.kubeconfig(AGENT), world.manager, token=token,
            workspace=WORKSPACE,
        ).start()
        cluster = wait_until(
            lambda: world.find("local", "Cluster"), 30,
            "Cluster in the management cluster",
        )
        self.assertEqual(cluster["metadata"]["labels"]["name"], "local")
        world.manager.restart()
        time.sleep(1)
        again = world.client.get("Secret", "local", WORKSPACE)
        self.assertEqual(again["data"], secret["data"])

    def test_03_a_gitrepo_is_deployed(self):
        world.apply("gitrepo.yaml")
        world.wait_condition("Accepted", "True")
        world.wait_running()
        self.assertIn(
            FINALIZER, world.find()["metadata"]["finalizers"]
        )
        for kind, wanted in {
            "GitRepo": {
                "Name": "simple", "Commit": world.repo.head(),
                "BundleDeployments-Ready": "1/1", "Status": None,
            },
            "Cluster": {"Bundles-Ready": "1/1", "Status": None},
            "ClusterGroup": {
                "Clusters-Ready": "1/1", "Bundles-Ready": "1/1",
                "Status": None,
            },
        }.items():
            with self.subTest(kind=kind):
                wait_until(
                    lambda: self.assertLessEqual(
                        wanted.items(), world.row(kind).items()
                    ) or True, 20, f"line of kind {kind} as it should be",
                )
        shown = wait_until(
            lambda: self.objects_when_ready("simple"), 20,
            "objects in the GitRepo's status",
        )
        self.assertLessEqual({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "type": "apps.deployment", "id": f"{NAMESPACE}/web",
            "namespace": NAMESPACE, "name": "web", "state": "Ready",
            "perClusterState": {"ready": [f"{WORKSPACE}/local"]},
        }.items(), shown["apps.deployment"].items())
        document = json.loads(world.manager.cli(
            "get", "document", "gitrepo", "simple", "--workspace", WORKSPACE,
            "-o", "json",
        ))
        self.assertEqual(document["spec"]["paths"], ["simple"])
        self.assertEqual(document["status"]["readyClusters"], 1)
        status = world.find()["status"]
        for key in ("resources", "resourceCounts", "perClusterResourceCounts"):
            self.assertEqual(document["status"][key], status[key])
        for condition in status["conditions"]:
            self.assertIn("lastTransitionTime", condition)
        cluster = world.find("local", "Cluster")["status"]
        self.assertEqual(
            (cluster["readyGitRepos"], cluster["desiredReadyGitRepos"]), (1, 1)
        )
        with self.assertRaisesRegex(CliError, "with kubectl"):
            world.manager.cli("delete", "gitrepo", "simple", "--workspace",
                              WORKSPACE)

    def test_04_wrong_documents_are_refused_or_told(self):
        wrong = world.find()
        wrong = {key: wrong[key] for key in ("apiVersion", "kind")}
        with self.assertRaises(ApiError) as refused:
            world.client.create({
                **wrong, "metadata": {"name": "w", "namespace": WORKSPACE},
                "spec": {"repo": 3},
            })
        self.assertEqual(refused.exception.code, 422)
        if KUBECTL:
            with self.assertRaisesRegex(RuntimeError, "spec.branches"):
                world.apply("gitrepo.yaml", **{"branch:": "branches:"})

        world.client.patch(
            "GitRepo", "simple", {"spec": {"paths": ["../outside"]}},
            WORKSPACE, api_version=FLEET,
        )
        condition = world.wait_condition("Accepted", "False")
        self.assertIn("spec.paths", condition["message"])
        wait_until(
            lambda: [
                event for event in world.client.list("Event", WORKSPACE)
                if event["involvedObject"]["name"] == "simple"
                and event["type"] == "Warning"
            ], 10, "Event on the GitRepo",
        )
        self.assertTrue(world.deployment())
        world.client.patch(
            "GitRepo", "simple", {"spec": {"paths": ["simple"]}},
            WORKSPACE, api_version=FLEET,
        )
        world.wait_condition("Accepted", "True")

    def test_05_nothing_is_written_without_a_change(self):
        world.wait_running()
        time.sleep(2)
        mark = world.cluster.audit_log.mark()
        time.sleep(5)
        self.assertEqual(world.writes(mark), [])

    def test_06_a_server_that_restarts_changes_nothing(self):
        uid = world.deployment()["metadata"]["uid"]
        world.cluster.restart_api_server()
        world.client.patch(
            "GitRepo", "simple", {"spec": {"paths": ["absent", "simple"]}},
            WORKSPACE, api_version=FLEET,
        )
        generation = world.find()["metadata"]["generation"]
        wait_until(
            lambda: world.find().get("status", {}).get("observedGeneration")
            == generation, 60, "word about the change after the restart",
        )
        self.assertEqual(world.deployment()["metadata"]["uid"], uid)
        world.client.patch(
            "GitRepo", "simple", {"spec": {"paths": ["simple"]}},
            WORKSPACE, api_version=FLEET,
        )

    def test_07_an_object_that_vanished_deletes_nothing(self):
        uid = world.deployment()["metadata"]["uid"]
        world.manager.kill()
        world.client.patch(
            "GitRepo", "simple", {"metadata": {"finalizers": None}},
            WORKSPACE, api_version=FLEET,
        )
        world.client.delete("GitRepo", "simple", WORKSPACE, FLEET)
        self.assertIsNone(world.find())
        world.manager.start()
        world.manager.process.wait_for_log(
            "GitRepo fleet-local/simple is missing", timeout=30
        )
        time.sleep(2)
        self.assertEqual(world.deployment()["metadata"]["uid"], uid)
        self.assertIn("simple", world.documents())

        world.apply("gitrepo.yaml")
        world.wait_condition("Accepted", "True")
        self.assertEqual(world.deployment()["metadata"]["uid"], uid)

    def test_08_while_fleet_is_active_nothing_is_taken(self):
        for body in (
            {"apiVersion": "v1", "kind": "Namespace",
             "metadata": {"name": "cattle-fleet-system"}},
            {"apiVersion": "apps/v1", "kind": "Deployment",
             "metadata": {"name": "fleet-controller",
                          "namespace": "cattle-fleet-system"},
             "spec": {
                 "replicas": 1, "selector": {"matchLabels": {"app": "fleet"}},
                 "template": {
                     "metadata": {"labels": {"app": "fleet"}},
                     "spec": {"containers": [
                         {"name": "fleet", "image": "fleet"}
                     ]},
                 },
             }},
        ):
            world.client.create(body)
        world.manager.process.wait_for_log(
            "a controller of Fleet is active", timeout=30
        )
        world.apply("gitrepo.yaml", **{"name: simple": "name: second"})
        wait_until(
            lambda: [
                event for event in world.client.list("Event", WORKSPACE)
                if event["involvedObject"]["name"] == "second"
                and event["reason"] == "NotTaken"
            ], 20, "Event that says why",
        )
        self.assertNotIn("second", world.documents())
        self.assertNotIn("status", world.find("second"))
        self.assertNotIn("finalizers", world.find("second")["metadata"])
        world.client.delete("GitRepo", "second", WORKSPACE, FLEET)
        world.client.delete(
            "Deployment", "fleet-controller", "cattle-fleet-system"
        )
        world.manager.process.wait_for_log(
            "no controller of Fleet is active", timeout=30
        )

    def test_08a_a_large_status_is_cut_and_says_so(self):
        world.repo.commit({"many/all.yaml": "---\n".join(
            "apiVersion: v1\nkind: ConfigMap\n"
            f"metadata: {{name: one-of-many-{i:04}}}\n"
            for i in range(600)
        )})
        world.apply("gitrepo.yaml", **{
            "name: simple": "name: many", "- simple": "- many",
        })
        wait_until(
            lambda: self.objects_when_ready("many"), 60, "objects that are Ready"
        )
        truncated = world.wait_condition("Truncated", "True", "many")
        self.assertRegex(truncated["message"], "resources has .* of 60[0-9]")
        status = world.find("many")["status"]
        self.assertLessEqual(
            len(json.dumps(status, separators=(",", ":"))), 50 << 10
        )
        self.assertGreater(len(status["resources"]), 50)
        world.client.delete("GitRepo", "many", WORKSPACE, FLEET)
        wait_until(
            lambda: world.find("many") is None, 60, "end of the GitRepo"
        )

    def test_09_deleting_takes_away_what_it_made_and_no_more(self):
        world.client.create({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "mine", "namespace": NAMESPACE},
        })
        world.client.delete("GitRepo", "simple", WORKSPACE, FLEET)
        wait_until(
            lambda: world.find() is None, 60, "end of the GitRepo",
        )
        self.assertIsNone(world.deployment())
        self.assertEqual(
            [found["metadata"]["name"]
             for found in world.client.list("ConfigMap", NAMESPACE)
             if found["metadata"]["name"] != "kube-root-ca.crt"],
            ["mine"],
        )
        self.assertNotIn("simple", world.documents())
        self.assertEqual(world.crd("helmops")["spec"], world.foreign)


if __name__ == "__main__":
    junit.main()
