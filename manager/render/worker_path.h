// SPDX-License-Identifier: Apache-2.0
//
// Where the render worker's program lies, seen from a program of this tree:
// beside it (an installation), or where Bazel builds it.

#ifndef FLOTILLA_MANAGER_RENDER_WORKER_PATH_H_
#define FLOTILLA_MANAGER_RENDER_WORKER_PATH_H_

#include <filesystem>
#include <string>
#include <system_error>

namespace flotilla::manager {

// Name of the worker in an installation.
inline constexpr char kInstalledWorker[] = "flotilla-render-worker";
inline constexpr char kBuiltWorker[] =
    "manager/render/worker/flotilla-render-worker";

// `program` is the path of the running program, links resolved. Gives the first
// place where a file is; the installed name when there is none, so that the
// error of starting it names a place that can be filled.
inline std::string FindRenderWorker(const std::string& program) {
  namespace fs = std::filesystem;
  const fs::path beside = fs::path(program).parent_path();
  std::error_code ignored;
  for (const fs::path& place :
       {beside / kInstalledWorker, beside.parent_path() / kBuiltWorker,
        beside.parent_path().parent_path() / kBuiltWorker,
        fs::path(program + ".runfiles") / "flotilla" / kBuiltWorker}) {
    if (fs::is_regular_file(place, ignored)) return place.string();
  }
  return (beside / kInstalledWorker).string();
}

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_RENDER_WORKER_PATH_H_
