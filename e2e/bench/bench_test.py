# SPDX-License-Identifier: Apache-2.0
"""The benchmark still runs: one run of what is quick, on one cluster."""

import unittest

from e2e.bench.bench import Bench
from e2e.story.scene import Scene
from e2e.testing import junit


class BenchTest(unittest.TestCase):

    def test_every_kind_of_row_can_be_measured(self):
        scene = Scene({"dev": {"env": "dev"}})
        self.addCleanup(scene.stop)
        scene.start()
        bench = Bench(scene, runs=1, drifts=3, rest=2)
        bench.prepare()

        try:
            bench.run(("clock", "1x10", "50x1", "again", "git", "drift",
                       "rest"))
        except (TimeoutError, AssertionError) as error:
            self.fail(f"{error}\n{scene.log_tails()}")
        finally:
            bench.close()

        print(bench.table())
        self.assertEqual(len(bench.results), 18)


if __name__ == "__main__":
    junit.main()
