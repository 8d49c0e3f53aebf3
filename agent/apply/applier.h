// SPDX-License-Identifier: Apache-2.0
//
// Applier sends requests about single objects to the API server, in their
// lanes: bytes come from the cache's blobs and go out as they are. It decides
// nothing and tries nothing again.

#ifndef FLOTILLA_AGENT_APPLY_APPLIER_H_
#define FLOTILLA_AGENT_APPLY_APPLIER_H_

#include <memory>
#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "agent/apply/request_lanes.h"
#include "agent/apply/service_accounts.h"
#include "agent/cache/assignment_cache.h"
#include "common/event/loop.h"
#include "common/kube/kube_client.h"
#include "flotilla/core/v1/core.pb.h"

namespace flotilla::agent {

// Completions run on the loop, never inside the call, and not once the applier
// is destroyed.
//
// Loop-affine.
class Applier {
 public:
  template <typename T>
  using Done = KubeClient::Done<T>;

  // All must outlive the applier.
  Applier(KubeClient& client, AssignmentCache& cache, Loop& loop);
  Applier(const Applier&) = delete;
  Applier& operator=(const Applier&) = delete;
  ~Applier();

  // Each request acts as `user`; with an error in it none is sent.
  //
  // Server-side apply of the blob `digest`. DATA_LOSS or NOT_FOUND without a
  // KubeError when the blob cannot be read.
  void Apply(Lane lane, const ActingUser& user,
             const core::v1::ResourceKey& key, std::string digest,
             ApplyOptions options, Done<ApplyResult> done);
  // Server-side apply of `body`.
  void ApplyBody(Lane lane, const ActingUser& user,
                 const core::v1::ResourceKey& key, std::string body,
                 ApplyOptions options, Done<ApplyResult> done);
  // `uid` is a precondition.
  void Delete(Lane lane, const ActingUser& user,
              const core::v1::ResourceKey& key, std::string uid,
              DeleteOptions::Propagation propagation, Done<DeleteResult> done);
  void Get(Lane lane, const ActingUser& user, const core::v1::ResourceKey& key,
           bool metadata_only, Done<KubeObject> done);
  // A JSON merge patch of an object that is there.
  void Patch(Lane lane, const ActingUser& user,
             const core::v1::ResourceKey& key, std::string patch,
             Done<ApplyResult> done);

 private:
  // Ends the call with the user's error, if there is one.
  template <typename T>
  bool Refused(const ActingUser& user, Done<T>& done);

  // Collaborators. Not owned.
  KubeClient& client_;
  AssignmentCache& cache_;

  // Loop state.
  Loop& loop_;
  RequestLanes lanes_;
  const std::shared_ptr<bool> alive_;
};

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_APPLY_APPLIER_H_
