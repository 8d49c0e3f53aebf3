// SPDX-License-Identifier: Apache-2.0

// What a new generation waits for before it is applied, and as whom a
// deployment acts.

#include <algorithm>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "agent/reconcile/dependencies.h"
#include "agent/reconcile/reconciler.h"
#include "common/labels/label_selector.h"
#include "common/log/log.h"

namespace flotilla::agent {
namespace {

using core::v1::DeployPolicy;
using core::v1::Problem;

Problem Hold(const std::string& code, std::string message) {
  Problem problem;
  problem.set_code(code);
  problem.set_message(std::move(message));
  return problem;
}

// Why `policy` may not be deployed to its namespace; empty: it may.
std::string NamespaceRefusal(const DeployPolicy& policy,
                             const NamespaceWatch& watch) {
  const std::string& name = policy.release_namespace();
  const std::string selector =
      SelectorText(policy.allowed_namespace_selector());
  if (!watch.listed()) {
    return watch.trouble().ok()
               ? std::string("the namespaces of the cluster are not known yet")
               : absl::StrCat("the namespaces of the cluster cannot be seen: ",
                              watch.trouble().message());
  }
  const LiveNamespace* live = watch.Find(name);
  if (live == nullptr || live->deleting) {
    return absl::StrCat("namespace ", name,
                        " does not exist; allowedTargetNamespaceSelector "
                        "demands one with labels ",
                        selector);
  }
  if (!SelectorMatches(policy.allowed_namespace_selector(), live->labels)) {
    return absl::StrCat("the labels of namespace ", name,
                        " do not match allowedTargetNamespaceSelector (",
                        selector, "): nothing may be deployed there");
  }
  return "";
}

}  // namespace

void Reconciler::Act(Deployment& deployment) {
  if (deployment.running != nullptr) {
    deployment.user =
        accounts_.Resolve(deployment.running->policy().service_account());
  } else if (deployment.record.tombstone()) {
    if (!deployment.record.active_digest().empty()) {
      FLOTILLA_LOG(WARNING)
          << "bundle " << NameOf(deployment.bundle_id)
          << ": its manifest is damaged; it is deleted as a bundle that names "
             "no service account";
    }
    deployment.user = accounts_.Resolve("");
  }
}

Dependencies Reconciler::Others() const {
  Dependencies all;
  for (const auto& [bundle_id, deployment] : deployments_) {
    if (deployment->record.tombstone()) continue;
    DependencyNode node;
    node.bundle_id = bundle_id;
    node.workspace = deployment->record.workspace();
    node.name = deployment->record.bundle_name();
    node.state = deployment->state;
    node.waiting = !deployment->machine.current();
    if (deployment->manifest != nullptr) {
      const DeployPolicy& policy = deployment->manifest->policy();
      node.labels = ToLabelMap(policy.bundle_labels());
      node.labels_known = true;
      // What is applied waits for nobody.
      if (node.waiting) {
        node.depends_on.assign(policy.depends_on().begin(),
                               policy.depends_on().end());
      }
    }
    all.Add(std::move(node));
  }
  return all;
}

std::vector<Problem> Reconciler::HoldsOf(const Deployment& deployment,
                                         const Dependencies* others) {
  std::vector<Problem> holds;
  const DeployPolicy& policy = deployment.manifest->policy();
  const ActingUser user = accounts_.Resolve(policy.service_account());
  if (!user.ok()) {
    holds.push_back(Hold("FAILED_PRECONDITION",
                         std::string(user.status().message())));
  }
  if (policy.has_allowed_namespace_selector()) {
    namespace_watch_.Start();
    std::string refusal = NamespaceRefusal(policy, namespace_watch_);
    if (!refusal.empty()) {
      holds.push_back(Hold("PERMISSION_DENIED", std::move(refusal)));
    }
  }
  if (!policy.depends_on().empty()) {
    const std::vector<Problem> waits =
        others == nullptr ? Others().Judge(deployment.bundle_id)
                          : others->Judge(deployment.bundle_id);
    holds.insert(holds.end(), waits.begin(), waits.end());
  }
  return holds;
}

void Reconciler::ReviewSoon() {
  if (!held_.empty() && !hold_timer_->armed()) {
    hold_timer_->Arm(absl::Milliseconds(5));
  }
}

void Reconciler::ReviewHolds() {
  const Dependencies others = Others();
  const std::set<std::string> held = held_;
  for (const std::string& bundle_id : held) {
    const Ptr deployment = Find(bundle_id);
    if (deployment == nullptr || !deployment->machine.held()) {
      held_.erase(bundle_id);
      continue;
    }
    std::vector<Problem> holds = HoldsOf(*deployment, &others);
    const bool same =
        holds.size() == deployment->holds.size() &&
        std::equal(holds.begin(), holds.end(), deployment->holds.begin(),
                   [](const Problem& a, const Problem& b) {
                     return a.message() == b.message();
                   });
    if (!same) Touch(*deployment);
    deployment->holds = std::move(holds);
    if (!deployment->holds.empty()) continue;
    held_.erase(bundle_id);
    const uint64_t generation = deployment->machine.generation();
    parts_.cache.SetActive(
        bundle_id, generation,
        [this, alive = alive_, deployment, generation](absl::Status status) {
          if (!*alive || deployment->machine.generation() != generation ||
              !deployment->machine.held()) {
            return;
          }
          if (!status.ok()) {
            held_.insert(deployment->bundle_id);
            hold_timer_->Arm(absl::Seconds(5));
            return;
          }
          if (const auto* record = parts_.cache.Find(deployment->bundle_id)) {
            deployment->record = *record;
          }
          Adopt(*deployment);
          Perform(deployment, deployment->machine.BlobsHere(generation));
          UpdateReady(deployment);
          sweep_timer_->Arm(absl::Minutes(1));
        });
  }
}

void Reconciler::OnAccountsChanged() {
  values_.OnAccountsChanged();
  if (!loaded_) {
    return;  // OnLoaded() asks for them.
  }
  std::vector<Ptr> changed;
  for (const auto& [bundle_id, deployment] : deployments_) {
    const ActingUser before = deployment->user;
    Act(*deployment);
    if (before == deployment->user) continue;
    Touch(*deployment);
    if (deployment->user.ok()) changed.push_back(deployment);
  }
  UpdateReady();
  for (const Ptr& deployment : changed) {
    Perform(deployment, deployment->machine.Replan());
  }
  ReviewSoon();
}

}  // namespace flotilla::agent
