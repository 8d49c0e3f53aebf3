# SPDX-License-Identifier: Apache-2.0
"""The files that a check looks at, and how it reports."""

import os
import subprocess
import sys


class SourceFile:
    """One text file: its path from the root of the repository, its lines."""

    def __init__(self, path, text):
        self.path = path
        self.text = text
        self.lines = text.split("\n")

    @property
    def folder(self):
        return os.path.dirname(self.path)

    @property
    def stem(self):
        return os.path.splitext(os.path.basename(self.path))[0]

    @property
    def is_test(self):
        return self.stem.endswith("_test")


def read_tree(root):
    """Every text file that git tracks, or would track."""
    listed = subprocess.run(
        ["git", "-C", root, "ls-files", "-z", "--cached", "--others",
         "--exclude-standard"],
        check=True, capture_output=True,
    ).stdout.decode().split("\0")
    files = []
    for path in sorted(filter(None, set(listed))):
        full = os.path.join(root, path)
        # Links and files that are deleted but not yet committed.
        if os.path.islink(full) or not os.path.isfile(full):
            continue
        with open(full, "rb") as stream:
            content = stream.read()
        if b"\0" not in content:
            files.append(SourceFile(path, content.decode(errors="replace")))
    return files


def main(check):
    """Runs check(files) -> ["path:line: sentence"] over the repository."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(
        os.path.abspath(sys.argv[0]))))
    findings = check(read_tree(root))
    for finding in findings:
        print(finding)
    sys.exit(1 if findings else 0)
