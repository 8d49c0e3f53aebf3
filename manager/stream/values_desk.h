// SPDX-License-Identifier: Apache-2.0
//
// ValuesDesk knows which deployments need values that lie in their cluster, and
// keeps what their agents found there: it reads /desired and is the writer of
// /values. The hub asks the agents on its behalf.
//
// A record goes when its deployment goes, or needs nothing any more; one that
// answers an older question stays until the new answer comes (render tells them
// apart).

#ifndef FLOTILLA_MANAGER_STREAM_VALUES_DESK_H_
#define FLOTILLA_MANAGER_STREAM_VALUES_DESK_H_

#include <map>
#include <memory>
#include <string>
#include <utility>

#include "absl/container/btree_map.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "flotilla/agent/v1/agent.pb.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "manager/store/store.h"
#include "manager/stream/values_exchange.h"

namespace flotilla::manager {

// Loop-affine.
class ValuesDesk {
 public:
  using OnAsk = absl::AnyInvocable<void(const std::string& cluster_id,
                                        const std::string& bundle_id)>;
  using Done = absl::AnyInvocable<void(absl::Status)>;

  // Both must outlive the desk; `writer` is that of /values. `on_ask` runs when
  // what a deployment needs has changed, once loaded().
  ValuesDesk(Store& store, FamilyWriter& writer, OnAsk on_ask);
  ValuesDesk(const ValuesDesk&) = delete;
  ValuesDesk& operator=(const ValuesDesk&) = delete;

  bool loaded() const { return asks_loaded_ && digests_loaded_; }

  // By bundle; what is to be asked of that cluster's agent.
  std::map<std::string, ValuesAsk> AsksOf(const std::string& cluster_id) const;
  // Null when nothing is to be asked.
  const ValuesAsk* Find(const std::string& cluster_id,
                        const std::string& bundle_id) const;
  // Of the answer that is stored; empty: none.
  std::string KnownDigest(const std::string& cluster_id,
                          const std::string& bundle_id) const;

  // Stores an answer that was judged good; `done` runs once it is durable.
  // False: just this is stored already, and `done` is dropped.
  bool Take(const std::string& cluster_id,
            const agent::v1::ValuesReport& report, Done done);

 private:
  using Id = std::pair<std::string, std::string>;  // Cluster, bundle.

  void OnDesired(const WatchBatch& batch);
  void OnValues(const WatchBatch& batch);
  void SetAsk(const Id& id, const storage::v1::Desired* desired);
  // Deletes what is stored for a deployment that needs nothing.
  void Tidy(const Id& id);

  // Collaborators. Not owned.
  FamilyWriter& writer_;
  OnAsk on_ask_;

  // Loop state.
  absl::btree_map<Id, ValuesAsk> asks_;
  absl::btree_map<Id, std::string> digests_;
  bool asks_loaded_ = false;
  bool digests_loaded_ = false;

  // Declared last: destroyed first.
  std::unique_ptr<WatchHandle> desired_watch_;
  std::unique_ptr<WatchHandle> values_watch_;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_STREAM_VALUES_DESK_H_
