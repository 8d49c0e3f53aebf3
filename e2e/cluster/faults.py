# SPDX-License-Identifier: Apache-2.0
"""Faults that a real API server answers with, made by its own means.

    with RefusedWrites(cluster, code=503, times=3):
        ...     # the agent's next three writes fail, later ones go through
    with throttled(cluster):
        ...     # every request of the agent gets a 429

What kills or stops the whole API server is in cluster.py.
"""

import base64
import contextlib
import http.client
import http.server
import json
import ssl
import threading

from e2e.cluster.cluster import AGENT, BLOCKER
from e2e.cluster.kube_client import ApiError
from e2e.testing.processes import free_port, wait_until

_PROBE = "flotilla-fault-probe"
_FLOW_API = "flowcontrol.apiserver.k8s.io/v1"
_LEVEL = "flotilla-throttled"
_REASONS = {
    403: "Forbidden", 409: "Conflict", 422: "Invalid",
    429: "TooManyRequests", 500: "InternalError", 503: "ServiceUnavailable",
    504: "Timeout",
}


class _Server(http.server.ThreadingHTTPServer):

    def handle_error(self, request, client_address):
        """Nothing: an API server may hang up, whose client was killed."""


class RefusedWrites:
    """Writes of one user are refused with `code`, by an admission webhook.

    The first `times` writes fail, or all while it lasts when that is None.
    `matches` picks by the AdmissionReview's request, a dictionary; `delay`
    seconds pass before each answer, refused or not. `refused` and `admitted`
    count what was decided. Nothing is changed about reads.
    """

    _KIND = "ValidatingWebhookConfiguration"

    def __init__(
        self, cluster, code=503, times=None, user=AGENT, message="on purpose",
        retry_after=None, delay=0, matches=lambda request: True,
    ):
        self.refused = 0
        self.admitted = 0
        self._cluster = cluster
        self._code = code
        self._times = times
        self._user = user
        self._message = message
        self._retry_after = retry_after
        self._delay = delay
        self._matches = matches
        self._lock = threading.Lock()
        self._hurried = threading.Event()
        self._server = None
        self._name = f"fault-{free_port()}.flotilla.test"

    def __enter__(self):
        self._listen()
        port = self._server.server_address[1]
        self._cluster.client().create({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": self._KIND,
            "metadata": {"name": self._name},
            "webhooks": [{
                "name": self._name,
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "failurePolicy": "Fail",
                "timeoutSeconds": 30,
                "clientConfig": {
                    "url": f"https://127.0.0.1:{port}/",
                    "caBundle": base64.b64encode(
                        self._cluster.ca_file.read_bytes()
                    ).decode(),
                },
                "rules": [{
                    "apiGroups": ["*"], "apiVersions": ["*"],
                    "operations": ["*"], "resources": ["*/*"],
                }],
                "matchConditions": [{
                    "name": "user",
                    "expression":
                        f"request.userInfo.username == '{self._user}'",
                }],
            }],
        })
        wait_until(self._probe, 30, "refusal by the webhook", every=0.02)
        return self

    def __exit__(self, *_):
        self.hurry()
        try:
            self._cluster.client().delete(self._KIND, self._name)
            wait_until(lambda: not self._probe(), 30, "end of the refusals")
        finally:
            self._server.shutdown()
            self._server.server_close()

    def hurry(self):
        """Lets the answers that are delayed go at once, and later ones."""
        self._hurried.set()

    def _probe(self):
        """Whether the API server asks us: it learns of a webhook later."""
        client = self._cluster.client(self._user)
        config_map = {
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": _PROBE, "namespace": "default"},
        }
        path = client.path("ConfigMap", "default")
        try:
            client.request(
                "POST", path, config_map, params={"dryRun": "All"}
            )
        except ApiError as error:
            return self._name in error.message
        return False

    def _listen(self):
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                length = int(self.headers["Content-Length"])
                request = json.loads(self.rfile.read(length))["request"]
                answer = json.dumps({
                    "apiVersion": "admission.k8s.io/v1",
                    "kind": "AdmissionReview",
                    "response": outer._decide(request),
                }).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format, *args):
                pass

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        pki = self._cluster.ca_file.parent
        tls.load_cert_chain(self._cluster.ca_file, pki / "apiserver.key")
        self._server.socket = tls.wrap_socket(
            self._server.socket, server_side=True
        )
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05},
            daemon=True,
        ).start()

    def _decide(self, request):
        allowed = {"uid": request["uid"], "allowed": True}
        status = {
            "code": self._code,
            "reason": _REASONS.get(self._code, ""),
            "message": self._message,
        }
        if self._retry_after is not None:
            status["details"] = {"retryAfterSeconds": self._retry_after}
        refused = {"uid": request["uid"], "allowed": False, "status": status}
        if request.get("name") == _PROBE:
            return refused
        self._hurried.wait(self._delay)
        if not self._matches(request):
            return allowed
        return self._judge(allowed, refused)

    def _judge(self, allowed, refused):
        with self._lock:
            if self._times is not None and self.refused >= self._times:
                self.admitted += 1
                return allowed
            self.refused += 1
            return refused


class ChangedWrites(RefusedWrites):
    """Writes of one user are changed by `patch`, a JSON patch (RFC 6902)."""

    _KIND = "MutatingWebhookConfiguration"

    def __init__(self, cluster, patch, **more):
        super().__init__(cluster, **more)
        self._patch = base64.b64encode(json.dumps(patch).encode()).decode()

    def _judge(self, allowed, refused):
        with self._lock:
            self.admitted += 1
        return {**allowed, "patchType": "JSONPatch", "patch": self._patch}


@contextlib.contextmanager
def throttled(cluster, user=AGENT):
    """For at most 25 seconds every request of `user` gets a 429.

    API priority and fairness refuses them, with its own Retry-After: the user
    shares a priority level of one seat with a write that takes long. Watches
    that run already go on.
    """
    admin = cluster.client()
    blocker = cluster.client(BLOCKER)

    def occupy_the_seat():
        while True:
            try:
                blocker.create({
                    "apiVersion": "v1", "kind": "ConfigMap",
                    "metadata": {"name": "blocks", "namespace": "default"},
                })
            except ApiError as error:
                # Somebody else had the seat just then.
                if error.code == 429:
                    continue
            except (OSError, http.client.HTTPException):
                pass
            return

    def refused():
        try:
            cluster.client(user).request("GET", "/version", timeout=5)
        except ApiError as error:
            return error.code == 429
        return False

    with RefusedWrites(cluster, 403, user=BLOCKER, delay=25) as fault:
        _create_narrow_level(admin, (user, BLOCKER))
        try:
            thread = threading.Thread(target=occupy_the_seat, daemon=True)
            thread.start()
            wait_until(refused, 20, "429 for the user", every=0.02)
            yield
        finally:
            fault.hurry()
            thread.join()
            admin.delete("FlowSchema", _LEVEL, api_version=_FLOW_API)
            admin.delete(
                "PriorityLevelConfiguration", _LEVEL, api_version=_FLOW_API
            )
            wait_until(lambda: not refused(), 30, "end of the 429s")


def _create_narrow_level(admin, users):
    """A priority level without a share: one request at a time, no queue."""
    admin.apply({
        "apiVersion": _FLOW_API, "kind": "PriorityLevelConfiguration",
        "metadata": {"name": _LEVEL},
        "spec": {"type": "Limited", "limited": {
            "nominalConcurrencyShares": 0, "lendablePercent": 0,
            "borrowingLimitPercent": 0, "limitResponse": {"type": "Reject"},
        }},
    })
    admin.apply({
        "apiVersion": _FLOW_API, "kind": "FlowSchema",
        "metadata": {"name": _LEVEL},
        "spec": {
            "priorityLevelConfiguration": {"name": _LEVEL},
            # Before all schemas but the one for administrators.
            "matchingPrecedence": 2,
            "rules": [{
                "subjects": [
                    {"kind": "User", "user": {"name": user}} for user in users
                ],
                "resourceRules": [{
                    "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"],
                    "clusterScope": True, "namespaces": ["*"],
                }],
                "nonResourceRules": [
                    {"verbs": ["*"], "nonResourceURLs": ["*"]},
                ],
            }],
        },
    })
    admin.wait(
        "FlowSchema",
        lambda found: [
            schema for schema in found
            if schema["metadata"]["name"] == _LEVEL and any(
                condition["type"] == "Dangling"
                and condition["status"] == "False"
                for condition in schema.get("status", {}).get("conditions", [])
            )
        ],
        api_version=_FLOW_API,
    )
