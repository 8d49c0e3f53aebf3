# SPDX-License-Identifier: Apache-2.0
"""How an agent gets its identities: the manager's and the cluster's."""

import shutil
import subprocess
import unittest

from e2e.cluster.cluster import AGENT
from e2e.story.documents import bundle, config_map, namespace, on
from e2e.story.scene import Scene
from e2e.testing import binaries, junit
from e2e.testing.flotilla import AGENT as AGENT_PROGRAM
from e2e.testing.flotilla import Agent, CliError, Manager, cli
from e2e.testing.processes import Process, wait_until

ACCOUNT = "flotilla-agent"
ACCOUNT_NAMESPACE = "flotilla-system"


def setUpModule():
    global scene
    scene = Scene({"dev": {"env": "dev"}})
    unittest.addModuleCleanup(scene.stop)
    scene.start_clusters()
    scene.start_git_and_manager()


class IdentityTest(unittest.TestCase):

    def agent(self, name, manager=None, **options):
        agent = Agent(
            name, scene.directory / f"agent-{name}",
            scene.fleet["dev"].kubeconfig(AGENT), manager or scene.manager,
            **options,
        )
        self.addCleanup(agent.kill)
        return agent

    def test_a_token_gives_a_cluster_its_name_and_first_labels(self):
        agent = self.agent("labelled", labels={"env": "test", "tier": "1"})

        agent.start()
        scene.wait_online(["labelled"])

        found = scene.cluster("labelled")
        self.assertEqual(found["labels"], {"env": "test", "tier": "1"})
        self.assertEqual(found["workspace"], "fleet-default")
        self.assertRegex(found["kubeVersion"], r"^v1\.\d+")

    def test_an_enrolled_agent_needs_no_token_any_more(self):
        agent = self.agent("lasting")
        agent.start()
        scene.wait_online(["lasting"])
        first = scene.cluster("lasting")

        agent.token = ""
        agent.restart()

        wait_until(
            lambda: scene.cluster("lasting")["frames"]["epoch"]
            != first["frames"]["epoch"], 30, "a new session",
        )
        again = scene.cluster("lasting")
        self.assertEqual(again["clusterId"], first["clusterId"])

    def test_manager_and_agent_end_by_themselves_when_they_are_asked_to(self):
        manager = Manager(scene.directory / "brief")
        self.addCleanup(manager.kill)
        manager.start()
        agent = self.agent("brief", manager=manager)
        agent.start()
        wait_until(
            lambda: manager.cli_json("get", "clusters", "brief")["clusters"][0]
            .get("online"), 30, "connection",
        )

        self.assertEqual(agent.stop(), 0)
        self.assertEqual(manager.stop(), 0)

    def test_a_stopped_agent_is_offline_and_never_ready(self):
        agent = self.agent("sleepy", labels={"sleepy": "yes"})
        agent.start()
        scene.wait_online(["sleepy"])
        scene.apply(bundle("sleepy", [config_map("sleepy")], on("sleepy")))
        self.addCleanup(scene.delete, "bundle", "sleepy", True)
        scene.wait_ready(bundle="sleepy", count=1)

        agent.stop()

        wait_until(
            lambda: scene.cluster("sleepy")["state"] == "Offline", 40,
            "Offline",
        )
        found = scene.deployments(bundle="sleepy")[0]
        self.assertEqual(found["state"], "Offline")
        self.assertIn("last known: Ready", found["message"])
        agent.start()
        scene.wait_ready(bundle="sleepy", count=1)

    def test_the_server_may_be_named_before_and_after_the_command(self):
        server = ["--server", scene.manager.admin_address]

        for arguments in ([*server, "get", "clusters"],
                          ["get", "clusters", *server]):
            with self.subTest(arguments=arguments):
                self.assertIn("LAST-SEEN", cli(*arguments))

    def test_a_name_that_is_no_name_is_refused(self):
        with self.assertRaises(CliError) as refused:
            scene.manager.token("Not A Name")

        self.assertIn("Not A Name", refused.exception.stderr)

    def test_an_agent_in_a_pod_uses_its_service_account(self):
        if not _can_mount():
            self.skipTest("this machine lets us make no mount namespace")
        cluster = scene.fleet["dev"]
        admin = scene.admin("dev")
        admin.apply(namespace(ACCOUNT_NAMESPACE))
        admin.apply({
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {
                "name": ACCOUNT, "namespace": ACCOUNT_NAMESPACE,
            },
        })
        admin.apply({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding", "metadata": {"name": ACCOUNT},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "ClusterRole", "name": "cluster-admin",
            },
            "subjects": [{
                "kind": "ServiceAccount", "name": ACCOUNT,
                "namespace": ACCOUNT_NAMESPACE,
            }],
        })
        path = admin.path("ServiceAccount", ACCOUNT_NAMESPACE, ACCOUNT)
        token = admin.request("POST", path + "/token", {
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {"expirationSeconds": 3600},
        })["status"]["token"]
        mount = scene.directory / "serviceaccount"
        mount.mkdir()
        (mount / "token").write_text(token)
        shutil.copy(cluster.ca_file, mount / "ca.crt")
        (mount / "namespace").write_text(ACCOUNT_NAMESPACE)
        script = (
            "mount -t tmpfs tmpfs /run && "
            "mkdir -p /run/secrets/kubernetes.io && "
            f"cp -r {mount} /run/secrets/kubernetes.io/serviceaccount && "
            'exec "$@"'
        )
        folder = scene.directory / "agent-pod"
        folder.mkdir()
        process = Process("pod", [
            "unshare", "--mount", "sh", "-c", script, "sh",
            binaries.find(AGENT_PROGRAM), "--in-cluster",
            "--manager", scene.manager.address,
            "--token", scene.manager.token("pod"),
            "--data-dir", folder / "data",
        ], log=folder / "log", env={
            "KUBERNETES_SERVICE_HOST": "127.0.0.1",
            "KUBERNETES_SERVICE_PORT": cluster.port,
        })
        self.addCleanup(process.kill)

        try:
            scene.wait_online(["pod"])
            scene.apply(bundle("pod", [config_map("pod")], on("pod")))
            self.addCleanup(scene.delete, "bundle", "pod", True)
            scene.wait_ready(bundle="pod", count=1)
        except TimeoutError as error:
            self.fail(f"{error}\n{process.log_tail()}")

        writers = {
            event["user"]["username"] for event in cluster.audit(
                verbs="patch", resource="configmaps", name="pod"
            )
        }
        self.assertEqual(writers, {
            f"system:serviceaccount:{ACCOUNT_NAMESPACE}:{ACCOUNT}"
        })


def _can_mount():
    return shutil.which("unshare") and subprocess.run(
        ["unshare", "--mount", "sh", "-c", "mount -t tmpfs tmpfs /run"],
        capture_output=True, check=False,
    ).returncode == 0


if __name__ == "__main__":
    junit.main()
