# SPDX-License-Identifier: Apache-2.0
"""What Flotilla promises, on real clusters, one story a case."""

import base64
import re
import time
import unittest

from e2e.cluster.cluster import JANE
from e2e.story.documents import (
    bundle, config_map, deployment, git_repo, namespace, on, text,
)
from e2e.story.scene import Scene, is_available
from e2e.testing import junit
from e2e.testing.processes import wait_until

# What may come and go when nothing changes.
SIGNS_OF_LIFE = ("ping", "pong")


def setUpModule():
    global scene
    scene = Scene({"dev": {"env": "dev"}, "prod": {"env": "prod"}})
    unittest.addModuleCleanup(scene.stop)
    scene.start()


class StoryTest(unittest.TestCase):
    """Makes namespaces and documents, and takes them away afterwards."""

    def setUp(self):
        self.name = re.sub("[^a-z0-9]+", "-", self._testMethodName[5:])[:40]
        self.name = self.name.strip("-")
        self.dev = scene.admin("dev")
        self.jane = scene.fleet["dev"].client(JANE)

    def run(self, result=None):
        before = len(result.failures) + len(result.errors)
        super().run(result)
        if len(result.failures) + len(result.errors) > before:
            print(scene.log_tails(), flush=True)

    def deliver(self, objects, name=None, targets=on("dev"), **spec):
        """A Bundle document, applied, and Ready when this returns."""
        name = name or self.name
        spec.setdefault("namespace", self.name)
        self.addCleanup(scene.delete, "bundle", name, True)
        scene.apply(bundle(name, objects, targets, **spec))
        scene.wait_ready(bundle=name, count=len(targets))

    def commit(self, files, paths, targets=on("dev"), message="first"):
        """A repository with a GitRepo, Ready when this returns."""
        repo = scene.repo(self.name)
        head = repo.commit(files, message)
        self.addCleanup(scene.delete, "gitrepo", self.name, True)
        scene.apply(git_repo(
            self.name, scene.url(self.name), paths, targets,
            targetNamespace=self.name,
        ))
        scene.wait_ready(
            git_repo=self.name, count=len(targets), commit=head
        )
        return repo

    def live(self, name, kind="ConfigMap"):
        return self.dev.find(kind, name, self.name)

    def uids(self, *keys):
        return {
            key: self.live(key[1], key[0])["metadata"]["uid"] for key in keys
        }


class DeliveryTest(StoryTest):

    def test_renaming_a_directory_keeps_every_uid(self):
        repo = self.commit({
            "apps/old/objects.yaml": text(
                config_map("settings"), deployment("web", 2)
            ),
        }, ["apps/*"])
        keys = (("ConfigMap", "settings"), ("Deployment", "web"))
        before = self.uids(*keys)
        pods = {p["metadata"]["uid"] for p in self.dev.list("Pod", self.name)}
        marks = scene.marks()

        repo.move("apps/old", "apps/new")
        head = repo.commit(message="rename")
        scene.sync(self.name)
        scene.wait_ready(git_repo=self.name, count=1, commit=head)
        wait_until(
            lambda: [d["bundle"] for d in scene.deployments(self.name)]
            == [f"{self.name}-apps-new"], 30, "the new bundle alone",
        )

        self.assertEqual(self.uids(*keys), before)
        self.assertEqual(scene.deletes(marks), [])
        self.assertEqual(
            {p["metadata"]["uid"] for p in self.dev.list("Pod", self.name)},
            pods,
        )

    def test_the_same_generation_again_sends_no_request(self):
        repo = self.commit(
            {"app/x.yaml": text(config_map("x"), deployment("web"))}, ["app"]
        )
        before = scene.deployments(self.name)[0]
        marks = scene.marks()

        with self.subTest("a commit that changes nothing here"):
            head = repo.commit({"README.md": "hello"}, "docs only")
            scene.sync(self.name)
            scene.wait_ready(
                git_repo=self.name, count=1, commit=head, changes=False
            )
            self.assertEqual(
                scene.deployments(self.name)[0]["generation"],
                before["generation"],
            )
        with self.subTest("the same document applied again"):
            self.assertIn("unchanged", scene.apply(git_repo(
                self.name, scene.url(self.name), ["app"], on("dev"),
                targetNamespace=self.name,
            )))
        with self.subTest("a new session of the agent"):
            scene.manager.restart()
            scene.wait_online()
            scene.wait_ready(git_repo=self.name, count=1)
        time.sleep(1)

        self.assertEqual(scene.writes(marks), [])
        self.assertEqual(
            scene.writes(marks, verbs=("get", "list")), [],
            "nothing had to be read either",
        )

    def test_an_agent_that_starts_again_in_sync_writes_and_reports_nothing(
        self
    ):
        self.deliver([config_map("x"), deployment("web")])
        epoch = scene.cluster("dev")["frames"]["epoch"]
        marks = scene.marks()

        scene.agents["dev"].restart()
        wait_until(
            lambda: scene.cluster("dev").get("online")
            and scene.cluster("dev")["frames"]["epoch"] != epoch,
            30, "a new session",
        )
        scene.wait_ready(bundle=self.name, count=1)
        time.sleep(3)

        self.assertEqual(scene.writes(marks), [])
        reports = {
            kind: count for kind, count in scene.frames("dev").items()
            if kind in ("received bundle", "received resources",
                        "received drift", "received have", "sent assign")
        }
        self.assertEqual(reports, {})

    def test_no_frame_is_sent_while_nothing_changes(self):
        self.deliver([config_map("x"), deployment("web", 2)])
        wait_until(
            lambda: is_available(self.live("web", "Deployment")), 30, "pods"
        )
        time.sleep(2)

        def frames():
            return {
                kind: count for kind, count in scene.frames("dev").items()
                if kind.split()[1] not in SIGNS_OF_LIFE
            }

        before, marks = frames(), scene.marks()
        time.sleep(5)

        self.assertEqual(frames(), before)
        self.assertEqual(
            scene.writes(marks, "dev", ("get", "list", "patch")), []
        )

    def test_a_namespace_is_asked_for_once_and_not_for_each_bundle(self):
        names = [f"{self.name}-{i}" for i in range(12)]
        marks = scene.marks()

        for name in names:
            self.addCleanup(scene.delete, "bundle", name, True)
        scene.apply(*(
            bundle(name, [config_map(name)], on("dev"), self.name)
            for name in names
        ))
        for name in names:
            scene.wait_ready(bundle=name, count=1)

        self.assertEqual(
            scene.writes(marks, "dev", "get"),
            [f"dev: get namespaces {self.name}/{self.name}"],
        )
        self.assertEqual(len(scene.writes(marks, "dev")), 13)

    def test_a_bundle_that_is_deleted_takes_its_objects_and_no_others(self):
        self.deliver([config_map("ours"), namespace(f"{self.name}-2")])
        self.jane.create(config_map("hers", namespace=self.name))
        marks = scene.marks()

        scene.delete("bundle", self.name)
        scene.wait_gone(bundle=self.name)

        wait_until(lambda: self.live("ours") is None, 10, "the end of it")
        self.assertIsNotNone(self.live("hers"))
        self.assertEqual(sorted(scene.deletes(marks, "dev")), sorted([
            f"dev: delete configmaps {self.name}/ours",
            f"dev: delete namespaces {self.name}-2/{self.name}-2",
        ]))

    def test_two_bundles_that_claim_one_object_are_both_told(self):
        first, second = f"{self.name}-a", f"{self.name}-b"
        self.deliver([config_map("shared", {"by": "first"})], first)
        uid = self.live("shared")["metadata"]["uid"]
        marks = scene.marks()

        self.addCleanup(scene.delete, "bundle", second, True)
        scene.apply(bundle(
            second, [config_map("shared", {"by": "second"}),
                     config_map("own")],
            on("dev"), namespace=self.name,
        ))

        def told():
            return all(
                any("/shared" in problem["subject"] and rival in
                    problem["message"] for problem in d.get("problems", []))
                for name, rival in ((first, second), (second, first))
                for d in scene.deployments(bundle=name)
            )

        try:
            wait_until(told, 30, "the conflict on both")
        except TimeoutError:
            self.fail(str([scene.deployments(bundle=name)
                           for name in (first, second)]))
        self.assertEqual(self.live("shared")["data"], {"by": "first"})

        scene.delete("bundle", second)
        scene.wait_gone(bundle=second)
        scene.wait_ready(bundle=first, count=1)

        self.assertEqual(self.live("shared")["metadata"]["uid"], uid)
        self.assertNotIn("/shared", " ".join(scene.deletes(marks)))

    def test_a_chart_keeps_its_crds_and_leaves_its_tests_out(self):
        crd = {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": "boats.story.flotilla.test"},
            "spec": {
                "group": "story.flotilla.test", "scope": "Namespaced",
                "names": {"kind": "Boat", "plural": "boats",
                          "singular": "boat", "listKind": "BoatList"},
                "versions": [{
                    "name": "v1", "served": True, "storage": True,
                    "schema": {"openAPIV3Schema": {
                        "type": "object",
                        "x-kubernetes-preserve-unknown-fields": True,
                    }},
                }],
            },
        }
        boat = {
            "apiVersion": "story.flotilla.test/v1", "kind": "Boat",
            "metadata": {"name": "{{ .Release.Name }}"},
            "spec": {"sails": 2},
        }
        probe = {
            "apiVersion": "v1", "kind": "Pod", "metadata": {
                "name": "{{ .Release.Name }}-probe",
                "annotations": {"helm.sh/hook": "test"},
            },
            "spec": {"containers": [{"name": "x", "image": "busybox"}]},
        }
        self.commit({
            "chart/Chart.yaml": "apiVersion: v2\nname: sea\nversion: 0.1.0\n",
            "chart/crds/boat.yaml": text(crd),
            "chart/templates/boat.yaml": text(boat),
            "chart/templates/probe.yaml": text(probe),
            "chart/fleet.yaml": "helm:\n  releaseName: sea\n",
        }, ["chart"])
        self.assertEqual(self.live("sea", "Boat")["spec"], {"sails": 2})
        self.assertIsNone(self.live("sea-probe", "Pod"))

        scene.delete("gitrepo", self.name)
        scene.wait_gone(git_repo=self.name)

        self.assertIsNone(self.live("sea", "Boat"))
        self.assertIsNotNone(self.dev.find(
            "CustomResourceDefinition", "boats.story.flotilla.test"
        ))

    def test_targets_and_groups_decide_who_gets_what(self):
        self.deliver([config_map("x")], targets=(
            {"name": "prod", "clusterSelector": {"matchLabels": {
                "env": "prod",
            }}},
        ))

        self.assertIsNone(self.live("x"))
        self.assertIsNotNone(
            scene.admin("prod").find("ConfigMap", "x", self.name)
        )


class DriftTest(StoryTest):

    def test_a_changed_value_is_reported_with_its_manager_and_put_right(self):
        self.deliver([config_map("settings", {"mode": "calm"})])

        self.jane.patch(
            "ConfigMap", "settings", {"data": {"mode": "wild"}}, self.name,
            field_manager="janes-editor",
        )
        record = scene.wait_drift(
            name="settings", namespace=self.name, path="data.mode",
            action="DRIFT_ACTION_CORRECTED",
        )

        self.assertEqual(
            (record["operation"], record["wanted"], record["live"],
             record["fieldManager"]),
            ("DRIFT_OPERATION_CHANGED", '"calm"', '"wild"', "janes-editor"),
        )
        self.assertEqual(self.live("settings")["data"], {"mode": "calm"})
        scene.wait_ready(bundle=self.name, count=1)

    def test_a_removed_field_comes_back(self):
        self.deliver([config_map("settings", {"mode": "calm", "b": "2"})])

        self.jane.patch(
            "ConfigMap", "settings", {"data": {"mode": None}}, self.name,
            field_manager="janes-editor",
        )
        record = scene.wait_drift(
            name="settings", namespace=self.name, path="data.mode",
            action="DRIFT_ACTION_CORRECTED",
        )

        self.assertEqual(record["operation"], "DRIFT_OPERATION_REMOVED")
        self.assertEqual(
            self.live("settings")["data"], {"mode": "calm", "b": "2"}
        )

    def test_a_deleted_object_comes_back_and_nobody_is_blamed(self):
        self.deliver([config_map("settings")])
        uid = self.live("settings")["metadata"]["uid"]

        self.jane.delete("ConfigMap", "settings", self.name)
        record = scene.wait_drift(
            name="settings", namespace=self.name,
            operation="DRIFT_OPERATION_OBJECT_DELETED",
            action="DRIFT_ACTION_CORRECTED",
        )

        self.assertNotIn("fieldManager", record)
        self.assertNotIn(
            self.live("settings")["metadata"]["uid"], (uid, None)
        )
        table = scene.manager.cli("get", "drift", "--bundle", self.name)
        self.assertRegex(table, r"ObjectDeleted .*unknown +Corrected")

    def test_an_added_key_is_reported_and_stays(self):
        self.deliver([config_map("settings", {"mode": "calm"})])

        self.jane.patch(
            "ConfigMap", "settings", {"data": {"extra": "hers"}}, self.name,
            field_manager="janes-editor",
        )
        record = scene.wait_drift(
            name="settings", namespace=self.name, path="data.extra",
        )

        self.assertEqual(
            (record["operation"], record["live"], record["fieldManager"],
             record["action"]),
            ("DRIFT_OPERATION_ADDED", '"hers"', "janes-editor",
             "DRIFT_ACTION_REPORTED"),
        )
        time.sleep(0.5)
        self.assertEqual(
            self.live("settings")["data"], {"mode": "calm", "extra": "hers"}
        )

    def test_values_of_secrets_are_never_shown(self):
        def encoded(value):
            return base64.b64encode(value.encode()).decode()

        canaries = ("canary-in-git", "canary-by-hand")
        self.deliver([{
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "login"},
            "data": {"password": encoded(canaries[0])},
        }])

        self.jane.patch(
            "Secret", "login", {"data": {"password": encoded(canaries[1])}},
            self.name, field_manager="janes-editor",
        )
        record = scene.wait_drift(
            name="login", namespace=self.name,
            action="DRIFT_ACTION_CORRECTED",
        )

        self.assertEqual(record["path"], "data.password")
        self.assertEqual(record["fieldManager"], "janes-editor")
        self.assertIn("redacted", record["wanted"])
        self.assertIn("redacted", record["live"])
        self.assertEqual(
            self.live("login", "Secret")["data"]["password"],
            encoded(canaries[0]),
        )
        said = "".join(
            scene.manager.cli("get", what, "-o", "json")
            for what in ("drift", "resources", "deployments", "bundles")
        ) + scene.manager.log() + scene.agents["dev"].log()
        for canary in canaries:
            for form in (canary, encoded(canary).rstrip("=")):
                self.assertNotIn(form, said)

    def test_without_correction_drift_is_only_reported(self):
        self.deliver(
            [config_map("settings", {"mode": "calm"})],
            correctDrift={"enabled": False},
        )
        marks = scene.marks()

        self.jane.patch(
            "ConfigMap", "settings", {"data": {"mode": "wild"}}, self.name,
            field_manager="janes-editor",
        )
        record = scene.wait_drift(
            name="settings", namespace=self.name, path="data.mode",
        )
        wait_until(
            lambda: scene.deployments(bundle=self.name)[0]["state"]
            == "Modified", 30, "Modified",
        )

        self.assertEqual(record["action"], "DRIFT_ACTION_REPORTED")
        self.assertEqual(record["fieldManager"], "janes-editor")
        self.assertEqual(self.live("settings")["data"], {"mode": "wild"})
        self.assertEqual(scene.writes(marks, "dev"), [])

        with self.subTest("it ends when the hand-made change does"):
            self.jane.patch(
                "ConfigMap", "settings", {"data": {"mode": "calm"}},
                self.name, field_manager="janes-editor",
            )
            scene.wait_ready(bundle=self.name, count=1)

    def test_replicas_are_put_back(self):
        self.deliver([deployment("web", 2)])

        self.jane.scale("Deployment", "web", self.name, 5)
        record = scene.wait_drift(
            name="web", namespace=self.name, path="spec.replicas",
            action="DRIFT_ACTION_CORRECTED",
        )

        self.assertEqual(
            (record["wanted"], record["live"], record["fieldManager"]),
            ("2", "5", "kubectl"),
        )
        self.assertEqual(
            self.live("web", "Deployment")["spec"]["replicas"], 2
        )

    def test_an_agent_without_a_manager_heals_even_after_a_restart(self):
        self.deliver([config_map("settings", {"mode": "calm"})])
        scene.manager.kill()
        try:
            scene.agents["dev"].restart()
            self.jane.patch(
                "ConfigMap", "settings", {"data": {"mode": "wild"}},
                self.name, field_manager="janes-editor",
            )
            self.dev.wait(
                "ConfigMap", lambda found: any(
                    o["metadata"]["name"] == "settings"
                    and o["data"] == {"mode": "calm"} for o in found
                ), self.name, what="the healing",
            )
        finally:
            scene.manager.start()
            scene.wait_online()

        # What was seen meanwhile is told once there is somebody to tell.
        scene.wait_drift(name="settings", namespace=self.name)
        scene.wait_ready(bundle=self.name, count=1)


if __name__ == "__main__":
    junit.main()
