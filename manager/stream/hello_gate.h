// SPDX-License-Identifier: Apache-2.0
//
// Decides whether an agent that says Hello may have a session, and tells one
// that may not why, and what to do.

#ifndef FLOTILLA_MANAGER_STREAM_HELLO_GATE_H_
#define FLOTILLA_MANAGER_STREAM_HELLO_GATE_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "flotilla/agent/v1/agent.pb.h"

namespace flotilla::manager {

// The version of the stream's protocol that this manager speaks.
inline constexpr uint32_t kStreamProtocol = 1;

// What the manager knows of the caller of a Hello.
struct GateView {
  bool ready = false;        // The store is loaded.
  bool known = false;        // There is an identity of that cluster_id.
  bool revoked = false;      // It was revoked.
  bool current_key = false;  // The certificate's key is the one last certified.
  std::string cluster_uid;   // Pinned at enrolment.
  std::string cluster_name;  // For texts.
};

// A refusal, nothing when the session may open, INVALID_ARGUMENT when the Hello
// is malformed.
absl::StatusOr<std::optional<agent::v1::Reject>> JudgeHello(
    const agent::v1::Hello& hello, const GateView& gate);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_STREAM_HELLO_GATE_H_
