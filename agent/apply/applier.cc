// SPDX-License-Identifier: Apache-2.0

#include "agent/apply/applier.h"

#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "common/kube/object.h"

namespace flotilla::agent {
namespace {

// Ends the turn before the caller goes on, so that what it sends next need not
// wait for it.
template <typename T>
KubeClient::Done<T> InTurn(RequestLanes::Turn turn, std::shared_ptr<bool> alive,
                           KubeClient::Done<T> done) {
  return [turn = std::make_unique<RequestLanes::Turn>(std::move(turn)),
          alive = std::move(alive),
          done = std::move(done)](absl::StatusOr<T> result) mutable {
    turn.reset();
    if (*alive) done(std::move(result));
  };
}

}  // namespace

Applier::Applier(KubeClient& client, AssignmentCache& cache, Loop& loop)
    : client_(client),
      cache_(cache),
      loop_(loop),
      lanes_(loop),
      alive_(std::make_shared<bool>(true)) {}

Applier::~Applier() { *alive_ = false; }

template <typename T>
bool Applier::Refused(const ActingUser& user, Done<T>& done) {
  if (user.ok()) return false;
  loop_.Post([alive = alive_, status = user.status(),
              done = std::move(done)]() mutable {
    if (*alive) done(status);
  });
  return true;
}

void Applier::Apply(Lane lane, const ActingUser& user,
                    const core::v1::ResourceKey& key, std::string digest,
                    ApplyOptions options, Done<ApplyResult> done) {
  if (Refused(user, done)) return;
  options.impersonate = *user;
  lanes_.Enter(lane, IdentityOf(key),
               [this, key, digest = std::move(digest),
                options = std::move(options),
                done = std::move(done)](RequestLanes::Turn turn) mutable {
                 auto in_turn = InTurn<ApplyResult>(std::move(turn), alive_,
                                                    std::move(done));
                 cache_.GetBlob(
                     std::move(digest),
                     [this, alive = alive_, key, options = std::move(options),
                      done = std::move(in_turn)](
                         absl::StatusOr<std::string> body) mutable {
                       if (!*alive) return;
                       if (!body.ok()) {
                         done(body.status());
                         return;
                       }
                       client_.Apply(key, *std::move(body), std::move(options),
                                     std::move(done));
                     });
               });
}

void Applier::ApplyBody(Lane lane, const ActingUser& user,
                        const core::v1::ResourceKey& key, std::string body,
                        ApplyOptions options, Done<ApplyResult> done) {
  if (Refused(user, done)) return;
  options.impersonate = *user;
  lanes_.Enter(lane, IdentityOf(key),
               [this, key, body = std::move(body),
                options = std::move(options),
                done = std::move(done)](RequestLanes::Turn turn) mutable {
                 client_.Apply(key, std::move(body), std::move(options),
                               InTurn<ApplyResult>(std::move(turn), alive_,
                                                   std::move(done)));
               });
}

void Applier::Patch(Lane lane, const ActingUser& user,
                    const core::v1::ResourceKey& key, std::string patch,
                    Done<ApplyResult> done) {
  if (Refused(user, done)) return;
  lanes_.Enter(lane, IdentityOf(key),
               [this, key, patch = std::move(patch), user = *user,
                done = std::move(done)](RequestLanes::Turn turn) mutable {
                 ApplyOptions options;
                 options.merge_patch = true;
                 options.impersonate = std::move(user);
                 client_.Apply(key, std::move(patch), std::move(options),
                               InTurn<ApplyResult>(std::move(turn), alive_,
                                                   std::move(done)));
               });
}

void Applier::Delete(Lane lane, const ActingUser& user,
                     const core::v1::ResourceKey& key, std::string uid,
                     DeleteOptions::Propagation propagation,
                     Done<DeleteResult> done) {
  if (Refused(user, done)) return;
  lanes_.Enter(lane, IdentityOf(key),
               [this, key, uid = std::move(uid), propagation, user = *user,
                done = std::move(done)](RequestLanes::Turn turn) mutable {
                 DeleteOptions options;
                 options.uid = std::move(uid);
                 options.propagation = propagation;
                 options.impersonate = std::move(user);
                 client_.Delete(key, std::move(options),
                                InTurn<DeleteResult>(std::move(turn), alive_,
                                                     std::move(done)));
               });
}

void Applier::Get(Lane lane, const ActingUser& user,
                  const core::v1::ResourceKey& key, bool metadata_only,
                  Done<KubeObject> done) {
  if (Refused(user, done)) return;
  lanes_.Enter(lane, IdentityOf(key),
               [this, key, metadata_only, user = *user,
                done = std::move(done)](RequestLanes::Turn turn) mutable {
                 GetOptions options;
                 options.metadata_only = metadata_only;
                 options.impersonate = std::move(user);
                 client_.Get(key, std::move(options),
                             InTurn<KubeObject>(std::move(turn), alive_,
                                                std::move(done)));
               });
}

}  // namespace flotilla::agent
