// SPDX-License-Identifier: Apache-2.0
//
// StatusWriter brings the `status` of objects in the management cluster to what
// is planned for them: one write for a change, none without one, a burst of
// five and then one a second for each object, changes of state at once
// (decisions.md 15). It writes the Events that a change is worth as well.
//
// Statuses are written by server-side apply for the object's uid, so that one
// of the same name is never touched.

#ifndef FLOTILLA_MANAGER_FRONTEND_STATUS_WRITER_H_
#define FLOTILLA_MANAGER_FRONTEND_STATUS_WRITER_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/env/clock.h"
#include "common/event/loop.h"
#include "common/kube/kube_client.h"
#include "manager/frontend/event_plan.h"
#include "manager/frontend/status_plan.h"
#include "nlohmann/json.hpp"

namespace flotilla::manager {

// Loop-affine.
class StatusWriter {
 public:
  // What the status of an object should be, given what it is; nullopt: leave
  // it.
  using Plan = std::function<std::optional<nlohmann::json>(
      const EventSubject& subject, const nlohmann::json& live)>;

  StatusWriter(Loop& loop, const Clock& clock, KubeClient& client, Plan plan);
  StatusWriter(const StatusWriter&) = delete;
  StatusWriter& operator=(const StatusWriter&) = delete;

  // An object as a watch showed it.
  void OnLive(const EventSubject& subject, nlohmann::json status,
              int64_t version);
  void OnGone(const EventSubject& subject);

  // The plan for that object may have changed. No effect for one that is not
  // live.
  void Want(const std::string& kind, const std::string& ns,
            const std::string& name);

  void Say(const EventSubject& subject, const ObjectEvent& event);

  uint64_t writes() const { return writes_; }

 private:
  using Key = std::tuple<std::string, std::string, std::string>;

  struct Entry {
    EventSubject subject;
    nlohmann::json live;
    int64_t live_version = 0;
    // What was written last, what the server made of it, and when.
    std::string sent;
    std::string answered;
    int64_t sent_version = 0;
    bool queued = false;
    bool busy = false;
    // Wanted while busy.
    bool again = false;
    StatusRate rate;
    std::unique_ptr<Timer> timer;
  };
  struct Said {
    absl::Time first;
    int count = 0;
  };

  void Enqueue(const Key& key);
  void Pump();
  void Write(const Key& key);
  void OnAnswer(const Key& key, const std::string& uid, nlohmann::json before,
                nlohmann::json desired,
                const absl::StatusOr<ApplyResult>& answer);
  void Delay(const Key& key, Entry& entry, absl::Duration wait);

  // Collaborators. Not owned.
  Loop& loop_;
  const Clock& clock_;
  KubeClient& client_;
  const Plan plan_;

  // Loop state.
  std::map<Key, Entry> entries_;
  std::deque<Key> queue_;
  int in_flight_ = 0;
  uint64_t writes_ = 0;
  std::map<std::string, Said> said_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_FRONTEND_STATUS_WRITER_H_
