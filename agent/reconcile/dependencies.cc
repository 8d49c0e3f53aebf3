// SPDX-License-Identifier: Apache-2.0

#include "agent/reconcile/dependencies.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace flotilla::agent {
namespace {

using core::v1::Dependency;
using core::v1::Problem;

constexpr size_t kMaxNamed = 10;
constexpr char kNameLabel[] = "fleet.cattle.io/bundle-name";
constexpr char kNamespaceLabel[] = "fleet.cattle.io/bundle-namespace";

bool Accepts(const Dependency& dependency, const std::string& state) {
  if (dependency.accepted_states().empty()) return state == "Ready";
  return std::find(dependency.accepted_states().begin(),
                   dependency.accepted_states().end(),
                   state) != dependency.accepted_states().end();
}

// Neither name nor selector: the entry is skipped.
bool IsEmpty(const Dependency& dependency) {
  return dependency.name().empty() && !dependency.has_selector();
}

std::string LabelsText(const DependencyNode& node,
                       const Dependency& dependency) {
  std::vector<std::string> parts;
  if (!dependency.name().empty()) {
    parts.push_back(absl::StrCat(kNameLabel, "=", dependency.name(), ",",
                                 kNamespaceLabel, "=", node.workspace));
  }
  if (dependency.has_selector()) {
    parts.push_back(SelectorText(dependency.selector()));
  }
  return absl::StrJoin(parts, ",");
}

Problem Waiting(const DependencyNode& node, std::string message) {
  Problem problem;
  problem.set_code("WAITING");
  problem.set_subject(absl::StrCat("bundle ", node.workspace, "/", node.name));
  problem.set_message(std::move(message));
  return problem;
}

}  // namespace

void Dependencies::Add(DependencyNode node) {
  node.labels[kNameLabel] = node.name;
  node.labels[kNamespaceLabel] = node.workspace;
  std::string id = node.bundle_id;
  nodes_[std::move(id)] = std::move(node);
}

std::vector<const DependencyNode*> Dependencies::Matches(
    const DependencyNode& node, const Dependency& dependency) const {
  std::vector<const DependencyNode*> found;
  for (const auto& [id, other] : nodes_) {
    if (other.workspace != node.workspace) continue;
    if (!dependency.name().empty() && other.name != dependency.name()) continue;
    if (dependency.has_selector() &&
        !SelectorMatches(dependency.selector(), other.labels)) {
      continue;
    }
    if (&other == &node && dependency.name().empty()) continue;
    found.push_back(&other);
  }
  return found;
}

std::vector<const DependencyNode*> Dependencies::Unready(
    const DependencyNode& node) const {
  std::vector<const DependencyNode*> unready;
  for (const Dependency& dependency : node.depends_on) {
    if (IsEmpty(dependency)) continue;
    for (const DependencyNode* other : Matches(node, dependency)) {
      if (!Accepts(dependency, other->state)) unready.push_back(other);
    }
  }
  return unready;
}

std::string Dependencies::CycleOf(const DependencyNode& node) const {
  // Breadth first over those that wait; only they can wait for one another.
  std::map<const DependencyNode*, const DependencyNode*> reached_from;
  std::vector<const DependencyNode*> queue = {&node};
  for (size_t i = 0; i < queue.size(); ++i) {
    for (const DependencyNode* next : Unready(*queue[i])) {
      if (next == &node) {
        std::vector<std::string> path = {node.name};
        for (const DependencyNode* at = queue[i]; at != &node;
             at = reached_from[at]) {
          path.push_back(at->name);
        }
        path.push_back(node.name);
        std::reverse(path.begin(), path.end());
        return absl::StrJoin(path, " -> ");
      }
      if (next->waiting && reached_from.emplace(next, queue[i]).second) {
        queue.push_back(next);
      }
    }
  }
  return "";
}

std::vector<Problem> Dependencies::Judge(const std::string& bundle_id) const {
  std::vector<Problem> problems;
  const auto self = nodes_.find(bundle_id);
  if (self == nodes_.end()) return problems;
  const DependencyNode& node = self->second;
  for (const Dependency& dependency : node.depends_on) {
    if (IsEmpty(dependency)) continue;
    if (dependency.has_selector()) {
      const auto unknown = std::find_if(
          nodes_.begin(), nodes_.end(), [&](const auto& item) {
            const DependencyNode& other = item.second;
            return &other != &node && other.workspace == node.workspace &&
                   !other.labels_known &&
                   (dependency.name().empty() ||
                    other.name == dependency.name());
          });
      if (unknown != nodes_.end()) {
        problems.push_back(Waiting(
            node, absl::StrCat("the labels of bundle ", unknown->second.name,
                               " are not known yet, so it may be one that "
                               "this bundle depends on")));
        continue;
      }
    }
    const std::vector<const DependencyNode*> found = Matches(node, dependency);
    if (found.empty()) {
      problems.push_back(Waiting(
          node, absl::StrCat("no bundles matching labels ",
                             LabelsText(node, dependency), " in workspace ",
                             node.workspace)));
      continue;
    }
    std::vector<std::string> unready;
    for (const DependencyNode* other : found) {
      if (Accepts(dependency, other->state)) continue;
      if (unready.size() < kMaxNamed) {
        unready.push_back(absl::StrCat(other->name, " (", other->state, ")"));
      } else if (unready.size() == kMaxNamed) {
        unready.push_back("...");
      }
    }
    if (unready.empty()) continue;
    problems.push_back(Waiting(
        node, absl::StrCat("dependent bundle(s) are not ready: [",
                           absl::StrJoin(unready, ", "), "]")));
  }
  if (problems.empty()) return problems;
  if (const std::string cycle = CycleOf(node); !cycle.empty()) {
    problems.insert(
        problems.begin(),
        Waiting(node, absl::StrCat("the bundles wait for one another: ", cycle,
                                   "; take one of these out of dependsOn")));
  }
  return problems;
}

std::string FleetStateOf(core::v1::Phase phase,
                         const core::v1::ResourceCounts& counts, bool applied) {
  if (phase == core::v1::PHASE_FAILED) return "ErrApplied";
  if (!applied || counts.wait_applied() > 0) return "WaitApplied";
  if (counts.error() > 0) return "ErrApplied";
  if (counts.not_ready() > 0 || counts.degraded() > 0 ||
      counts.unknown() > 0) {
    return "NotReady";
  }
  if (counts.modified() > 0 || counts.missing() > 0) return "Modified";
  return phase == core::v1::PHASE_HEALTHY ? "Ready" : "WaitApplied";
}

}  // namespace flotilla::agent
