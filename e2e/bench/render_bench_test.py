# SPDX-License-Identifier: Apache-2.0
"""The pool of render workers costs little more than Helm's library alone."""

import unittest

from e2e.bench import render_bench
from e2e.testing import junit


class RenderBenchTest(unittest.TestCase):
    def test_a_warm_render_is_not_much_dearer_than_the_library_alone(self):
        figures = render_bench.measure(templates=10, rounds=60)
        print(figures)
        # The aim is 2; a busy machine is given room.
        self.assertLess(figures["ratio"], 2 * render_bench.AIM)
        self.assertGreater(figures["per_second"], 0)


if __name__ == "__main__":
    junit.main()
