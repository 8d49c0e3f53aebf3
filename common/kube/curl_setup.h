// SPDX-License-Identifier: Apache-2.0
//
// CurlSetup turns a request into a libcurl handle that is ready to go: URL,
// headers, TLS and limits, for one API server and our credentials there. It
// moves no bytes. Owned by a CurlWorker and used on its thread.

#ifndef FLOTILLA_COMMON_KUBE_CURL_SETUP_H_
#define FLOTILLA_COMMON_KUBE_CURL_SETUP_H_

#include <curl/curl.h>

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"

#include "common/kube/bearer_token.h"
#include "common/kube/curl_handles.h"
#include "common/kube/curl_transfer.h"
#include "common/kube/curl_transport_options.h"
#include "common/kube/kube_identity.h"

namespace flotilla {

// Any thread may ask for connections_opened(). The rest:
//
// Thread-compatible.
class CurlSetup {
 public:
  CurlSetup(KubeIdentity identity, const CurlTransportOptions& options);
  CurlSetup(const CurlSetup&) = delete;
  CurlSetup& operator=(const CurlSetup&) = delete;

  // Gives `transfer` a handle for its request. UNAUTHENTICATED when there is no
  // token to be had; INVALID_ARGUMENT for a header that could not be sent.
  absl::Status Prepare(CurlTransfer& transfer, SteadyTime now);

  // Takes a handle back for a later transfer.
  void TakeBack(CurlEasy easy);
  void FreeHandles() { idle_.clear(); }

  // The server has refused our token.
  void OnUnauthorized(SteadyTime now) { token_.OnRefused(now); }

  const std::string& server() const { return identity_.server; }
  uint64_t connections_opened() const { return opened_.load(); }

 private:
  absl::Status AddHeaders(CurlTransfer& transfer, SteadyTime now);
  void SetConnection(CURL* easy);
  void SetTls(CURL* easy);

  // Constant after construction.
  const KubeIdentity identity_;
  const CurlTransportOptions options_;
  // With KubeIdentity::tls_server_name, that name is in the URL and the address
  // in `connect_to_`.
  std::string base_url_;
  CurlSlist connect_to_;

  std::atomic<uint64_t> opened_{0};
  BearerToken token_;
  std::vector<CurlEasy> idle_;
};

// At least one, at most what libcurl takes.
long CurlMilliseconds(std::chrono::steady_clock::duration duration);

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_KUBE_CURL_SETUP_H_
