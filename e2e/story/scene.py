# SPDX-License-Identifier: Apache-2.0
"""A whole Flotilla on this machine: clusters, manager, agents, Git server.

    with Scene({"dev": {"env": "dev"}, "prod": {"env": "prod"}}) as scene:
        repo = scene.repo("fleet")
        repo.commit({"app/x.yaml": ...})
        scene.apply(git_repo("fleet", scene.url("fleet"), ["app"]))
        scene.wait_ready(git_repo="fleet")

Everything is a real process on loopback and dies with this program.
"""

import concurrent.futures
import pathlib
import shutil
import tempfile

from e2e.cluster.audit_log import AuditLog
from e2e.cluster.cluster import ADMIN, AGENT
from e2e.cluster.fleet import Fleet
from e2e.story import documents
from e2e.testing.flotilla import Agent, Manager
from e2e.testing.git_server import GitServer
from e2e.testing.processes import wait_until
from e2e.testing.repo import Repo

# What a started agent may need to connect and to send what it knows.
_CONNECT_TIMEOUT = 60


class Scene:
    """Everything that a story needs; `clusters` maps names to labels.

    A directory of its own is made, and removed by stop(), when none is given.
    """

    def __init__(self, clusters, directory=None):
        self._owns_directory = directory is None
        self.directory = pathlib.Path(
            directory or tempfile.mkdtemp(prefix="flotilla-scene-")
        ).absolute()
        self.directory.mkdir(parents=True, exist_ok=True)
        self.labels = dict(clusters)
        self.fleet = Fleet(list(self.labels), self.directory / "clusters")
        self.git = GitServer(self.directory / "git")
        self.manager = Manager(self.directory / "manager")
        self.agents = {}
        self._admins = {}

    # Starting and stopping.

    def start(self, progress=lambda line: None):
        """Starts everything; returns once each agent has connected."""
        try:
            self.start_clusters(progress)
            self.start_git_and_manager()
            self.start_agents()
        except BaseException:
            self.stop()
            raise
        return self

    def start_clusters(self, progress=lambda line: None):
        self.fleet.start(progress)
        self._admins = {
            cluster.name: cluster.client(ADMIN) for cluster in self.fleet
        }

    def start_git_and_manager(self):
        self.git.start()
        self.manager.start()

    def start_agents(self, names=None):
        for name in names or self.labels:
            agent = Agent(
                name, self.directory / f"agent-{name}",
                self.fleet[name].kubeconfig(AGENT), self.manager,
                self.labels[name],
            )
            self.agents[name] = agent
            agent.start()
        self.wait_online(names)

    def stop(self):
        for agent in self.agents.values():
            agent.kill()
        self.manager.kill()
        self.git.stop()
        self.fleet.stop()
        if self._owns_directory:
            shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    # Git and documents.

    def repo(self, name):
        """The repository of that name, empty at first."""
        return Repo(self.git.root / f"{name}.git")

    def url(self, name):
        return self.git.url(f"{name}.git")

    def apply(self, *docs):
        return self.manager.cli(
            "apply", "-f", "-", stdin=documents.text(*docs)
        )

    def delete(self, kind, name, ignore_not_found=False):
        options = ["--ignore-not-found"] if ignore_not_found else []
        return self.manager.cli("delete", kind, name, *options)

    def sync(self, git_repo):
        return self.manager.cli("sync", git_repo)

    # What the manager says.

    def git_repo(self, name):
        found = self.manager.cli_json("get", "gitrepos", name)
        return found["gitRepos"][0]

    def cluster(self, name):
        return self.manager.cli_json("get", "clusters", name)["clusters"][0]

    def deployments(self, git_repo=None, bundle=None, cluster=None):
        arguments = _filter(gitrepo=git_repo, bundle=bundle, cluster=cluster)
        found = self.manager.cli_json("get", "deployments", *arguments)
        return found.get("deployments", [])

    def resources(self, **filters):
        """ResourceStatus of each resource, with "cluster" and "bundle"."""
        found = self.manager.cli_json("get", "resources", *_filter(**filters))
        return [
            {**resource.get("status", {}), "cluster": resource["cluster"],
             "bundle": resource["bundle"]}
            for resource in found.get("resources", [])
        ]

    def drift(self, **filters):
        """DriftRecord of each drift, with "cluster"; newest first."""
        found = self.manager.cli_json("get", "drift", *_filter(**filters))
        return [
            {**drift["record"], "cluster": drift["cluster"]}
            for drift in found.get("drift", [])
        ]

    def frames(self, cluster):
        """{"received Ping": 3, ...} of the cluster's current session."""
        frames = self.cluster(cluster).get("frames", {})
        return {
            f"{direction} {kind}": int(count)
            for direction in ("received", "sent")
            for kind, count in frames.get(direction, {}).items()
        }

    # Waiting for it.

    def wait_online(self, names=None):
        for name in names or self.labels:
            wait_until(
                lambda: self.cluster(name).get("online")
                and self.cluster(name).get("kubeVersion"),
                _CONNECT_TIMEOUT, f"connection of {name}'s agent",
            )

    def wait_ready(
        self, git_repo=None, bundle=None, count=None, commit=None,
        changes=True, timeout=60,
    ):
        """Waits until all deployments are Ready; returns them.

        `count` is their number, that of all clusters by default; `commit`
        the one that the GitRepo must have come to. A deployment keeps the
        commit that last changed it, so at least one bundle must have this one
        in all clusters, unless it `changes` none.
        """
        count = len(self.labels) if count is None else count
        seen = []

        def arrived():
            repo = self.git_repo(git_repo)
            if repo.get("commit", {}).get("id") != commit:
                return False
            changed = {
                d["bundle"] for d in seen if d["commit"]["id"] == commit
            }
            return (
                repo["state"] == "Ready" and bool(changed) == changes
                and all(
                    d["commit"]["id"] == commit
                    for d in seen if d["bundle"] in changed
                )
            )

        def ready():
            seen[:] = self.deployments(git_repo, bundle)
            return (
                len(seen) == count
                and all(found["state"] == "Ready" for found in seen)
                and (commit is None or arrived())
            )

        try:
            wait_until(ready, timeout, "Ready")
        except TimeoutError as error:
            raise TimeoutError(
                f"not {count} deployments of {git_repo or bundle} Ready "
                f"within {timeout} s: {describe(seen)} ({error})"
            ) from None
        return list(seen)

    def wait_gone(self, git_repo=None, bundle=None, timeout=60):
        """Waits until the manager knows no deployment of it any more."""
        wait_until(
            lambda: not self.deployments(git_repo, bundle), timeout,
            f"end of the deployments of {git_repo or bundle}",
        )

    def wait_drift(self, timeout=30, **wanted):
        """Waits for a drift record; `name` and `kind` are the object's."""

        def fits(record):
            return all(
                record.get(key, record["key"].get(key, "")) == value
                for key, value in wanted.items()
            )

        return wait_until(
            lambda: next(filter(fits, self.drift()), None), timeout,
            f"drift with {wanted}",
        )

    def everywhere(self, call, clusters=None):
        """Calls `call(name, admin client)` for each cluster at once.

        Returns {name: result}.
        """
        names = list(clusters or self.labels)
        with concurrent.futures.ThreadPoolExecutor(len(names)) as pool:
            results = pool.map(
                lambda name: call(name, self._admins[name]), names
            )
            return dict(zip(names, results))

    def admin(self, cluster):
        return self._admins[cluster]

    # What the API servers say.

    def marks(self):
        """Places in the audit logs of all clusters, for writes()."""
        return {c.name: c.audit_log.mark() for c in self.fleet}

    def writes(self, marks, cluster=None, verbs=AuditLog.WRITES):
        """Writes of the agents since `marks`, as "verb kind namespace/name".
        """
        found = []
        for name, mark in marks.items():
            if cluster in (None, name):
                found += [
                    f"{name}: {describe_event(event)}"
                    for event in self.fleet[name].audit(
                        since=mark, user=AGENT, verbs=verbs
                    )
                    if is_change(event)
                ]
        return found

    def deletes(self, marks, cluster=None):
        return self.writes(marks, cluster, ("delete", "deletecollection"))

    def log_tails(self, lines=25):
        """The ends of the logs of manager and agents, for people."""
        found = []
        for program in [self.manager, *self.agents.values()]:
            if program.process:
                found.append(
                    f"--- {program.name}: {program.process.log}\n"
                    f"{program.process.log_tail(lines)}"
                )
        return "\n".join(found)


def is_change(event):
    """Whether a write was one: a dry-run or a review changes nothing."""
    reference = event.get("objectRef", {})
    return "dryRun=" not in event["requestURI"] and not reference.get(
        "resource", ""
    ).endswith("reviews")


def describe_event(event):
    reference = event.get("objectRef", {})
    name = "/".join(filter(None, (
        reference.get("namespace"), reference.get("name"),
    )))
    return f"{event['verb']} {reference.get('resource')} {name}"


def describe(deployments):
    """A line for each deployment, for messages."""
    return "; ".join(
        f"{d['bundle']} on {d['cluster']}: {d['state']} "
        f"{d.get('message', '')}".rstrip()
        for d in deployments
    ) or "no deployment"


def is_available(deployment):
    """Whether a Deployment of a cluster runs what its spec says."""
    status = deployment.get("status", {})
    wanted = deployment["spec"]["replicas"]
    return (
        status.get("observedGeneration")
        == deployment["metadata"]["generation"]
        and status.get("availableReplicas", 0) == wanted
        and status.get("updatedReplicas", 0) == wanted
        and status.get("replicas", 0) == wanted
    )


def inventory(client):
    """Every object of a cluster: {(group, plural, namespace, name): uid}.

    Events and what the control plane keeps for itself are left out.
    """
    paths = {"": "/api/v1"}
    for group in client.request("GET", "/apis")["groups"]:
        version = group["preferredVersion"]["groupVersion"]
        paths[group["name"]] = f"/apis/{version}"
    found = {}
    for group, path in paths.items():
        if group in ("events.k8s.io", "coordination.k8s.io"):
            continue
        for resource in client.request("GET", path)["resources"]:
            plural = resource["name"]
            if (
                "/" in plural or plural == "events"
                or not {"list", "delete"} <= set(resource["verbs"])
            ):
                continue
            answer = client.request("GET", f"{path}/{plural}")
            for item in answer.get("items") or []:
                metadata = item["metadata"]
                key = (
                    group, plural, metadata.get("namespace", ""),
                    metadata["name"],
                )
                found[key] = metadata["uid"]
    return found


def _filter(gitrepo=None, bundle=None, cluster=None):
    arguments = []
    for flag, value in (
        ("--gitrepo", gitrepo), ("--bundle", bundle), ("--cluster", cluster),
    ):
        if value:
            arguments += [flag, value]
    return arguments
