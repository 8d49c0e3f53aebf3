# SPDX-License-Identifier: Apache-2.0
"""The faults reach the user they are meant for, and end."""

import time
import unittest

from e2e.cluster.cluster import AGENT, JANE
from e2e.cluster.faults import RefusedWrites, throttled
from e2e.cluster.fleet import Fleet
from e2e.cluster.kube_client import ApiError
from e2e.testing import junit


def _config_map(name):
    return {
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "default"},
    }


class FaultsTest(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        fleet = Fleet(1)
        cls.addClassCleanup(fleet.stop)
        fleet.start()
        cls.cluster = fleet.clusters[0]
        cls.agent = cls.cluster.client(AGENT)

    def test_writes_are_refused_with_the_code_that_was_asked_for(self):
        for code in (403, 409, 429, 500, 503):
            with self.subTest(code=code):
                with RefusedWrites(self.cluster, code) as fault:
                    with self.assertRaises(ApiError) as refused:
                        self.agent.apply(_config_map("refused"))
                    self.agent.list("ConfigMap", "default")
                    self.cluster.client(JANE).apply(_config_map("janes"))

                self.assertEqual(refused.exception.code, code)
                self.assertEqual(fault.refused, 1)
                self.agent.apply(_config_map("goes-through"))

    def test_only_so_many_writes_are_refused(self):
        outcomes = []
        with RefusedWrites(self.cluster, 503, times=2) as fault:
            for _ in range(4):
                try:
                    self.agent.apply(_config_map("third-time-lucky"))
                    outcomes.append(200)
                except ApiError as error:
                    outcomes.append(error.code)

        self.assertEqual(outcomes, [503, 503, 200, 200])
        self.assertEqual((fault.refused, fault.admitted), (2, 2))

    def test_deletes_can_be_picked_out(self):
        self.agent.apply(_config_map("stays"))
        with RefusedWrites(
            self.cluster, 500,
            matches=lambda request: request["operation"] == "DELETE",
        ):
            self.agent.apply(_config_map("stays"))
            with self.assertRaises(ApiError) as refused:
                self.agent.delete("ConfigMap", "stays", "default")

        self.assertEqual(refused.exception.code, 500)
        self.assertIsNotNone(self.agent.find("ConfigMap", "stays", "default"))

    def test_writes_can_be_slow(self):
        with RefusedWrites(
            self.cluster, delay=0.3, matches=lambda request: False
        ):
            started = time.monotonic()
            self.agent.apply(_config_map("slow"))

        self.assertGreater(time.monotonic() - started, 0.3)

    def test_a_throttled_user_gets_429_for_everything(self):
        with throttled(self.cluster):
            for call in (
                lambda: self.agent.list("ConfigMap", "default"),
                lambda: self.agent.apply(_config_map("throttled")),
            ):
                with self.assertRaises(ApiError) as refused:
                    call()
                self.assertEqual(refused.exception.code, 429)
            self.cluster.client(JANE).list("ConfigMap", "default")

        self.agent.apply(_config_map("no-longer"))


if __name__ == "__main__":
    junit.main()
