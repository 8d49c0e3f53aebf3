#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Counts the test cases of a Bazel run from its build events.

    count_tests.py EVENTS.json

Prints what failed or was skipped, one line each, and then "PASSED FAILED" as
two numbers. A case is a <testcase> of a test.xml that this run wrote or took
from the cache. It fails

- by a <failure> or <error>;
- when it was skipped or disabled, unless its message says what is absent from
  "this machine" by design;
- as one more case of its target when the target failed and no case of it did
  (a crash, a time limit), when its report cannot be read, and when the target
  was not built or not run.
"""

import json
import sys
import urllib.parse
import xml.etree.ElementTree

BY_DESIGN = "this machine"


class Count:
    """Passed and failed cases, and the sentences about those that matter."""

    def __init__(self):
        self.passed = 0
        self.failed = 0
        self.notes = []

    def fail(self, sentence):
        self.failed += 1
        self.notes.append("FAILED  " + sentence)

    def add_case(self, target, case):
        name = f"{target} {case.get('classname', '')}.{case.get('name', '')}"
        skipped = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            self.fail(name)
        elif case.get("result") == "suppressed":
            self.fail(f"{name}: disabled")
        elif skipped is not None or case.get("result") == "skipped":
            reason = "" if skipped is None else skipped.get("message", "")
            reason = reason.strip() or "no reason given"
            if BY_DESIGN in reason:
                self.notes.append(f"SKIPPED {name}: {reason}")
            else:
                self.fail(f"{name}: skipped: {reason}")
        else:
            self.passed += 1


def read_events(lines):
    """(label -> last result of the target, labels of all test targets)."""
    results, configured = {}, set()
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue  # The last line of a run that was killed.
        name = event.get("id", {})
        if "targetConfigured" in name:
            kind = event.get("configured", {}).get("targetKind", "")
            if kind.endswith("_test rule"):
                configured.add(name["targetConfigured"]["label"])
        if "testResult" in name and "testResult" in event:
            key = name["testResult"]
            # Shards and runs are results of their own; of several attempts the
            # last one counts.
            results[key["label"], key.get("shard", 1), key.get("run", 1)] = (
                event["testResult"])
    return results, configured


def read_report(result):
    """The root element of a result's test.xml, or None."""
    for output in result.get("testActionOutput", []):
        if output.get("name") != "test.xml":
            continue
        path = urllib.parse.unquote(
            urllib.parse.urlparse(output.get("uri", "")).path)
        try:
            return xml.etree.ElementTree.parse(path).getroot()
        except (OSError, xml.etree.ElementTree.ParseError):
            return None
    return None


def count(lines):
    total = Count()
    results, configured = read_events(lines)
    for (label, _, _), result in sorted(results.items()):
        report = read_report(result)
        before = total.failed
        cases = [] if report is None else list(report.iter("testcase"))
        for case in cases:
            total.add_case(label, case)
        status = result.get("status", "NO_STATUS")
        if status != "PASSED" and total.failed == before:
            total.fail(f"{label}: {status.lower().replace('_', ' ')}")
        elif not cases and total.failed == before:
            total.fail(f"{label}: no test case in its report")
    for label in sorted(configured - {label for label, _, _ in results}):
        total.fail(f"{label}: not built or not run")
    return total


def main():
    with open(sys.argv[1], encoding="utf-8", errors="replace") as lines:
        total = count(lines)
    for note in total.notes:
        print(note)
    print(total.passed, total.failed)


if __name__ == "__main__":
    main()
