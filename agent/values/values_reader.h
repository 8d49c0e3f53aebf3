// SPDX-License-Identifier: Apache-2.0
//
// ValuesReader answers the manager's questions for values that lie in this
// cluster (decisions.md 8): it reads each object as the deployment's service
// account, watches it by name as the agent, and answers again when the answer
// has changed. Contents are kept nowhere: they are read, sent and forgotten.

#ifndef FLOTILLA_AGENT_VALUES_VALUES_READER_H_
#define FLOTILLA_AGENT_VALUES_VALUES_READER_H_

#include <cstddef>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "agent/apply/service_accounts.h"
#include "common/env/random.h"
#include "common/event/loop.h"
#include "common/kube/kube_client.h"
#include "flotilla/agent/v1/agent.pb.h"
#include "flotilla/core/v1/core.pb.h"

namespace flotilla::agent {

// Loop-affine.
class ValuesReader {
 public:
  // False: not now; the object is read again then.
  using Send = absl::AnyInvocable<bool(agent::v1::ValuesReport)>;

  // Of one session; more are not answered.
  static constexpr size_t kMaxAsks = 2000;
  // Objects beyond it are read every minute instead.
  static constexpr size_t kMaxWatches = 512;

  // All must outlive the reader.
  ValuesReader(KubeClient& client, Loop& loop, Random& random,
               const ServiceAccounts& accounts, Send send);
  ValuesReader(const ValuesReader&) = delete;
  ValuesReader& operator=(const ValuesReader&) = delete;
  ~ValuesReader();

  // Replaces what was asked of that bundle; without refs: ends it.
  void OnRequest(const agent::v1::ValuesRequest& request);
  // Nothing is asked any more.
  void OnSessionEnded();
  // ServiceAccounts::Resolve() may answer something else.
  void OnAccountsChanged();

  size_t watches() const { return watches_.size(); }

 private:
  class ObjectWatch;
  struct Ask;
  using Ptr = std::shared_ptr<Ask>;
  // Kind, namespace, name.
  using ObjectId = std::tuple<int, std::string, std::string>;

  void MarkDirty(const std::string& bundle_id);
  void ReadNext();
  void Read(const Ptr& ask);
  void ReadObject(const Ptr& ask);
  void OnObject(const Ptr& ask, const std::string& user,
                absl::StatusOr<KubeObject> object);
  void Finish(const Ptr& ask,
              absl::StatusOr<std::vector<std::string>> contents);
  void Retry(Ask& ask);
  // A watch knows its object's version, or that it is not there.
  void OnSeen(const ObjectId& id);
  void OnWatchDown(const ObjectId& id);
  // Whether a watch has seen another version than `ask` has read.
  bool IsOld(const Ask& ask) const;
  void Drop(const std::string& bundle_id);

  // Collaborators. Not owned.
  KubeClient& client_;
  Loop& loop_;
  Random& random_;
  const ServiceAccounts& accounts_;

  // Loop state.
  Send send_;
  std::map<std::string, Ptr> asks_;
  std::set<std::string> dirty_;
  size_t reading_ = 0;
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);

  // Declared last: destroyed first.
  std::map<ObjectId, std::unique_ptr<ObjectWatch>> watches_;
  std::unique_ptr<Timer> read_timer_;
};

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_VALUES_VALUES_READER_H_
