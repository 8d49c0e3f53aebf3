# SPDX-License-Identifier: Apache-2.0
"""Documents for the manager and objects for clusters, as dictionaries.

JSON is YAML, so text() of them can be applied, committed and put into a
Bundle's resources.
"""

import base64
import json

FLEET = "fleet.cattle.io/v1alpha1"
WORKSPACE = "fleet-default"
EVERYWHERE = ({"name": "everywhere", "clusterSelector": {}},)


def text(*objects):
    """The objects as one file of YAML documents."""
    return "".join(
        "---\n" + json.dumps(obj, indent=1) + "\n" for obj in objects
    )


def on(*clusters):
    """Targets that match these clusters by name."""
    return tuple(
        {"name": cluster, "clusterName": cluster} for cluster in clusters
    )


def git_repo(name, url, paths=(), targets=EVERYWHERE, branch="main", **spec):
    # Polled by `flotilla sync` alone, so that each poll is the test's.
    spec = {"disablePolling": True, **spec}
    return {
        "apiVersion": FLEET, "kind": "GitRepo",
        "metadata": {"name": name, "namespace": WORKSPACE},
        "spec": {
            "repo": url, "branch": branch, "paths": list(paths),
            "targets": list(targets), **spec,
        },
    }


def bundle(name, objects, targets=EVERYWHERE, namespace="default", **spec):
    """A Bundle that carries its objects; `objects` may be file contents."""
    if not isinstance(objects, dict):
        objects = {"objects.yaml": text(*objects)}
    return {
        "apiVersion": FLEET, "kind": "Bundle",
        "metadata": {"name": name, "namespace": WORKSPACE},
        "spec": {
            "defaultNamespace": namespace,
            "resources": [
                {"name": file, "content": content}
                for file, content in sorted(objects.items())
            ],
            "targets": list(targets), **spec,
        },
    }


def secret(name, kind, **values):
    """Git credentials; "_" in a key's name stands for "-" but once."""
    data = {
        key if key == "known_hosts" else key.replace("_", "-"):
            base64.b64encode(str(value).encode()).decode()
        for key, value in values.items()
    }
    return {
        "apiVersion": "v1", "kind": "Secret", "type": kind,
        "metadata": {"name": name, "namespace": WORKSPACE}, "data": data,
    }


def config_map(name, data=None, namespace=None, **metadata):
    metadata = {"name": name, **metadata}
    if namespace:
        metadata["namespace"] = namespace
    return {
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata,
        "data": {"key": "value"} if data is None else data,
    }


def namespace(name):
    return {
        "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name},
    }


def deployment(name, replicas=1, labels=None, namespace=None, **spec):
    """A Deployment; `labels` are those of its pods besides "app"."""
    metadata = {"name": name}
    if namespace:
        metadata["namespace"] = namespace
    return {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata,
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name, **(labels or {})}},
                "spec": {
                    "containers": [{"name": "main", "image": "nginx:1.27"}],
                },
            },
            **spec,
        },
    }


def toy_crd(group):
    """Makes the kind Toy of `group`, which takes any field."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"toys.{group}"},
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": {"kind": "Toy", "plural": "toys", "singular": "toy",
                      "listKind": "ToyList"},
            "versions": [{
                "name": "v1", "served": True, "storage": True,
                "schema": {"openAPIV3Schema": {
                    "type": "object",
                    "x-kubernetes-preserve-unknown-fields": True,
                }},
            }],
        },
    }
