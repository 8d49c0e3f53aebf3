# SPDX-License-Identifier: Apache-2.0
"""One Kubernetes cluster on this machine, without containers.

A `Cluster` is a real API server, controller manager and scheduler, and kwok in
the kubelet's place, so that pods become Running without a container runtime.
Fleet (fleet.py) makes, starts and stops clusters; what tests call here looks
at one or breaks it. A pod with the label `flotilla.test/fail` never becomes
ready (stages.yaml).
"""

import base64
import json
import os
import pathlib
import secrets

from e2e.cluster.audit_log import AuditLog
from e2e.cluster.kube_client import KubeClient
from e2e.testing import binaries
from e2e.testing.processes import Process, ProcessError, free_port, wait_until

_HERE = pathlib.Path(__file__).absolute().parent

# People and programs: user name -> group. The audit log tells them apart.
ADMIN = "admin"
AGENT = "flotilla-agent"
JANE = "jane"
# Whom faults.py lets take up room; nobody else acts in that name.
BLOCKER = "blocker"
# The manager in its management cluster; has the rights that a test gives it.
MANAGER = "flotilla-manager"
_USERS = {
    ADMIN: "system:masters",
    AGENT: "flotilla-agents",
    JANE: "people",
    BLOCKER: "people",
    MANAGER: "flotilla-managers",
    "kwok": "system:masters",
    "system:kube-controller-manager": "system:masters",
    "system:kube-scheduler": "system:kube-scheduler",
}
# Users who get the ClusterRole cluster-admin by a binding.
_BOUND_USERS = (AGENT, JANE, BLOCKER)

_START_TIMEOUT = 120


class Cluster:
    """One cluster of a fleet. Made and stopped by its Fleet.

    The methods that break something (kill, pause) act on the API server alone:
    it is what an agent talks to.
    """

    def __init__(self, name, directory, etcd_url, nodes=1):
        self.name = name
        self.directory = pathlib.Path(directory)
        self.port = free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        self.ca_file = self.directory / "pki" / "apiserver.crt"
        self.audit_log = AuditLog(self.directory / "audit.log", self.client)
        self._etcd_url = etcd_url
        self._nodes = [f"{name}-node-{i}" for i in range(nodes)]
        self._tokens = {user: secrets.token_hex(16) for user in _USERS}
        self._processes = {}

    # Looking at it.

    def client(self, user=ADMIN, user_agent=None):
        """A new client that acts as `user`: ADMIN, AGENT or JANE."""
        return KubeClient(
            self.port, self.ca_file, self._tokens[user],
            user_agent or f"flotilla-e2e-{user}",
        )

    def kubeconfig(self, user=ADMIN):
        """The path of the kubeconfig file of `user`."""
        return str(self.directory / f"kubeconfig-{user.rpartition(':')[2]}")

    def audit(self, **filters):
        """Audit events so far; see AuditLog.events for the filters."""
        return self.audit_log.events(**filters)

    def process(self, component):
        """The Process of "kube-apiserver", "kwok" and so on."""
        return self._processes[component]

    # Breaking it and mending it.

    def kill_api_server(self):
        """SIGKILL; connections break, new ones are refused."""
        self._processes["kube-apiserver"].kill()

    def start_api_server(self):
        """Starts a killed API server on its port; waits until it is ready."""
        self._processes["kube-apiserver"].start()
        self._wait_ready()

    def restart_api_server(self):
        self.kill_api_server()
        self.start_api_server()

    def pause_api_server(self):
        """SIGSTOP: connections stay open and nobody answers."""
        self._processes["kube-apiserver"].pause()

    def resume_api_server(self):
        self._processes["kube-apiserver"].resume()

    # For Fleet.

    def launch_api_server(self):
        """Starts the API server without waiting for it."""
        self.directory.mkdir(parents=True, exist_ok=True)
        pki = self.directory / "pki"
        pki.mkdir(exist_ok=True)
        service_account_key = pki / "service-account.key"
        _write_private(service_account_key, _new_signing_key())
        tokens = self.directory / "tokens.csv"
        _write_private(tokens, "".join(
            f'{self._tokens[user]},{user},{user},"{group}"\n'
            for user, group in _USERS.items()
        ))
        self._run("kube-apiserver", [
            f"--etcd-servers={self._etcd_url}",
            f"--etcd-prefix=/{self.name}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            # An endpoint on loopback is not valid, and nobody needs it.
            "--endpoint-reconciler-type=none",
            f"--secure-port={self.port}",
            f"--cert-dir={pki}",
            f"--token-auth-file={tokens}",
            "--authorization-mode=Node,RBAC",
            f"--service-account-key-file={service_account_key}",
            f"--service-account-signing-key-file={service_account_key}",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-cluster-ip-range=10.0.0.0/16",
            f"--audit-policy-file={_HERE / 'audit_policy.yaml'}",
            f"--audit-log-path={self.audit_log.path}",
            "--audit-log-mode=blocking",
            "--audit-log-maxsize=10000",
            "--allow-privileged=true",
            "--shutdown-delay-duration=0s",
        ])

    def launch_controllers(self):
        """Waits for the API server, then starts what works through it."""
        self._wait_ready()
        for user in _USERS:
            self._write_kubeconfig(user)
        self._run("kube-controller-manager", [
            f"--kubeconfig={self.kubeconfig('system:kube-controller-manager')}",
            "--leader-elect=false",
            "--secure-port=0",
            f"--root-ca-file={self.ca_file}",
            "--service-account-private-key-file="
            f"{self.directory / 'pki' / 'service-account.key'}",
            # One machine plays many nodes: be no slower than a real one.
            "--kube-api-qps=200", "--kube-api-burst=400",
        ])
        scheduler_config = self.directory / "scheduler.json"
        scheduler_config.write_text(json.dumps({
            "apiVersion": "kubescheduler.config.k8s.io/v1",
            "kind": "KubeSchedulerConfiguration",
            "leaderElection": {"leaderElect": False},
            "clientConnection": {
                "kubeconfig": self.kubeconfig("system:kube-scheduler"),
                "qps": 200, "burst": 400,
            },
        }))
        self._run("kube-scheduler", [
            f"--config={scheduler_config}", "--secure-port=0",
        ])
        client = self.client()
        for user in _BOUND_USERS:
            client.create({
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRoleBinding",
                "metadata": {"name": f"e2e-{user}"},
                "roleRef": {
                    "apiGroup": "rbac.authorization.k8s.io",
                    "kind": "ClusterRole", "name": "cluster-admin",
                },
                "subjects": [{
                    "apiGroup": "rbac.authorization.k8s.io",
                    "kind": "User", "name": user,
                }],
            })
        for node in self._nodes:
            client.create({
                "apiVersion": "v1", "kind": "Node",
                "metadata": {
                    "name": node,
                    "labels": {
                        "kubernetes.io/hostname": node,
                        "kubernetes.io/os": "linux",
                        "kubernetes.io/arch": "amd64",
                    },
                    "annotations": {"node.alpha.kubernetes.io/ttl": "0"},
                },
            })
        self._run("kwok", [
            f"--kubeconfig={self.kubeconfig('kwok')}",
            f"--config={_HERE / 'stages.yaml'}",
            "--manage-all-nodes=true",
            "--node-port=0",
            "--server-address=",
            # As a kubelet. Without it the controller manager holds the node
            # for dead after 50 s, and its pods for unready.
            "--node-lease-duration-seconds=40",
        ])

    def wait_usable(self):
        """Waits until pods can be made and get a node."""
        client = self.client()

        def node_is_free(nodes):
            return any(
                _is_ready(node) and not node["spec"].get("taints")
                for node in nodes
            )

        client.wait(
            "Node", node_is_free, timeout=_START_TIMEOUT,
            what=f"{self.name}: a node that is ready",
        )
        client.wait(
            "ServiceAccount", lambda found: found, namespace="default",
            timeout=_START_TIMEOUT,
            what=f"{self.name}: the default service account",
        )

    def stop(self):
        """Kills all of the cluster's processes."""
        for process in reversed(list(self._processes.values())):
            process.kill()

    def _wait_ready(self):
        server = self._processes["kube-apiserver"]

        def ready():
            if not server.running():
                return True
            return self.ca_file.exists() and self.client().ready()

        wait_until(ready, _START_TIMEOUT, f"{self.name}: ready API server")
        if not server.running():
            raise ProcessError(
                f"{self.name}: the API server ended:\n{server.log_tail()}"
            )

    def _run(self, component, flags):
        self._processes[component] = run_component(
            component, flags, self.directory, self.name
        )

    def _write_kubeconfig(self, user):
        authority = base64.b64encode(self.ca_file.read_bytes()).decode()
        _write_private(pathlib.Path(self.kubeconfig(user)), f"""\
apiVersion: v1
kind: Config
current-context: {self.name}
clusters:
- name: {self.name}
  cluster:
    server: {self.url}
    certificate-authority-data: {authority}
contexts:
- name: {self.name}
  context:
    cluster: {self.name}
    user: {user}
users:
- name: {user}
  user:
    token: {self._tokens[user]}
""")


def run_component(component, flags, directory, owner):
    """Starts a program of the control plane, or kwok; returns its Process."""
    if component == "kwok":
        argv = [binaries.find("e2e/cluster/kwok/kwok")]
    else:
        argv = [
            binaries.find("e2e/cluster/controlplane/controlplane"), component,
        ]
    return Process(
        f"{owner}: {component}", argv + flags,
        log=directory / f"{component}.log",
    )


def _is_ready(obj):
    return any(
        condition["type"] == "Ready" and condition["status"] == "True"
        for condition in obj.get("status", {}).get("conditions", [])
    )


def _write_private(path, text):
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def _new_signing_key():
    """A private key on P-256 in PEM, for service account tokens.

    Such a key is any number below the curve's order; of 32 random bytes all
    but one in 2^32 are, and a first bit of 0 settles it. RFC 5915 lets the
    public half be left out.
    """
    number = bytearray(secrets.token_bytes(32))
    number[0] &= 0x7F
    der = (
        bytes.fromhex("3031020101" "0420") + bytes(number)
        + bytes.fromhex("a00a06082a8648ce3d030107")
    )
    body = base64.b64encode(der).decode()
    return (
        "-----BEGIN EC PRIVATE KEY-----\n"
        + "\n".join(body[i:i + 64] for i in range(0, len(body), 64))
        + "\n-----END EC PRIVATE KEY-----\n"
    )
