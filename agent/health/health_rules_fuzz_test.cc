// SPDX-License-Identifier: Apache-2.0
//
// Live objects of any shape, and scripts: the input is an object, or a script
// behind "--". Without a condition or a phase that says so no workload works.

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "agent/health/health_rules.h"
#include "agent/health/health_verdict.h"
#include "agent/health/pod_rules.h"
#include "common/kube/object.h"
#include "flotilla/core/v1/core.pb.h"
#include "google/protobuf/repeated_ptr_field.h"
#include "nlohmann/json.hpp"

namespace flotilla::agent {
namespace {

void Demand(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s\n", what);
  std::abort();
}

void Judge(absl::string_view text) {
  HealthContext context;
  context.now = absl::FromUnixSeconds(1'800'000'000);
  context.has_status = true;
  google::protobuf::RepeatedPtrField<core::v1::HealthRule> rules;
  nlohmann::json object;
  if (text.substr(0, 2) == "--") {
    core::v1::HealthRule* rule = rules.Add();
    rule->set_group("x.io");
    rule->set_kind("Thing");
    rule->set_script(std::string(text));
    context.rules = &rules;
    object = {{"apiVersion", "x.io/v1"},
              {"kind", "Thing"},
              {"metadata", nlohmann::json::object()},
              {"status", {{"level", "high"}, {"list", {1, 2, 3}}}}};
  } else {
    const absl::StatusOr<nlohmann::json> parsed = ParseKubeJson(text);
    if (!parsed.ok()) return;
    object = *parsed;
  }
  const HealthVerdict verdict = JudgeHealth(object, context);
  Demand(core::v1::Health_IsValid(verdict.health) &&
             verdict.health != core::v1::HEALTH_UNSPECIFIED,
         "a verdict is one of the enum");
  Demand(verdict.message.size() <= 1000 && verdict.reason.size() <= 100,
         "texts are bounded");
  core::v1::ResourceStatus status;
  status.set_message(verdict.message);
  std::string bytes;
  Demand(status.SerializeToString(&bytes) && status.ParseFromString(bytes),
         "texts are UTF-8");
  Demand((verdict.health == core::v1::HEALTH_HEALTHY) ==
             verdict.message.empty(),
         "what is not healthy says why");
  PodTrouble(object, context);
  WaitsForContainers(object);
}

}  // namespace
}  // namespace flotilla::agent

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  flotilla::agent::Judge(
      absl::string_view(reinterpret_cast<const char*>(data), size));
  return 0;
}
