# SPDX-License-Identifier: Apache-2.0
"""The runner tells Bazel of every case."""

import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

from e2e.testing import junit

_PROGRAM = """
import time, unittest
from e2e.testing import junit

class Example(unittest.TestCase):
    def test_passes(self): pass
    def test_fails(self): self.assertEqual(1, 2, "one is <not> two\\x01")
    def test_breaks(self): raise OSError("no disk")
    def test_skips(self): self.skipTest("no sshd here")
    def test_table(self):
        for number in (1, 2, 3):
            with self.subTest(number=number):
                self.assertNotEqual(number, 2)

class Slow(unittest.TestCase):
    def test_hangs(self):
        print("hanging", flush=True)
        time.sleep(1000)

junit.main()
"""


class JunitTest(unittest.TestCase):

    def _run(self, *arguments, interrupt=False):
        """Exit code, and {case name: outcome} of the file written."""
        with tempfile.TemporaryDirectory() as folder:
            report = pathlib.Path(folder) / "test.xml"
            with subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, *arguments], text=True,
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                env={
                    **os.environ, "XML_OUTPUT_FILE": str(report),
                    "PYTHONPATH": os.pathsep.join(sys.path),
                },
            ) as program:
                if interrupt:
                    program.stdout.readline()
                    program.send_signal(signal.SIGTERM)
                code = program.wait()
            self.root = xml.etree.ElementTree.parse(report).getroot()
        outcomes = {}
        for case in self.root.iter("testcase"):
            detail = list(case)
            outcomes[case.get("name")] = detail[0].tag if detail else "passed"
        return code, outcomes

    def test_records_every_case_and_every_row_of_a_table(self):
        code, outcomes = self._run("Example")

        self.assertEqual(code, 1)
        self.assertEqual(outcomes, {
            "test_passes": "passed",
            "test_fails": "failure",
            "test_breaks": "error",
            "test_skips": "skipped",
            "test_table (number=1)": "passed",
            "test_table (number=2)": "failure",
            "test_table (number=3)": "passed",
        })
        self.assertEqual(self.root.get("tests"), "7")
        self.assertEqual(self.root.get("skipped"), "1")

    def test_a_skip_says_why(self):
        self._run("skips")

        skipped = self.root.find(".//skipped")
        self.assertEqual(skipped.get("message"), "no sshd here")

    def test_succeeds_when_all_cases_do(self):
        code, outcomes = self._run("test_passes")

        self.assertEqual((code, outcomes), (0, {"test_passes": "passed"}))

    def test_fails_when_no_case_matches(self):
        code, outcomes = self._run("no_such_case")

        self.assertEqual((code, outcomes), (1, {}))

    def test_the_time_limit_shows_which_case_was_running(self):
        code, outcomes = self._run("test_passes", "hangs", interrupt=True)

        self.assertEqual(code, 1)
        self.assertEqual(outcomes, {
            "test_passes": "passed", "test_hangs": "error",
        })


if __name__ == "__main__":
    junit.main()
