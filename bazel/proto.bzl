# SPDX-License-Identifier: Apache-2.0

"""C++ from protos with the system's protoc; the import root is proto/."""

FlotillaProtoInfo = provider(
    doc = "The .proto files of a package and of all it imports.",
    fields = {
        "direct": "list of File: the package's own files",
        "transitive": "depset of File: these and all imported ones",
    },
)

def _proto_cc_impl(ctx):
    root = ctx.attr.import_root
    outs = []
    imports = []
    for src in ctx.files.srcs:
        inside = src.short_path[len(root) + 1:]
        if not src.short_path.startswith(root + "/"):
            fail("%s does not lie under the import root %s/" % (src.short_path, root))
        imports.append(inside)
        stem = src.basename[:-len(".proto")]
        endings = [".pb.cc", ".pb.h"]
        if ctx.attr.grpc:
            endings += [".grpc.pb.cc", ".grpc.pb.h"]
        outs += [ctx.actions.declare_file(stem + e, sibling = src) for e in endings]

    transitive = depset(
        ctx.files.srcs,
        transitive = [d[FlotillaProtoInfo].transitive for d in ctx.attr.deps],
    )
    out_root = ctx.bin_dir.path + "/" + root
    args = ctx.actions.args()
    args.add("-I" + root)
    args.add("-I" + out_root)
    args.add("-I/usr/include")
    args.add("--cpp_out=" + out_root)
    if ctx.attr.grpc:
        args.add("--grpc_out=" + out_root)
        args.add("--plugin=protoc-gen-grpc=/usr/bin/grpc_cpp_plugin")
    args.add_all(imports)
    ctx.actions.run_shell(
        inputs = transitive,
        outputs = outs,
        # A missing import root is only a warning, but one per build and line.
        command = "mkdir -p '%s' && exec /usr/bin/protoc \"$@\"" % out_root,
        arguments = [args],
        mnemonic = "FlotillaProtoc",
        progress_message = "Generating C++ for %s" % ctx.label,
    )
    return [
        DefaultInfo(files = depset(outs)),
        OutputGroupInfo(
            sources = depset([f for f in outs if f.extension == "cc"]),
            headers = depset([f for f in outs if f.extension == "h"]),
        ),
        FlotillaProtoInfo(direct = ctx.files.srcs, transitive = transitive),
    ]

_proto_cc = rule(
    implementation = _proto_cc_impl,
    attrs = {
        "deps": attr.label_list(providers = [FlotillaProtoInfo]),
        "grpc": attr.bool(),
        "import_root": attr.string(mandatory = True),
        "srcs": attr.label_list(allow_files = [".proto"], mandatory = True),
    },
)

def _proto_descriptor_impl(ctx):
    root = ctx.attr.import_root
    info = ctx.attr.proto[FlotillaProtoInfo]
    out = ctx.actions.declare_file(ctx.label.name + ".binpb")
    args = ctx.actions.args()
    args.add("-I" + root)
    args.add("-I/usr/include")
    args.add("--include_imports")
    args.add("--descriptor_set_out=" + out.path)
    args.add_all([f.short_path[len(root) + 1:] for f in info.direct])
    ctx.actions.run(
        inputs = info.transitive,
        outputs = [out],
        executable = "/usr/bin/protoc",
        arguments = [args],
        mnemonic = "FlotillaProtoDescriptor",
    )
    return [DefaultInfo(files = depset([out]))]

_proto_descriptor = rule(
    implementation = _proto_descriptor_impl,
    attrs = {
        "import_root": attr.string(mandatory = True),
        "proto": attr.label(providers = [FlotillaProtoInfo], mandatory = True),
    },
)

def flotilla_proto_package(
        name,
        srcs,
        deps = [],
        grpc = False,
        import_root = "proto",
        visibility = ["//visibility:public"],
        alwayslink = False):
    """One proto package as a C++ library.

    Makes `name` (the cc_library), `name_descriptor` (a FileDescriptorSet with
    its imports) and `name_protos` (the .proto files, for other languages).
    Headers are included as "flotilla/core/v1/core.pb.h".

    Args:
      name: by custom `<package>_cc_proto`.
      srcs: the .proto files.
      deps: other flotilla_proto_package targets.
      grpc: whether to generate the services too.
      import_root: the folder that imports start from.
      visibility: who may see the library.
      alwayslink: keep the descriptors though nothing names them.
    """
    generated = name + "_gen"
    _proto_cc(
        name = generated,
        srcs = srcs,
        deps = [_generated_label(d) for d in deps],
        grpc = grpc,
        import_root = import_root,
        visibility = ["//visibility:public"],
    )
    native.filegroup(
        name = name + "_sources",
        srcs = [generated],
        output_group = "sources",
    )
    native.filegroup(
        name = name + "_headers",
        srcs = [generated],
        output_group = "headers",
    )
    native.cc_library(
        name = name,
        srcs = [name + "_sources"],
        hdrs = [name + "_headers"],
        # Generated code is not held to our warnings.
        copts = ["-w"],
        linkstatic = True,
        strip_include_prefix = "/" + import_root,
        visibility = visibility,
        alwayslink = alwayslink,
        deps = deps + ["//third_party/protobuf"] +
               (["//third_party/grpc:grpc++"] if grpc else []),
    )
    _proto_descriptor(
        name = name + "_descriptor",
        import_root = import_root,
        proto = generated,
        visibility = visibility,
    )
    native.filegroup(
        name = name + "_protos",
        srcs = srcs,
        visibility = ["//visibility:public"],
    )

def _generated_label(label):
    if ":" in label:
        return label + "_gen"
    return "%s:%s_gen" % (label, label.split("/")[-1])
