# SPDX-License-Identifier: Apache-2.0
"""Finds the programs that Bazel built, by their label's path.

Looked up in this order: the folder $FLOTILLA_BINARIES (by file name alone),
this program's runfiles, and `bazel-bin` of the work tree.
"""

import os
import pathlib

# Not resolved: in a runfiles tree the parents of the link are what counts.
ROOT = pathlib.Path(__file__).absolute().parents[2]


def find(path):
    """The file of `path`, such as "manager/manager", as an absolute path."""
    places = []
    # A Go program's file ends in .exe, as its target has the plain name.
    for ending in ("", ".exe"):
        folder = os.environ.get("FLOTILLA_BINARIES")
        if folder:
            name = pathlib.PurePath(path).name + ending
            places.append(pathlib.Path(folder) / name)
        places.append(ROOT / (path + ending))
        places.append(ROOT / "bazel-bin" / (path + ending))
    for place in places:
        if place.is_file() and os.access(place, os.X_OK):
            return str(place.absolute())
    package, _, name = path.rpartition("/")
    raise FileNotFoundError(
        f"{path} is not built; run `bazel build //{package}:{name}` "
        f"(looked in {', '.join(str(place) for place in places)})"
    )
