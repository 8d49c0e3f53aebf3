#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Keeps headers where they belong (STYLE.md: dependency rules).

Bazel's visibility keeps our own targets apart; it cannot see the system's
headers. Checked here: each foreign library has its home; the halves do not see
each other; protos go to their own audience; a pure library includes nothing
that does input or output, tells the time or starts a thread; a .cc begins with
its own header.
"""

import ast
import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__)))))
from tools.lint import source_tree  # noqa: E402

# Beginning of a header -> folders that may include it. A folder counts with
# all below it, unless it ends in "/" (then only its own files).
HOMES = {
    "CLI/": ["tools/ctl", "manager/", "agent/", "e2e"],
    "curl/": ["common/kube"],
    "fmt/": ["common/log"],
    "git2": ["manager/gitsync"],
    "grpc/": [
        "common/rpc", "common/status", "manager/stream", "agent/connection",
    ],
    "grpcpp/": [
        "common/rpc", "common/status", "manager/", "manager/admin",
        "manager/stream", "agent/", "agent/connection", "tools/ctl", "e2e",
    ],
    "httplib.h": ["common/http"],
    "lua5.4/": ["agent/health"],
    "openssl/": [
        "common/blob", "common/crypto", "common/kube", "common/pki",
        "common/rpc",
    ],
    "prometheus/": ["manager/metrics", "agent/metrics", "common/http"],
    "spdlog/": ["common/log"],
    "sqlite3.h": ["common/sqlite"],
    "yaml-cpp/": ["common/yaml"],
    "zstd.h": ["common/blob", "common/compress"],
}

# Folder -> beginnings of our own headers that it may not include.
FORBIDDEN = {
    "agent": [
        "manager/", "tools/", "e2e/", "flotilla/admin/", "flotilla/storage/",
        "flotilla/render/",
    ],
    "common": ["manager/", "agent/", "tools/", "e2e/"],
    "manager": ["agent/", "tools/", "e2e/", "flotilla/agentstate/"],
    "tools": ["agent/", "e2e/", "flotilla/agentstate/", "flotilla/storage/"],
}

# The folder that may all the same: the CLI runs the manager's own pipeline on
# files (ADR 0008), and a bundle is what goes through it.
EXEMPT = {"flotilla/storage/": "tools/ctl"}

# System headers by which a pure library would see the world.
IMPURE = re.compile(
    r"^(thread|mutex|shared_mutex|condition_variable|future|atomic|chrono|"
    r"ctime|time\.h|random|fstream|iostream|filesystem|cstdio|stdio\.h|"
    r"csignal|signal\.h|unistd\.h|fcntl\.h|poll\.h|dirent\.h|netdb\.h|"
    r"(sys|linux|netinet|arpa)/.*|absl/time/clock\.h|absl/synchronization/.*|"
    r"absl/random/.*)$")

INCLUDE = re.compile(r'^\s*#\s*include\s*(<([^>]+)>|"([^"]+)")')


def _lies_in(folder, home):
    if home.endswith("/"):
        return folder == home[:-1]
    return folder == home or folder.startswith(home + "/")


def includes(file):
    """(line number, header, whether it was quoted) of each include."""
    for number, line in enumerate(file.lines, 1):
        match = INCLUDE.match(line)
        if match:
            yield number, match.group(2) or match.group(3), bool(match.group(3))


def pure_sources(build):
    """Paths of the files of each flotilla_pure_library in a BUILD file."""
    try:
        tree = ast.parse(build.text)
    except SyntaxError:
        return
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
                and node.func.id == "flotilla_pure_library"):
            continue
        for keyword in node.keywords:
            if keyword.arg in ("srcs", "hdrs") and isinstance(
                    keyword.value, ast.List):
                for element in keyword.value.elts:
                    if isinstance(element, ast.Constant):
                        yield os.path.join(build.folder, element.value)


def check(files):
    findings = []
    paths = {file.path for file in files}
    pure = {path
            for file in files if os.path.basename(file.path) == "BUILD.bazel"
            for path in pure_sources(file)}
    for file in files:
        if not file.path.endswith((".h", ".cc")):
            continue
        top = file.path.split("/")[0]
        found = list(includes(file))
        for number, header, _ in found:
            where = f"{file.path}:{number}: "
            for beginning, homes in HOMES.items():
                if header.startswith(beginning) and not any(
                        _lies_in(file.folder, home) for home in homes):
                    findings.append(
                        f"{where}<{header}> may be included in "
                        f"{', '.join(homes)} only; use the wrapper there")
            if header.endswith(".grpc.pb.h") and not any(
                    _lies_in(file.folder, home) for home in HOMES["grpcpp/"]):
                findings.append(
                    f"{where}<{header}> is for the packages that speak gRPC")
            for beginning in FORBIDDEN.get(top, []):
                if header.startswith(beginning) and not (
                        beginning in EXEMPT
                        and _lies_in(file.folder, EXEMPT[beginning])):
                    findings.append(
                        f"{where}{top}/ must not see {beginning}: the "
                        f"direction of dependencies")
            if file.path in pure and IMPURE.match(header):
                findings.append(
                    f"{where}a pure library must not include <{header}>: pass "
                    f"what it needs as an argument")
        own = file.path[:-len(".cc")] + ".h"
        if file.path.endswith(".cc") and own in paths:
            if not found or found[0][1] != own:
                findings.append(
                    f'{file.path}:1: the first include must be "{own}"')
    return findings


if __name__ == "__main__":
    source_tree.main(check)
