// SPDX-License-Identifier: Apache-2.0

#include "manager/stream/hello_gate.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace flotilla::manager {
namespace {

using agent::v1::Reject;

constexpr size_t kMaxIdBytes = 64;
constexpr size_t kMaxTextBytes = 256;

Reject MakeReject(Reject::Code code, std::string detail,
                  uint32_t retry_after_ms) {
  Reject reject;
  reject.set_code(code);
  reject.set_detail(std::move(detail));
  reject.set_retry_after_ms(retry_after_ms);
  return reject;
}

}  // namespace

absl::StatusOr<std::optional<Reject>> JudgeHello(const agent::v1::Hello& hello,
                                                 const GateView& gate) {
  if (hello.instance_id().size() > kMaxIdBytes ||
      hello.boot_id().size() > kMaxIdBytes ||
      hello.last_store_id().size() > kMaxIdBytes ||
      hello.set_digest().size() > kMaxIdBytes ||
      hello.agent_version().size() > kMaxTextBytes ||
      hello.cluster_uid().size() > kMaxTextBytes ||
      hello.features_size() > static_cast<int>(kMaxIdBytes) ||
      hello.proto_min() > hello.proto_max()) {
    return absl::InvalidArgumentError("the Hello frame is malformed");
  }
  if (!gate.ready) {
    return MakeReject(Reject::CODE_NOT_READY,
                      "the manager is starting; its store is not open yet",
                      1000);
  }
  if (!gate.known) {
    return MakeReject(
        Reject::CODE_UNKNOWN_CLUSTER,
        "the manager does not know this cluster; what runs stays. Enrol it "
        "again with a token from `flotilla token create`",
        60000);
  }
  if (gate.revoked) {
    return MakeReject(Reject::CODE_REVOKED,
                      absl::StrCat("cluster ", gate.cluster_name,
                                   " was deleted and its certificate revoked; "
                                   "what runs stays. Enrol it again with a "
                                   "token from `flotilla token create`"),
                      60000);
  }
  if (!gate.current_key) {
    return MakeReject(Reject::CODE_REVOKED,
                      absl::StrCat("cluster ", gate.cluster_name,
                                   " was enrolled again; this agent's "
                                   "certificate was replaced"),
                      60000);
  }
  if (hello.proto_min() > kStreamProtocol ||
      hello.proto_max() < kStreamProtocol) {
    return MakeReject(
        Reject::CODE_VERSION,
        absl::StrCat("the agent speaks protocol ", hello.proto_min(), " to ",
                     hello.proto_max(), ", the manager ", kStreamProtocol,
                     ": upgrade the older of the two"),
        60000);
  }
  if (hello.cluster_uid().empty() || hello.cluster_uid() != gate.cluster_uid) {
    return MakeReject(
        Reject::CODE_UID_MISMATCH,
        absl::StrCat("this certificate belongs to another cluster than the "
                     "one it was made for (",
                     gate.cluster_name,
                     "): was the agent's state copied? Enrol this cluster "
                     "with a token of its own"),
        60000);
  }
  return std::nullopt;
}

}  // namespace flotilla::manager
