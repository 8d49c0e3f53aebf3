# SPDX-License-Identifier: Apache-2.0
"""docs/hostile-input.md names tests that are there."""

import pathlib
import re
import unittest

from e2e.testing import junit

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "hostile-input.md"

# `path` `name`, or the `path` of a fuzz test alone.
REFERENCE = re.compile(r"`([\w/]+(?:\.\w+)+)`(?: `(\w+)`)?")
DEFINITIONS = {
    ".cc": r"\bTEST(?:_[FP])?\(\s*\w+,\s*{}\)",
    ".go": r"^func {}\(t \*testing\.T\)",
    ".py": r"\bdef (?=test_){}\(self\)|^ +\"{}\",$",
}


def rows(text):
    """The rows of the tables: lists of cells, without heads and rules."""
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and cells[0] != "case" and set(line) - set(
                "|-"):
            yield cells


class HostileInputTest(unittest.TestCase):
    def setUp(self):
        self.rows = list(rows(PAGE.read_text(encoding="utf-8")))

    def test_every_row_names_tests_that_are_there(self):
        self.assertGreater(len(self.rows), 30)
        for case, _, tests in self.rows:
            with self.subTest(case=case):
                references = REFERENCE.findall(tests)
                self.assertTrue(references or tests.startswith("("), tests)
                for path, name in references:
                    self.check(path, name)

    def test_what_is_not_there_is_noticed(self):
        this = "e2e/docs/hostile_input_test.py"
        self.check(this, "test_what_is_not_there_is_noticed")
        for path, name in [(this, "test_nothing"), (this, "check"),
                           (this, ""), ("nowhere.py", "test_x")]:
            with self.subTest(path=path, name=name):
                with self.assertRaises(AssertionError):
                    self.check(path, name)

    def check(self, path, name):
        file = ROOT / path
        self.assertTrue(file.is_file(), f"there is no {path}")
        if not name:
            self.assertIn("_fuzz_test", path)
            return
        pattern = DEFINITIONS[file.suffix].replace("{}", name)
        self.assertTrue(
            re.search(pattern, file.read_text(encoding="utf-8"), re.M),
            f"{path} has no test {name}")


if __name__ == "__main__":
    junit.main()
