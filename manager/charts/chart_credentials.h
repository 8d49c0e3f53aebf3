// SPDX-License-Identifier: Apache-2.0
//
// Which credentials go with which chart download (spec.md 3.8). Decisions
// only: the caller opens the Secret and hands it in.
//
// A GitRepo names one Secret (`helmSecretName`) or a Secret with credentials
// by path (`helmSecretNameForPaths`, which wins). User, password and SSH key
// are given out for a URL that `helmRepoURLRegex` matches from its start, and
// for no other; TLS settings are given out always. A match that ends within
// the host's name is none: "https://charts.example.com" does not speak for
// "https://charts.example.com.evil.org".

#ifndef FLOTILLA_MANAGER_CHARTS_CHART_CREDENTIALS_H_
#define FLOTILLA_MANAGER_CHARTS_CHART_CREDENTIALS_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "manager/charts/chart_fetcher.h"

namespace flotilla::manager {

// Name of the Secret, in the GitRepo's workspace, that ForGitRepo() wants;
// empty: none.
std::string ChartSecretName(const storage::v1::GitRepoSpec& spec);

// The rules of one GitRepo or HelmOp.
//
// Immutable.
class ChartCredentialRules {
 public:
  // No credentials at all.
  ChartCredentialRules();
  ~ChartCredentialRules();
  ChartCredentialRules(const ChartCredentialRules&);
  ChartCredentialRules& operator=(const ChartCredentialRules&);

  // `secret` is the opened one that ChartSecretName() says; null when it does
  // not exist, which is an error if one is named. INVALID_ARGUMENT and
  // FAILED_PRECONDITION say what is wrong with which field or Secret, never
  // with a value of it.
  static absl::StatusOr<ChartCredentialRules> ForGitRepo(
      absl::string_view workspace, const storage::v1::GitRepoSpec& spec,
      const storage::v1::SecretData* secret);

  // The same for a HelmOp and its `helm_secret_name`: whoever wrote the HelmOp
  // named URL and Secret together, so there is no expression.
  static absl::StatusOr<ChartCredentialRules> ForHelmOp(
      absl::string_view workspace, const storage::v1::HelmOpSpec& spec,
      const storage::v1::SecretData* secret);

  // For helm.repo and helm.chart of a bundle in the directory `path` of the
  // repository ("." or "" is its root).
  ChartCredentials ForChart(absl::string_view path, absl::string_view repo,
                            absl::string_view chart) const;

  // For the dependencies that `chart_yaml` lists.
  ChartCredentials ForDependencies(absl::string_view path,
                                   absl::string_view chart_yaml) const;

 private:
  struct Rules;

  static absl::Status ReadPaths(const storage::v1::SecretData& secret,
                                Rules& rules);

  // What belongs to `path`, or null.
  const ChartCredentials* Find(absl::string_view path) const;
  // Whether user and password may go to `url`.
  bool Allows(absl::string_view url) const;
  // `found` and the TLS settings that count always.
  ChartCredentials Merge(const ChartCredentials* found) const;
  // Why nothing was sent.
  std::string HintFor(const ChartCredentials* found, absl::string_view path,
                      absl::string_view url) const;

  std::shared_ptr<const Rules> rules_;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_CHARTS_CHART_CREDENTIALS_H_
