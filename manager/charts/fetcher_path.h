// SPDX-License-Identifier: Apache-2.0
//
// Where the chart fetcher's program lies, seen from a program of this tree:
// beside it (an installation), or where Bazel builds it.

#ifndef FLOTILLA_MANAGER_CHARTS_FETCHER_PATH_H_
#define FLOTILLA_MANAGER_CHARTS_FETCHER_PATH_H_

#include <filesystem>
#include <string>
#include <system_error>

namespace flotilla::manager {

// Name of the fetcher in an installation.
inline constexpr char kInstalledFetcher[] = "flotilla-chart-fetcher";
inline constexpr char kBuiltFetcher[] =
    "manager/charts/fetcher/flotilla-chart-fetcher";

// `program` is the path of the running program, links resolved. Gives the first
// place where a file is; the installed name when there is none, so that the
// error of starting it names a place that can be filled.
inline std::string FindChartFetcher(const std::string& program) {
  namespace fs = std::filesystem;
  const fs::path beside = fs::path(program).parent_path();
  std::error_code ignored;
  for (const fs::path& place :
       {beside / kInstalledFetcher, beside.parent_path() / kBuiltFetcher,
        beside.parent_path().parent_path() / kBuiltFetcher,
        fs::path(program + ".runfiles") / "flotilla" / kBuiltFetcher}) {
    if (fs::is_regular_file(place, ignored)) return place.string();
  }
  return (beside / kInstalledFetcher).string();
}

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_CHARTS_FETCHER_PATH_H_
