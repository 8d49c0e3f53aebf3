# SPDX-License-Identifier: Apache-2.0

"""Go programs, built by the go command: there are no Go rules offline.

The module is staged into a folder of its own, so that generated sources can
lie in it. Modules come from the proxy that `go env` names, checked against
the committed go.sum.
"""

_TAGS = [
    "no-sandbox",
    "requires-network",
]

def _module_root(dir):
    package = native.package_name()
    return package + "/" + dir if dir else package

def flotilla_go_binary(
        name,
        srcs,
        dir = "",
        package = ".",
        placed = {},
        out = None,
        ldflags = "-s -w",
        go_tags = "",
        tags = [],
        visibility = None,
        testonly = False):
    """A static Go program.

    Args:
      name: of the target, and of the program unless `out` says otherwise.
      srcs: every .go file, go.mod and go.sum, and what they embed. They must
        lie under `dir`; generated ones too.
      dir: the module's folder below this package; "" for the package itself.
      package: the main package, relative to the module.
      placed: label -> path in the module, for files that lie elsewhere.
      out: the program's file name.
      ldflags: of the go linker.
      go_tags: build tags, separated by commas.
      tags: more Bazel tags.
      visibility: as usual.
      testonly: as usual.
    """
    file = out or name + ".exe"
    native.genrule(
        name = name,
        srcs = srcs + placed.keys(),
        outs = [file],
        cmd = " ".join([
            "$(execpath //bazel:go_in_module)",
            "'%s'" % _module_root(dir),
            " ".join(["$(locations %s)" % s for s in srcs]),
            " ".join(["--place $(location %s) '%s'" % (l, p) for l, p in placed.items()]),
            "-- build -mod=readonly -trimpath",
            "-ldflags '%s'" % ldflags,
            ("-tags '%s'" % go_tags) if go_tags else "",
            "-o $$PWD/$@",
            "'%s'" % package,
        ]),
        executable = True,
        message = "Building the Go program",
        tags = _TAGS + tags,
        testonly = testonly,
        tools = ["//bazel:go_in_module"],
        visibility = visibility,
    )

def flotilla_go_test(
        name,
        srcs,
        dir = "",
        packages = "./...",
        placed = {},
        size = "medium",
        timeout = "long",
        data = [],
        tags = [],
        **kwargs):
    """`go vet` and `go test` of a module; one test case per Go test.

    Args:
      name: of the target.
      srcs: as for flotilla_go_binary, with the _test.go files.
      dir: the module's folder below this package.
      packages: what to test.
      placed: label -> path in the module.
      size: as for sh_test.
      timeout: as for sh_test; go compiles the module within it.
      data: more files, at their place in the runfiles.
      tags: more Bazel tags.
      **kwargs: as for sh_test.
    """
    args = [_module_root(dir), "'%s'" % packages]
    for label in srcs:
        args.append("$(rootpaths %s)" % label)
    for label, path in placed.items():
        args += ["--place", "$(rootpath %s)" % label, "'%s'" % path]
    native.sh_test(
        name = name,
        size = size,
        timeout = timeout,
        srcs = ["//bazel:go_test.sh"],
        args = args,
        data = srcs + placed.keys() + data + ["//bazel:go_in_module.sh"],
        tags = _TAGS + tags,
        **kwargs
    )
