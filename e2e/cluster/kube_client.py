# SPDX-License-Identifier: Apache-2.0
"""A small client of the Kubernetes API for tests: JSON over HTTPS.

It speaks for one user with a bearer token and knows no more than the REST
conventions. Objects are plain dictionaries. Every call blocks; a client may be
used from several threads, each of which gets its own connection.

    client = cluster.client("jane")
    client.apply({"apiVersion": "v1", "kind": "Namespace", ...})
    client.wait("Deployment", lambda found: ..., namespace="x", timeout=30)
"""

import http.client
import json
import re
import socket
import ssl
import threading
import time
import urllib.parse

_PATCH_TYPES = {
    "json": "application/json-patch+json",
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}
_TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
_METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"


class ApiError(Exception):
    """An answer that is not a success: `code`, `reason`, `message`."""

    def __init__(self, method, path, code, body):
        status = {}
        try:
            status = json.loads(body)
        except ValueError:
            pass
        if not isinstance(status, dict):
            status = {}
        self.code = code
        self.reason = status.get("reason", "")
        self.message = status.get("message", body[:500])
        super().__init__(f"{method} {path}: {code} {self.message}")


class KubeClient:
    """One user's view of one API server."""

    def __init__(self, port, ca_file, token, user_agent="flotilla-e2e"):
        self.port = port
        self.user_agent = user_agent
        self._token = token
        self._tls = ssl.create_default_context(cafile=str(ca_file))
        # Python 3.13 asks for an extension that self-signed certificates of
        # the API server lack.
        strict = getattr(ssl, "VERIFY_X509_STRICT", 0)
        self._tls.verify_flags &= ~strict
        self._local = threading.local()
        self._kinds = {}
        self._kinds_lock = threading.Lock()

    # Any request.

    def request(
        self, method, path, body=None, content_type="application/json",
        params=None, timeout=30,
    ):
        """Sends a request; returns the decoded JSON, or text if it is not."""
        if params:
            path += "?" + urllib.parse.urlencode(params)
        data = None if body is None else json.dumps(body).encode()
        text = self._send(method, path, data, content_type, timeout)
        try:
            return json.loads(text)
        except ValueError:
            return text

    def ready(self):
        """Whether the API server says that it is ready to serve."""
        try:
            return self.request("GET", "/readyz", timeout=5) == "ok"
        except (ApiError, OSError, http.client.HTTPException):
            return False

    # Objects.

    def path(self, kind, namespace=None, name=None, api_version=None):
        """The path of an object, or of the list of its kind without `name`.

        A namespaced kind without `namespace` gives the path over all of them.
        """
        prefix, plural, namespaced = self._resource(kind, api_version)
        parts = [prefix]
        if namespaced and namespace:
            parts += ["namespaces", namespace]
        parts.append(plural)
        if name:
            if namespaced and not namespace:
                raise ValueError(f"{kind} {name}: no namespace given")
            parts.append(name)
        return "/".join(parts)

    def get(self, kind, name, namespace=None, api_version=None):
        path = self.path(kind, namespace, name, api_version)
        return self.request("GET", path)

    def find(self, kind, name, namespace=None, api_version=None):
        """As get(), but None when there is no such object."""
        try:
            return self.get(kind, name, namespace, api_version)
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    def list(self, kind, namespace=None, labels=None, api_version=None):
        """The objects, each with apiVersion and kind set."""
        path = self.path(kind, namespace, api_version=api_version)
        params = {"labelSelector": labels} if labels else None
        answer = self.request("GET", path, params=params)
        return _items(answer)

    def create(self, obj, field_manager=None):
        path = self._path_of(obj, named=False)
        return self.request("POST", path, obj, params=_manager(field_manager))

    def apply(self, obj, field_manager="flotilla-e2e", force=True):
        """Server-side apply."""
        params = {"fieldManager": field_manager}
        if force:
            params["force"] = "true"
        return self.request(
            "PATCH", self._path_of(obj), obj, _PATCH_TYPES["apply"], params
        )

    def apply_yaml(self, text, field_manager="kubectl"):
        """Server-side apply of each document of `text`, sent as it stands.

        Good for plain documents: kind, name and namespace at their usual
        indentation.
        """
        for document in re.split(r"^---$", text, flags=re.M):
            found = {
                key: re.search(rf"^{indent}{key}: (\S+)$", document, re.M)
                for key, indent in (
                    ("apiVersion", ""), ("kind", ""), ("name", "  "),
                    ("namespace", "  "),
                )
            }
            if not found["kind"]:
                continue
            word = {key: hit and hit[1] for key, hit in found.items()}
            path = self.path(
                word["kind"], word["namespace"], word["name"],
                word["apiVersion"],
            )
            path += "?" + urllib.parse.urlencode(
                {"fieldManager": field_manager, "force": "true"}
            )
            self._send(
                "PATCH", path, document.encode(), _PATCH_TYPES["apply"], 30
            )

    def table(self, kind, namespace=None, api_version=None):
        """What `kubectl get` prints: (columns, {name: [cells]})."""
        path = self.path(kind, namespace, api_version=api_version)
        answer = json.loads(
            self._send("GET", path, None, None, 30, accept=_TABLE)
        )
        columns = [
            column["name"] for column in answer["columnDefinitions"]
            if column.get("priority", 0) == 0
        ]
        return columns, {
            row["object"]["metadata"]["name"]: row["cells"]
            for row in answer.get("rows") or []
        }

    def patch(
        self, kind, name, patch, namespace=None, patch_type="merge",
        field_manager=None, subresource=None, api_version=None,
    ):
        path = self.path(kind, namespace, name, api_version)
        if subresource:
            path += "/" + subresource
        return self.request(
            "PATCH", path, patch, _PATCH_TYPES[patch_type],
            _manager(field_manager),
        )

    def scale(self, kind, name, namespace, replicas, field_manager="kubectl"):
        """What `kubectl scale` does, through the scale subresource."""
        return self.patch(
            kind, name, {"spec": {"replicas": replicas}}, namespace,
            field_manager=field_manager, subresource="scale",
        )

    def delete(self, kind, name, namespace=None, api_version=None):
        """Deletes in the background, as kubectl; returns once accepted."""
        path = self.path(kind, namespace, name, api_version)
        return self.request("DELETE", path, {
            "apiVersion": "v1", "kind": "DeleteOptions",
            "propagationPolicy": "Background",
        })

    # Watching.

    def watch(
        self, kind, namespace=None, labels=None, resource_version=None,
        timeout=30, api_version=None, metadata_only=False,
    ):
        """Yields (type, object); ends when `timeout` seconds are over.

        Starts with what there is (as ADDED) without `resource_version`.
        """
        params = {"watch": "1", "timeoutSeconds": max(1, int(timeout) + 1)}
        if labels:
            params["labelSelector"] = labels
        if resource_version:
            params["resourceVersion"] = resource_version
        path = self.path(kind, namespace, api_version=api_version)
        path += "?" + urllib.parse.urlencode(params)
        deadline = time.monotonic() + timeout
        connection = self._connect(timeout)
        try:
            headers = self._headers()
            if metadata_only:
                headers["Accept"] = _METADATA
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            if response.status != 200:
                body = response.read().decode("utf-8", "replace")
                raise ApiError("GET", path, response.status, body)
            while True:
                left = deadline - time.monotonic()
                if left <= 0:
                    return
                if connection.sock:
                    connection.sock.settimeout(left)
                line = response.readline()
                if not line:
                    return
                event = json.loads(line)
                if event["type"] == "ERROR":
                    status = event["object"]
                    raise ApiError(
                        "GET", path, status.get("code", 500),
                        json.dumps(status),
                    )
                yield event["type"], event["object"]
        except (socket.timeout, TimeoutError):
            return
        finally:
            connection.close()

    def wait(
        self, kind, predicate, namespace=None, labels=None, timeout=30,
        what=None, api_version=None,
    ):
        """Waits until `predicate(objects)` is true; returns its result.

        `objects` is the list of what is there at that moment; the predicate is
        asked once at first and then after each change. An API server that goes
        away meanwhile is waited for.
        """
        deadline = time.monotonic() + timeout
        found = {}
        while True:
            try:
                path = self.path(kind, namespace, api_version=api_version)
                params = {"labelSelector": labels} if labels else None
                answer = self.request("GET", path, params=params)
                found = {_key(item): item for item in _items(answer)}
                result = predicate(list(found.values()))
                if result:
                    return result
                version = answer["metadata"]["resourceVersion"]
                left = deadline - time.monotonic()
                for kind_of_event, obj in self.watch(
                    kind, namespace, labels, version, max(0.1, left),
                    api_version,
                ):
                    if kind_of_event == "DELETED":
                        found.pop(_key(obj), None)
                    else:
                        found[_key(obj)] = obj
                    result = predicate(list(found.values()))
                    if result:
                        return result
            except (OSError, http.client.HTTPException):
                time.sleep(0.05)
            except ApiError as error:
                # Too old a version, or a server that is starting.
                if error.code not in (401, 403, 410, 429, 500, 503):
                    raise
                time.sleep(0.05)
            if time.monotonic() > deadline:
                seen = ", ".join(
                    "/".join(filter(None, key)) for key in sorted(found)
                )
                raise TimeoutError(
                    f"{what or kind}: not within {timeout} s; there were: "
                    f"{seen or 'none'}"
                )

    # How it is done.

    def _path_of(self, obj, named=True):
        metadata = obj["metadata"]
        return self.path(
            obj["kind"], metadata.get("namespace"),
            metadata["name"] if named else None, obj["apiVersion"],
        )

    def _resource(self, kind, api_version):
        """(path prefix, plural, namespaced) of a kind, from discovery."""
        key = (api_version, kind)
        with self._kinds_lock:
            if key in self._kinds:
                return self._kinds[key]
        if api_version:
            versions = [api_version]
        else:
            groups = self.request("GET", "/apis")["groups"]
            versions = ["v1"] + [
                group["preferredVersion"]["groupVersion"] for group in groups
            ]
        for version in versions:
            root = "/api/" if "/" not in version else "/apis/"
            known = self.request("GET", root + version)["resources"]
            with self._kinds_lock:
                for resource in known:
                    if "/" in resource["name"]:
                        continue
                    entry = (
                        root + version, resource["name"],
                        resource["namespaced"],
                    )
                    self._kinds[(version, resource["kind"])] = entry
                    if not api_version:
                        self._kinds.setdefault((None, resource["kind"]), entry)
                if key in self._kinds:
                    return self._kinds[key]
        raise LookupError(f"no kind {kind} in {', '.join(versions)}")

    def _headers(self, content_type=None):
        headers = {
            "Authorization": "Bearer " + self._token,
            "Accept": "application/json",
            "User-Agent": self.user_agent,
        }
        if content_type:
            headers["Content-Type"] = content_type
        return headers

    def _connect(self, timeout):
        return http.client.HTTPSConnection(
            "127.0.0.1", self.port, timeout=timeout, context=self._tls
        )

    def _send(self, method, path, data, content_type, timeout, accept=None):
        headers = self._headers(content_type if data is not None else None)
        if accept:
            headers["Accept"] = accept
        while True:
            connection = getattr(self._local, "connection", None)
            reused = connection is not None
            if not reused:
                connection = self._connect(timeout)
                self._local.connection = connection
            try:
                if connection.sock:
                    connection.sock.settimeout(timeout)
                connection.request(method, path, data, headers)
                response = connection.getresponse()
                body = response.read().decode("utf-8", "replace")
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                self._local.connection = None
                # An idle connection may have been closed, by a restart for
                # one; but a POST is not sent twice.
                late = isinstance(error, TimeoutError)
                if reused and not late and method != "POST":
                    continue
                raise
            if response.will_close:
                connection.close()
                self._local.connection = None
            if response.status >= 300:
                raise ApiError(method, path, response.status, body)
            return body


def _items(answer):
    kind = answer.get("kind", "").removesuffix("List")
    items = answer.get("items") or []
    for item in items:
        item.setdefault("apiVersion", answer.get("apiVersion"))
        item.setdefault("kind", kind)
    return items


def _key(obj):
    metadata = obj["metadata"]
    return (metadata.get("namespace") or "", metadata["name"])


def _manager(field_manager):
    return {"fieldManager": field_manager} if field_manager else None
