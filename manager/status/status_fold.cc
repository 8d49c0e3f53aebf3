// SPDX-License-Identifier: Apache-2.0

#include "manager/status/status_fold.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "manager/rollout/rollout_planner.h"

namespace flotilla::manager {

using core::v1::DeploymentState;
using storage::v1::Released;

absl::string_view StateWord(FoldedState state) {
  switch (state) {
    case FoldedState::kErrApplied:
      return "ErrApplied";
    case FoldedState::kOffline:
      return "Offline";
    case FoldedState::kWaitApplied:
      return "WaitApplied";
    case FoldedState::kModified:
      return "Modified";
    case FoldedState::kOutOfSync:
      return "OutOfSync";
    case FoldedState::kPending:
      return "Pending";
    case FoldedState::kDeleting:
      return "Deleting";
    case FoldedState::kNotReady:
      return "NotReady";
    case FoldedState::kReady:
      return "Ready";
  }
  return "Pending";
}

absl::string_view FleetWord(FoldedState state) {
  return StateWord(state == FoldedState::kOffline    ? FoldedState::kNotReady
                   : state == FoldedState::kDeleting ? FoldedState::kPending
                                                     : state);
}

std::string ProblemText(const core::v1::Problem& problem) {
  std::string where = problem.file();
  if (!where.empty() && problem.line() > 0) {
    absl::StrAppend(&where, ":", problem.line());
  } else if (!where.empty() && !problem.subject().empty()) {
    // A file may hold many objects.
    absl::StrAppend(&where, ": ", problem.subject());
  }
  if (where.empty()) {
    if (problem.subject().empty()) return problem.message();
    return absl::StrCat(problem.subject(), ": ", problem.message());
  }
  return absl::StrCat(where, ": ", problem.message());
}

std::string AgeText(absl::Duration age) {
  if (age < absl::ZeroDuration()) age = absl::ZeroDuration();
  const absl::Duration unit = age < absl::Minutes(10)  ? absl::Seconds(1)
                              : age < absl::Hours(10)  ? absl::Minutes(1)
                              : age < absl::Hours(240) ? absl::Hours(1)
                                                       : absl::Hours(24);
  if (unit == absl::Hours(24)) {
    return absl::StrCat(age / absl::Hours(24), "d");
  }
  const absl::Duration shown = absl::Floor(age, unit);
  // Abseil writes "0", without a unit.
  if (shown <= absl::ZeroDuration()) return "0s";
  return absl::FormatDuration(shown);
}

namespace {

void SayFirst(DeploymentVerdict& verdict, std::string fallback) {
  verdict.message = verdict.problems.empty()
                        ? std::move(fallback)
                        : ProblemText(verdict.problems.front());
}

// The state of a deployment whose agent has spoken of the released generation.
void JudgePhase(const DeploymentState& state, DeploymentVerdict& verdict) {
  const core::v1::ResourceCounts& counts = state.counts();
  const std::string progress =
      absl::StrFormat("%d of %d resources are ready", counts.ready(),
                      counts.desired());
  switch (state.phase()) {
    case core::v1::PHASE_FAILED:
      verdict.state = FoldedState::kErrApplied;
      SayFirst(verdict, "an object could not be applied");
      return;
    case core::v1::PHASE_BLOCKED:
      verdict.state = FoldedState::kWaitApplied;
      SayFirst(verdict, "the agent is held up");
      return;
    case core::v1::PHASE_VERIFYING:
    case core::v1::PHASE_DEGRADED:
    case core::v1::PHASE_HEALTHY:
      if (counts.modified() > 0 || counts.missing() > 0) {
        verdict.state = FoldedState::kModified;
        SayFirst(verdict, absl::StrFormat("%d modified, %d missing",
                                          counts.modified(), counts.missing()));
        return;
      }
      if (state.phase() == core::v1::PHASE_HEALTHY &&
          counts.ready() >= counts.desired()) {
        verdict.state = FoldedState::kReady;
        return;
      }
      verdict.state = FoldedState::kNotReady;
      SayFirst(verdict, progress);
      return;
    case core::v1::PHASE_DELETING:
    case core::v1::PHASE_DELETED:
      verdict.state = FoldedState::kDeleting;
      SayFirst(verdict, "objects are being deleted");
      return;
    default:
      verdict.state = FoldedState::kWaitApplied;
      SayFirst(verdict, "the agent has it and is about to apply it");
      return;
  }
}

// `spoken`: of the generation that is released.
core::v1::ResourceCounts KnownCounts(const DeploymentFacts& facts,
                                     bool spoken) {
  core::v1::ResourceCounts counts;
  if (facts.observed == nullptr) return counts;
  const core::v1::ResourceCounts& said = facts.observed->state().counts();
  if (!facts.online) {
    counts.set_desired(said.desired());
    counts.set_unknown(said.desired());
    return counts;
  }
  counts = said;
  if (!spoken) {
    counts.set_wait_applied(said.wait_applied() + said.ready());
    counts.set_ready(0);
    counts.set_not_trackable(0);
    counts.set_suspended(0);
  }
  return counts;
}

}  // namespace

DeploymentVerdict FoldDeployment(const DeploymentFacts& facts) {
  DeploymentVerdict verdict;
  const storage::v1::Desired& desired = *facts.desired;
  const bool rendered = IsRendered(desired, facts.rendered);
  const bool removing =
      desired.removal() != core::v1::DELETE_CAUSE_UNSPECIFIED;
  if (rendered && !removing) {
    verdict.problems.assign(facts.rendered->problems().begin(),
                            facts.rendered->problems().end());
  }
  const bool render_failed = !verdict.problems.empty();
  if (facts.observed != nullptr) {
    verdict.problems.insert(verdict.problems.end(),
                            facts.observed->state().problems().begin(),
                            facts.observed->state().problems().end());
  }
  const bool released_now =
      facts.released != nullptr &&
      facts.released->state() == (removing ? Released::STATE_DELETING
                                           : Released::STATE_ACTIVE);
  const bool spoken =
      released_now && (removing || !facts.outdated) &&
      facts.observed != nullptr &&
      facts.observed->state().generation() == facts.released->generation();
  verdict.counts = KnownCounts(facts, spoken);
  if (render_failed) {
    verdict.state = FoldedState::kErrApplied;
    verdict.message = ProblemText(verdict.problems.front());
    return verdict;
  }

  if (!facts.online) {
    verdict.state = FoldedState::kOffline;
    if (!facts.silent_for.has_value()) {
      verdict.message = "the agent has never connected";
      return verdict;
    }
    DeploymentVerdict known;
    if (spoken) {
      JudgePhase(facts.observed->state(), known);
    } else {
      known.state = FoldedState::kPending;
    }
    verdict.message =
        absl::StrCat("no contact with the agent for ",
                     AgeText(*facts.silent_for), "; last known: ",
                     StateWord(known.state));
    return verdict;
  }
  if (removing) {
    verdict.state = FoldedState::kDeleting;
    if (!released_now) {
      verdict.message =
          "waits until what the same commit brings to this cluster is rendered";
    } else if (!spoken) {
      verdict.message = "the agent has not confirmed the deletion yet";
    } else {
      SayFirst(verdict, "objects are being deleted");
    }
    return verdict;
  }
  if (facts.outdated && !desired.paused()) {
    // As spec.md 7.1 has it, at once.
    verdict.state = FoldedState::kWaitApplied;
    verdict.message = "the bundle's new revision is not assigned to it yet";
    return verdict;
  }
  if (rendered && desired.paused() &&
      (facts.outdated || !released_now || facts.released->manifest_digest() !=
                            facts.rendered->manifest_digest())) {
    verdict.state = FoldedState::kOutOfSync;
    verdict.message = "paused: what is newer is held back";
    return verdict;
  }
  if (!rendered || !released_now ||
      facts.released->manifest_digest() != facts.rendered->manifest_digest()) {
    verdict.state = FoldedState::kPending;
    verdict.message =
        !facts.has_facts ? "waits for the cluster to say what it serves"
        : desired.options().helm().values_from_size() > 0
            ? "not rendered yet: waits for the values that helm.valuesFrom "
              "names in the cluster"
            : "not rendered yet";
    return verdict;
  }
  if (!spoken) {
    verdict.state = FoldedState::kWaitApplied;
    verdict.message = absl::StrCat("the agent has not spoken of generation ",
                                   facts.released->generation(), " yet");
    return verdict;
  }
  JudgePhase(facts.observed->state(), verdict);
  return verdict;
}

namespace {

// Applies `f` to each field's pair of values.
template <typename F>
void Combine(const core::v1::ResourceCounts& from, core::v1::ResourceCounts& to,
             F f) {
  to.set_desired(f(to.desired(), from.desired()));
  to.set_ready(f(to.ready(), from.ready()));
  to.set_not_ready(f(to.not_ready(), from.not_ready()));
  to.set_modified(f(to.modified(), from.modified()));
  to.set_missing(f(to.missing(), from.missing()));
  to.set_error(f(to.error(), from.error()));
  to.set_wait_applied(f(to.wait_applied(), from.wait_applied()));
  to.set_unknown(f(to.unknown(), from.unknown()));
  to.set_not_trackable(f(to.not_trackable(), from.not_trackable()));
  to.set_degraded(f(to.degraded(), from.degraded()));
  to.set_pruning(f(to.pruning(), from.pruning()));
  to.set_suspended(f(to.suspended(), from.suspended()));
}

}  // namespace

void AddCounts(const core::v1::ResourceCounts& from,
               core::v1::ResourceCounts& to) {
  Combine(from, to, [](uint32_t a, uint32_t b) { return a + b; });
}

void SubtractCounts(const core::v1::ResourceCounts& from,
                    core::v1::ResourceCounts& to) {
  Combine(from, to, [](uint32_t a, uint32_t b) { return a - b; });
}

}  // namespace flotilla::manager
