# SPDX-License-Identifier: Apache-2.0
"""Runs a test program's unittest cases so that Bazel counts each of them.

A test program ends with

    if __name__ == "__main__":
        junit.main()

Each case, and each subTest of it, becomes one <testcase> in $XML_OUTPUT_FILE;
a skip is recorded as such with its reason. `--test_filter` of Bazel, or a name
on the command line, picks cases as `unittest -k` does. SIGTERM, which Bazel
sends at the time limit, ends the run with what is known so far.
"""

import os
import signal
import sys
import time
import unittest
import xml.sax.saxutils


class _Case:
    def __init__(self, test, seconds, outcome="passed", detail=""):
        parts = test.id().split(".")
        # A subTest's id carries its parameters, which may hold dots.
        split = next(
            (i for i, part in enumerate(parts) if part.startswith("test")),
            len(parts) - 1,
        )
        self.class_name = ".".join(parts[:split]) or "test"
        self.name = ".".join(parts[split:])
        self.seconds = seconds
        self.outcome = outcome
        self.detail = detail

    def xml(self):
        quote = xml.sax.saxutils.quoteattr
        head = (
            f"    <testcase name={quote(_clean(self.name))} "
            f"classname={quote(_clean(self.class_name))} "
            f'time="{self.seconds:.3f}"'
        )
        if self.outcome == "passed":
            return head + ' status="run" result="completed"/>\n'
        message = quote(_clean(self.detail.strip().splitlines()[-1:] or [""]))
        if self.outcome == "skipped":
            return (
                head + ' status="notrun" result="skipped">'
                f"<skipped message={message}/></testcase>\n"
            )
        body = xml.sax.saxutils.escape(_clean(self.detail))
        return (
            head + ' status="run" result="completed">'
            f"<{self.outcome} message={message}>{body}</{self.outcome}>"
            "</testcase>\n"
        )


class _Result(unittest.TextTestResult):
    """Prints as unittest does, and keeps every case."""

    def __init__(self, *arguments, **keywords):
        super().__init__(*arguments, **keywords)
        self.cases = []
        # The case that runs and has no outcome yet.
        self.current = None
        self._started = time.monotonic()

    def startTest(self, test):
        super().startTest(test)
        self.current = test
        self._started = time.monotonic()

    def addSuccess(self, test):
        super().addSuccess(test)
        self._add(test)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._add(test, "failure", self._exc_info_to_string(err, test))

    def addError(self, test, err):
        super().addError(test, err)
        self._add(test, "error", self._exc_info_to_string(err, test))

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self._add(test, "skipped", reason)

    def addExpectedFailure(self, test, err):
        super().addExpectedFailure(test, err)
        self._add(test)

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self._add(test, "failure", "expected to fail, and did not")

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is None:
            self._add(subtest)
        else:
            failed = issubclass(err[0], test.failureException)
            self._add(
                subtest, "failure" if failed else "error",
                self._exc_info_to_string(err, test),
            )

    def add_interrupted(self):
        if self.current is not None:
            self._add(self.current, "error", "interrupted: out of time?")

    def _add(self, test, outcome="passed", detail=""):
        seconds = time.monotonic() - self._started
        self.cases.append(_Case(test, seconds, outcome, detail))
        if test is self.current:
            self.current = None


def main():
    """Runs the cases of the program's own module; does not return."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    loader = unittest.TestLoader()
    patterns = sys.argv[1:]
    if os.environ.get("TESTBRIDGE_TEST_ONLY"):
        patterns.append(os.environ["TESTBRIDGE_TEST_ONLY"])
    if patterns:
        loader.testNamePatterns = [
            pattern if "*" in pattern else f"*{pattern}*"
            for pattern in patterns
        ]
    suite = loader.loadTestsFromModule(sys.modules["__main__"])
    result = _Result(
        unittest.runner._WritelnDecorator(sys.stderr), descriptions=False,
        verbosity=2,
    )
    began = time.monotonic()
    interrupted = False
    try:
        result.startTestRun()
        suite(result)
    except KeyboardInterrupt:
        interrupted = True
        result.add_interrupted()
    finally:
        result.stopTestRun()
        _write_xml(result.cases, time.monotonic() - began)
    result.printErrors()
    skipped = len(result.skipped)
    print(
        f"\nRan {result.testsRun} tests in {time.monotonic() - began:.1f} s, "
        f"{skipped} skipped" + (", interrupted" if interrupted else ""),
        file=sys.stderr,
    )
    if result.testsRun == 0 and not skipped:
        print("no test matches", file=sys.stderr)
        sys.exit(1)
    sys.exit(0 if result.wasSuccessful() and not interrupted else 1)


def _interrupt(_number, _frame):
    # unittest takes SystemExit for a failed test and goes on.
    raise KeyboardInterrupt


def _write_xml(cases, seconds):
    path = os.environ.get("XML_OUTPUT_FILE")
    if not path:
        return
    count = {
        outcome: sum(case.outcome == outcome for case in cases)
        for outcome in ("failure", "error", "skipped")
    }
    totals = (
        f'tests="{len(cases)}" failures="{count["failure"]}" '
        f'errors="{count["error"]}" skipped="{count["skipped"]}" '
        f'time="{seconds:.3f}"'
    )
    name = os.path.basename(sys.argv[0]).removesuffix(".py")
    with open(path, "w", encoding="utf-8") as file:
        file.write('<?xml version="1.0" encoding="UTF-8"?>\n')
        file.write(f"<testsuites {totals}>\n")
        file.write(f'  <testsuite name="{name}" {totals}>\n')
        for case in cases:
            file.write(case.xml())
        file.write("  </testsuite>\n</testsuites>\n")


def _clean(text):
    """Without the control characters that XML forbids."""
    if isinstance(text, list):
        text = "".join(text)
    return "".join(
        letter for letter in text if letter in "\t\n" or letter >= " "
    )
