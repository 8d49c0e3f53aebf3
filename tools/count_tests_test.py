# SPDX-License-Identifier: Apache-2.0
"""What counts as a test case that passed, and as one that failed."""

import json
import os
import tempfile
import unittest

from e2e.testing import junit
from tools import count_tests


class CountTests(unittest.TestCase):
    def setUp(self):
        self._folder = tempfile.TemporaryDirectory()
        self.addCleanup(self._folder.cleanup)
        self._events = []
        self._reports = 0

    def configure(self, label, kind="cc_test rule"):
        self._events.append({"id": {"targetConfigured": {"label": label}},
                             "configured": {"targetKind": kind}})

    def result(self, label, report, status="PASSED", attempt=1, shard=1):
        outputs = []
        if report is not None:
            self._reports += 1
            path = os.path.join(self._folder.name, f"{self._reports} .xml")
            with open(path, "w", encoding="utf-8") as stream:
                stream.write(report)
            outputs = [{"name": "test.log", "uri": "file:///x"},
                       {"name": "test.xml",
                        "uri": "file://" + path.replace(" ", "%20")}]
        self._events.append({
            "id": {"testResult": {"label": label, "run": 1, "shard": shard,
                                  "attempt": attempt}},
            "testResult": {"status": status, "testActionOutput": outputs},
        })

    def count(self):
        return count_tests.count(json.dumps(event) for event in self._events)

    def assert_counts(self, passed, failed):
        total = self.count()
        self.assertEqual((total.passed, total.failed), (passed, failed),
                         total.notes)
        return total.notes

    def test_counts_cases_not_targets(self):
        self.configure("//a:a_test")
        self.result("//a:a_test", SUITE % (
            '<testcase name="A" classname="S"/><testcase name="B"/>'))
        self.configure("//a:a", "cc_library rule")
        self.assert_counts(2, 0)

    def test_failures_and_errors_fail(self):
        self.result("//a:a_test", SUITE % (
            '<testcase name="A" classname="S"><failure/></testcase>'
            '<testcase name="B"><error/></testcase><testcase name="C"/>'),
            status="FAILED")
        notes = self.assert_counts(1, 2)
        self.assertIn("FAILED  //a:a_test S.A", notes)

    def test_a_skip_fails_unless_the_machine_lacks_something(self):
        self.result("//a:a_test", SUITE % (
            '<testcase name="A" result="skipped">'
            '<skipped message="not today"/></testcase>'
            '<testcase name="B" result="skipped"/>'
            '<testcase name="C"><skipped message="a container engine is '
            'absent from this machine"/></testcase>'))
        notes = self.assert_counts(0, 2)
        self.assertIn("not today", notes[0])
        self.assertTrue(notes[2].startswith("SKIPPED"))

    def test_a_disabled_case_fails(self):
        self.result("//a:a_test", SUITE % (
            '<testcase name="A" status="notrun" result="suppressed"/>'
            '<testcase name="B"/>'))
        self.assert_counts(1, 1)

    def test_a_crash_or_time_limit_is_one_failure(self):
        self.result("//a:a_test", SUITE % '<testcase name="A"/>',
                    status="TIMEOUT")
        self.result("//a:b_test", None, status="FAILED")
        self.result("//a:c_test", "<not xml", status="PASSED")
        notes = self.assert_counts(1, 3)
        self.assertIn("FAILED  //a:a_test: timeout", notes)

    def test_a_target_that_was_not_built_is_one_failure(self):
        self.configure("//a:a_test", "py_test rule")
        self.assert_counts(0, 1)

    def test_the_last_attempt_counts_and_every_shard(self):
        self.result("//a:a_test", SUITE % (
            '<testcase name="A"><failure/></testcase>'), "FAILED", attempt=1)
        self.result("//a:a_test", SUITE % '<testcase name="A"/>', attempt=2)
        self.result("//a:a_test", SUITE % '<testcase name="B"/>', shard=2)
        self.assert_counts(2, 0)

    def test_a_cut_off_event_file_is_read_as_far_as_it_goes(self):
        self.result("//a:a_test", SUITE % '<testcase name="A"/>')
        lines = [json.dumps(self._events[0]), '{"id": {"testRes']
        self.assertEqual(count_tests.count(lines).passed, 1)


SUITE = "<testsuites><testsuite>%s</testsuite></testsuites>"


if __name__ == "__main__":
    junit.main()
