# SPDX-License-Identifier: Apache-2.0
"""In which order objects and Helm's hooks reach a cluster."""

from e2e.cluster.audit_log import AuditLog
from e2e.cluster.cluster import AGENT
from e2e.options.case import Case
from e2e.story.documents import config_map, text
from e2e.story.scene import Scene
from e2e.testing import junit
from e2e.testing.processes import wait_until

FAILING = {"flotilla.test/fail": "crash"}


def setUpModule():
    Case.share(Scene({"dev": {"env": "dev"}}))


def job(name, labels=None, **annotations):
    """A Job; its pod is made to fail by label `flotilla.test/fail`."""
    return {
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": name, "annotations": {
            f"helm.sh/{key.replace('_', '-')}": value
            for key, value in annotations.items()
        }},
        "spec": {"backoffLimit": 0, "template": {
            "metadata": {"labels": labels or {}},
            "spec": {"restartPolicy": "Never", "containers": [
                {"name": "main", "image": "nginx:1.27"},
            ]},
        }},
    }


class HookTest(Case):

    def order(self, mark, verbs=("patch", "create", "delete")):
        """What the agent wrote into the namespace: "verb name" in order."""
        return [
            f"{event['verb']} {event['objectRef']['name']}"
            for event in self.scene.fleet["dev"].audit(
                since=mark, user=AGENT, namespace=self.name,
                verbs=AuditLog.WRITES,
            ) if event["verb"] in verbs
            and event["responseStatus"]["code"] < 300
            and event["objectRef"]["name"] != self.name
        ]

    def uid(self, name, kind="Job"):
        found = self.live(name, kind)
        return found and found["metadata"]["uid"]

    def test_hooks_of_a_chart_run_around_install_and_upgrade(self):
        both = "pre-install,pre-upgrade"
        files = {
            "Chart.yaml": "apiVersion: v2\nname: x\nversion: 1.0.0\n",
            "values.yaml": "key: one\n",
            "templates/hooks.yaml": text(
                job("late", hook=both, hook_weight="5"),
                job("early", hook=both, hook_weight="-5",
                    hook_delete_policy="hook-succeeded"),
                job("after", hook="post-install"),
                job("upgraded", hook="post-upgrade"),
                job("tests", hook="test"),
            ),
            "templates/x.yaml": text(config_map("x")).replace(
                '"value"', "{{ .Values.key | quote }}"),
        }
        mark = self.mark()

        self.commit(files, helm={})
        self.follow()
        self.ready()

        self.assertEqual(self.order(mark), [
            "patch early", "patch late", "delete early", "patch x",
            "patch after",
        ])
        with self.subTest("an upgrade makes its hooks anew"):
            uid = self.uid("late")
            mark = self.mark()
            self.head = self.repo().commit({"app/values.yaml": "key: two\n"})
            self.sync()
            self.ready()
            self.assertNotEqual(self.uid("late"), uid)
            self.assertEqual(self.order(mark), [
                "patch early", "delete late", "patch late", "delete early",
                "patch x", "patch upgraded",
            ])
        with self.subTest("hooks are not kept in line"):
            mark = self.mark()
            self.dev.delete("Job", "late", self.name)
            self.dev.patch("ConfigMap", "x", {"data": {"key": "by hand"}},
                           namespace=self.name)
            self.scene.wait_drift(name="x", namespace=self.name,
                                  action="DRIFT_ACTION_CORRECTED")
            self.assertEqual(self.order(mark), ["patch x"])
        with self.subTest("a restart of the agent runs none"):
            mark = self.mark()
            self.scene.agents["dev"].restart()
            self.ready()
            self.assertEqual(self.order(mark), [])

    def test_a_failing_hook_stops_the_release(self):
        self.commit({
            "x.yaml": text(config_map("x")),
            "job.yaml": text(job("migrate", hook="pre-upgrade",
                                 labels=FAILING)),
        }, helm={"timeoutSeconds": 5})
        self.follow()
        self.ready()
        self.assertIsNone(self.live("migrate", "Job"))

        self.head = self.repo().commit({
            "app/x.yaml": text(config_map("x", {"key": "two"})),
        })
        self.sync()

        self.wait_told(
            f"pre-upgrade hook job.batch {self.name}/migrate is not done "
            "after 5s", "CrashLoopBackOff",
        )
        self.assertEqual(self.live("x")["data"]["key"], "value")
        with self.subTest("it is mended"):
            self.head = self.repo().commit({
                "app/job.yaml": text(job("migrate", hook="pre-upgrade")),
            })
            self.sync()
            self.ready()
            self.assertEqual(self.live("x")["data"]["key"], "two")

    def test_hooks_run_around_a_deletion(self):
        self.commit({
            "x.yaml": text(config_map("x")),
            "jobs.yaml": text(
                job("before", hook="pre-delete"),
                job("after", hook="post-delete"),
            ),
        }, helm={})
        self.follow()
        self.ready()
        mark = self.mark()

        self.scene.delete("gitrepo", self.name)
        self.scene.wait_gone(self.name)

        self.assertEqual(
            self.order(mark), ["patch before", "delete x", "patch after"])
        self.assertIsNone(self.live("x"))


if __name__ == "__main__":
    junit.main()
