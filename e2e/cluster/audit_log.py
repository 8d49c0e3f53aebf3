# SPDX-License-Identifier: Apache-2.0
"""Reads the audit log of a test cluster: who asked the API server for what."""

import http.client
import itertools
import json
import os
import time
import urllib.parse

from e2e.cluster.kube_client import ApiError

_WRITES = ("create", "update", "patch", "delete", "deletecollection")


class AuditLog:
    """The audit events of one cluster, in the order they were finished.

    An event is the dictionary that the API server wrote (audit.k8s.io/v1,
    level Metadata), with `fieldManager` added where the request named one.
    """

    WRITES = _WRITES

    def __init__(self, path, client):
        """`client` makes a KubeClient of the cluster."""
        self.path = str(path)
        self._make_client = client
        self._client = None
        self._barriers = itertools.count(os.getpid() << 20)

    def mark(self):
        """The place in the log after all that is finished now."""
        self._flush()
        return self._size()

    def events(
        self, since=0, user=None, verbs=None, resource=None, namespace=None,
        name=None, flush=True,
    ):
        """The events after `since` (a mark) that match every filter given.

        `resource` is a plural such as "configmaps", or "deployments/scale"
        for a subresource; without one all subresources count too. `verbs` is
        a verb or several; AuditLog.WRITES are those that change something.
        `flush=False` is for a server that does not answer.
        """
        if flush:
            self._flush()
        if isinstance(verbs, str):
            verbs = (verbs,)
        found = []
        for event in self._read(since):
            reference = event.get("objectRef", {})
            plural = reference.get("resource", "")
            if "/" in (resource or "") and reference.get("subresource"):
                plural += "/" + reference["subresource"]
            if (
                (user is None or event["user"]["username"] == user)
                and (verbs is None or event["verb"] in verbs)
                and (resource is None or plural == resource)
                and (
                    namespace is None
                    or reference.get("namespace") == namespace
                )
                and (name is None or reference.get("name") == name)
            ):
                query = urllib.parse.urlsplit(event["requestURI"]).query
                manager = urllib.parse.parse_qs(query).get("fieldManager")
                if manager:
                    event["fieldManager"] = manager[0]
                found.append(event)
        return found

    def _read(self, since):
        if not os.path.exists(self.path):
            return
        with open(self.path, "rb") as log:
            log.seek(since)
            for line in log:
                if not line.endswith(b"\n"):
                    return
                try:
                    event = json.loads(line)
                except ValueError:
                    # What a killed server had written half of.
                    continue
                # A watch is logged when it starts and when it ends.
                if (
                    event["verb"] == "watch"
                    and event["stage"] == "ResponseComplete"
                ):
                    continue
                yield event

    def _flush(self):
        """Waits until all requests answered so far are in the log.

        An event is written just after its answer is sent. A request of our own
        that is seen in the log comes after them.
        """
        if self._client is None:
            self._client = self._make_client()
        barrier = f"/version?barrier={next(self._barriers)}"
        start = self._size()
        try:
            self._client.request("GET", barrier, timeout=10)
        except (ApiError, OSError, http.client.HTTPException):
            return
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            if any(event["requestURI"] == barrier
                   for event in self._read(start)):
                return
            time.sleep(0.01)

    def _size(self):
        try:
            return os.path.getsize(self.path)
        except FileNotFoundError:
            return 0
