# SPDX-License-Identifier: Apache-2.0
"""What an API server and a network can do to the agent.

After each fault nothing is lost, nothing was deleted that Git did not give up,
what people were told was true, and it went on by itself.
"""

import base64
import contextlib
import json
import unittest

from e2e.cluster.cluster import AGENT
from e2e.cluster.fault_proxy import WATCHES, rule
from e2e.cluster.faults import ChangedWrites, RefusedWrites
from e2e.cluster.kube_client import ApiError
from e2e.engine.proxied import CANARY, ProxiedCase, ProxiedScene
from e2e.options.case import RBAC
from e2e.story.documents import (
    config_map, deployment, text, toy_crd,
)
from e2e.testing import junit
from e2e.testing.processes import wait_until

GROUP = "faults.flotilla.test"
HTML = {"Content-Type": "text/html"}


def secret(step):
    return {
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "login"},
        "stringData": {"password": f"{CANARY}-{step}"},
    }


def status(code, reason, message, **details):
    return json.dumps({
        "apiVersion": "v1", "kind": "Status", "status": "Failure",
        "code": code, "reason": reason, "message": message,
        "details": details,
    })


TOY = {
    "apiVersion": f"{GROUP}/v1", "kind": "Toy", "metadata": {"name": "bear"},
    "spec": {"colour": "brown"},
}


def setUpModule():
    ProxiedCase.share(ProxiedScene())


class FaultsTest(ProxiedCase):

    def files(self, step):
        return {"app.yaml": text(
            config_map("x", {"step": step}), config_map("same"),
            deployment("web", labels={"step": step}), secret(step),
        )}

    def begin(self):
        self.commit(self.files("begin"), defaultNamespace=self.name)
        self.follow()
        self.ready()
        self.began = self.mark()
        self.first = self.uids(), self.uids("Deployment"), self.uids("Secret")

    def settle(self, step):
        """It has come to that step, with the same objects as ever."""
        self.ready()
        self.assertEqual(self.live("x")["data"]["step"], step)
        self.assertEqual(
            base64.b64decode(self.live("login", "Secret")["data"]["password"]),
            f"{CANARY}-{step}".encode(),
        )
        self.assertEqual(
            (self.uids(), self.uids("Deployment"), self.uids("Secret")),
            self.first,
        )
        self.assertEqual(self.deletions(self.began), [])
        self.assert_no_secret()

    def drift_is_put_right(self):
        self.dev.patch("ConfigMap", "same", {"data": {"key": "drift"}},
                       self.name)
        wait_until(
            lambda: self.live("same")["data"] == {"key": "value"}, 60,
            "drift put right",
        )

    def scaling_is_put_right(self):
        self.dev.scale("Deployment", "web", self.name, 3)
        wait_until(
            lambda: self.live("web", "Deployment")["spec"]["replicas"] == 1,
            60, "the scale put right",
        )

    def path(self, plural):
        return f"/namespaces/{self.name}/{plural}[/?]"

    # Answers.

    def test_errors_of_writes(self):
        self.begin()
        quoted = f'data.password: Invalid value: "{CANARY}-x"'
        encoded = base64.b64encode(f"{CANARY}-x".encode()).decode()
        for code, body, words in (
            (401, status(401, "Unauthorized", "Unauthorized"), "401"),
            (409, status(409, "Conflict", f"changed meanwhile: {quoted}"),
             "409"),
            (410, status(410, "Expired", quoted), "Expired"),
            (422, status(422, "Invalid", quoted, causes=[{
                "reason": "FieldValueInvalid", "field": "data.password",
                "message": f"Invalid value: {encoded}"}]), "data.password"),
            (429, status(429, "TooManyRequests", quoted,
                         retryAfterSeconds=1), "429"),
            (500, status(500, "InternalError", encoded), "500"),
            (503, f"<html><body>{CANARY} {encoded}</body></html>", "503"),
            (200, "<html>not what was asked for</html>", ""),
            (200, "", ""),
            (200, "[1, 2", ""),
        ):
            step = f"{code}-{len(body)}"
            with self.subTest(step):
                with self.proxy.breaking(rule(
                    "answer", ["PATCH"], self.path("secrets"), code=code,
                    body=body,
                    headers=HTML if body.startswith("<") else {
                        "Content-Type": "application/json",
                        **({"Retry-After": "1"} if code == 429 else {}),
                    },
                )) as acted:
                    self.deliver(self.files(step))
                    wait_until(acted, 30, "a refused write")
                    self.wait_troubled(words)
                    self.assert_no_secret()
                self.settle(step)

    def test_errors_of_reads_and_watches(self):
        self.begin()
        for code, body in (
            (401, status(401, "Unauthorized", "Unauthorized")),
            (410, status(410, "Expired", "too old resource version")),
            (429, status(429, "TooManyRequests", "later")),
            (500, status(500, "InternalError", f"{CANARY} on purpose")),
            (503, f"<html>no backend {CANARY}</html>"),
            # An event that says the same, and some that say nothing.
            (200, json.dumps({"type": "ERROR", "object": json.loads(
                status(410, "Expired", "too old resource version"))})),
            (200, '{"type": "DELETED", "object": {"metadata": null}}\n'),
            (200, '{"type": "DELETED", "object": {"kind": [], "metadata": '
                  '{"name": 7, "labels": [1], "managedFields": "x"}}}\n'),
            (200, "<html>not what was asked for</html>"),
        ):
            with self.subTest(code=code, body=body[:40]):
                with self.proxy.breaking(rule(
                    "answer", ["GET"], WATCHES, code=code, body=body,
                    times=10, headers={"Content-Type": "application/json"},
                )) as acted:
                    self.proxy.cut_all()
                    wait_until(acted, 60, "an answer to a watch")
                self.drift_is_put_right()
                self.deliver(self.files(f"read-{code}-{len(body)}"))
                self.settle(f"read-{code}-{len(body)}")

    # Connections.

    def test_connections_cut_at_every_place(self):
        self.begin()
        for action, methods, path, more in (
            ("cut", ["PATCH"], "", {}),
            ("cut-after", ["PATCH"], "", {}),
            ("cut-body", ["PATCH"], "", {"bytes": 30}),
            ("cut-body", ["GET"], WATCHES, {"bytes": 0}),
            ("cut-body", ["GET"], WATCHES, {"bytes": 1}),
            ("cut-body", ["GET"], WATCHES, {"bytes": 700}),
            ("cut-body", ["GET"], "/apis?", {"bytes": 500}),
            ("cut", ["GET"], "", {}),
            ("delay", ["PATCH"], "", {"delay": 2}),
        ):
            step = f"{action}-{len(path)}-{more.get('bytes', 0)}"
            with self.subTest(step):
                with self.proxy.breaking(rule(
                    action, methods, path, times=6, **more
                )) as acted:
                    self.proxy.cut_all()
                    self.deliver(self.files(step))
                    if methods == ["GET"]:
                        self.agent.restart()
                    wait_until(acted, 60, action)
                    self.settle(step)
                    self.drift_is_put_right()

    def test_an_api_server_that_starts_anew(self):
        self.begin()
        cluster = self.scene.fleet["dev"]
        cluster.kill_api_server()
        try:
            self.deliver(self.files("anew"))
            self.wait_troubled("API server")
        finally:
            cluster.start_api_server()
        self.settle("anew")
        self.drift_is_put_right()

    # Rights.

    @contextlib.contextmanager
    def no_right_to(self, plural):
        """The agent loses its rights on one kind, all others it keeps."""
        served = [
            found["name"] for found in
            self.dev.request("GET", "/api/v1")["resources"]
            if found["name"].split("/")[0] != plural
        ]
        groups = [
            found["name"]
            for found in self.dev.request("GET", "/apis")["groups"]
        ]
        self.dev.apply({
            "apiVersion": f"{RBAC}/v1", "kind": "ClusterRole",
            "metadata": {"name": "nearly-all"},
            "rules": [
                {"apiGroups": [""], "resources": served, "verbs": ["*"]},
                {"apiGroups": groups, "resources": ["*"], "verbs": ["*"]},
                {"nonResourceURLs": ["*"], "verbs": ["*"]},
            ],
        })
        name = f"e2e-{AGENT}"
        binding = self.dev.get("ClusterRoleBinding", name)
        subjects = binding["subjects"]

        def bind(name, role):
            self.dev.apply({
                "apiVersion": f"{RBAC}/v1", "kind": "ClusterRoleBinding",
                "metadata": {"name": name}, "subjects": subjects,
                "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole",
                            "name": role},
            })

        bind("e2e-nearly-all", "nearly-all")
        self.dev.delete("ClusterRoleBinding", name)
        try:
            yield
        finally:
            bind(name, "cluster-admin")
            self.dev.delete("ClusterRoleBinding", "e2e-nearly-all")

    def test_no_rights_on_one_kind(self):
        self.begin()
        with self.no_right_to("secrets"):
            # Watches that run already are not ended by the server.
            self.proxy.cut_all()
            self.deliver(self.files("rights"))
            self.wait_troubled("login", "Forbidden", "rights")
            self.assertEqual(self.live("x")["data"], {"step": "rights"})
        self.settle("rights")

    # Admission.

    def mine(self, request):
        return (request.get("namespace") == self.name
                and request["resource"]["resource"] == "configmaps")

    def test_a_webhook_that_is_down(self):
        self.begin()
        name = "down.flotilla.test"
        self.dev.create({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": name},
            "webhooks": [{
                "name": name, "admissionReviewVersions": ["v1"],
                "sideEffects": "None", "failurePolicy": "Fail",
                "clientConfig": {"url": "https://127.0.0.1:1/"},
                "rules": [{
                    "apiGroups": [""], "apiVersions": ["*"],
                    "operations": ["*"], "resources": ["configmaps"],
                }],
                "matchConditions": [{
                    "name": "user",
                    "expression": f"request.userInfo.username == '{AGENT}'",
                }],
            }],
        })
        self.addCleanup(self.remove, "ValidatingWebhookConfiguration", name)
        probe = self.scene.fleet["dev"].client(AGENT)

        def refused():
            try:
                probe.apply(config_map("probe", namespace="default"))
            except ApiError as error:
                return name in error.message
            return False

        wait_until(refused, 30, "a webhook that is asked")
        self.deliver(self.files("down"))
        self.wait_troubled(name)
        # What needs no webhook goes on.
        wait_until(
            lambda: base64.b64decode(
                self.live("login", "Secret")["data"]["password"]
            ) == f"{CANARY}-down".encode(), 30, "the Secret",
        )
        self.remove("ValidatingWebhookConfiguration", name)
        self.settle("down")

    def test_a_webhook_that_rejects(self):
        self.begin()
        with RefusedWrites(
            self.scene.fleet["dev"], 403, message="not on a Friday",
            matches=self.mine,
        ):
            self.deliver(self.files("rejected"))
            self.wait_troubled("not on a Friday")
        self.settle("rejected")

    def test_a_webhook_that_changes_what_is_applied(self):
        self.begin()
        with ChangedWrites(
            self.scene.fleet["dev"],
            [{"op": "add", "path": "/data/injected", "value": "by-them"}],
            matches=self.mine,
        ):
            self.deliver(self.files("changed"))
            wait_until(
                lambda: self.live("x")["data"]
                == {"step": "changed", "injected": "by-them"}, 30,
                "a changed ConfigMap",
            )
            self.ready()
            mark = self.mark()
            # A round of the agent later nothing was fought over.
            self.scaling_is_put_right()
            self.assertEqual(
                [line for line in self.writes(mark) if "configmaps" in line],
                [],
            )
        self.deliver(self.files("after"))
        self.settle("after")

    # The cluster's own.

    def test_a_kind_that_is_removed_under_its_objects(self):
        self.dev.apply(toy_crd(GROUP))
        self.addCleanup(self.remove, "CustomResourceDefinition",
                        f"toys.{GROUP}")
        self.commit({"toy.yaml": text(TOY, config_map("x"))},
                    defaultNamespace=self.name)
        self.follow()
        self.ready()
        mark = self.mark()
        self.dev.delete("CustomResourceDefinition", f"toys.{GROUP}")
        self.wait_troubled()

        self.dev.apply(toy_crd(GROUP))
        self.ready()
        self.assertEqual(
            self.dev.get("Toy", "bear", self.name, f"{GROUP}/v1")["spec"],
            {"colour": "brown"},
        )
        self.assertEqual(self.deletions(mark), [])

    def test_a_namespace_that_does_not_end(self):
        self.begin()
        self.dev.apply(config_map(
            "stuck", namespace=self.name, finalizers=["x.test/y"]))
        self.dev.delete("Namespace", self.name)
        self.deliver(self.files("ends"))
        self.wait_troubled("terminat")
        with self.subTest("others go on"):
            self.head = self.repo().commit({
                "other/x.yaml": text(config_map("other")),
                "other/fleet.yaml": text({"defaultNamespace": "default"}),
            })
            self.follow(paths=("app", "other"))
            self.wait_state("Ready", path="other")
        self.dev.patch("ConfigMap", "stuck",
                       {"metadata": {"finalizers": None}}, self.name)
        self.ready(count=2)
        self.assertEqual(self.live("x")["data"], {"step": "ends"})
        self.assertEqual(self.deletions(self.began), [])


if __name__ == "__main__":
    junit.main()
