// SPDX-License-Identifier: Apache-2.0
//
// BearerToken is the token of a KubeIdentity: a fixed one, or that of a file,
// which is read again each minute, and at once when the server has refused it.
// A file that cannot be read any more leaves the last token in use.

#ifndef FLOTILLA_COMMON_KUBE_BEARER_TOKEN_H_
#define FLOTILLA_COMMON_KUBE_BEARER_TOKEN_H_

#include <chrono>
#include <string>
#include <utility>

#include "absl/status/statusor.h"

namespace flotilla {

// Thread-compatible.
class BearerToken {
 public:
  using SteadyTime = std::chrono::steady_clock::time_point;

  // With a file, `token` does not count. Both may be empty: no token.
  BearerToken(std::string token, std::string file)
      : file_(std::move(file)), token_(file_.empty() ? std::move(token) : "") {}

  // UNAUTHENTICATED when there is no token to be had, with the file's name.
  absl::StatusOr<std::string> Get(SteadyTime now);

  // The server does not take it any more: the file may hold a newer one.
  void OnRefused(SteadyTime now);

 private:
  // Constant after construction.
  const std::string file_;

  std::string token_;
  SteadyTime read_;
};

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_KUBE_BEARER_TOKEN_H_
