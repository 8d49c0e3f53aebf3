# SPDX-License-Identifier: Apache-2.0
"""A management cluster that is also the one that is deployed to."""

import base64
import pathlib
import shutil
import subprocess
import tempfile

from e2e.cluster.cluster import ADMIN, MANAGER
from e2e.cluster.fleet import Fleet
from e2e.cluster.kube_client import ApiError
from e2e.testing.flotilla import Manager
from e2e.testing.git_server import GitServer
from e2e.testing.processes import wait_until
from e2e.testing.repo import Repo

ROOT = pathlib.Path(__file__).absolute().parents[2]
EXAMPLES = ROOT / "docs" / "examples"
RESOURCES = EXAMPLES / "fleet-resources"
FLEET = "fleet.cattle.io/v1alpha1"
WORKSPACE = "fleet-local"
KINDS = (
    "Bundle", "BundleNamespaceMapping", "Cluster", "ClusterGroup",
    "ClusterRegistrationToken", "GitRepo", "GitRepoRestriction", "HelmOp",
    "Policy",
)
NAMESPACE = "fleet-sample-simple"
KUBECTL = shutil.which("kubectl")


class World:
    """A management cluster that is also the one that is deployed to."""

    def __init__(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="quickstart-"))
        self.fleet = Fleet(["local"], self.directory / "clusters")
        self.cluster = self.fleet["local"]
        self.git = GitServer(self.directory / "git")
        self.manager = None
        self.agent = None
        self.client = None

    def start(self, prepare=None):
        """`prepare` is called before the manager is started."""
        self.fleet.start()
        self.client = self.cluster.client(ADMIN)
        self.git.start()
        repo = Repo(self.git.root / "gitops-fleet.git")
        repo.copy(EXAMPLES / "gitops-fleet")
        repo.commit(message="the exercise repository")
        self.repo = repo
        self.client.apply_yaml(
            (EXAMPLES / "management-cluster" / "rbac.yaml").read_text()
        )
        self.client.create({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding", "metadata": {"name": "e2e-manager"},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "ClusterRole", "name": "flotilla-manager",
            },
            "subjects": [{
                "apiGroup": "rbac.authorization.k8s.io", "kind": "User",
                "name": MANAGER,
            }],
        })
        if prepare:
            prepare()
        self.manager = Manager(self.directory / "manager", [
            "--kubeconfig", self.cluster.kubeconfig(MANAGER),
        ]).start()
        wait_until(
            lambda: self.client.find(
                "ClusterGroup", "default", WORKSPACE, FLEET
            ),
            30, "ClusterGroup default in the management cluster",
        )
        wait_until(self.serves_all, 30, "kinds that are served")

    def serves_all(self):
        # A new kind is answered by 429 for a moment.
        try:
            for kind in KINDS:
                self.client.list(kind, WORKSPACE, api_version=FLEET)
        except ApiError as error:
            if error.code == 429:
                return False
            raise
        return True

    def crd(self, plural):
        return self.client.get(
            "CustomResourceDefinition", f"{plural}.fleet.cattle.io"
        )

    def stop(self):
        if self.agent:
            self.agent.kill()
        if self.manager:
            self.manager.kill()
        self.git.stop()
        self.fleet.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    # Objects of Fleet's kinds.

    def apply(self, file, **words):
        """`kubectl apply -f` of a sample; `words` are replaced in it."""
        text = (RESOURCES / file).read_text().replace(
            "http://127.0.0.1:3000/gitops-fleet.git",
            self.git.url("gitops-fleet.git"),
        ).replace("pollingInterval: 15s", "pollingInterval: 1s")
        for old, new in words.items():
            text = text.replace(old, new)
        if KUBECTL:
            return self.kubectl("apply", "-f", "-", stdin=text)
        return self.client.apply_yaml(text)

    def kubectl(self, *arguments, stdin=None):
        done = subprocess.run(
            [KUBECTL, "--kubeconfig", self.cluster.kubeconfig(ADMIN),
             *arguments],
            input=stdin, text=True, capture_output=True, check=False,
            timeout=30,
        )
        if done.returncode != 0:
            raise RuntimeError(done.stderr)
        return done.stdout

    def find(self, name="simple", kind="GitRepo", namespace=WORKSPACE):
        return self.client.find(kind, name, namespace, FLEET)

    def condition(self, kind_of_condition, name="simple"):
        status = (self.find(name) or {}).get("status", {})
        return next(
            (c for c in status.get("conditions", [])
             if c["type"] == kind_of_condition), {},
        )

    def wait_condition(self, kind_of_condition, status, name="simple"):
        return wait_until(
            lambda: self.condition(kind_of_condition, name).get("status")
            == status and self.condition(kind_of_condition, name),
            20, f"{kind_of_condition}={status} on GitRepo {name}",
        )

    def row(self, kind):
        """The one line of `kubectl get`, by column."""
        columns, rows = self.client.table(kind, WORKSPACE, FLEET)
        [cells] = rows.values()
        return dict(zip(columns, cells))

    def deployment(self):
        return self.client.find("Deployment", "frontend", NAMESPACE) or next(
            iter(self.client.list("Deployment", NAMESPACE)), None
        )

    def wait_running(self):
        return wait_until(
            lambda: (self.deployment() or {}).get("status", {}).get(
                "availableReplicas"
            ), 60, "pods of the sample",
        )

    def documents(self):
        found = self.manager.cli_json(
            "get", "gitrepos", "--workspace", WORKSPACE
        )
        return {repo["name"]: repo for repo in found.get("gitRepos", [])}

    def writes(self, mark):
        return [
            f"{e['verb']} {e['objectRef'].get('resource')}"
            f"/{e['objectRef'].get('subresource', '')}"
            f" {e['objectRef'].get('name')}"
            for e in self.cluster.audit(
                since=mark, user=MANAGER,
                verbs=self.cluster.audit_log.WRITES,
            )
        ]

    def registration_token(self):
        """What an agent enrolls with, once its Secret is there."""
        secret = wait_until(
            lambda: self.client.find("Secret", "local", WORKSPACE), 20,
            "Secret of the ClusterRegistrationToken",
        )
        return base64.b64decode(secret["data"]["token"]).decode()
