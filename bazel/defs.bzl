# SPDX-License-Identifier: Apache-2.0

"""The C++ rules of this tree: the native ones with our warnings, no more.

Nothing is added to `deps`: a target lists exactly what it includes.
"""

FLOTILLA_COPTS = [
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wshadow",
    "-Wnon-virtual-dtor",
    "-Wimplicit-fallthrough",
]

# What a pure target may see: decisions only, so no I/O, no clock, no
# randomness, no logging, no threads. A label is allowed when it begins with
# one of these and with none of _IMPURE_PREFIXES.
_PURE_PREFIXES = [
    ":",
    "//agent/",
    "//common/",
    "//manager/",
    "//proto/",
    "//third_party/absl:",
    "//third_party/lua",
    "//third_party/nlohmann_json:",
    "//third_party/protobuf",
    "//third_party/re2",
    "//tools/",
]

_IMPURE_PREFIXES = [
    "//common/env",
    "//common/event",
    "//common/http",
    "//common/log:log",
    "//common/rpc",
    "//common/sqlite",
    "//third_party/absl:synchronization",
]

def _starts_with_any(label, prefixes):
    for prefix in prefixes:
        if label.startswith(prefix):
            return True
    return False

def _check_pure(name, deps):
    for dep in deps:
        label = str(dep)
        if _starts_with_any(label, _IMPURE_PREFIXES) or not _starts_with_any(label, _PURE_PREFIXES):
            fail(("//%s:%s is pure and must not depend on %s: pass what it needs " +
                  "as an argument, or make it a flotilla_cc_library") %
                 (native.package_name(), name, label))

def flotilla_cc_library(name, copts = [], **kwargs):
    """A cc_library with this tree's warnings.

    Args:
      name: the file stem of the header pair.
      copts: more compiler options.
      **kwargs: as for cc_library.
    """
    native.cc_library(
        name = name,
        copts = FLOTILLA_COPTS + copts,
        linkstatic = True,
        **kwargs
    )

def flotilla_pure_library(name, deps = [], copts = [], **kwargs):
    """A library of decisions: fails while loading when it sees the world.

    Args:
      name: the file stem of the header pair.
      deps: labels, each checked against the list of what is pure.
      copts: more compiler options.
      **kwargs: as for cc_library.
    """
    _check_pure(name, deps)
    native.cc_library(
        name = name,
        copts = FLOTILLA_COPTS + copts,
        linkstatic = True,
        deps = deps,
        **kwargs
    )

def flotilla_cc_test(name, copts = [], size = "small", **kwargs):
    """A cc_test with this tree's warnings; small unless it says otherwise.

    Args:
      name: the file stem of the test.
      copts: more compiler options.
      size: as for cc_test.
      **kwargs: as for cc_test.
    """
    native.cc_test(
        name = name,
        size = size,
        copts = FLOTILLA_COPTS + copts,
        **kwargs
    )

def flotilla_cc_binary(name, copts = [], **kwargs):
    """A cc_binary with this tree's warnings.

    Args:
      name: the name of the program.
      copts: more compiler options.
      **kwargs: as for cc_binary.
    """
    native.cc_binary(
        name = name,
        copts = FLOTILLA_COPTS + copts,
        **kwargs
    )

def flotilla_fuzz_test(name, deps = [], seeds = [], runs = 20000, max_seconds = 10, copts = [], args = [], data = [], size = "small", **kwargs):
    """A bounded fuzz run as a test, and the same target for libFuzzer.

    The source defines LLVMFuzzerTestOneInput(). The test feeds it the seeds and
    mutations of them, the same ones each time, until `runs` or `max_seconds`.
    FLOTILLA_FUZZ_SEED and FLOTILLA_FUZZ_RUNS in --test_env change that. An
    input that crashes, or takes more than ten seconds, is printed, and kept in
    the test's outputs. With --config=fuzz it is built for libFuzzer:
      bazel build --config=fuzz //x:y && bazel-bin/x/y -max_total_time=60 DIR

    Args:
      name: the file stem of the test.
      deps: what the source includes.
      seeds: files to begin with.
      runs: how many inputs, at most.
      max_seconds: how long, at most.
      copts: more compiler options.
      args: more arguments, such as --token=TEXT for a text worth inserting.
      data: as for cc_test.
      size: as for cc_test.
      **kwargs: as for cc_test.
    """
    native.cc_test(
        name = name,
        size = size,
        args = [
            "--runs=%d" % runs,
            "--max_seconds=%d" % max_seconds,
        ] + args + ["$(locations %s)" % seed for seed in seeds],
        copts = FLOTILLA_COPTS + copts,
        data = data + seeds,
        deps = deps + select({
            "//bazel:libfuzzer": [],
            "//conditions:default": ["//common/fuzz:fuzz_driver"],
        }),
        linkopts = select({
            "//bazel:libfuzzer": ["-fsanitize=fuzzer"],
            "//conditions:default": [],
        }),
        **kwargs
    )
