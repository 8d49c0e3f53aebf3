// SPDX-License-Identifier: Apache-2.0
//
// Fetches charts for bundles (spec.md 3.8): from Helm repositories, OCI
// registries and URLs, and the dependencies of charts that lie in a bundle.
// An interface: the real one runs a process with network but no secrets other
// than those in the request; tests use FakeChartFetcher.

#ifndef FLOTILLA_MANAGER_CHARTS_CHART_FETCHER_H_
#define FLOTILLA_MANAGER_CHARTS_CHART_FETCHER_H_

#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "flotilla/storage/v1/storage.pb.h"

namespace flotilla::manager {

// What is sent to the host of `ChartRequest::repo` or `chart` and to no other.
// See chart_credentials.h for where they come from.
struct ChartCredentials {
  std::string username;
  std::string password;
  std::string ssh_private_key;
  // PEM certificates to trust besides the system's.
  std::string ca_bundle;
  bool insecure_skip_tls_verify = false;
  // Plain HTTP to an OCI registry.
  bool basic_http = false;
  // Where they come from, for messages: "Secret w/helm-creds". Empty when
  // there are none.
  std::string name;
  // Added to the error of a download that was refused, such as that
  // spec.helmRepoURLRegex keeps credentials back. Empty: nothing to say.
  std::string hint;
  // With ChartRequest::chart_yaml: the dependencies' repositories that user
  // and password may be sent to; the TLS settings count for all of them.
  std::vector<std::string> dependency_repos;
};

struct ChartRequest {
  // As in HelmOptions. With `chart_yaml` these are empty.
  std::string chart;
  std::string repo;
  std::string version;
  // Chart.yaml and Chart.lock of a chart whose dependencies are wanted.
  std::string chart_yaml;
  std::string chart_lock;
  ChartCredentials credentials;
};

struct FetchedChart {
  // The version that was found; empty for dependencies.
  std::string version;
  // The content is stored: `blob_digest` names it. Sorted by name. Names are
  // relative to the chart's root (so "Chart.yaml" is one of them); of
  // dependencies, "charts/<name>/...".
  std::vector<storage::v1::BundleFile> files;
};

// Loop-affine.
class ChartFetcher {
 public:
  using Done = absl::AnyInvocable<void(absl::StatusOr<FetchedChart>)>;

  virtual ~ChartFetcher() = default;

  // `done` runs on the loop, never inside the call, and not after the fetcher
  // is destroyed. The same request at the same time is fetched once. Errors
  // say what was asked of whom, and never hold a credential: NOT_FOUND,
  // UNAUTHENTICATED and INVALID_ARGUMENT are the user's to mend; UNAVAILABLE
  // may pass by itself.
  virtual void Fetch(ChartRequest request, Done done) = 0;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_CHARTS_CHART_FETCHER_H_
