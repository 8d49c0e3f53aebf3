// SPDX-License-Identifier: Apache-2.0
//
// Which Events a change of an object's status is worth (spec.md 12.2), and the
// Event objects themselves. A name is made of what is said, so the same word
// about the same object is one Event, however often it is said.

#ifndef FLOTILLA_MANAGER_FRONTEND_EVENT_PLAN_H_
#define FLOTILLA_MANAGER_FRONTEND_EVENT_PLAN_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "nlohmann/json.hpp"

namespace flotilla::manager {

// Thread-compatible.
struct ObjectEvent {
  bool warning = false;
  std::string reason;  // "GotNewCommit"
  std::string message;

  bool operator==(const ObjectEvent& other) const {
    return warning == other.warning && reason == other.reason &&
           message == other.message;
  }
};

// `before` and `after` are the status of an object of that kind; null for
// none.
std::vector<ObjectEvent> EventsOf(absl::string_view kind,
                                  const nlohmann::json& before,
                                  const nlohmann::json& after);

// Whom an Event is about.
//
// Thread-compatible.
struct EventSubject {
  std::string kind;
  std::string ns;
  std::string name;
  std::string uid;
};

// A v1 Event, without what is counted: `first` is when it was first said.
nlohmann::json MakeEvent(const EventSubject& subject, const ObjectEvent& event,
                         absl::Time first, absl::Time last, int count);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_FRONTEND_EVENT_PLAN_H_
