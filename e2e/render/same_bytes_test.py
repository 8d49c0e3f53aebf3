# SPDX-License-Identifier: Apache-2.0
"""With the same documents and facts, `flotilla render` prints the bytes that a
manager streams to the cluster: every kind of bundle, a running manager, and an
agent that prints what it was assigned.
"""

import functools
import http.server
import io
import json
import pathlib
import subprocess
import tarfile
import tempfile
import threading
import unittest

from e2e.testing import binaries, junit
from e2e.testing.flotilla import Manager
from e2e.testing.repo import Repo

CLUSTER = "dev"
MARKS = "flotilla.dev/"

FACTS = {
    "kubeVersion": "v1.31.7",
    "kinds": [
        {"group": group, "version": version, "kind": kind, "plural": plural,
         "namespaced": namespaced}
        for group, version, kind, plural, namespaced in [
            ("", "v1", "ConfigMap", "configmaps", True),
            ("", "v1", "Namespace", "namespaces", False),
            ("", "v1", "Secret", "secrets", True),
            ("", "v1", "Service", "services", True),
            ("apps", "v1", "Deployment", "deployments", True),
            ("example.com", "v1", "Planet", "planets", False),
        ]
    ],
}

CHART = "apiVersion: v2\nname: %s\nversion: 1.2.0\n"


def config_map(name, data):
    return ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\n"
            "data: {%s}\n" % (name, data))


FILES = {
    # Raw: lists, strings of a Secret, numbers, a kind without a namespace.
    "raw/fleet.yaml": "defaultNamespace: raw\nlabels: {team: a}\n",
    "raw/all.yaml":
        "apiVersion: v1\nkind: List\nitems:\n"
        "- {apiVersion: v1, kind: Secret, metadata: {name: s},"
        " stringData: {p: canary}}\n"
        "- {apiVersion: v1, kind: Service, metadata: {name: web},"
        " spec: {ports: [{port: 80, targetPort: 0x50}], ratio: 1.50}}\n"
        "---\n"
        "apiVersion: example.com/v1\nkind: Planet\nmetadata: {name: mars}\n"
        "mass: 6.4e23\n",
    # Templates without a chart: the chart's version is the revision's.
    "loose/fleet.yaml": "dependsOn: [{name: fleet-raw}]\n",
    "loose/templates/cm.yaml": config_map(
        "loose", "v: '{{ .Chart.Version }}', n: '{{ .Release.Namespace }}'"),
    # Helm: what it knows of the cluster, the time, templates in the values.
    "helm/fleet.yaml":
        "namespace: helm\n"
        "helm:\n"
        "  values: {who: '${ .ClusterName }', same:"
        " global.fleet.clusterLabels.env, size:"
        " '${ get .ClusterValues \"size\" }'}\n"
        "targetCustomizations:\n"
        "- {name: dev, clusterGroup: devs, helm: {values: {extra: 7}}}\n",
    "helm/Chart.yaml": CHART % "app",
    "helm/values.yaml": "extra: 1\nfloat: 1.0\n",
    "helm/templates/cm.yaml": config_map(
        "app",
        "k: '{{ .Capabilities.KubeVersion.Version }}',"
        " has: '{{ .Capabilities.APIVersions.Has \"example.com/v1/Planet\" }}',"
        " who: '{{ .Values.who }} {{ .Values.same }} {{ .Values.size }}',"
        " extra: '{{ .Values.extra }} {{ .Values.float }}',"
        " now: '{{ now | unixEpoch }}'"),
    # Kustomize: a base beside an overlay.
    "kustomize/fleet.yaml": "kustomize: {dir: overlay}\n",
    "kustomize/base/kustomization.yaml": "resources: [cm.yaml]\n",
    "kustomize/base/cm.yaml": config_map("base", "a: '1'"),
    "kustomize/overlay/kustomization.yaml":
        "resources: [../base]\nnamePrefix: over-\n"
        "commonLabels: {made: here}\n"
        "configMapGenerator: [{name: gen, literals: [x=1]}]\n",
    # Helm, then Kustomize over what it gave.
    "both/fleet.yaml": "kustomize: {dir: kustom}\n"
                       "helm: {values: {a: '${ .ClusterLabels.env }'}}\n",
    "both/Chart.yaml": CHART % "both",
    "both/templates/cm.yaml": config_map("both", "a: '{{ .Values.a }}'"),
    "both/kustom/kustomization.yaml":
        "resources: [more.yaml]\n"
        "patches:\n- target: {kind: ConfigMap, name: both}\n"
        "  patch: '[{\"op\": \"add\", \"path\": \"/data/b\", \"value\": \"p\"}]'\n",
    "both/kustom/more.yaml": config_map("more", "c: d"),
    # Overlays of raw YAML, one for this cluster.
    "overlay/fleet.yaml":
        "targetCustomizations:\n"
        "- name: dev\n  clusterSelector: {matchLabels: {env: dev}}\n"
        "  yaml: {overlays: [dev]}\n"
        "- {name: rest, clusterSelector: {}}\n",
    "overlay/cm.yaml": config_map("overlaid", "a: '1', b: '2'"),
    "overlay/overlays/dev/cm_patch.yaml": config_map("overlaid", "b: dev"),
    "overlay/overlays/dev/added.yaml": config_map("added", "c: '3'"),
    # A chart from a repository.
    "remote/fleet.yaml":
        "helm: {chart: far, repo: '%(charts)s', version: ~1.0,"
        " values: {v: '${ .ClusterLabels.env }'}}\n",
    # A chart whose old-fashioned dependencies come from a repository.
    "old/fleet.yaml": "namespace: old\n",
    "old/Chart.yaml": "apiVersion: v1\nname: old\nversion: 0.1.0\n",
    "old/requirements.yaml":
        "dependencies: [{name: far, version: 1.x, repository:"
        " '%(charts)s'}]\n",
    "old/templates/cm.yaml": config_map("old", "a: b"),
    # Not for this cluster.
    "kept/fleet.yaml":
        "targetCustomizations:\n"
        "- {clusterSelector: {}, doNotDeploy: true}\n",
    "kept/cm.yaml": config_map("kept", "a: b"),
}
BUNDLES = sorted(f"fleet-{name}" for name in {
    path.split("/")[0] for path in FILES} - {"kept"})

GROUP = {
    "apiVersion": "fleet.cattle.io/v1alpha1", "kind": "ClusterGroup",
    "metadata": {"name": "devs", "namespace": "fleet-default"},
    "spec": {"selector": {"matchLabels": {"env": "dev"}}},
}
RESTRICTION = {
    "apiVersion": "fleet.cattle.io/v1alpha1", "kind": "GitRepoRestriction",
    "metadata": {"name": "tenant", "namespace": "fleet-default"},
    "defaultServiceAccount": "tenant",
}
SETTINGS = {
    "apiVersion": "fleet.cattle.io/v1alpha1", "kind": "Cluster",
    "metadata": {"name": CLUSTER, "namespace": "fleet-default",
                 "labels": {"env": "dev"}},
    "spec": {"templateValues": {"size": 3}},
}


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def pack(chart, files):
    """The archive of a chart."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(f"{chart}/{name}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return out.getvalue()


class Literal(str):
    """A number as it is written."""


def exact(text):
    """JSON so that only the same bytes are equal: order of keys and how
    numbers are written count.
    """
    return json.loads(text, parse_int=Literal, parse_float=Literal,
                      object_pairs_hook=lambda pairs: ("map", pairs))


def without_marks(text):
    """Bytes of an object as `render` prints it: without ownership marks."""
    obj = json.loads(text)
    for field in ("labels", "annotations"):
        entries = obj["metadata"].get(field, {})
        marks = [key for key in entries if key.startswith(MARKS)]
        if not marks:
            raise AssertionError(f"no mark in metadata.{field}: {text}")
        for key in marks:
            del entries[key]
        if not entries:
            del obj["metadata"][field]
    # Taking the marks out of the text itself keeps numbers as they were.
    kept = exact(text)
    return filter_like(kept, obj)


def filter_like(kept, obj):
    """`kept` without the members that `obj` has lost."""
    if isinstance(kept, tuple):
        return ("map", [(key, filter_like(value, obj[key]))
                        for key, value in kept[1] if key in obj])
    return kept


class SameBytesTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.charts = self.serve_charts()
        self.repo = Repo(self.folder / "fleet.git")
        self.repo.commit({name: text % {"charts": self.charts}
                          if "%(charts)s" in text else text
                          for name, text in FILES.items()}, "all of it")
        self.manager = Manager(self.folder / "manager").start()
        self.addCleanup(self.manager.stop)

    def serve_charts(self):
        served = self.folder / "charts"
        served.mkdir()
        (served / "far-1.0.3.tgz").write_bytes(pack("far", {
            "Chart.yaml": "apiVersion: v2\nname: far\nversion: 1.0.3\n",
            "templates/cm.yaml": config_map(
                "far", "v: '{{ .Values.v | default \"none\" }}'")}))
        server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), functools.partial(Quiet, directory=served))
        url = f"http://127.0.0.1:{server.server_address[1]}"
        (served / "index.yaml").write_text(
            "apiVersion: v1\nentries:\n  far:\n"
            "  - {apiVersion: v2, name: far, version: 1.0.3,"
            f" urls: ['{url}/far-1.0.3.tgz']}}\n")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        return url

    def write(self, name, *documents):
        path = self.folder / name
        path.write_text("\n---\n".join(map(json.dumps, documents)))
        return path

    def git_repo(self, **spec):
        return {
            "apiVersion": "fleet.cattle.io/v1alpha1", "kind": "GitRepo",
            "metadata": {"name": "fleet", "namespace": "fleet-default",
                         "labels": {"kind-of": "all"}},
            "spec": {"repo": self.repo.file_url(), "branch": "main",
                     "keepResources": True,
                     "targets": [{"name": "devs", "clusterGroup": "devs"}],
                     **spec},
        }

    def streamed(self, bundles):
        """What the manager streams: {bundle: its manifest}."""
        facts = self.write("facts.json", FACTS)
        token = self.manager.token(CLUSTER, {"env": "dev"})
        done = subprocess.run(
            [binaries.find("e2e/render/assignment_probe"),
             self.manager.address, token, self.folder / "probe", facts,
             str(bundles)],
            capture_output=True, text=True, timeout=120, check=False)
        if done.returncode != 0:
            raise AssertionError(
                done.stderr + self.manager.cli("get", "gitrepos")
                + self.manager.cli("get", "deployments")
                + self.manager.log())
        return {row["bundle"]: row for row in json.loads(done.stdout)}

    def render(self, *arguments):
        done = subprocess.run(
            [binaries.find("tools/ctl/flotilla"), "render", self.repo.work,
             "-o", "json", *map(str, arguments)],
            capture_output=True, text=True, timeout=120, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done

    def manager_files(self):
        """What the manager has, as a user would ask it: render's options."""
        options = []
        for option, name, command in [
                ("--facts", "facts.yaml", ["facts", CLUSTER]),
                ("--gitrepo", "gitrepo.yaml", ["document", "GitRepo", "fleet"]),
                ("--cluster-file", "cluster.yaml",
                 ["document", "Cluster", CLUSTER])]:
            path = self.folder / name
            path.write_text(self.manager.cli("get", *command, "-o", "yaml"))
            options += [option, path]
        with open(self.folder / "cluster.yaml", "a", encoding="utf-8") as out:
            out.write("\n---\n" + json.dumps(GROUP))
        return options

    def test_every_kind_of_bundle(self):
        git_repo = self.git_repo()
        self.manager.cli("apply", "-f", "-", stdin="\n---\n".join(
            map(json.dumps, [SETTINGS, GROUP, RESTRICTION, git_repo])))
        streamed = self.streamed(len(BUNDLES))
        self.assertEqual(BUNDLES, sorted(streamed))
        for bundle in streamed.values():
            self.assertEqual("tenant", bundle["policy"]["serviceAccount"])
            self.assertTrue(bundle["policy"]["keepResources"])

        options = self.manager_files()
        with open(self.folder / "gitrepo.yaml", "a", encoding="utf-8") as out:
            out.write("\n---\n" + json.dumps(RESTRICTION))
        done = self.render(*options)
        self.assertIn("fleet-kept", done.stderr)
        self.assertNotIn("random", done.stderr)
        self.assertNotIn("1970", done.stderr)

        wanted = []
        for name in BUNDLES:
            objects = sorted(
                (entry for entry in streamed[name]["entries"]
                 if not entry["ensureNamespace"]),
                key=lambda entry: (entry["key"]["kind"],
                                   entry["key"].get("namespace", ""),
                                   entry["key"]["name"]))
            self.assertNotEqual([], objects, name)
            wanted += [without_marks(entry["bytes"]) for entry in objects]
        rendered = exact(done.stdout)
        self.assertEqual(len(wanted), len(rendered))
        for left, right in zip(wanted, rendered):
            self.assertEqual(left, right)

    def test_what_a_manager_alone_knows_is_said(self):
        self.repo.commit({
            **{path.split("/", maxsplit=1)[0]: None for path in FILES},
            "Chart.yaml": CHART % "app",
            "templates/cm.yaml": config_map("c", "r: '{{ randAlpha 9 }}'"),
        }, "random")
        done = self.render()
        self.assertIn("draws random values", done.stderr)
        self.assertEqual(done.stdout, self.render().stdout)

        self.repo.commit({
            "fleet.yaml": "helm: {valuesFrom: [{secretKeyRef: {name: s}}]}\n",
            "templates/cm.yaml": config_map("c", "t: '{{ now }}'"),
        }, "values")
        # Without a repository there is no commit whose time to take.
        (self.repo.work / ".git").rename(self.folder / "no-git")
        done = self.render()
        self.assertIn("takes values of Secret default/s", done.stderr)
        self.assertIn("1970", done.stderr)


if __name__ == "__main__":
    junit.main()
