// SPDX-License-Identifier: Apache-2.0

#include "agent/health/health_script.h"

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "agent/health/kind_table.h"
#include "agent/health/lua_sandbox.h"

namespace flotilla::agent {
namespace {

constexpr char kReason[] = "HealthRule";

// Messages of scripts may be any bytes.
std::string Printable(const std::string& text) {
  const nlohmann::json quoted = nlohmann::json::parse(
      nlohmann::json(text).dump(-1, ' ', false,
                                nlohmann::json::error_handler_t::replace),
      nullptr, /*allow_exceptions=*/false);
  return quoted.is_string() ? quoted.get<std::string>() : std::string();
}

}  // namespace

HealthVerdict RunHealthScript(const core::v1::HealthRule& rule,
                              const nlohmann::json& object) {
  const std::string where = absl::StrCat(
      "healthRules of ", rule.group(), rule.group().empty() ? "" : "/",
      rule.kind());
  if (IsDataKind(rule.group(), rule.kind())) {
    return Unknown(kReason, absl::StrCat(where, ": only the metadata of this "
                                                "kind is watched; take the "
                                                "rule away"));
  }
  LuaSandbox sandbox;
  const absl::StatusOr<LuaSandbox::Answer> answer =
      sandbox.Run(rule.script(), object);
  if (!answer.ok()) {
    return Unknown(kReason, Printable(absl::StrCat(
                                where, ", ", answer.status().message())));
  }
  if (!answer->is_table) {
    return Unknown(kReason, absl::StrCat(where, ": the script returns no table "
                                                "with a status"));
  }
  const std::string& status = answer->status;
  std::string message = Printable(answer->message);
  if (message.empty()) message = Printable(status);
  if (status == "Healthy") return Healthy();
  if (status == "Progressing") return Progressing(status, message);
  if (status == "Degraded" || status == "Missing") {
    return Degraded(status, message);
  }
  if (status == "Suspended") return Suspended(status, message);
  if (status == "Unknown") return Unknown(status, message);
  return Unknown(
      kReason,
      absl::StrCat(where, ": status \"", Printable(status.substr(0, 50)),
                   "\" is none of Healthy, Progressing, Degraded, Suspended, "
                   "Missing and Unknown"));
}

}  // namespace flotilla::agent
