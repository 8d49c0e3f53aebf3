# SPDX-License-Identifier: Apache-2.0
"""The story of ./tools/demo holds; what goes wrong in it is told."""

import io
import pathlib
import sys
import tempfile
import unittest

from e2e.story.demo import Demo
from e2e.story.narrator import Narrator, StepFailed, table
from e2e.testing import junit


class DemoTest(unittest.TestCase):

    def test_the_story_is_told_to_its_end(self):
        folder = tempfile.TemporaryDirectory(prefix="flotilla-demo-test-")
        self.addCleanup(folder.cleanup)
        demo = Demo(pathlib.Path(folder.name), Narrator(sys.stderr))
        self.addCleanup(demo.scene.stop)

        try:
            demo.run()
        except StepFailed as failure:
            self.fail(f"{failure}\n{demo.scene.log_tails()}")

        self.assertEqual(len(demo.tell.seconds), 9)


class NarratorTest(unittest.TestCase):

    def test_a_step_that_fails_says_what_was_seen(self):
        out = io.StringIO()
        narrator = Narrator(out)

        with self.assertRaisesRegex(StepFailed, "step 1, First: no luck"):
            with narrator.step("First"):
                raise TimeoutError("no luck")

        self.assertIn("== 1. First", out.getvalue())
        self.assertIn("FAILED after 0.0 s: no luck", out.getvalue())

    def test_the_seconds_of_each_step_are_listed_at_the_end(self):
        out = io.StringIO()
        narrator = Narrator(out)
        with narrator.step("First"):
            narrator.run("flotilla get clusters")
            narrator.show("NAME\ndev\n")

        narrator.summary()

        self.assertIn("             $ flotilla get clusters", out.getvalue())
        self.assertIn("      0.0 s  First", out.getvalue())

    def test_columns_are_as_wide_as_they_need_to_be(self):
        self.assertEqual(
            table(("A", "B"), [("long", 1), ("x", 22)]),
            "A     B\nlong  1\nx     22",
        )


if __name__ == "__main__":
    junit.main()
