// SPDX-License-Identifier: Apache-2.0

#include "manager/frontend/event_plan.h"

#include <cstddef>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/crypto/sha256.h"
#include "common/kube/object.h"
#include "common/text/cut_text.h"
#include "manager/frontend/status_plan.h"

namespace flotilla::manager {
namespace {

using nlohmann::json;

constexpr char kFleetApi[] = "fleet.cattle.io/v1alpha1";
constexpr size_t kMaxMessage = 1024;
constexpr size_t kMaxNamePrefix = 200;

struct ConditionWord {
  const char* kind;
  const char* condition;
  const char* reason;
};

// What a condition that turned False is called.
constexpr ConditionWord kWords[] = {
    {"GitRepo", "GitPolling", "FailedToCheckCommit"},
    {"GitRepo", "Stalled", "Failed"},
    {"HelmOp", "Polled", "FailedToCheckChartVersion"},
    {"HelmOp", "Stalled", "Failed"},
};

std::string AcceptedWord(const json& condition) {
  const std::string reason = TextOr(Member(condition, "reason"));
  if (reason == "PolicyViolation") return reason;
  const std::string message = TextOr(Member(condition, "message"));
  if (absl::StrContains(message, "Policy ") ||
      absl::StrContains(message, "GitRepoRestriction ")) {
    return "PolicyViolation";
  }
  return "Failed";
}

bool Says(const json& condition, absl::string_view status) {
  return TextOr(Member(condition, "status")) == status;
}

// "False" is the bad end of all conditions but Stalled.
absl::string_view BadStatus(absl::string_view type) {
  return type == "Stalled" ? "True" : "False";
}

void AddIfTurned(const json& before, const json& after, absl::string_view type,
                 std::string reason, std::vector<ObjectEvent>& events) {
  const json& now = ConditionOf(after, type);
  const absl::string_view bad = BadStatus(type);
  if (!Says(now, bad)) return;
  const std::string message = TextOr(Member(now, "message"));
  // Not asked yet: nothing has failed.
  if (message.empty()) return;
  const json& old = ConditionOf(before, type);
  if (Says(old, bad) && TextOr(Member(old, "message")) == message) return;
  if (type == "GitPolling" && absl::StrContains(message, "Secret")) {
    reason = "FailedValidatingSecret";
  }
  ObjectEvent event{true, std::move(reason), message};
  for (const ObjectEvent& other : events) {
    if (other.message == event.message) return;
  }
  events.push_back(std::move(event));
}

}  // namespace

std::vector<ObjectEvent> EventsOf(absl::string_view kind, const json& before,
                                  const json& after) {
  std::vector<ObjectEvent> events;
  const std::string commit = TextOr(Member(after, "commit"));
  if (kind == "GitRepo" && !commit.empty() &&
      commit != TextOr(Member(before, "commit"))) {
    events.push_back({false, "GotNewCommit", absl::StrCat("commit ", commit)});
  }
  const std::string version = TextOr(Member(after, "version"));
  if (kind == "HelmOp" && !version.empty() &&
      version != TextOr(Member(before, "version"))) {
    events.push_back(
        {false, "GotNewChartVersion", absl::StrCat("version ", version)});
  }
  const json& accepted = ConditionOf(after, "Accepted");
  AddIfTurned(before, after, "Accepted", AcceptedWord(accepted), events);
  for (const ConditionWord& word : kWords) {
    if (word.kind == kind) {
      AddIfTurned(before, after, word.condition, word.reason, events);
    }
  }
  const json& ready = ConditionOf(after, "Ready");
  if (kind == "Bundle" && AcceptedWord(ready) == "PolicyViolation") {
    AddIfTurned(before, after, "Ready", "PolicyViolation", events);
  }
  return events;
}

json MakeEvent(const EventSubject& subject, const ObjectEvent& event,
               absl::Time first, absl::Time last, int count) {
  const std::string digest = absl::BytesToHexString(Sha256(absl::StrCat(
      subject.uid, "\n", event.reason, "\n", event.message)));
  const auto text = [](absl::Time time) {
    return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", time, absl::UTCTimeZone());
  };
  return {
      {"apiVersion", "v1"},
      {"kind", "Event"},
      {"metadata",
       {{"name", absl::StrCat(subject.name.substr(0, kMaxNamePrefix), ".",
                              digest.substr(0, 16))},
        {"namespace", subject.ns}}},
      {"involvedObject",
       {{"apiVersion", kFleetApi},
        {"kind", subject.kind},
        {"namespace", subject.ns},
        {"name", subject.name},
        {"uid", subject.uid}}},
      {"type", event.warning ? "Warning" : "Normal"},
      {"reason", event.reason},
      {"message", CutText(event.message, kMaxMessage)},
      {"source", {{"component", "flotilla-manager"}}},
      {"reportingComponent", "flotilla-manager"},
      {"firstTimestamp", text(first)},
      {"lastTimestamp", text(last)},
      {"count", count},
  };
}

}  // namespace flotilla::manager
