# SPDX-License-Identifier: Apache-2.0
"""helm.valuesFrom: values that lie in the cluster, on two real clusters."""

import base64
import json
import unittest

from e2e.options.case import Case
from e2e.story.documents import text
from e2e.story.scene import Scene
from e2e.testing import junit
from e2e.testing.processes import wait_until

CANARY = "canary-in-a-secret"

CHART = {
    "Chart.yaml": text({
        "apiVersion": "v2", "name": "app", "version": "1.0.0",
    }),
    "values.yaml": text({
        "who": "chart", "map": {"chart": 1, "inline": 0}, "list": [0],
    }),
    "templates/seen.yaml": """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: seen
data:
  values: {{ .Values | toJson | quote }}
""",
}


def config_map_ref(name, **more):
    return {"configMapKeyRef": {"name": name, **more}}


def secret_ref(name, **more):
    return {"secretKeyRef": {"name": name, **more}}


def near(form, content):
    """What stands around the first `form` in it; empty: it is not there."""
    at = content.find(form)
    return content[max(0, at - 100):at + 100] if at >= 0 else b""


def setUpModule():
    Case.share(Scene({"dev": {"env": "dev"}, "prod": {"env": "prod"}}))


class ValuesTest(Case):

    def seen(self, cluster="dev"):
        """The values that the chart was rendered with; None: not yet."""
        found = self.live("seen", cluster=cluster)
        return found and json.loads(found["data"]["values"])

    def wait_seen(self, who, cluster="dev"):
        return wait_until(
            lambda: (self.seen(cluster) or {}).get("who") == who
            and self.seen(cluster), 20, f"values of {who} on {cluster}",
        )

    def put_who(self, who, cluster="dev"):
        self.put_secret("login", {"values.yaml": text({"who": who})}, cluster)

    def deliver(self, refs, *clusters, **options):
        helm = {"valuesFrom": refs, **options.pop("helm", {})}
        self.commit(CHART, helm=helm, **options)
        self.follow(*clusters)

    def test_later_values_lie_over_earlier_ones(self):
        for cluster in ("dev", "prod"):
            self.make_namespace(cluster=cluster)
            self.make_namespace("elsewhere", cluster=cluster)
            self.put_config_map("first", {"values.yaml": text({
                "who": "first", "map": {"first": 1, "second": 0},
                "list": [1], "from": cluster,
            })}, cluster)
            self.put_config_map("second", {"other": text({
                "who": "second", "map": {"second": 2, "third": 0},
            })}, cluster, "elsewhere")
            self.put_secret("third", {"values.yaml": text({
                "who": "third", "map": {"third": 3},
            })}, cluster)

        self.deliver(
            [
                config_map_ref("first"),
                {
                    **secret_ref("third"),
                    **config_map_ref(
                        "second", namespace="elsewhere", key="other"
                    ),
                },
            ],
            "dev", "prod",
            helm={"values": {
                "who": "inline", "map": {"inline": 1, "first": 0},
                "list": [9, 9],
            }},
        )
        self.ready(2)

        for cluster in ("dev", "prod"):
            with self.subTest(cluster=cluster):
                seen = self.seen(cluster)
                self.assertEqual(seen.pop("from"), cluster)
                seen.pop("global", None)
                self.assertEqual(seen, {
                    "who": "third", "list": [1],
                    "map": {
                        "chart": 1, "inline": 1, "first": 1, "second": 2,
                        "third": 3,
                    },
                })

    def test_what_is_missing_holds_up_that_cluster_alone(self):
        self.make_namespace(cluster="prod")
        self.put_who("prod", "prod")
        mark = self.mark()

        self.deliver([secret_ref("login")], "dev", "prod")

        self.wait_told(
            f"helm.valuesFrom: Secret {self.name}/login does not exist"
        )
        self.wait_state("Ready", cluster="prod")
        _, message = self.state()
        self.assertEqual(message.count("helm.valuesFrom"), 1)
        with self.subTest("the object comes without the key"):
            self.make_namespace()
            self.put_secret("login", {"other": "{}"})
            self.wait_told(
                f"Secret {self.name}/login has no key values.yaml"
            )
        self.assertEqual(self.writes(mark, self.name), [])
        with self.subTest("the key comes"):
            self.put_who("dev")
            self.ready(2)
            self.assertEqual(self.seen()["who"], "dev")
            self.assertEqual(self.seen("prod")["who"], "prod")

    def test_a_change_is_rendered_again_in_that_cluster_alone(self):
        for cluster in ("dev", "prod"):
            self.make_namespace(cluster=cluster)
            self.put_who(cluster, cluster)
        self.deliver([secret_ref("login")], "dev", "prod")
        before = {d["cluster"]: d["generation"] for d in self.ready(2)}
        mark = self.mark("prod")

        self.put_who("another")
        self.wait_seen("another")

        after = {d["cluster"]: d["generation"] for d in self.ready(2)}
        self.assertGreater(int(after["dev"]), int(before["dev"]))
        self.assertEqual(after["prod"], before["prod"])
        self.assertEqual(self.writes(mark, cluster="prod"), [])
        with self.subTest("while the manager is away"):
            self.scene.manager.kill()
            self.put_who("meanwhile")
            self.scene.manager.start()
            self.wait_seen("meanwhile")
            self.ready(2)
        with self.subTest("what is running stays when the Secret goes"):
            marks = self.scene.marks()
            uid = self.live("seen")["metadata"]["uid"]
            self.dev.delete("Secret", "login", self.name)
            self.wait_told(f"Secret {self.name}/login does not exist")
            self.assertEqual(self.live("seen")["metadata"]["uid"], uid)
            self.assertEqual(self.scene.writes(marks), [])
            self.put_who("again")
            self.wait_seen("again")
            self.ready(2)

    def test_an_account_that_may_not_read_them_is_told(self):
        self.make_namespace()
        self.make_account("reader")
        self.allow("reader", ["configmaps"])
        self.put_who("dev")

        self.deliver([secret_ref("login")], serviceAccount="reader")

        self.wait_told(
            f"Secret {self.name}/login may not be read by "
            "system:serviceaccount:cattle-fleet-system:reader"
        )
        self.assertIsNone(self.live("seen"))
        self.allow("reader", ["secrets"], ["get"])
        self.ready()
        self.assertEqual(self.seen()["who"], "dev")

    def test_what_is_no_map_of_values_is_told_without_its_content(self):
        self.make_namespace()
        self.put_secret("login", {"values.yaml": f"- {CANARY}"})
        self.deliver([secret_ref("login")])
        for content, words in (
            (f"- {CANARY}", "is no map of values"),
            (f"a: b: {CANARY}", "is not YAML: line 1"),
            (f"{CANARY}: 1\n{CANARY}: 2\n", "is not YAML: line 2"),
            (f"a: *{CANARY}", "is not YAML: line 1"),
            (f"a: !{CANARY} 1", "is not YAML: line 1"),
        ):
            with self.subTest(content=content):
                self.put_secret("login", {"values.yaml": content})
                self.wait_told(
                    "helm.valuesFrom: key values.yaml of Secret "
                    f"{self.name}/login {words}"
                )
        self.put_who("dev")
        self.ready()

    def test_a_template_that_quotes_a_secret_is_not_repeated(self):
        self.make_namespace()
        self.put_secret("login", {
            "values.yaml": text({"who": CANARY, "port": 8080}),
        })

        self.commit({
            **CHART, "templates/strict.yaml":
                '{{ fail (printf "bad who %s on %v" .Values.who '
                ".Values.port) }}",
        }, helm={"valuesFrom": [secret_ref("login")]})
        self.follow()

        self.wait_told("strict.yaml", "bad who <redacted> on")

    def test_zz_a_secret_is_seen_nowhere_else(self):
        """Over all that the other cases have left, too."""
        for cluster in ("dev", "prod"):
            self.make_namespace(cluster=cluster)
            self.put_who(f"{CANARY} of {cluster}", cluster)
        self.deliver([secret_ref("login")], "dev", "prod")
        self.ready(2)
        self.assertEqual(self.seen()["who"], f"{CANARY} of dev")

        self.dev.patch(
            "ConfigMap", "seen", {"data": {"values": f"{CANARY} by hand"}},
            self.name, field_manager="janes-editor",
        )
        record = self.scene.wait_drift(
            name="seen", namespace=self.name,
            action="DRIFT_ACTION_CORRECTED",
        )

        self.assertIn("redacted", record["wanted"])
        self.assertEqual(self.seen()["who"], f"{CANARY} of dev")
        forms = [CANARY.encode()] + [
            # Whatever comes before it.
            base64.b64encode(b"x" * shift + CANARY.encode())[4:-4]
            for shift in range(3)
        ]
        manager = self.scene.manager
        said = [
            ("flotilla get " + what, manager.cli("get", what, *out))
            for what in (
                "gitrepos", "bundles", "clusters", "deployments",
                "resources", "drift",
            ) for out in ((), ("-o", "json"))
        ] + [
            (f"flotilla describe {kind} {name}",
             manager.cli("describe", kind, name))
            for kind, name in (
                ("gitrepo", self.name), ("bundle", f"{self.name}-app"),
                ("cluster", "dev"),
            )
        ]
        for place, output in said:
            with self.subTest(place=place):
                for form in forms:
                    self.assertFalse(near(form, output.encode()))
        files = 0
        for program in [manager, *self.scene.agents.values()]:
            for file in program.directory.rglob("*"):
                if not file.is_file():
                    continue
                files += 1
                content = file.read_bytes()
                with self.subTest(file=file.name, program=program.name):
                    for form in forms:
                        self.assertFalse(near(form, content))
        self.assertGreater(files, 10)


if __name__ == "__main__":
    junit.main()
