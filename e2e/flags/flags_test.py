# SPDX-License-Identifier: Apache-2.0
"""What the programs say to wrong flags, and the codes they exit with."""

import subprocess
import unittest

from e2e.testing import binaries, junit

CLI = "tools/ctl/flotilla"
MANAGER = "manager/manager"

# Nothing listens on the port; the manager never gets as far as a listener.
WRONG = (
    (CLI, (), "a command is missing"),
    (CLI, ("bogus",), "bogus"),
    (CLI, ("--bogus",), "--bogus"),
    (CLI, ("get",), "what is required"),
    (CLI, ("get", "bogus", "--server", "127.0.0.1:1"), "choose from"),
    (CLI, ("get", "bundles", "a", "b", "--server", "127.0.0.1:1"),
     "one name"),
    (CLI, ("get", "document", "gitrepo", "--server", "127.0.0.1:1"),
     "a kind and a name"),
    (CLI, ("get", "facts", "--server", "127.0.0.1:1"), "name the cluster"),
    (CLI, ("get", "bundles", "-o", "xml"), "xml"),
    (CLI, ("render", ".", "-o", "table"), "yaml or json"),
    (CLI, ("token",), "required"),
    (CLI, ("get", "bundles", "--server", "127.0.0.1:1"), "no manager answers"),
    (MANAGER, ("--bogus",), "--bogus"),
    (MANAGER, ("--log-format", "xml"), "xml"),
    (MANAGER, ("--data-dir",), "--data-dir"),
)


def run(program, arguments):
    return subprocess.run(
        [binaries.find(program), *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


class FlagsTest(unittest.TestCase):
    def test_wrong_flags_exit_with_1_and_say_what_is_wrong(self):
        for program, arguments, words in WRONG:
            with self.subTest(program=program, arguments=arguments):
                done = run(program, arguments)

                self.assertEqual(done.returncode, 1)
                self.assertIn(words, done.stderr)
                self.assertEqual(done.stdout, "")

    def test_help_exits_with_0(self):
        for program in (CLI, MANAGER):
            with self.subTest(program=program):
                done = run(program, ("--help",))

                self.assertEqual(done.returncode, 0)
                self.assertIn("Usage", done.stdout)


if __name__ == "__main__":
    junit.main()
