// SPDX-License-Identifier: Apache-2.0

#include "agent/apply/object_remover.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "agent/drift/drift_diff.h"
#include "common/kube/object.h"
#include "nlohmann/json.hpp"

namespace flotilla::agent {
namespace {

// Then it is told what it waits for, and tried again later.
constexpr absl::Duration kPatience = absl::Seconds(10);

}  // namespace

struct ObjectRemover::Removal {
  Lane lane = Lane::kBulk;
  ActingUser user = ActingUser("");
  Target target;
  Done done;
  std::string uid;  // Of what was deleted; empty: nothing yet.
  absl::Duration give_up = absl::InfiniteDuration();
  absl::Duration pause = absl::Milliseconds(5);
  std::unique_ptr<Timer> timer;
};

ObjectRemover::ObjectRemover(Applier& applier, Loop& loop)
    : applier_(applier), loop_(loop), alive_(std::make_shared<bool>(true)) {}

ObjectRemover::~ObjectRemover() { *alive_ = false; }

void ObjectRemover::Remove(Lane lane, const ActingUser& user, Target target,
                           Done done) {
  const Ptr removal = std::make_shared<Removal>();
  removal->lane = lane;
  removal->user = user;
  removal->target = std::move(target);
  removal->done = std::move(done);
  removal->timer = loop_.CreateTimer(
      [this, weak = std::weak_ptr<Removal>(removal)] {
        if (const Ptr still = weak.lock()) Look(still);
      });
  removals_.insert(removal);
  Look(removal);
}

void ObjectRemover::Look(const Ptr& removal) {
  applier_.Get(
      removal->lane, removal->user, removal->target.key,
      /*metadata_only=*/true,
      [this, alive = alive_, removal](absl::StatusOr<KubeObject> live) {
        if (*alive) OnLive(removal, live);
      });
}

void ObjectRemover::OnLive(const Ptr& removal,
                           const absl::StatusOr<KubeObject>& live) {
  if (!live.ok()) {
    End(removal,
        absl::IsNotFound(live.status()) ? absl::OkStatus() : live.status());
    return;
  }
  const absl::StatusOr<nlohmann::json> parsed = ParseKubeJson(live->json);
  if (removal->uid.empty()) {
    const Target& target = removal->target;
    if (target.marked &&
        !(parsed.ok() && BearsMark(*parsed, target.bundle_id))) {
      End(removal,
          absl::AlreadyExistsError(
              "a field that is to change is immutable, and the object is not "
              "Flotilla's, so force does not replace it. Delete it, or change "
              "the manifest"));
      return;
    }
    removal->uid = live->head.uid;
    removal->give_up = loop_.MonotonicNow() + kPatience;
    applier_.Delete(
        removal->lane, removal->user, target.key, removal->uid,
        DeleteOptions::Propagation::kBackground,
        [this, alive = alive_, removal](absl::StatusOr<DeleteResult> result) {
          if (!*alive) return;
          if (result.ok() && result->pending) {
            Look(removal);
          } else if (result.ok() || absl::IsNotFound(result.status())) {
            End(removal, absl::OkStatus());
          } else {
            End(removal, result.status());
          }
        });
    return;
  }
  // What stands in its place was not made by us: what is applied meets it.
  if (live->head.uid != removal->uid) {
    End(removal, absl::OkStatus());
    return;
  }
  if (loop_.MonotonicNow() >= removal->give_up) {
    const std::string finalizers =
        parsed.ok() ? FinalizersText(*parsed) : std::string();
    End(removal,
        absl::AlreadyExistsError(absl::StrCat(
            "is being deleted so that it can be made anew",
            finalizers.empty() ? "" : "; waits for finalizers: ",
            finalizers)));
    return;
  }
  removal->timer->Arm(removal->pause);
  removal->pause = std::min(absl::Milliseconds(500), removal->pause * 2);
}

void ObjectRemover::End(const Ptr& removal, const absl::Status& status) {
  const Ptr held = removal;
  removals_.erase(held);
  held->done(status);
}

}  // namespace flotilla::agent
