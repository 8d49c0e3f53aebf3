// SPDX-License-Identifier: Apache-2.0
//
// RequestLanes bounds what is in flight to one API server (limits-apply.md 9):
// sixteen requests, of which bulk work may take twelve, so that a correction
// never waits behind an apply of a thousand objects. One object has one request
// at a time: a second one waits for the first, and urgent ones go before.
//
// Work that is granted a turn must end it by destroying its Turn.

#ifndef FLOTILLA_AGENT_APPLY_REQUEST_LANES_H_
#define FLOTILLA_AGENT_APPLY_REQUEST_LANES_H_

#include <deque>
#include <memory>

#include "absl/container/btree_set.h"
#include "absl/functional/any_invocable.h"
#include "common/event/loop.h"
#include "common/kube/object.h"

namespace flotilla::agent {

enum class Lane {
  kBulk,
  kUrgent,  // Corrections, reads for health.
};

// Loop-affine.
class RequestLanes {
  struct State;

 public:
  // The right to have one request in flight.
  //
  // Loop-affine.
  class Turn {
   public:
    ~Turn();
    Turn(Turn&& other) = default;
    Turn& operator=(Turn&&) = delete;

   private:
    friend class RequestLanes;
    Turn(std::weak_ptr<State> state, Lane lane, ObjectIdentity id);
    std::weak_ptr<State> state_;
    Lane lane_;
    ObjectIdentity id_;
  };

  static constexpr int kAll = 16;
  static constexpr int kForBulk = 12;

  explicit RequestLanes(Loop& loop);
  ~RequestLanes();
  RequestLanes(const RequestLanes&) = delete;
  RequestLanes& operator=(const RequestLanes&) = delete;

  // Runs `work` when its turn comes, in a later turn of the loop.
  void Enter(Lane lane, const ObjectIdentity& id,
             absl::AnyInvocable<void(Turn)> work);

  bool Busy(const ObjectIdentity& id) const;
  int in_flight() const;

 private:
  const std::shared_ptr<State> state_;
};

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_APPLY_REQUEST_LANES_H_
