// SPDX-License-Identifier: Apache-2.0
//
// FactsAssembly puts the pages together in which an agent tells its cluster's
// facts. Pages of another digest begin anew. Owned by an AgentSession.

#ifndef FLOTILLA_MANAGER_STREAM_FACTS_ASSEMBLY_H_
#define FLOTILLA_MANAGER_STREAM_FACTS_ASSEMBLY_H_

#include <cstddef>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "flotilla/agent/v1/agent.pb.h"
#include "flotilla/core/v1/core.pb.h"
#include "manager/stream/frame_counts.h"

namespace flotilla::manager {

struct NewFacts {
  core::v1::ClusterFacts facts;
  std::string digest;
};

// Loop-affine.
class FactsAssembly {
 public:
  static constexpr size_t kMaxKinds = 20000;

  // What is ignored is counted in `counts`, which must outlive it.
  explicit FactsAssembly(FrameCounts& counts) : counts_(counts) {}
  FactsAssembly(const FactsAssembly&) = delete;
  FactsAssembly& operator=(const FactsAssembly&) = delete;

  // The facts, after the last page. RESOURCE_EXHAUSTED: end the session.
  absl::StatusOr<std::optional<NewFacts>> OnPage(
      const agent::v1::FactsPage& page);

 private:
  // Not owned.
  FrameCounts& counts_;

  // Loop state.
  std::optional<core::v1::ClusterFacts> facts_;  // Pages so far.
  std::string digest_;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_STREAM_FACTS_ASSEMBLY_H_
