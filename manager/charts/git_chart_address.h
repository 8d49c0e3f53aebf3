// SPDX-License-Identifier: Apache-2.0
//
// What `helm.chart` means when it names a folder of a Git repository, in the
// notation of go-getter (spec.md 3.8):
//
//   git::https://host/team/charts.git//web?ref=v1.2
//   git::ssh://git@host/team/charts.git//web, git@host:team/charts.git//web
//   github.com/team/charts//web?ref=main, also gitlab.com and bitbucket.org

#ifndef FLOTILLA_MANAGER_CHARTS_GIT_CHART_ADDRESS_H_
#define FLOTILLA_MANAGER_CHARTS_GIT_CHART_ADDRESS_H_

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace flotilla::manager {

struct GitChartAddress {
  // https://, http:// or ssh://; for gitsync/git_url.h to judge. May hold a
  // password.
  std::string url;
  // A tag, a branch or a commit in full; empty is the default branch.
  std::string ref;
  // Where the chart lies; empty is the root.
  std::string folder;
  // Of `sshkey=`: a secret.
  std::string ssh_private_key;
};

// nullopt for what is no address of a Git repository. INVALID_ARGUMENT, in
// words without a secret, for one that is not right: a folder that leads out,
// a transport that runs a program or reads the manager's disk.
absl::StatusOr<std::optional<GitChartAddress>> ParseGitChartAddress(
    absl::string_view chart);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_CHARTS_GIT_CHART_ADDRESS_H_
