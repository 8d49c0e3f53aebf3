// SPDX-License-Identifier: Apache-2.0
//
// HealthVerdict is what is said of one live object, and HealthContext what a
// rule may know beside the object.

#ifndef FLOTILLA_AGENT_HEALTH_HEALTH_VERDICT_H_
#define FLOTILLA_AGENT_HEALTH_HEALTH_VERDICT_H_

#include <functional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/optional.h"
#include "flotilla/core/v1/core.pb.h"
#include "google/protobuf/repeated_ptr_field.h"

namespace flotilla::agent {

// Thread-compatible.
struct HealthVerdict {
  core::v1::Health health = core::v1::HEALTH_UNKNOWN;
  // One word; empty when healthy.
  std::string reason;
  // For people; empty when healthy. At most 1 KiB.
  std::string message;
  // When the verdict changes though the object does not.
  absl::Time until = absl::InfiniteFuture();
  // Not healthy, but what waits for the object may go on: a claim that binds
  // once a pod uses it.
  bool lets_others_go_on = false;
};

// What a rule may know beside the object. Left out, a rule does without.
//
// Thread-compatible.
struct HealthContext {
  absl::Time now = absl::InfinitePast();
  // How long a pod may wait for a node: autoscalers need some minutes.
  absl::Duration unschedulable_after = absl::Minutes(5);
  // How long a controller may take to write the first status of an object.
  absl::Duration first_status_within = absl::Seconds(30);
  // Whether objects of the kind have a subresource `status`.
  bool has_status = false;
  // Whether discovery lists a kind (group, version, kind).
  std::function<bool(absl::string_view, absl::string_view, absl::string_view)>
      served;
  // Whether a StorageClass binds claims when a pod uses them; nothing: not
  // known yet.
  std::function<absl::optional<bool>(absl::string_view)> binds_late;
  // The user's own rules. Not owned.
  const google::protobuf::RepeatedPtrField<core::v1::HealthRule>* rules =
      nullptr;
};

// Whether what waits for the object (depends-on, hooks) may go on.
bool LetsOthersGoOn(const HealthVerdict& verdict);

HealthVerdict Healthy();
// Texts are cut at 1 KiB.
HealthVerdict Progressing(std::string reason, std::string message);
HealthVerdict Degraded(std::string reason, std::string message);
HealthVerdict Suspended(std::string reason, std::string message);
HealthVerdict Unknown(std::string reason, std::string message);

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_HEALTH_HEALTH_VERDICT_H_
