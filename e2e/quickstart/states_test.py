# SPDX-License-Identifier: Apache-2.0
"""Each state of a deployment, as the management cluster and `flotilla get`
show it: columns, counts, conditions and words, for each kind that has a
status. What is wanted is computed as Fleet does it, from one deployment.
Pending is left to status_fold_test: with one cluster it is over in no time.
"""

import functools
import http.server
import io
import json
import re
import tarfile
import threading
import unittest

from e2e.cluster.cluster import AGENT
from e2e.quickstart.world import FLEET, WORKSPACE, World
from e2e.testing import junit
from e2e.testing.flotilla import Agent
from e2e.testing.processes import wait_until
from e2e.testing.repo import Repo

NAMESPACE = "states"
# What is changed by others stays and is told of.
OPTIONS = {"defaultNamespace": NAMESPACE, "correctDrift": {"enabled": False}}
# The counters of a summary, by state.
COUNTERS = {
    "ErrApplied": "errApplied", "WaitApplied": "waitApplied",
    "Modified": "modified", "OutOfSync": "outOfSync", "Pending": "pending",
    "NotReady": "notReady", "Ready": "ready",
}
OBJECT_COUNTERS = (
    "ready", "desiredReady", "waitApplied", "modified", "orphaned", "missing",
    "unknown", "notReady",
)


def config_map(value):
    return json.dumps({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "settings"}, "data": {"key": value},
    })


def web(replicas=1):
    """A Deployment whose pods never become ready."""
    labels = {"app": "web", "flotilla.test/fail": "crash"}
    return json.dumps({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "web", "image": "web"}]},
            },
        },
    })


class GitRepo:
    kind, cli, name, bundle = "GitRepo", "gitrepos", "app", "app-app"

    def __init__(self):
        self.repo = Repo(world.git.root / "states.git")

    def put(self, files, options=None):
        """Delivers these files and no others."""
        wanted = {f"app/{name}": text for name, text in files.items()}
        wanted["app/fleet.yaml"] = json.dumps(
            {**OPTIONS, **(options or {})}
        )
        gone = {
            str(path.relative_to(self.repo.work)): None
            for path in self.repo.work.glob("app/*")
        }
        self.repo.commit({**gone, **wanted})
        self.apply({
            "repo": world.git.url("states.git"), "branch": "main",
            "paths": ["app"], "pollingInterval": "1s",
        })

    def apply(self, spec):
        world.client.apply({
            "apiVersion": FLEET, "kind": self.kind,
            "metadata": {"name": self.name, "namespace": WORKSPACE},
            "spec": spec,
        })

    def pause(self, paused):
        world.client.patch(
            self.kind, self.name, {"spec": {"paused": paused}}, WORKSPACE,
            api_version=FLEET,
        )


class HelmOp(GitRepo):
    kind, cli, name, bundle = "HelmOp", "helmops", "chart", "chart"

    def __init__(self):
        self.folder = world.directory / "charts"
        self.folder.mkdir()
        self.version = 0
        handler = functools.partial(_Quiet, directory=str(self.folder))
        self.server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), handler
        )
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def put(self, files, options=None):
        self.version += 1
        version = f"0.0.{self.version}"
        files = {f"templates/{name}": text for name, text in files.items()}
        files["Chart.yaml"] = json.dumps(
            {"apiVersion": "v2", "name": "app", "version": version}
        )
        archive = f"app-{version}.tgz"
        with tarfile.open(self.folder / archive, "w:gz") as tar:
            for name, text in files.items():
                entry = tarfile.TarInfo(f"app/{name}")
                entry.size = len(text)
                tar.addfile(entry, io.BytesIO(text.encode()))
        (self.folder / "index.yaml").write_text(json.dumps({
            "apiVersion": "v1", "entries": {"app": [{
                "apiVersion": "v2", "name": "app", "version": version,
                "urls": [archive],
            }]},
        }))
        helm = (options or {}).get("helm", {})
        self.apply({
            **OPTIONS,
            "helm": {
                "repo": f"http://127.0.0.1:{self.server.server_port}",
                "chart": "app", "version": version, **helm,
            },
        })


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):  # pylint: disable=arguments-differ
        pass


def setUpModule():
    global world
    world = World()
    unittest.addModuleCleanup(world.stop)
    world.start()
    world.apply("registration-token.yaml")


def row(kind, name):
    """A line of `kubectl get`, by column."""
    columns, rows = world.client.table(kind, WORKSPACE, FLEET)
    return dict(zip(columns, rows[name]))


def status(kind, name):
    return world.client.get(kind, name, WORKSPACE, FLEET).get("status", {})


def ready(shown):
    [condition] = [c for c in shown["conditions"] if c["type"] == "Ready"]
    return condition


def live(kind, name):
    """An entry of `flotilla get`, as JSON; its YAML says the same words."""
    listed = world.manager.cli_json("get", kind, "--workspace", WORKSPACE)
    [entries] = listed.values()
    [found] = [one for one in entries if one["name"] == name]
    text = world.manager.cli(
        "get", kind, name, "--workspace", WORKSPACE, "-o", "yaml"
    )
    if f"state: {found['state']}" not in text:
        raise AssertionError(f"{found['state']} is not in {text}")
    return found


class StatesTest(unittest.TestCase):
    maxDiff = None

    def test_1_no_cluster_is_never_ready(self):
        source = GitRepo()
        source.put({"settings.yaml": config_map("a")})

        def told():
            shown = status("GitRepo", "app")
            self.assertIn("0 clusters match", ready(shown)["message"])
            self.assertEqual(ready(shown)["status"], "False")
            self.assertEqual(shown["display"]["readyBundleDeployments"], "0/0")
            self.assertEqual(shown["display"]["state"], "NotReady")
            self.assertEqual(
                (shown["readyClusters"], shown["desiredReadyClusters"]), (0, 0)
            )
            self.assertEqual(live("gitrepos", "app")["state"], "NotReady")
            self.assertEqual(
                {"Clusters-Ready": "0/0", "Bundles-Ready": "0/0",
                 "Status": None, "Name": "default"},
                row("ClusterGroup", "default"),
            )
            return True

        wait_until(told, 40, "word that no cluster matches")

    def test_2_git_repo(self):
        world.agent = Agent(
            "local", world.directory / "agent", world.cluster.kubeconfig(AGENT),
            world.manager, token=world.registration_token(),
            workspace=WORKSPACE,
        ).start()
        self.walk(GitRepo())

    def test_3_helm_op(self):
        self.walk(HelmOp())

    def test_4_a_bundle_without_objects_waits_for_nothing(self):
        source = GitRepo()
        source.put({"nothing.yaml": "# No object.\n"})
        self.wait(source, "Ready", "", {})
        self.end(source)

    def walk(self, source):
        """One source through all states."""
        source.put({"settings.yaml": config_map("a")})
        self.wait(source, "Ready", "", {"ready": 1, "desiredReady": 1})

        world.client.patch(
            "ConfigMap", "settings", {"data": {"key": "changed"}}, NAMESPACE,
            field_manager="somebody",
        )
        self.wait(source, "Modified", ".*configmap states/settings: data.key is .*somebody.*",
                  {"modified": 1, "desiredReady": 1})

        source.put({"settings.yaml": config_map("b")})
        self.wait(source, "Ready", "", {"ready": 1, "desiredReady": 1})
        source.pause(True)
        source.put({"settings.yaml": config_map("c")})
        self.wait(source, "OutOfSync", "paused: what is newer is held back",
                  {"ready": 1, "desiredReady": 1})
        source.pause(False)
        self.wait(source, "Ready", "", {"ready": 1, "desiredReady": 1})

        source.put({"settings.yaml": config_map("d")}, {"helm": {"valuesFrom": [
            {"configMapKeyRef": {"name": "absent", "namespace": "default",
                                 "key": "values.yaml"}},
        ]}})
        self.wait(source, "ErrApplied",
                  ".*helm.valuesFrom: ConfigMap default/absent .*", None)

        source.put({"web.yaml": web(replicas=-1)})
        self.wait(source, "ErrApplied", ".*deployment.*web.*replicas.*",
                  None)

        source.put({"web.yaml": web()})
        self.wait(source, "NotReady", "deployment.apps states/web: .*",
                  {"notReady": 1, "desiredReady": 1})

        world.agent.pause()
        try:
            source.put({"settings.yaml": config_map("e")})
            self.wait(source, "WaitApplied", "the agent has not spoken of.*",
                      None)
        finally:
            world.agent.resume()
        self.wait(source, "Ready", "", {"ready": 1, "desiredReady": 1})

        world.agent.kill()
        self.wait(source, "NotReady", "the agent is offline",
                  {"unknown": 1, "desiredReady": 1}, live_state="Offline")
        world.agent.start()
        self.wait(source, "Ready", "", {"ready": 1, "desiredReady": 1})
        self.end(source)

    def end(self, source):
        world.client.delete(source.kind, source.name, WORKSPACE, FLEET)
        wait_until(
            lambda: world.find(source.name, source.kind) is None, 60,
            f"end of the {source.kind}",
        )

    def wait(self, source, state, text, objects, live_state=None):
        """Waits until everything says so; reports what differs."""
        with self.subTest(kind=source.kind, state=state):
            wait_until(
                functools.partial(
                    self.check, source, state, text, objects,
                    live_state or state,
                ), 40, f"{source.kind} as {state} everywhere",
            )

    def check(self, source, state, text, objects, live_state):
        done = state == "Ready"
        count = "1/1" if done else "0/1"
        messages = {
            source.kind: rf"{state}\(1\) \[Bundle {source.bundle} on local: "
                         rf"{text}\]",
            "Cluster": text if live_state == "Offline"
            else rf"{state}\(1\) \[Bundle {source.bundle}: {text}\]",
        }
        messages["ClusterGroup"] = (
            rf"{state}\(1\) \[Cluster local: {messages['Cluster']}\]"
        )
        names = {source.kind: source.name, "Cluster": "local",
                 "ClusterGroup": "default"}
        columns = {
            source.kind: {"BundleDeployments-Ready": count},
            "Cluster": {"Bundles-Ready": count},
            "ClusterGroup": {
                "Bundles-Ready": count,
                "Clusters-Ready": count if done else "0/1 (local)",
            },
        }
        displays = {
            source.kind: {"readyBundleDeployments": count},
            "Cluster": {"readyBundles": count},
            "ClusterGroup": {
                "readyBundles": count,
                "readyClusters": columns["ClusterGroup"]["Clusters-Ready"],
            },
        }
        summary = {"ready": int(done), "desiredReady": 1, COUNTERS[state]: 1}
        for kind, name in names.items():
            with_kind = f"{kind}: "
            shown = status(kind, name)
            line = row(kind, name)
            self.assertLessEqual(
                columns[kind].items(), line.items(), with_kind + str(line)
            )
            condition = ready(shown)
            self.assertEqual(condition["status"], str(done), with_kind)
            if done:
                self.assertIsNone(line["Status"], with_kind)
                self.assertNotIn("message", condition)
            else:
                self.assertRegex(line["Status"],
                                 re.compile(f"^{messages[kind]}$", re.S))
                self.assertEqual(condition["reason"], state)
                self.assertEqual(condition["message"], line["Status"])
            told = dict(shown["summary"])
            waiting = told.pop("nonReadyResources", [])
            self.assertEqual(told, summary, with_kind)
            if kind != "ClusterGroup":
                self.assertEqual(
                    [(f"{WORKSPACE}/{source.bundle}", state)] * (not done),
                    [(one["name"], one["bundleState"]) for one in waiting],
                )
            display = dict(shown["display"])
            self.assertEqual(display.pop("state", ""), "" if done else state,
                             with_kind)
            if kind == source.kind:
                self.assertEqual(
                    display.pop("error", False), state == "ErrApplied"
                )
                self.assertEqual("message" in display, not done)
                display.pop("message", None)
            self.assertEqual(display, displays[kind])
            if objects is not None:
                self.assertEqual(
                    shown["resourceCounts"],
                    {key: objects.get(key, 0) for key in OBJECT_COUNTERS},
                    with_kind,
                )
        shown = status(source.kind, source.name)
        self.assertEqual(
            (shown["readyClusters"], shown["desiredReadyClusters"]),
            (int(done), 1),
        )
        group = status("ClusterGroup", "default")
        self.assertEqual(
            (group["clusterCount"], group["nonReadyClusterCount"],
             group.get("nonReadyClusters", [])),
            (1, int(not done), ["local"] * (not done)),
        )
        cluster = status("Cluster", "local")
        for kind, plural in (("GitRepo", "GitRepos"), ("HelmOp", "HelmOps")):
            there = int(kind == source.kind)
            self.assertEqual(
                (cluster[f"ready{plural}"], cluster[f"desiredReady{plural}"]),
                (there * done, there), plural,
            )
        self.assertIn("lastSeen", cluster["agent"])
        for kind, name in (
            (source.cli, source.name), ("bundles", source.bundle),
            ("clusters", "local"), ("clustergroups", "default"),
        ):
            self.assertEqual(live(kind, name)["state"], live_state, kind)
        self.assertRegex(
            live("bundles", source.bundle).get("message", ""),
            re.compile("^$" if done else
                       rf"^{live_state}\(1\) \[Cluster local: .*\]$", re.S),
        )
        document = json.loads(world.manager.cli(
            "get", "document", source.kind.lower(), source.name,
            "--workspace", WORKSPACE, "-o", "json",
        ))["status"]
        for key in ("summary", "display", "resourceCounts"):
            self.assertEqual(document[key], shown[key])
        return True


if __name__ == "__main__":
    junit.main()
