# SPDX-License-Identifier: Apache-2.0
"""The story of `./tools/demo`: from a Git repository to three clusters.

    python3 -m e2e.story.demo [--keep]

Run from the root of the work tree once everything is built; `./tools/demo`
does that. Each step prints what happened as it is on the clusters and in
their audit logs. A step that fails ends the program with exit code 1.
"""

import argparse
import datetime
import json
import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from e2e.cluster.cluster import AGENT, JANE
from e2e.story import documents
from e2e.story.narrator import Narrator, StepFailed, table
from e2e.story.scene import (
    Scene, describe_event, inventory, is_available, is_change,
)
from e2e.testing import binaries
from e2e.testing.flotilla import CLI
from e2e.testing.processes import exit_on_signals, wait_until

CLUSTERS = {name: {"env": name} for name in ("dev", "staging", "prod")}
EXAMPLE = binaries.ROOT / "docs" / "examples" / "gitops-fleet"
SIMPLE = "fleet-sample-simple"
HELM = "fleet-sample-helm"
# {namespace: {cluster: {Deployment: replicas}}} after the first commit.
EXPECTED = {
    SIMPLE: {name: {"web": 2} for name in CLUSTERS},
    HELM: {
        "staging": {"guestbook-frontend": 1, "guestbook-cache": 1},
        "prod": {"guestbook-frontend": 3, "guestbook-cache": 1},
    },
}
# What every namespace has without anybody asking for it.
MADE_BY_KUBERNETES = ("kube-root-ca.crt", "default")
TIMEOUT = 120


class Demo:
    """The steps in order; `scene` and `tell` may be looked at afterwards."""

    def __init__(self, directory, narrator=None):
        self.directory = pathlib.Path(directory).absolute()
        self.tell = narrator or Narrator()
        self.scene = Scene(CLUSTERS, self.directory)
        self.documents = self.directory / "fleet-resources"
        self.repo = None
        self._before = {}
        self._added = None

    def run(self):
        """Tells the whole story. Raises StepFailed."""
        self.start()
        self.deliver()
        self.spread_a_commit()
        self.heal_what_jane_did()
        self.heal_without_a_manager()
        self.bring_the_manager_back()
        self.roll_back()
        self.ask_with_grpcurl()
        self.delete_the_git_repos()
        self.tell.summary()

    # The steps.

    def start(self):
        scene, tell = self.scene, self.tell
        with tell.step("Start a Git server, a manager and three clusters"):
            scene.start_clusters()
            for cluster in scene.fleet:
                version = scene.admin(cluster.name).request("GET", "/version")
                tell.say(
                    f"cluster {cluster.name}: Kubernetes "
                    f"{version['gitVersion']} at {cluster.url}"
                )
            scene.start_git_and_manager()
            tell.say(f"Git server at {scene.git.url('')}")
            tell.say(
                f"manager: agents connect to {scene.manager.address}, people "
                f"to {scene.manager.admin_address}"
            )
            tell.run("flotilla token create --name dev --labels env=dev")
            tell.run("agent --kubeconfig FILE --manager ADDRESS --token TEXT")
            scene.start_agents()
            tell.say("each cluster's agent has enrolled and connected")
            self._cli("get", "clusters")
            self._before = scene.everywhere(
                lambda _, client: inventory(client)
            )

    def deliver(self):
        scene, tell = self.scene, self.tell
        with tell.step("From a Git repository to running pods"):
            self.repo = scene.repo("gitops-fleet")
            for folder in ("simple", "helm"):
                self.repo.copy(EXAMPLE / folder, folder)
            commit = self.repo.commit(message="The exercise repository")
            self._write_documents()
            url = scene.url("gitops-fleet")
            tell.say(f"pushed commit {commit[:12]} to {url}")
            self._cli("apply", "-f", self.documents)
            scene.wait_ready("simple", count=3, commit=commit, timeout=TIMEOUT)
            scene.wait_ready("helm", count=2, commit=commit, timeout=TIMEOUT)
            tell.say("the manager shows every deployment Ready")
            self._expect_pods(EXPECTED)
            tell.say("pods as the clusters list them:")
            tell.show(self._pods())
            self._expect(
                scene.admin("dev").find("Namespace", HELM) is None,
                f"{HELM} was not meant for dev and is there",
            )
            self._cli("get", "gitrepos")

    def spread_a_commit(self):
        scene, tell = self.scene, self.tell
        with tell.step("A commit spreads"):
            web = (self.repo.work / "simple/deployment.yaml").read_text()
            self._added = {
                "simple/flags.yaml": documents.text(
                    documents.config_map("feature-flags", {"banner": "on"})
                ),
                "simple/worker.yaml": documents.text(
                    documents.deployment("worker")
                ),
            }
            commit = self.repo.commit({
                "simple/deployment.yaml":
                    web.replace("replicas: 2", "replicas: 3"),
                **self._added,
            }, "More replicas, feature flags and a worker")
            tell.say(
                f"pushed {commit[:12]}: web gets 3 replicas; feature-flags "
                "and worker are new"
            )
            began = time.monotonic()
            self._cli("sync", "simple")

            def arrived(_, client):
                client.wait(
                    "ConfigMap", lambda found: _named(found, "feature-flags"),
                    SIMPLE, timeout=TIMEOUT, what="feature-flags",
                )
                return time.monotonic() - began

            for name, seconds in scene.everywhere(arrived).items():
                tell.say(f"{name} has it {seconds:.2f} s after the sync began")
            scene.wait_ready("simple", commit=commit, timeout=TIMEOUT)
            self._expect_pods({SIMPLE: {
                name: {"web": 3, "worker": 1} for name in CLUSTERS
            }})
            tell.say("pods as the clusters list them:")
            tell.show(self._pods([SIMPLE]))
            self._cli("get", "deployments", "--gitrepo", "simple")

    def heal_what_jane_did(self):
        scene, tell = self.scene, self.tell
        with tell.step("Manual changes are shown with who did it, and healed"):
            marks = scene.marks()
            self._kubectl("dev", SIMPLE, "scale", "deployment", "web",
                          "--replicas=5")
            scaled = scene.wait_drift(
                name="web", kind="Deployment", path="spec.replicas",
                fieldManager="kubectl", action="DRIFT_ACTION_CORRECTED",
            )
            self._expect(
                (scaled["wanted"], scaled["live"]) == ("3", "5"),
                f"the drift of replicas is reported as {scaled}",
            )
            self._await_replicas("dev", SIMPLE, "web", 3)
            self._say_healed(marks, "dev", "deployments", "web")

            service = scene.admin("staging").get("Service", "web", SIMPLE)
            self._kubectl("staging", SIMPLE, "delete", "service", "web")
            deleted = scene.wait_drift(
                name="web", kind="Service",
                operation="DRIFT_OPERATION_OBJECT_DELETED",
                action="DRIFT_ACTION_CORRECTED",
            )
            self._expect(
                not deleted.get("fieldManager"),
                "Kubernetes does not record who deletes, and the drift names "
                f"{deleted.get('fieldManager')}",
            )
            again = scene.admin("staging").get("Service", "web", SIMPLE)
            self._expect(
                again["metadata"]["uid"] != service["metadata"]["uid"],
                "the Service was never gone",
            )
            self._say_healed(marks, "staging", "services", "web")
            self._cli("get", "drift")
            tell.say(
                "who deletes is not recorded in Kubernetes objects, so that "
                "drift says \"unknown\"; the audit log of this test cluster "
                "knows: " + ", ".join(sorted({
                    event["user"]["username"]
                    for event in scene.fleet["staging"].audit(
                        since=marks["staging"], verbs="delete",
                        resource="services", name="web",
                    )
                }))
            )
            scene.wait_ready("simple")

    def heal_without_a_manager(self):
        scene, tell = self.scene, self.tell
        with tell.step("The manager is killed, and drift still heals"):
            scene.manager.kill()
            tell.say("manager: SIGKILL")
            marks = scene.marks()
            self._kubectl("prod", HELM, "scale", "deployment",
                          "guestbook-frontend", "--replicas=1")
            self._await_replicas("prod", HELM, "guestbook-frontend", 3)
            self._say_healed(marks, "prod", "deployments",
                             "guestbook-frontend")
            self._kubectl("dev", SIMPLE, "delete", "configmap", "web-settings")
            self._await("dev", SIMPLE, "ConfigMap", "web-settings")
            self._say_healed(marks, "dev", "configmaps", "web-settings")

    def bring_the_manager_back(self):
        scene, tell = self.scene, self.tell
        with tell.step("The manager comes back, and nothing is re-applied"):
            # The cluster's own work after the healing is over then.
            self._expect_pods({HELM: {"prod": EXPECTED[HELM]["prod"]}})
            marks = scene.marks()
            scene.manager.start()
            tell.say("manager: started again on the same data")
            scene.wait_online()
            tell.say("all agents have connected again by themselves")
            scene.wait_ready("simple", count=3)
            scene.wait_ready("helm", count=2)
            # A write that is on its way would show up by then.
            time.sleep(2)
            for name in CLUSTERS:
                writes = scene.writes(marks, name)
                self._expect(
                    not writes, f"there were writes by the agent: {writes}"
                )
                tell.say(
                    f"{name}: {len(writes)} writes by the agent since, says "
                    "the API server's audit log"
                )
            self._cli("get", "deployments")

    def roll_back(self):
        scene, tell = self.scene, self.tell
        with tell.step("git revert rolls back and prunes what was added"):
            marks = scene.marks()
            commit = self.repo.revert()
            tell.run("git revert HEAD && git push")
            self._cli("sync", "simple")
            scene.wait_ready("simple", commit=commit, timeout=TIMEOUT)
            self._expect_pods({SIMPLE: EXPECTED[SIMPLE]})
            for name in CLUSTERS:
                deleted = sorted(
                    describe_event(event)
                    for event in self._agent_deletes(marks, name)
                )
                self._expect(
                    deleted == [
                        f"delete configmaps {SIMPLE}/feature-flags",
                        f"delete deployments {SIMPLE}/worker",
                    ],
                    f"{name}: the agent's deletes were {deleted}",
                )
                tell.say(f"{name}, audit log: {', '.join(deleted)}")
            tell.show(self._pods([SIMPLE]))

    def ask_with_grpcurl(self):
        scene, tell = self.scene, self.tell
        with tell.step("grpcurl shows the same state"):
            services = self._grpcurl("list")
            tell.show(services)
            for service in ("flotilla.admin.v1.AdminService",
                            "grpc.health.v1.Health"):
                self._expect(
                    service in services.split(), f"{service} is not listed"
                )
            described = self._grpcurl(
                "describe", "flotilla.admin.v1.AdminService.ListDeployments"
            )
            self._expect(
                "ListDeploymentsRequest" in described,
                "the method is not described",
            )
            tell.show(described)
            health = json.loads(
                self._grpcurl("call", "grpc.health.v1.Health/Check")
            )
            self._expect(
                health.get("status") == "SERVING", f"health is {health}"
            )
            tell.show(json.dumps(health))
            answer = json.loads(self._grpcurl(
                "call", "flotilla.admin.v1.AdminService/ListDeployments"
            ))
            rows = [
                (d["cluster"], d["bundle"], d["state"], d["commit"]["id"])
                for d in answer["deployments"]
            ]
            same = [
                (d["cluster"], d["bundle"], d["state"], d["commit"]["id"])
                for d in scene.deployments()
            ]
            self._expect(
                rows == same, f"grpcurl has {rows}, the CLI has {same}"
            )
            tell.show(table(
                ("CLUSTER", "BUNDLE", "STATE", "COMMIT"),
                [(*row[:3], row[3][:12]) for row in rows],
            ))
            tell.say("the same five deployments as `flotilla get deployments`")

    def delete_the_git_repos(self):
        scene, tell = self.scene, self.tell
        with tell.step("Deleting the GitRepos removes what they made"):
            for name in CLUSTERS:
                scene.fleet[name].client(JANE).create(documents.config_map(
                    "hand-made", {"by": "jane"}, SIMPLE
                ))
            tell.say(f"jane makes ConfigMap hand-made in {SIMPLE} everywhere")
            wanted = scene.everywhere(
                lambda _, client: _managed(inventory(client), client)
            )
            marks = scene.marks()
            self._cli("delete", "-f", self.documents)
            notes = set()

            def gone():
                for deployment in scene.deployments():
                    notes.update(
                        deployment.get("observed", {}).get("notes", [])
                    )
                return not scene.manager.cli_json("get", "gitrepos").get(
                    "gitRepos"
                )

            wait_until(gone, TIMEOUT, "end of the GitRepos")
            for note in sorted(notes):
                tell.say(f"the agent notes: {note}")
            for name in CLUSTERS:
                self._expect_clean(name)
                deleted = sorted(
                    describe_event(event)
                    for event in self._agent_deletes(marks, name)
                )
                self._expect(
                    deleted == sorted(wanted[name]),
                    f"{name}: the agent deleted {deleted}, it had made "
                    f"{sorted(wanted[name])}",
                )
                tell.say(
                    f"{name}: {len(deleted)} objects deleted, each of them "
                    "made from Git, says the audit log"
                )
            for name, namespaces in (
                ("dev", [SIMPLE]), ("staging", [SIMPLE, HELM]),
                ("prod", [SIMPLE, HELM]),
            ):
                for namespace in namespaces:
                    found = scene.admin(name).get("Namespace", namespace)
                    self._expect(
                        found["status"]["phase"] == "Active",
                        f"{name}: namespace {namespace} is going",
                    )
            tell.say(
                f"the namespaces {SIMPLE} and {HELM} stay: others may use "
                "them, and nothing in Git asked for their end"
            )
            tell.say("jane's hand-made stays; nothing else is left:")
            tell.show(table(("CLUSTER", "NAMESPACE", "OBJECT"), [
                (name, key[2], f"{key[1]} {key[3]}")
                for name in CLUSTERS for key in self._remains(name)
            ]))

    # What --keep prints.

    def keep(self):
        """Delivers once more and says how to go on by hand."""
        scene, tell = self.scene, self.tell
        with tell.step("Deliver it once more, for you to go on with"):
            self._cli("apply", "-f", self.documents)
            scene.wait_ready("simple", count=3, timeout=TIMEOUT)
            scene.wait_ready("helm", count=2, timeout=TIMEOUT)
        quote = shlex.quote
        flotilla = quote(binaries.find(CLI))
        print(f"""
Everything runs until you press Ctrl-C here. In another terminal:

  export FLOTILLA_SERVER={scene.manager.admin_address}
  alias flotilla={flotilla}
  flotilla get clusters
  flotilla get resources --gitrepo simple
  flotilla describe gitrepo simple

Change something in Git; it is polled every 15 s, or at once with sync:

  cd {quote(str(self.repo.work))}
  sed -i s/hello/welcome/ simple/settings.yaml
  git -c user.name=you -c user.email=you@example.com commit -am welcome
  git push origin HEAD:main && flotilla sync

Change something by hand, and see it healed:
""")
        for name in CLUSTERS:
            print(
                "  kubectl --kubeconfig "
                f"{quote(scene.fleet[name].kubeconfig(JANE))} -n {SIMPLE} "
                "scale deployment web --replicas=7"
            )
        print(f"""  flotilla get drift

Look inside:

  {quote(binaries.find("e2e/cluster/grpcurl/grpcurl"))} -plaintext \\
      {scene.manager.admin_address} list
  less {quote(str(scene.manager.process.log))}
""", flush=True)
        while True:
            signal.pause()

    # How it is done.

    def _write_documents(self):
        """fleet-resources/ with our repository's URL."""
        shutil.rmtree(self.documents, ignore_errors=True)
        self.documents.mkdir()
        for file in sorted((EXAMPLE / "fleet-resources").iterdir()):
            lines = [
                f"  repo: {self.scene.url('gitops-fleet')}"
                if line.strip().startswith("repo:") else line
                for line in file.read_text(encoding="utf-8").splitlines()
            ]
            (self.documents / file.name).write_text(
                "\n".join(lines) + "\n", encoding="utf-8"
            )

    def _cli(self, *arguments):
        shown = " ".join(
            os.path.relpath(a, self.directory)
            if isinstance(a, pathlib.Path) else a for a in arguments
        )
        self.tell.run(f"flotilla {shown}")
        output = self.scene.manager.cli(*arguments)
        self.tell.show(output)
        return output

    def _kubectl(self, cluster, namespace, *arguments):
        self.tell.run(
            f"kubectl --context {cluster} -n {namespace} "
            f"{' '.join(arguments)}"
        )
        done = subprocess.run(
            ["kubectl", "--kubeconfig",
             self.scene.fleet[cluster].kubeconfig(JANE), "-n", namespace,
             *arguments],
            capture_output=True, text=True, check=False, timeout=60,
        )
        self._expect(
            done.returncode == 0, f"kubectl failed: {done.stderr.strip()}"
        )
        self.tell.say(f"jane, by hand, on {cluster}: {done.stdout.strip()}")

    def _grpcurl(self, verb, *arguments):
        argv = [] if verb == "call" else [verb]
        address = self.scene.manager.admin_address
        self.tell.run(f"grpcurl -plaintext {address} "
                      f"{' '.join([*argv, *arguments])}")
        done = subprocess.run(
            [binaries.find("e2e/cluster/grpcurl/grpcurl"), "-plaintext",
             address, *argv, *arguments],
            capture_output=True, text=True, check=False, timeout=60,
        )
        self._expect(
            done.returncode == 0, f"grpcurl failed: {done.stderr.strip()}"
        )
        return done.stdout

    def _expect(self, holds, otherwise):
        if not holds:
            raise StepFailed(otherwise)

    def _expect_pods(self, expected):
        """Waits for these Deployments, and no others, and their pods."""
        for namespace, clusters in expected.items():
            for name, wanted in clusters.items():

                def as_wanted(found):
                    return all(map(is_available, found)) and wanted == {
                        d["metadata"]["name"]: d["spec"]["replicas"]
                        for d in found
                    }

                client = self.scene.admin(name)
                client.wait(
                    "Deployment", as_wanted, namespace, timeout=TIMEOUT,
                    what=f"{name}: Deployments {wanted} in {namespace}, "
                    "available",
                )
                client.wait(
                    "Pod", lambda pods: len(pods) == sum(wanted.values())
                    and all(p["status"]["phase"] == "Running" for p in pods),
                    namespace, timeout=TIMEOUT,
                    what=f"{name}: {sum(wanted.values())} pods Running in "
                    f"{namespace}",
                )

    def _pods(self, namespaces=(SIMPLE, HELM)):
        rows = []
        for namespace in namespaces:
            for name in CLUSTERS:
                rows += [
                    (namespace, name, pod["metadata"]["name"],
                     pod["status"]["phase"])
                    for pod in self.scene.admin(name).list("Pod", namespace)
                ]
        return table(("NAMESPACE", "CLUSTER", "POD", "PHASE"), rows)

    def _await(self, cluster, namespace, kind, name):
        self.scene.admin(cluster).wait(
            kind, lambda found: _named(found, name), namespace,
            timeout=30, what=f"{cluster}: {kind} {namespace}/{name}",
        )

    def _await_replicas(self, cluster, namespace, name, replicas):
        self.scene.admin(cluster).wait(
            "Deployment",
            lambda found: _named(found, name)["spec"]["replicas"] == replicas,
            namespace, timeout=30,
            what=f"{cluster}: {replicas} replicas of {namespace}/{name}",
        )

    def _say_healed(self, marks, cluster, resource, name):
        """The time from jane's write to the agent's, by the audit log."""
        events = self.scene.fleet[cluster].audit(
            since=marks[cluster], name=name, resource=resource,
            verbs=("patch", "update", "delete"),
        )
        done = [e for e in events if e["user"]["username"] == JANE]
        healed = [
            e for e in events
            if e["user"]["username"] == AGENT and is_change(e)
        ]
        self._expect(done, "the manual change is not in the audit log")
        self._expect(healed, "the healing is not in the audit log")
        gap = _time(healed[-1]) - _time(done[-1])
        self.tell.say(
            f"{cluster}: {resource} {name} healed "
            f"{gap.total_seconds() * 1000:.0f} ms later ({JANE}: "
            f"{done[-1]['verb']}, {AGENT}: {healed[-1]['verb']}, says the "
            "audit log)"
        )

    def _agent_deletes(self, marks, name):
        return self.scene.fleet[name].audit(
            since=marks[name], user=AGENT,
            verbs=("delete", "deletecollection"),
        )

    def _remains(self, name):
        """What the story has left, Kubernetes' own things left out."""
        now = inventory(self.scene.admin(name))
        return sorted(
            key for key in now
            if key not in self._before[name]
            and key[3] not in MADE_BY_KUBERNETES
        )

    def _expect_clean(self, name):
        wanted = [("", "configmaps", SIMPLE, "hand-made")] + [
            ("", "namespaces", "", namespace)
            for namespace in ([HELM] if name != "dev" else []) + [SIMPLE]
        ]
        seen = []

        def clean():
            # Pods and ReplicaSets go when the cluster gets round to it.
            seen[:] = self._remains(name)
            return seen == sorted(wanted)

        try:
            wait_until(clean, 60, "end", every=0.3)
        except TimeoutError:
            raise StepFailed(
                f"{name}: after the deletion there are {seen}, wanted "
                f"{wanted}"
            ) from None
        missing = set(self._before[name]) - set(
            inventory(self.scene.admin(name))
        )
        self._expect(not missing, f"{name}: {missing} were there before")


def _named(found, name):
    return next((o for o in found if o["metadata"]["name"] == name), None)


def _time(event):
    return datetime.datetime.fromisoformat(
        event["stageTimestamp"].replace("Z", "+00:00")
    )


def _managed(objects, client):
    """Those of an inventory that bear our mark, as their deletes."""
    found = []
    for group, plural, namespace, name in objects:
        version = "v1" if not group else None
        if plural not in ("configmaps", "deployments", "services"):
            continue
        kind = {
            "configmaps": "ConfigMap", "deployments": "Deployment",
            "services": "Service",
        }[plural]
        labels = client.get(kind, name, namespace, version)["metadata"].get(
            "labels", {}
        )
        if labels.get("flotilla.dev/managed") == "true":
            found.append(f"delete {plural} {namespace}/{name}")
    return found


def main():
    parser = argparse.ArgumentParser(
        prog="./tools/demo",
        description="Three Kubernetes clusters on this machine, a manager, "
        "agents and a Git server tell what Flotilla does.",
    )
    parser.add_argument(
        "--keep", action="store_true",
        help="leave everything running at the end, until Ctrl-C",
    )
    arguments = parser.parse_args()
    exit_on_signals()
    directory = pathlib.Path(tempfile.mkdtemp(prefix="flotilla-demo-"))
    demo = Demo(directory)
    try:
        demo.run()
        if arguments.keep:
            demo.keep()
    except StepFailed as failure:
        print(f"\nThe demo failed at {failure}", file=sys.stderr)
        print(demo.scene.log_tails(), file=sys.stderr)
        print(f"All logs: {directory}", file=sys.stderr)
        directory = None
        sys.exit(1)
    finally:
        demo.scene.stop()
        if directory:
            shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
