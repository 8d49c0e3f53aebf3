# SPDX-License-Identifier: Apache-2.0
"""A clock that is a watch: when did which objects come to which version?

An ObjectWatch follows one kind in one namespace of one cluster, on a thread of
its own, and notes when it read each event. Objects carry their version in the
label VERSION; an apply is one request, so whoever has the label has the rest.

    clock = ObjectWatch(client, "ConfigMap", "bench")
    began = time.monotonic()
    ...
    seconds = clock.reached({"a", "b"}, "7", timeout=60) - began
"""

import sys
import threading
import time

VERSION = "bench.flotilla.test/version"


class ObjectWatch:
    """Thread-safe. `stop()` lets go of the connection soon after."""

    def __init__(self, client, kind, namespace, look=None):
        """`look` makes of an object what wait() looks at.

        Without it only metadata are read, and that is the VERSION.
        """
        self._client = client
        self._kind = kind
        self._namespace = namespace
        self._look = look
        self._changed = threading.Condition()
        # {name: (since when, what `look` made of it)}
        self._seen = {}
        # {name: when there last was an event}
        self._last = {}
        self._stopped = False
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        # The watch begins with what there is: an event that is only known
        # once something happens would be waited for in vain.
        self._ready.wait(5)

    def wait(self, names, fits, timeout):
        """Waits until `fits(what)` of each name; since when it all does.

        `what` is None for an object that is not there.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                left = [
                    name for name in names
                    if not fits(self._seen.get(name, (0, None))[1])
                ]
                if not left:
                    return max(
                        self._seen.get(name, (0, None))[0] for name in names
                    )
                if not self._changed.wait(deadline - time.monotonic()):
                    raise TimeoutError(
                        f"{len(left)} of {len(names)} not within {timeout} s,"
                        f" such as {left[0]}: {self._seen.get(left[0])}"
                    )

    def reached(self, names, version, timeout=120):
        return self.wait(names, lambda what: what == version, timeout)

    def gone(self, names, timeout=120):
        return self.wait(names, lambda what: what is None, timeout)

    def newer(self, name, when, timeout):
        """Waits for an event of `name` that came after `when`."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while self._last.get(name, 0) < when:
                if not self._changed.wait(deadline - time.monotonic()):
                    raise TimeoutError(f"no event of {name}")

    def stop(self):
        self._stopped = True

    def _run(self):
        while not self._stopped:
            try:
                self._follow()
            except Exception as error:  # Shown; the next watch starts anew.
                if not self._stopped:
                    print(f"watch of {self._kind}: {error}", file=sys.stderr)
                    time.sleep(0.5)

    def _follow(self):
        listed = self._client.request("GET", self._client.path(
            self._kind, self._namespace
        ))
        now = time.monotonic()
        with self._changed:
            self._seen = {
                item["metadata"]["name"]: (now, self._what(item))
                for item in listed["items"]
            }
            self._changed.notify_all()
        self._ready.set()
        for event, obj in self._client.watch(
            self._kind, self._namespace, timeout=3600,
            resource_version=listed["metadata"]["resourceVersion"],
            metadata_only=self._look is None,
        ):
            now = time.monotonic()
            if self._stopped:
                return
            what = None if event == "DELETED" else self._what(obj)
            name = obj["metadata"]["name"]
            with self._changed:
                self._last[name] = now
                if self._seen.get(name, (0, None))[1] != what:
                    self._seen[name] = (now, what)
                self._changed.notify_all()

    def _what(self, obj):
        if self._look:
            return self._look(obj)
        return obj["metadata"].get("labels", {}).get(VERSION, "")
