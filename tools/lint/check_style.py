#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The rules of STYLE.md that a program can keep.

The SPDX line first; a thread word over each class of a header; no empty words
in names; TODO with its issue; no way to die, no clock and no randomness outside
their places; no sleeping in tests; 80 columns; no traces of one machine.
"""

import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__)))))
from tools.lint import source_tree  # noqa: E402

SPDX = "SPDX-License-Identifier: Apache-2.0"
NEEDS_SPDX = (".h", ".cc", ".proto", ".py", ".sh", ".bzl", ".go")

THREAD_WORD = re.compile(
    r"^\s*//.*\b(Loop-affine|Thread-safe|Thread-compatible|Immutable)\b[.:]")
CLASS = re.compile(r"^class\s+(?:\[\[\w+\]\]\s+)?(?:ABSL_\w+(?:\(.*\))?\s+)?"
                   r"(\w+)\b(?!.*;\s*$)")
ANY_CLASS = re.compile(
    r"^\s*(?:class|struct)\s+(?:\[\[\w+\]\]\s+)?(\w+)\s*(?:final\s*)?[:{]")
EMPTY_WORDS = "Manager|Handler|Helper|Utils?|Common|Base|Impl|Info|Data"
EMPTY_CLASS = re.compile(rf"(?:^|[a-z0-9])(?:{EMPTY_WORDS})$")
EMPTY_STEM = re.compile(rf"(?:^|_)(?:{EMPTY_WORDS.lower()})$")

TODO = re.compile(r"\bTODO\b")
GOOD_TODO = re.compile(r"\bTODO\(#\d+\): [a-z]")
UNFINISHED = re.compile(r"(?<![\w-])(stub|placeholder|hard-coded|hardcoded|"
                        r"FIXME|XXX)(?![\w-])")
MACHINE = re.compile(r"(?<![\w.$}])/(?:work/|tmp/fl\b|root/)")

DEATH = re.compile(r"(?<![\w.>])(?:std::|::)?"
                   r"(?:CHECK|abort|exit|_exit|quick_exit|terminate)\(|"
                   r"LOG\(FATAL\)")
# Start-up, the checks themselves, and the few invariants whose breach would do
# worse than end the process.
MAY_DIE = re.compile(
    r"/main\.cc$|_test\.cc$|^common/log/|^common/env/posix/|"
    r"^common/event/(real|simulated)_loop\.cc$|^common/crypto/sealed_box\.cc$")

WORLD = re.compile(r"\babsl::Now\b|std::chrono::\w+::now|std::random_device|"
                   r"\bgetenv\(|(?<![\w.>:])(?:::)?v?fork\(|\bpopen\(|"
                   r"absl::BitGen|(?<!\w)s?rand\(")
# Programs and tests; and adapters whose library blocks a thread of its own until
# a deadline that only it can know.
MAY_SEE_WORLD = re.compile(
    r"/main\.cc$|_test\.cc$|^common/log/|^common/env/posix/|^e2e/|^tools/|"
    r"^common/kube/(curl_transfer|curl_worker|cluster_check)\.cc$|^common/rpc/|"
    r"^common/net/stall_guard\.cc$|^manager/render/worker_renderer\.cc$|"
    r"^manager/bundle/corpus\.cc$|^manager/gitsync/fetch_once\.cc$|"
    r"^agent/connection/grpc_manager_link\.cc$")

SLEEP = re.compile(r"SleepFor|sleep_for|sleep_until|(?<!\w)u?sleep\(")
SKIP = "GTEST_" + "SKIP"

COLUMNS = 80
# This program and its test name what they forbid.
EXEMPT = re.compile(r"^tools/lint/check_style(_test)?\.py$|^docs/|\.md$")


def comment_above(lines, index):
    """The comment that ends on the line before lines[index]."""
    end = index
    # Over the lines of a template's head.
    while end > 0 and re.match(r"\s*(template\b|typename\b|.*>$)",
                               lines[end - 1]) and not lines[
                                   end - 1].lstrip().startswith("//"):
        end -= 1
    start = end
    while start > 0 and lines[start - 1].lstrip().startswith("//"):
        start -= 1
    return lines[start:end]


def file_comment(lines):
    comment = []
    for line in lines:
        if not line.startswith("//"):
            break
        comment.append(line)
    return comment


def strip_comment(line):
    return line.split("//")[0]


def comment_of(file, line):
    mark = "#" if file.path.endswith((".py", ".sh", ".bzl", ".bazel")) else "//"
    if mark not in line:
        return ""
    return line.split(mark, 1)[1]


def check_header(file, report):
    whole = any(THREAD_WORD.match(line) for line in file_comment(file.lines))
    guard = "FLOTILLA_" + re.sub(r"[/.]", "_", file.path).upper() + "_"
    if f"#ifndef {guard}" not in file.text:
        report(1, f"the include guard must be {guard}")
    for number, line in enumerate(file.lines, 1):
        match = CLASS.match(line)
        if not match or whole:
            continue
        comment = comment_above(file.lines, number - 1)
        if not any(THREAD_WORD.match(text) for text in comment):
            report(number, f"the comment over class {match.group(1)} must end "
                   "with Loop-affine., Thread-safe., Thread-compatible. or "
                   "Immutable.")


def check_cpp(file, report):
    if EMPTY_STEM.search(file.stem):
        report(1, f"{file.stem}: a file is named after what it does")
    in_e2e = file.path.startswith("e2e/")
    for number, line in enumerate(file.lines, 1):
        code = strip_comment(line)
        match = ANY_CLASS.match(line)
        if match and not file.is_test and EMPTY_CLASS.search(match.group(1)):
            report(number, f"{match.group(1)}: the last word says nothing; "
                   "name what it is")
        if not MAY_DIE.search(file.path) and DEATH.search(code):
            report(number, "return a Status: dying is for main() and for the "
                   "few places that check_style.py lists")
        if not MAY_SEE_WORLD.search(file.path) and WORLD.search(code):
            report(number, "take a Clock, Random or Subprocesses: only "
                   "common/env/posix and main.cc see the world")
        if file.is_test and not in_e2e and SLEEP.search(code):
            report(number, "a test waits for nothing: use a SimulatedLoop or "
                   "a fake")
        if SKIP in code:
            report(number, "a test that cannot run must say what is absent "
                   "from this machine, from e2e only")
        if (len(line) > COLUMNS and "http" not in line
                and not line.startswith(("#include", "#ifndef", "#define",
                                         "#endif"))
                and not (file.is_test and line.lstrip(" {").startswith(
                    ('"', 'R"')))
                and 'R"' not in line):
            report(number, f"{len(line)} columns; {COLUMNS} are the limit")


def check(files):
    findings = []
    for file in files:
        if EXEMPT.search(file.path):
            continue

        def report(number, sentence, path=file.path):
            findings.append(f"{path}:{number}: {sentence}")

        name = os.path.basename(file.path)
        source = file.path.endswith(NEEDS_SPDX) or (
            file.text.startswith("#!") and "." not in name)
        if not source:
            continue
        if (SPDX not in "\n".join(file.lines[:3])
                and "DO NOT EDIT" not in "\n".join(file.lines[:10])):
            report(1, f"the first line must say {SPDX}")
        for number, line in enumerate(file.lines, 1):
            if TODO.search(line) and not GOOD_TODO.search(line):
                report(number, "write TODO(#123): verb …, or open the issue")
            found = UNFINISHED.search(comment_of(file, line))
            if found:
                report(number, f'"{found.group(1)}": finish it, or say what '
                       "it is")
            if MACHINE.search(line):
                report(number, "a path of one machine")
        if file.path.endswith((".h", ".cc")):
            check_cpp(file, report)
        if file.path.endswith(".h"):
            check_header(file, report)
    return findings


if __name__ == "__main__":
    source_tree.main(check)
