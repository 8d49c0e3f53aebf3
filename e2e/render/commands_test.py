# SPDX-License-Identifier: Apache-2.0
"""`flotilla bundle`, `target`, `diff` and what `render` takes of a cluster, as
a user runs them, without a manager; and each case of Fleet's table of targets
where it lies beside the checkout.
"""

import base64
import json
import os
import pathlib
import subprocess
import tempfile
import unittest

from e2e.testing import binaries, junit
from e2e.testing.repo import git

ROOT = pathlib.Path(__file__).resolve().parents[2]
TABLE = ROOT.parent / "shared" / "corpus" / "tables" / "targets.yaml"

CONFIG_MAP = (
    "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\n"
    "data: {greeting: hello}\n"
)
CLUSTERS = """
apiVersion: fleet.cattle.io/v1alpha1
kind: Cluster
metadata: {name: one, namespace: fleet-default, labels: {env: dev}}
spec: {templateValues: {size: 7}}
---
apiVersion: fleet.cattle.io/v1alpha1
kind: Cluster
metadata: {name: two, namespace: fleet-default, labels: {env: prod}}
---
apiVersion: fleet.cattle.io/v1alpha1
kind: Cluster
metadata: {name: far, namespace: elsewhere, labels: {env: dev}}
---
apiVersion: fleet.cattle.io/v1alpha1
kind: ClusterGroup
metadata: {name: devs, namespace: fleet-default}
spec: {selector: {matchLabels: {env: dev}}}
"""


def run(*arguments, stdin=None, environment=None):
    plain = {k: v for k, v in os.environ.items() if k != "COMMIT"}
    return subprocess.run(
        [binaries.find("tools/ctl/flotilla"), *map(str, arguments)],
        input=stdin, capture_output=True, text=True, timeout=120, check=False,
        env={**plain, **(environment or {})},
    )


def succeed(*arguments, stdin=None, environment=None):
    done = run(*arguments, stdin=stdin, environment=environment)
    if done.returncode != 0:
        raise AssertionError(done.stderr)
    return done.stdout


def read_yaml(text):
    """What the manager's reader makes of one document."""
    done = subprocess.run(
        [binaries.find("e2e/yaml/yaml_to_json")],
        input=base64.b64encode(text.encode()).decode() + "\n",
        capture_output=True, text=True, timeout=60, check=True,
    )
    return json.loads(done.stdout)["json"]


def document(kind, name, **fields):
    return {"apiVersion": "fleet.cattle.io/v1alpha1", "kind": kind,
            "metadata": {"name": name, "namespace": "fleet-default",
                         **fields.pop("metadata", {})}, **fields}


class CommandsTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.app = self.folder / "app"
        self.app.mkdir()
        (self.app / "settings.yaml").write_text(CONFIG_MAP)

    def write(self, name, content):
        path = self.folder / name
        if not isinstance(content, str):
            content = json.dumps(content)
        path.write_text(content)
        return path

    def targets(self, bundle, *arguments, clusters=CLUSTERS):
        rows = json.loads(succeed(
            "target", "--bundle", self.write("bundle.yaml", bundle),
            "--clusters", self.write("clusters.yaml", clusters),
            *arguments, "-o", "json"))
        return {row["cluster"]: row for row in rows}


class TargetTest(CommandsTest):
    def test_the_first_target_that_matches_gives_the_options(self):
        rows = self.targets(document("Bundle", "app", spec={
            "helm": {"values": {"a": 1, "b": {"c": 1}}},
            "targets": [
                {"clusterGroup": "devs",
                 "helm": {"values": {"b": {"d": 2}}}},
                {"clusterSelector": {}, "namespace": "other"},
            ]}))
        self.assertEqual(["one", "two"], sorted(rows))
        self.assertEqual("target000", rows["one"]["target"])
        self.assertEqual({"a": 1, "b": {"c": 1, "d": 2}},
                         rows["one"]["options"]["helm"]["values"])
        self.assertEqual("other", rows["two"]["options"]["namespace"])

    def test_targets_of_a_gitrepo_say_where(self):
        bundle = document("Bundle", "app", spec={"targets": [
            {"name": "dev", "clusterSelector": {"matchLabels": {"env": "dev"}},
             "namespace": "dev"},
            {"name": "no", "clusterName": "two", "doNotDeploy": True},
        ]})
        everywhere = self.write("targets.yaml", {
            "targets": [{"name": "all", "clusterSelector": {}}]})
        rows = self.targets(bundle, "--targets", everywhere)
        self.assertEqual(["one"], sorted(rows))
        self.assertEqual("all/dev", rows["one"]["target"])
        self.assertEqual("dev", rows["one"]["options"]["namespace"])

    def test_templates_see_the_cluster(self):
        bundle = document("Bundle", "app", spec={
            "helm": {"values": {
                "env": "${ .ClusterLabels.env }",
                "same": "global.fleet.clusterLabels.env",
                "name": "${ .ClusterName | upper }",
                "size": "${ get .ClusterValues \"size\" | default 1 }"}},
            "targets": [{"clusterSelector": {}}]})
        rows = self.targets(bundle)
        self.assertEqual(
            {"env": "dev", "same": "dev", "name": "ONE", "size": 7},
            rows["one"]["options"]["helm"]["values"])
        self.assertEqual(1, rows["two"]["options"]["helm"]["values"]["size"])

    def test_one_clusters_template_error_blocks_that_cluster(self):
        bundle = document("Bundle", "app", spec={
            "helm": {"values": {"size": "${ .ClusterValues.size }"}},
            "targets": [{"clusterSelector": {}}]})
        done = run("target", "--bundle", self.write("bundle.yaml", bundle),
                   "--clusters", self.write("clusters.yaml", CLUSTERS))
        self.assertEqual(1, done.returncode)
        self.assertIn("cluster: one", done.stdout)
        self.assertNotIn("cluster: two", done.stdout)
        self.assertIn("cluster fleet-default/two", done.stderr)

    def test_a_mapping_reaches_another_workspace(self):
        bundle = document("Bundle", "app", metadata={"labels": {"team": "a"}},
                          spec={"targets": [{"clusterSelector": {}}]})
        mapping = json.dumps(document(
            "BundleNamespaceMapping", "m",
            bundleSelector={"matchLabels": {"team": "a"}},
            namespaceSelector={"matchLabels": {
                "kubernetes.io/metadata.name": "elsewhere"}}))
        rows = self.targets(bundle, clusters=CLUSTERS + "---\n" + mapping)
        self.assertEqual(["far", "one", "two"], sorted(rows))
        self.assertEqual("elsewhere", rows["far"]["namespace"])

    def test_nothing_that_matches_is_said(self):
        bundle = document("Bundle", "app", spec={
            "targets": [{"clusterName": "nope"}]})
        done = run("target", "--bundle", "-", "--clusters",
                   self.write("clusters.yaml", CLUSTERS),
                   stdin=json.dumps(bundle))
        self.assertEqual((0, ""), (done.returncode, done.stdout))
        self.assertIn("none of the 3 clusters", done.stderr)

    def test_unknown_keys_are_said(self):
        bundle = self.write("bundle.yaml",
                            "apiVersion: fleet.cattle.io/v1alpha1\n"
                            "kind: Bundle\nmetadata: {name: app}\nspec:\n"
                            "  targets:\n"
                            "  - clusterSelector:\n"
                            "      matchlabels: {env: dev}\n")
        clusters = self.write("clusters.yaml", CLUSTERS.replace(
            "spec: {templateValues", "spec: {templateValue"))
        targets = self.write("targets.yaml",
                             "spec:\n  targets:\n  - clusterSelector: {}\n"
                             "    namespase: x\n")
        done = run("target", "--bundle", bundle, "--clusters", clusters,
                   "--targets", targets)
        self.assertEqual(0, done.returncode, done.stderr)
        for place, nearest in (("bundle.yaml:7", '"matchLabels"'),
                               ("clusters.yaml:5", '"templateValues"'),
                               ("targets.yaml:4", '"namespace"')):
            self.assertRegex(done.stderr, place + ".*" + nearest)

    def test_errors_in_targets_name_the_line(self):
        bundle = document("Bundle", "app", spec={})
        targets = self.write("targets.yaml",
                             "- clusterSelector: {}\n- clusterName: [a]\n")
        done = run("target", "--bundle", "-", "--clusters",
                   self.write("clusters.yaml", CLUSTERS), "--targets", targets,
                   stdin=json.dumps(bundle))
        self.assertEqual((1, ""), (done.returncode, done.stdout))
        self.assertIn("targets.yaml:2", done.stderr)

    def test_errors_name_file_and_line(self):
        bundle = self.write("bundle.yaml",
                            "apiVersion: fleet.cattle.io/v1alpha1\n"
                            "kind: Bundle\nmetadata: {name: app}\nspec:\n"
                            "  targets: 7\n")
        done = run("target", "--bundle", bundle, "--clusters",
                   self.write("clusters.yaml", CLUSTERS))
        self.assertEqual(1, done.returncode)
        self.assertIn("bundle.yaml:5", done.stderr)


class BundleTest(CommandsTest):
    def test_what_is_printed_is_read_again(self):
        (self.app / "fleet.yaml").write_text(
            "namespace: front\nhelm: {values: {a: 1}}\n"
            "targetCustomizations:\n"
            "- {name: dev, clusterSelector: {matchLabels: {env: dev}},\n"
            "   namespace: front-dev}\n")
        (self.app / "raw.bin").write_bytes(b"\x00\xff\x01")
        everywhere = self.write("targets.yaml", {
            "targets": [{"name": "all", "clusterSelector": {}}]})
        text = succeed("bundle", self.app, "--name", "repo", "--targets",
                       everywhere)
        self.assertIn("encoding: base64+gz", text)
        rows = json.loads(succeed(
            "target", "--bundle", "-", "--clusters",
            self.write("clusters.yaml", CLUSTERS), "-o", "json", stdin=text))
        self.assertEqual(
            {"one": "front-dev", "two": "front"},
            {row["cluster"]: row["options"]["namespace"] for row in rows})

        one = json.loads(succeed("bundle", self.app, "--name", "repo", "-o",
                                 "json"))
        self.assertEqual("Bundle", one["kind"])
        self.assertEqual("repo", one["metadata"]["name"])
        self.assertEqual(["raw.bin", "settings.yaml"],
                         [file["name"] for file in one["spec"]["resources"]])

    def test_values_files_are_merged_once(self):
        (self.app / "Chart.yaml").write_text(
            "apiVersion: v2\nname: app\nversion: 1.0.0\n")
        (self.app / "root.yaml").write_text("a: 2\n")
        (self.app / "dev.yaml").write_text("b: 3\n")
        (self.app / "fleet.yaml").write_text(
            "helm: {chart: ., values: {a: 1, c: 1}, valuesFiles: [root.yaml]}\n"
            "targetCustomizations:\n"
            "- {name: dev, clusterName: one,\n"
            "   helm: {valuesFiles: [dev.yaml]}}\n")
        everywhere = self.write("targets.yaml", {
            "targets": [{"name": "all", "clusterSelector": {}}]})
        text = succeed("bundle", self.app, "--targets", everywhere)
        rows = json.loads(succeed(
            "target", "--bundle", "-", "--clusters",
            self.write("clusters.yaml", CLUSTERS), "-o", "json", stdin=text))
        self.assertEqual(
            {"one": {"a": 2, "b": 3, "c": 1}, "two": {"a": 2, "c": 1}},
            {row["cluster"]: row["options"]["helm"]["values"]
             for row in rows})

    def test_without_targets_those_of_fleet_yaml_say_where(self):
        plain = json.loads(succeed("bundle", self.app, "-o", "json"))["spec"]
        self.assertEqual([{"name": "default", "clusterGroup": "default"}],
                         plain["targets"])
        self.assertNotIn("targetRestrictions", plain)
        (self.app / "fleet.yaml").write_text(
            "targetCustomizations: [{name: dev, clusterName: one}]\n")
        own = json.loads(succeed("bundle", self.app, "-o", "json"))["spec"]
        self.assertEqual([{"name": "dev", "clusterName": "one"}],
                         own["targets"])
        self.assertNotIn("targetRestrictions", own)

    def test_targets_replace_the_default(self):
        (self.app / "fleet.yaml").write_text("namespace: app\n")
        bundle = succeed("bundle", self.app)
        groups = CLUSTERS.replace("name: devs", "name: default")
        rows = self.targets(
            bundle, "--targets", self.write("targets.yaml", [
                {"name": "all", "clusterSelector": {}, "namespace": "other"}]),
            clusters=groups)
        self.assertEqual(
            {"one": ("all", "other"), "two": ("all", "other")},
            {name: (row["target"], row["options"]["namespace"])
             for name, row in rows.items()})

    def test_an_empty_list_means_the_default_group(self):
        empty = self.write("targets.yaml", {"targets": []})
        groups = CLUSTERS.replace("name: devs", "name: default")
        rows = self.targets(
            document("Bundle", "app", spec={}), "--targets", empty,
            clusters=groups)
        self.assertEqual({"one": "default"},
                         {name: row["target"] for name, row in rows.items()})
        rows = self.targets(succeed("bundle", self.app, "--targets", empty),
                            clusters=groups)
        self.assertEqual(["one"], list(rows))

    def test_the_commit_is_a_label(self):
        def labels(*arguments, **environment):
            return json.loads(succeed(
                "bundle", self.app, "-o", "json", *arguments,
                environment=environment))["metadata"].get("labels", {})

        self.assertEqual({}, labels())
        git("init", "-q", "-b", "main", cwd=self.folder)
        git("add", "-A", cwd=self.folder)
        git("commit", "-q", "-m", "one", cwd=self.folder)
        commit = "fleet.cattle.io/commit"
        self.assertEqual({commit: git("rev-parse", "HEAD", cwd=self.folder)},
                         labels())
        self.assertEqual({commit: "abc"}, labels(COMMIT="abc"))
        self.assertEqual({commit: "def"},
                         labels("--commit", "def", COMMIT="abc"))
        done = run("bundle", self.app, "--commit", "no label")
        self.assertEqual((1, ""), (done.returncode, done.stdout))
        self.assertIn("--commit", done.stderr)

    def test_errors_print_nothing(self):
        (self.app / "fleet.yaml").write_text("dependsOn: [{}]\n")
        done = run("bundle", self.app)
        self.assertEqual((1, ""), (done.returncode, done.stdout))
        self.assertIn("fleet.yaml:1", done.stderr)


class DiffTest(CommandsTest):
    def setUp(self):
        super().setUp()
        git("init", "-q", "-b", "main", cwd=self.folder)
        git("add", "-A", cwd=self.folder)
        git("commit", "-q", "-m", "one", cwd=self.folder)

    def test_what_changes_is_shown_by_field(self):
        (self.app / "settings.yaml").write_text(
            CONFIG_MAP.replace("hello", "welcome"))
        (self.app / "more.yaml").write_text(
            CONFIG_MAP.replace("settings", "more"))
        self.assertEqual(
            "+ ConfigMap default/more\n"
            "~ ConfigMap default/settings\n"
            "    ~ /data/greeting: \"hello\" -> \"welcome\"\n",
            succeed("diff", self.app, "--against", "HEAD"))
        changes = json.loads(succeed("diff", self.app, "--against", "HEAD",
                                     "-o", "json"))
        self.assertEqual(["added", "changed"],
                         [change["change"] for change in changes])
        git("add", "-A", cwd=self.folder)
        git("commit", "-q", "-m", "two", cwd=self.folder)
        self.assertEqual("", succeed("diff", self.app, "--against", "HEAD"))
        self.assertIn("more", succeed("diff", self.app, "--against", "HEAD~1"))

    def test_a_revision_that_is_not_there_is_named(self):
        done = run("diff", self.app, "--against", "nope")
        self.assertEqual(1, done.returncode)
        self.assertIn('"nope"', done.stderr)


class RenderClusterTest(CommandsTest):
    def setUp(self):
        super().setUp()
        (self.app / "Chart.yaml").write_text(
            "apiVersion: v2\nname: app\nversion: 1.0.0\n")
        (self.app / "templates").mkdir()
        (self.app / "templates" / "cm.yaml").write_text(
            CONFIG_MAP.replace("hello", "{{ .Values.greeting }} "
                               "{{ .Capabilities.KubeVersion.Version }}"))
        (self.app / "settings.yaml").unlink()
        (self.app / "fleet.yaml").write_text(
            "helm: {values: {greeting: '${ .ClusterName }'}}\n")

    def rendered(self, *arguments):
        objects = json.loads(succeed("render", self.app, *arguments, "-o",
                                     "json"))
        return objects[0]["data"]["greeting"]

    def test_the_cluster_file_and_the_facts_count(self):
        cluster = self.write("cluster.yaml", document(
            "Cluster", "one", metadata={"labels": {"env": "dev"}}))
        facts = self.write("facts.json", {
            "kubeVersion": "v1.31.7", "kinds": [
                {"version": "v1", "kind": "ConfigMap", "plural": "configmaps",
                 "namespaced": True}]})
        self.assertEqual("one v1.31.7", self.rendered(
            "--cluster-file", cluster, "--facts", facts))
        self.assertEqual("two v1.31.7", self.rendered(
            "--cluster", "two", "--labels", "env=dev", "--facts", facts))

    def test_facts_that_are_none_are_an_error(self):
        facts = self.write("facts.json", {"nope": 1})
        done = run("render", self.app, "--facts", facts)
        self.assertEqual(1, done.returncode)
        self.assertIn("facts.json", done.stderr)


@unittest.skipUnless(
    TABLE.is_file(),
    "Fleet's table of targets is not on this machine: it is no part of this "
    "project; the cases above cover the same behaviour",
)
class FleetTargetsTest(CommandsTest):
    def test_every_case_of_the_table(self):
        cases = read_yaml(TABLE.read_text())["cases"]
        names = ["one", "two", "three"]
        clusters = [document("Cluster", name, metadata={
            "labels": {"cluster": name, "env": "test"}}) for name in names]
        clusters += [document("ClusterGroup", name, spec={
            "selector": {"matchLabels": {"cluster": name}}})
            for name in names]
        clusters.append(document("ClusterGroup", "all", spec={
            "selector": {"matchLabels": {"env": "test"}}}))
        text = "\n---\n".join(map(json.dumps, clusters))
        self.assertGreater(len(cases), 0)
        for case in cases:
            with self.subTest(case["case"]):
                spec = {"targets": case.get("targetCustomizations", [])}
                if "targetCustomizationMode" in case:
                    spec["targetCustomizationMode"] = (
                        case["targetCustomizationMode"])
                targets = self.write("targets.yaml", {
                    "targets": case["gitRepoTargets"]})
                rows = self.targets(document("Bundle", "b", spec=spec),
                                    "--targets", targets, clusters=text)
                self.assertEqual(
                    case["deploysTo"],
                    {name: row["options"].get("helm", {}).get("values", {})
                     for name, row in rows.items()})


if __name__ == "__main__":
    junit.main()
