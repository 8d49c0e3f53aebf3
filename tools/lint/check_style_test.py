# SPDX-License-Identifier: Apache-2.0
"""Each rule of check_style, broken and kept."""

import unittest

from e2e.testing import junit
from tools.lint import check_style
from tools.lint.source_tree import SourceFile

SPDX = "// SPDX-License-Identifier: Apache-2.0\n"


def findings(path, text):
    return check_style.check([SourceFile(path, text)])


def header(body, comment="//\n// What it is.\n"):
    guard = "FLOTILLA_COMMON_X_H_"
    return (f"{SPDX}{comment}\n#ifndef {guard}\n#define {guard}\n{body}\n"
            f"#endif  // {guard}\n")


class CheckStyle(unittest.TestCase):
    def assert_one(self, found, words):
        self.assertEqual(len(found), 1, found)
        self.assertIn(words, found[0])

    def test_a_source_begins_with_its_licence(self):
        self.assertEqual(findings("a.cc", SPDX), [])
        self.assertEqual(findings("a.py", "#!/x\n# " + SPDX[3:]), [])
        self.assert_one(findings("a.cc", "int a;\n"), "SPDX")
        self.assert_one(findings("tools/run", "#!/bin/bash\n"), "SPDX")
        self.assertEqual(findings("README", "text\n"), [])

    def test_a_class_says_how_it_meets_threads(self):
        for word in ("Loop-affine.", "Thread-safe.", "Thread-compatible.",
                     "Immutable.", "Thread-compatible: one at a time."):
            body = f"// A.\n//\n// {word}\nclass A {{\n}};"
            self.assertEqual(findings("common/x.h", header(body)), [], word)
        self.assert_one(
            findings("common/x.h", header("// A.\nclass A {\n};")), "class A")
        self.assertEqual(findings("common/x.h", header("class A;")), [])
        self.assertEqual(
            findings("common/x.h",
                     header("class A {\n};", "//\n// A.\n//\n// Immutable.\n")),
            [])

    def test_the_thread_word_may_stand_over_a_template_head(self):
        body = ("// A.\n//\n// Immutable.\ntemplate <typename T>\n"
                "class A {\n};")
        self.assertEqual(findings("common/x.h", header(body)), [])

    def test_the_include_guard_follows_the_path(self):
        self.assert_one(findings("common/y.h", header("")), "COMMON_Y_H_")

    def test_names_have_no_empty_words(self):
        for name in ("FooManager", "PathUtil", "Helper", "StoreImpl",
                     "ClusterInfo", "BlobData"):
            self.assert_one(
                findings("a.cc", SPDX + f"class {name} {{\n"), name)
        for name in ("ManagerLink", "Database", "Metadata", "FirebaseX"):
            self.assertEqual(
                findings("a.cc", SPDX + f"class {name} {{\n"), [])
        self.assert_one(findings("common/string_util.cc", SPDX), "string_util")
        self.assertEqual(findings("manager/manager_process.cc", SPDX), [])

    def test_a_todo_has_its_issue(self):
        word = "TO" + "DO"
        self.assertEqual(
            findings("a.cc", SPDX + f"// {word}(#12): page the list.\n"), [])
        self.assert_one(
            findings("a.cc", SPDX + f"// {word}: page the list.\n"), "#123")

    def test_nothing_is_called_unfinished(self):
        self.assert_one(
            findings("a.cc", SPDX + "// A placeholder for now.\n"), "finish")
        self.assertEqual(
            findings("a.cc", SPDX + "auto stub = NewStub();\n"), [])

    def test_only_main_may_die(self):
        for code in ("std::abort();", "exit(1);", "CHECK(ok);"):
            self.assert_one(findings("a.cc", SPDX + code + "\n"), "Status")
            self.assertEqual(
                findings("manager/main.cc", SPDX + code + "\n"), [])
        for code in ("DCHECK(ok);", "child.exit(1);", "on_exit(1);",
                     "// abort() is not for us"):
            self.assertEqual(findings("a.cc", SPDX + code + "\n"), [], code)

    def test_only_the_environment_sees_the_world(self):
        for code in ("absl::Now();", "std::chrono::system_clock::now();",
                     'getenv("HOME");', "fork();", "rand();"):
            self.assert_one(findings("a.cc", SPDX + code + "\n"), "Clock")
            self.assertEqual(
                findings("common/env/posix/a.cc", SPDX + code + "\n"), [])
        self.assertEqual(findings("a.cc", SPDX + "clock.Now();\n"), [])

    def test_a_unit_test_does_not_sleep(self):
        code = SPDX + "absl::SleepFor(absl::Seconds(1));\n"
        self.assert_one(findings("common/a_test.cc", code), "waits")
        self.assertEqual(findings("e2e/a_test.cc", code), [])

    def test_lines_have_eighty_columns(self):
        self.assertEqual(findings("a.cc", SPDX + "x" * 80 + "\n"), [])
        self.assertEqual(findings("a.cc", SPDX + "ü" * 80 + "\n"), [])
        self.assert_one(findings("a.cc", SPDX + "x" * 81 + "\n"), "81")

    def test_no_path_of_one_machine_is_left(self):
        self.assert_one(
            findings("a.py", "# " + SPDX[3:] + 'x = "/ro' + 'ot/x"\n'),
            "one machine")
        self.assertEqual(
            findings("a.py", "# " + SPDX[3:] + 'x = "a/work/x"\n'), [])


if __name__ == "__main__":
    junit.main()
