# SPDX-License-Identifier: Apache-2.0
"""Each rule of check_includes, broken and kept."""

import unittest

from e2e.testing import junit
from tools.lint import check_includes
from tools.lint.source_tree import SourceFile


def findings(path, text, *others):
    files = [SourceFile(path, text)] + [SourceFile(p, t) for p, t in others]
    return check_includes.check(files)


class CheckIncludes(unittest.TestCase):
    def test_a_foreign_header_has_one_home(self):
        text = "#include <sqlite3.h>\n"
        self.assertEqual(findings("common/sqlite/database.cc", text), [])
        found = findings("manager/store/sqlite_store.cc", "\n" + text)
        self.assertEqual(len(found), 1)
        self.assertIn("manager/store/sqlite_store.cc:2:", found[0])
        self.assertIn("common/sqlite", found[0])

    def test_a_home_with_a_slash_is_the_folder_alone(self):
        text = '#include "CLI/CLI.hpp"\n'
        self.assertEqual(findings("manager/main.cc", text), [])
        self.assertEqual(len(findings("manager/store/a.cc", text)), 1)

    def test_grpc_services_are_for_those_who_speak_grpc(self):
        text = '#include "flotilla/agent/v1/agent.grpc.pb.h"\n'
        self.assertEqual(findings("manager/stream/a.cc", text), [])
        self.assertEqual(len(findings("manager/bundle/a.cc", text)), 1)

    def test_the_halves_do_not_see_each_other(self):
        self.assertEqual(
            len(findings("manager/a.cc", '#include "agent/b.h"\n')), 1)
        self.assertEqual(
            len(findings("agent/a.cc", '#include "manager/b.h"\n')), 1)
        self.assertEqual(
            len(findings("common/a.cc", '#include "manager/b.h"\n')), 1)
        self.assertEqual(
            findings("e2e/a.cc", '#include "manager/b.h"\n'), [])

    def test_the_agent_does_not_see_what_the_manager_keeps(self):
        text = '#include "flotilla/storage/v1/storage.pb.h"\n'
        self.assertEqual(len(findings("agent/a.cc", text)), 1)
        self.assertEqual(findings("manager/a.cc", text), [])

    def test_of_the_tools_only_the_cli_sees_what_the_manager_keeps(self):
        text = '#include "flotilla/storage/v1/storage.pb.h"\n'
        self.assertEqual(len(findings("tools/image/a.cc", text)), 1)
        self.assertEqual(findings("tools/ctl/a.cc", text), [])
        self.assertEqual(
            len(findings("tools/ctl/a.cc",
                         '#include "flotilla/agentstate/v1/a.pb.h"\n')), 1)

    def test_a_pure_library_does_not_see_the_world(self):
        build = ("x/BUILD.bazel",
                 'flotilla_pure_library(name = "a", srcs = ["a.cc"])\n'
                 'flotilla_cc_library(name = "b", srcs = ["b.cc"])\n')
        for header in ("<thread>", "<sys/stat.h>", '"absl/time/clock.h"'):
            text = f"#include {header}\n"
            self.assertEqual(len(findings("x/a.cc", text, build)), 1, header)
            self.assertEqual(findings("x/b.cc", text, build), [])
        self.assertEqual(findings("x/a.cc", "#include <vector>\n", build), [])

    def test_a_source_begins_with_its_own_header(self):
        header = ("x/a.h", "")
        good = '#include "x/a.h"\n#include <vector>\n'
        bad = '#include <vector>\n#include "x/a.h"\n'
        self.assertEqual(findings("x/a.cc", good, header), [])
        self.assertEqual(len(findings("x/a.cc", bad, header)), 1)


if __name__ == "__main__":
    junit.main()
