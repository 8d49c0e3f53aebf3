// SPDX-License-Identifier: Apache-2.0

#include "agent/apply/request_lanes.h"

#include <memory>
#include <utility>

#include "common/event/loop.h"
#include "common/kube/object.h"

namespace flotilla::agent {

struct RequestLanes::State : std::enable_shared_from_this<State> {
  struct Waiting {
    ObjectIdentity id;
    absl::AnyInvocable<void(Turn)> work;
  };

  explicit State(Loop& the_loop) : loop(the_loop) {}

  // One pass is enough for what was waiting when it began.
  void Grant() {
    scheduled = false;
    GrantFrom(&urgent, Lane::kUrgent);
    GrantFrom(&bulk, Lane::kBulk);
  }

  bool HasRoom(Lane lane) const {
    if (urgent_turns + bulk_turns >= kAll) return false;
    return lane == Lane::kUrgent || bulk_turns < kForBulk;
  }

  void GrantFrom(std::deque<Waiting>* queue, Lane lane) {
    size_t left = queue->size();
    std::deque<Waiting> stay;
    while (left-- > 0 && HasRoom(lane)) {
      Waiting next = std::move(queue->front());
      queue->pop_front();
      if (!busy.insert(next.id).second) {
        stay.push_back(std::move(next));
        continue;
      }
      ++(lane == Lane::kUrgent ? urgent_turns : bulk_turns);
      next.work(Turn(weak_from_this(), lane, next.id));
    }
    while (!stay.empty()) {
      queue->push_front(std::move(stay.back()));
      stay.pop_back();
    }
  }

  void Schedule() {
    if (scheduled || (urgent.empty() && bulk.empty())) return;
    scheduled = true;
    loop.Post([weak = weak_from_this()] {
      if (const std::shared_ptr<State> state = weak.lock()) state->Grant();
    });
  }

  Loop& loop;
  std::deque<Waiting> urgent;
  std::deque<Waiting> bulk;
  absl::btree_set<ObjectIdentity> busy;
  int urgent_turns = 0;
  int bulk_turns = 0;
  bool scheduled = false;
};

RequestLanes::Turn::Turn(std::weak_ptr<State> state, Lane lane,
                         ObjectIdentity id)
    : state_(std::move(state)), lane_(lane), id_(std::move(id)) {}

RequestLanes::Turn::~Turn() {
  const std::shared_ptr<State> state = state_.lock();
  if (state == nullptr) return;
  state->busy.erase(id_);
  --(lane_ == Lane::kUrgent ? state->urgent_turns : state->bulk_turns);
  state->Schedule();
}

RequestLanes::RequestLanes(Loop& loop)
    : state_(std::make_shared<State>(loop)) {}

RequestLanes::~RequestLanes() = default;

void RequestLanes::Enter(Lane lane, const ObjectIdentity& id,
                         absl::AnyInvocable<void(Turn)> work) {
  (lane == Lane::kUrgent ? state_->urgent : state_->bulk)
      .push_back({id, std::move(work)});
  state_->Schedule();
}

bool RequestLanes::Busy(const ObjectIdentity& id) const {
  return state_->busy.contains(id);
}

int RequestLanes::in_flight() const {
  return state_->urgent_turns + state_->bulk_turns;
}

}  // namespace flotilla::agent
