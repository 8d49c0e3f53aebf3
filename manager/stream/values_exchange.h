// SPDX-License-Identifier: Apache-2.0
//
// ValuesExchange is one session's part in values that lie in the cluster
// (decisions.md 8): what is to be asked of the agent, and whether an answer is
// one to what was asked. docs/protocol.md has the rules.

#ifndef FLOTILLA_MANAGER_STREAM_VALUES_EXCHANGE_H_
#define FLOTILLA_MANAGER_STREAM_VALUES_EXCHANGE_H_

#include <cstddef>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "flotilla/agent/v1/agent.pb.h"
#include "flotilla/core/v1/core.pb.h"

namespace flotilla::manager {

// What one deployment needs of its cluster.
//
// Thread-compatible.
struct ValuesAsk {
  std::vector<core::v1::ValuesRef> refs;  // In order; never empty.
  std::string service_account;
};

bool operator==(const ValuesAsk& a, const ValuesAsk& b);

// See the file comment.
//
// Thread-compatible.
class ValuesExchange {
 public:
  static constexpr size_t kMaxRefs = 100;
  static constexpr size_t kMaxBytes = 1024 * 1024;

  // Queues a request unless just this was asked already. `known_digest` is that
  // of the answer that is stored; empty: none.
  // REQUIRES: at most kMaxRefs refs.
  void Ask(const std::string& bundle_id, ValuesAsk ask,
           std::string known_digest);

  // Nothing is needed any more: queues the request that ends it, if the agent
  // was asked.
  void End(const std::string& bundle_id);

  // The next request, if any.
  std::optional<agent::v1::ValuesRequest> Next();

  // Why a report is to be ignored, as FrameCounts names it; empty: take it.
  absl::string_view Judge(const agent::v1::ValuesReport& report) const;

 private:
  struct Asked {
    ValuesAsk ask;
    std::string known_digest;
  };

  std::map<std::string, Asked> asks_;
  std::set<std::string> sent_;   // The agent was asked, and nothing ended it.
  std::set<std::string> dirty_;  // To be said.
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_STREAM_VALUES_EXCHANGE_H_
