# SPDX-License-Identifier: Apache-2.0
"""A test case that deploys a repository, and what the cluster makes of it."""

import base64
import re
import unittest

from e2e.story.documents import git_repo, namespace, on, text
from e2e.story.scene import Scene
from e2e.testing.processes import wait_until

# Where the service accounts are that deployments act as.
ACCOUNTS = "cattle-fleet-system"
RBAC = "rbac.authorization.k8s.io"
READ = ("get", "list", "watch")
WRITE = READ + ("create", "update", "patch", "delete")


class Case(unittest.TestCase):
    """Has a name for its GitRepo, its repository and its namespace.

    `Case.scene` is the world of all cases of a program; see share().
    """

    scene: Scene = None

    @classmethod
    def share(cls, scene):
        """For setUpModule(): starts the world and has it stopped."""
        cls.scene = scene
        unittest.addModuleCleanup(scene.stop)
        scene.start()

    def setUp(self):
        name = re.sub("[^a-z0-9]+", "-", self._testMethodName[5:])[:30]
        self.name = name.strip("-")
        self.dev = self.scene.admin("dev")

    def run(self, result=None):
        before = len(result.failures) + len(result.errors)
        super().run(result)
        if len(result.failures) + len(result.errors) > before:
            print(self.scene.log_tails(), flush=True)

    # Delivering.

    def commit(self, files, **options):
        """Puts `files` into the repository; `options` is app/fleet.yaml."""
        files = {f"app/{path}": content for path, content in files.items()}
        if options:
            options.setdefault("defaultNamespace", self.name)
            files["app/fleet.yaml"] = text(options)
        self.head = self.repo().commit(files)
        return self.head

    def repo(self):
        return self.scene.repo(self.name)

    def follow(self, *clusters, paths=("app",), **spec):
        """Applies the GitRepo; waits for nothing."""
        self.addCleanup(self.leave)
        self.scene.apply(git_repo(
            self.name, self.scene.url(self.name), paths,
            on(*(clusters or ("dev",))), **spec,
        ))

    def leave(self):
        """Deletes the GitRepo; returns once the cluster has let go of it."""
        self.scene.delete("gitrepo", self.name, True)
        self.scene.wait_gone(self.name)

    def sync(self):
        self.scene.sync(self.name)

    def ready(self, count=1, changes=True):
        """Waits until all is Ready and of the last commit."""
        return self.scene.wait_ready(
            git_repo=self.name, count=count, commit=self.head,
            changes=changes,
        )

    # What is said.

    def state(self, cluster="dev", path="app"):
        """(state, message) of the deployment of a path."""
        for found in self.scene.deployments(self.name, cluster=cluster):
            if found["bundle"] == f"{self.name}-{path}":
                return found["state"], found.get("message", "")
        return "", ""

    def wait_state(self, state, *words, cluster="dev", path="app"):
        """Waits for a state whose message has these words; the message."""

        def told():
            found, message = self.state(cluster, path)
            if found == state and all(word in message for word in words):
                return message or state
            raise AssertionError(f"it is {found}: {message}")

        return wait_until(told, 30, f"{state} with {words}")

    def wait_resource(self, name, word):
        """Waits until the status of that object has this word."""
        wait_until(
            lambda: any(
                found["key"]["name"] == name and word in found["message"]
                for found in self.scene.resources(gitrepo=self.name)
            ), 30, f"{word!r} of {name}",
        )

    def wait_told(self, *words):
        """Waits until a person reads these words wherever they look."""

        def told():
            repo = self.scene.git_repo(self.name)
            places = {
                "get gitrepos": self.scene.manager.cli(
                    "get", "gitrepos", self.name),
                "describe gitrepo": self.scene.manager.cli(
                    "describe", "gitrepo", self.name),
                "status of the GitRepo": self.scene.manager.cli(
                    "get", "document", "gitrepo", self.name, "-o", "json"),
                "-o json": repo.get("message", ""),
                "get deployments": self.scene.manager.cli(
                    "get", "deployments", "--gitrepo", self.name),
            }
            for place, said in places.items():
                for word in words:
                    if word not in said:
                        raise AssertionError(f"{word!r} not in {place}:\n"
                                             f"{said}")
            return True

        wait_until(told, 30, f"word of {words} everywhere")

    # What the cluster has.

    def live(self, name, kind="ConfigMap", cluster="dev", namespace=None):
        return self.scene.admin(cluster).find(
            kind, name, namespace or self.name
        )

    def writes(self, mark, namespace=None, cluster="dev"):
        """What the agent has changed in a namespace since `mark`."""
        return [
            line for line in self.scene.writes({cluster: mark})
            if namespace is None
            or re.search(rf" (\S+ )?{namespace}(/|$)", line)
        ]

    def mark(self, cluster="dev"):
        return self.scene.fleet[cluster].audit_log.mark()

    # What people do to a cluster.

    def make_namespace(self, name=None, cluster="dev", **metadata):
        obj = namespace(name or self.name)
        obj["metadata"].update(metadata)
        self.scene.admin(cluster).apply(obj)

    def put_secret(self, name, values, cluster="dev", namespace=None):
        self.scene.admin(cluster).apply({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": name, "namespace": namespace or self.name},
            "data": {
                key: base64.b64encode(value.encode()).decode()
                for key, value in values.items()
            },
        })

    def put_config_map(self, name, values, cluster="dev", namespace=None):
        self.scene.admin(cluster).apply({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": namespace or self.name},
            "data": values,
        })

    def make_account(self, name):
        self.make_namespace(ACCOUNTS)
        self.dev.apply({
            "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": name, "namespace": ACCOUNTS},
        })
        self.addCleanup(self.remove, "ServiceAccount", name, ACCOUNTS)

    def remove(self, kind, name, namespace=None, cluster="dev"):
        client = self.scene.admin(cluster)
        if client.find(kind, name, namespace):
            client.delete(kind, name, namespace)

    def allow(self, account, resources, verbs=WRITE, namespace=None,
              groups=("", "apps")):
        """Gives an account rights in a namespace, its own by default."""
        name = f"{account}-{'-'.join(resources)}"
        namespace = namespace or self.name
        metadata = {"name": name, "namespace": namespace}
        self.dev.apply({
            "apiVersion": f"{RBAC}/v1", "kind": "Role", "metadata": metadata,
            "rules": [{
                "apiGroups": list(groups), "resources": list(resources),
                "verbs": list(verbs),
            }],
        })
        self.dev.apply({
            "apiVersion": f"{RBAC}/v1", "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": name},
            "subjects": [{
                "kind": "ServiceAccount", "name": account,
                "namespace": ACCOUNTS,
            }],
        })
