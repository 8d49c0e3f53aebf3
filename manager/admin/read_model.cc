// SPDX-License-Identifier: Apache-2.0

#include "manager/admin/read_model.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/labels/label_selector.h"
#include "manager/store/records.h"

namespace flotilla::manager {

using storage::v1::Released;

namespace {

bool Matches(const std::string& wanted, const std::string& value) {
  return wanted.empty() || wanted == value;
}

void SetTime(absl::Time time, google::protobuf::Timestamp& out) {
  const int64_t nanos = absl::ToUnixNanos(time);
  out.set_seconds(nanos / 1000000000);
  out.set_nanos(static_cast<int32_t>(nanos % 1000000000));
}

void SetDuration(absl::Duration duration, google::protobuf::Duration& out) {
  out.set_seconds(absl::ToInt64Seconds(duration));
}

void AddCondition(absl::string_view type, bool holds, absl::string_view reason,
                  absl::string_view message,
                  google::protobuf::RepeatedPtrField<admin::v1::Condition>&
                      conditions) {
  admin::v1::Condition* condition = conditions.Add();
  condition->set_type(std::string(type));
  condition->set_status(holds ? "True" : "False");
  condition->set_reason(std::string(reason));
  condition->set_message(std::string(message));
}

// "https://user:secret@host/x" -> "https://host/x".
std::string WithoutCredentials(const std::string& url) {
  const size_t scheme = url.find("://");
  if (scheme == std::string::npos) return url;
  const size_t begin = scheme + 3;
  const size_t end = url.find('/', begin);
  const size_t at = url.rfind('@', end == std::string::npos ? url.size() : end);
  if (at == std::string::npos || at < begin) return url;
  return url.substr(0, begin) + url.substr(at + 1);
}

bool IsDocumentOf(const std::string& key, absl::string_view kind) {
  const absl::StatusOr<DocumentName> name = ParseDocumentKey(key);
  return name.ok() && name->kind == kind;
}

}  // namespace

// One deployment with everything that is known of it.
struct ReadModel::Row {
  DeploymentName name;
  std::string git_repo;
  std::string helm_op;
  const storage::v1::Desired* desired = nullptr;
  const Released* released = nullptr;
  const storage::v1::Rendered* rendered = nullptr;
  const storage::v1::Observed* observed = nullptr;
  DeploymentVerdict verdict;
  std::optional<absl::Duration> silent_for;
};

ReadModel::ReadModel(Store& store, const Clock& clock, ReadModelSources sources)
    : sources_(std::move(sources)),
      clock_(clock),
      documents_(store, kDocumentFamily, nullptr, [this] { Changed(); }),
      source_(store, kSourceFamily, nullptr, [this] { Changed(); }),
      charts_(store, kChartFamily, nullptr, [this] { Changed(); }),
      sessions_(store, kSessionFamily, nullptr, [this] { Changed(); }),
      builds_(store, kBundleFamily, nullptr, [this] { Changed(); },
              [](const std::string& key) {
                return ParseBundleBuildKey(key).ok();
              }),
      heads_(store, kBundleFamily, nullptr, [this] { Changed(); },
             [](const std::string& key) {
               return ParseBundleHeadKey(key).ok();
             }),
      revisions_(store, kBundleFamily, nullptr, nullptr,
                 [](const std::string& key) {
                   return ParseBundleRevisionKey(key).ok();
                 }),
      identities_(store, kClusterFamily, nullptr, [this] { Changed(); }),
      facts_(store, kFactsFamily),
      desired_(store, kDesiredFamily, nullptr, [this] { Changed(); }),
      rendered_(store, kRenderedFamily, nullptr, [this] { Changed(); }),
      released_(store, kReleasedFamily, nullptr, [this] { Changed(); }),
      observed_(store, kObservedFamily, nullptr, [this] { Changed(); }) {}

bool ReadModel::loaded() const {
  return documents_.loaded() && source_.loaded() && charts_.loaded() &&
         sessions_.loaded() && builds_.loaded() &&
         heads_.loaded() && revisions_.loaded() && identities_.loaded() &&
         facts_.loaded() && desired_.loaded() && rendered_.loaded() &&
         released_.loaded() && observed_.loaded();
}

std::vector<ReadModel::Row> ReadModel::Rows(
    const DeploymentFilter& filter) const {
  std::vector<Row> rows;
  absl::flat_hash_map<std::string, AgentPresence> presence;
  const absl::Time now = clock_.Now();
  for (const auto& [key, entry] : desired_.map()) {
    const storage::v1::Desired& desired = entry.first;
    if (!Matches(filter.workspace, desired.workspace()) ||
        !Matches(filter.cluster, desired.cluster_name()) ||
        !Matches(filter.bundle, desired.bundle_name())) {
      continue;
    }
    Row row;
    const storage::v1::BundleHead* head =
        heads_.Find(BundleHeadKey(desired.bundle_id()));
    if (head != nullptr) {
      row.git_repo = head->git_repo();
      row.helm_op = head->helm_op();
    }
    if (!Matches(filter.git_repo, row.git_repo)) continue;
    const std::string& cluster = desired.cluster_id();
    const std::string& bundle = desired.bundle_id();
    row.released = released_.Find(ReleasedKey(cluster, bundle));
    const bool removing =
        desired.removal() != core::v1::DELETE_CAUSE_UNSPECIFIED;
    if (removing && (row.released == nullptr ||
                     row.released->state() == Released::STATE_GONE)) {
      continue;
    }
    row.desired = &desired;
    row.rendered = rendered_.Find(RenderedKey(cluster, bundle));
    row.observed = observed_.Find(ObservedKey(cluster, bundle));
    auto known = presence.find(cluster);
    if (known == presence.end()) {
      known = presence.emplace(cluster, sources_.presence(cluster)).first;
    }
    if (known->second.last_seen.has_value()) {
      row.silent_for = now - *known->second.last_seen;
    }
    DeploymentFacts facts;
    facts.desired = row.desired;
    facts.rendered = row.rendered;
    facts.released = row.released;
    facts.observed = row.observed;
    facts.online = known->second.online;
    facts.silent_for = row.silent_for;
    facts.has_facts = facts_.Find(FactsKey(cluster)) != nullptr;
    row.verdict = FoldDeployment(facts);
    const std::optional<core::v1::Problem> rejection =
        sources_.rejection(cluster, bundle);
    if (rejection.has_value()) {
      row.verdict.problems.insert(row.verdict.problems.begin(), *rejection);
      if (row.verdict.state != FoldedState::kOffline) {
        row.verdict.state = FoldedState::kErrApplied;
        row.verdict.message = ProblemText(*rejection);
      }
    }
    row.name = {cluster,
                bundle,
                desired.workspace(),
                desired.cluster_name(),
                desired.bundle_name(),
                known->second.online};
    rows.push_back(std::move(row));
  }
  std::sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) {
    return std::tie(a.name.workspace, a.name.cluster, a.name.bundle,
                    a.name.bundle_id) < std::tie(b.name.workspace,
                                                 b.name.cluster, b.name.bundle,
                                                 b.name.bundle_id);
  });
  return rows;
}

std::vector<DeploymentName> ReadModel::Names(
    const DeploymentFilter& filter) const {
  std::vector<DeploymentName> names;
  for (Row& row : Rows(filter)) names.push_back(std::move(row.name));
  return names;
}

std::vector<std::string> ReadModel::GroupsOf(
    const storage::v1::Document& cluster) const {
  const LabelMap labels = ToLabelMap(cluster.labels());
  std::vector<std::string> groups;
  for (const auto& [key, entry] : documents_.map()) {
    const storage::v1::Document& group = entry.first;
    if (group.has_cluster_group() && group.workspace() == cluster.workspace() &&
        group.cluster_group().has_selector() &&
        SelectorMatches(group.cluster_group().selector(), labels)) {
      groups.push_back(group.name());
    }
  }
  return groups;
}

void ReadModel::FoldGitRepo(const storage::v1::Document& document,
                            const std::vector<const Row*>& rows,
                            admin::v1::GitRepo& out) const {
  const storage::v1::GitRepoSpec& spec = document.git_repo();
  out.set_workspace(document.workspace());
  out.set_name(document.name());
  out.set_repo(WithoutCredentials(spec.repo()));
  out.set_ref(!spec.revision().empty() ? spec.revision()
              : !spec.branch().empty() ? spec.branch()
                                       : "master");
  const storage::v1::Source* source =
      source_.Find(SourceKey(document.workspace(), document.name()));
  const storage::v1::BundleBuild* build =
      builds_.Find(BundleBuildKey(document.workspace(), document.name()));
  if (source != nullptr) *out.mutable_commit() = source->commit();
  const std::optional<absl::Time> polled =
      sources_.last_poll(document.workspace(), document.name());
  if (polled.has_value()) SetTime(*polled, *out.mutable_last_poll_time());

  StateAggregate aggregate("Bundle");
  absl::flat_hash_set<std::string> clusters;
  for (const Row* row : rows) {
    aggregate.Add(absl::StrCat(row->name.bundle, " on ", row->name.cluster),
                  row->verdict);
    clusters.insert(row->name.cluster_id);
    if (row->observed != nullptr) {
      AddCounts(row->observed->state().counts(), *out.mutable_resources());
    }
  }
  *out.mutable_deployments() = aggregate.counts();
  out.set_clusters(static_cast<uint32_t>(clusters.size()));
  const bool polled_well = source != nullptr && !source->has_problem();
  if (source != nullptr && source->has_problem()) {
    *out.add_problems() = source->problem();
  }
  if (build != nullptr) {
    out.set_bundles(build->bundle_count());
    *out.mutable_warnings() = build->warnings();
    for (const auto& problem : build->problems()) *out.add_problems() = problem;
  }
  for (const auto& [key, entry] : heads_.map()) {
    if (entry.first.workspace() != document.workspace() ||
        entry.first.git_repo() != document.name()) {
      continue;
    }
    for (const auto& problem : entry.first.problems()) {
      *out.add_problems() = problem;
    }
  }
  const bool built = source != nullptr && build != nullptr &&
                     build->commit_id() == source->commit().id() &&
                     build->document_generation() == document.generation();
  bool accepted = true;
  if (document.has_delete_time()) {
    out.set_state("Deleting");
    out.set_message(rows.empty() ? "its bundles are being removed"
                                 : aggregate.message());
  } else if (out.problems_size() > 0) {
    accepted = build == nullptr || build->problems_size() == 0;
    out.set_state("Error");
    out.set_message(ProblemText(out.problems(0)));
  } else if (source == nullptr || source->commit().id().empty()) {
    out.set_state("Pending");
    out.set_message("the repository has not been fetched yet");
  } else if (!built) {
    out.set_state("GitUpdating");
    out.set_message("the bundles of this commit are being built");
  } else if (rows.empty()) {
    out.set_state("NotReady");
    out.set_message(absl::StrCat(
        "0 clusters match the targets: see `flotilla get clusters` for the "
        "labels, and spec.targets of the GitRepo",
        NoAgentNote(document.workspace())));
  } else {
    out.set_state(std::string(StateWord(aggregate.worst())));
    out.set_message(aggregate.message());
  }
  for (const Row* row : rows) {
    for (const auto& problem : row->verdict.problems) {
      if (out.problems_size() >= 50) break;
      core::v1::Problem* copy = out.add_problems();
      *copy = problem;
      copy->set_subject(absl::StrCat(
          "bundle ", row->name.bundle, " on cluster ", row->name.cluster,
          problem.subject().empty() ? "" : ", ", problem.subject()));
    }
  }
  auto& conditions = *out.mutable_conditions();
  if (document.source_missing()) {
    core::v1::Problem& missing = *out.add_warnings();
    missing.set_code("NOT_FOUND");
    missing.set_subject(absl::StrCat("GitRepo ", document.workspace(), "/",
                                     document.name()));
    missing.set_message(
        "its object is no longer in the management cluster, and nobody has "
        "deleted it: what it deployed stays; apply it there again, or remove "
        "it with `flotilla delete`");
    AddCondition("SourceMissing", true, "Absent", missing.message(),
                 conditions);
  }
  AddCondition("Ready", out.state() == "Ready",
               out.state() == "Ready" ? "" : out.state(), out.message(),
               conditions);
  AddCondition("Accepted", accepted, accepted ? "" : "Error",
               accepted ? "" : out.message(), conditions);
  AddCondition("GitPolling", polled_well,
               polled_well ? "" : (source == nullptr ? "Pending" : "Error"),
               source != nullptr && source->has_problem()
                   ? ProblemText(source->problem())
                   : "",
               conditions);
  AddCondition("ClustersMatch", !clusters.empty(),
               clusters.empty() ? "NoClusters" : "",
               absl::StrCat(clusters.size(), " clusters match"), conditions);
}

std::string ReadModel::NoAgentNote(const std::string& workspace) const {
  absl::flat_hash_set<std::string> enrolled;
  for (const auto& [key, entry] : identities_.map()) {
    if (!entry.first.revoked() && entry.first.workspace() == workspace) {
      enrolled.insert(entry.first.name());
    }
  }
  const std::string prefix = DocumentPrefix(workspace, "Cluster");
  int waiting = 0;
  for (auto it = documents_.map().lower_bound(prefix);
       it != documents_.map().end() && absl::StartsWith(it->first, prefix);
       ++it) {
    waiting += enrolled.count(it->second.first.name()) == 0 ? 1 : 0;
  }
  if (waiting == 0) return "";
  return absl::StrCat("; ", waiting, waiting == 1 ? " cluster" : " clusters",
                      " without an enrolled agent not counted");
}

std::vector<admin::v1::GitRepo> ReadModel::GitRepos(
    const std::string& workspace, const std::string& name) const {
  DeploymentFilter filter;
  filter.workspace = workspace;
  filter.git_repo = name;
  const std::vector<Row> rows = Rows(filter);
  std::map<std::pair<std::string, std::string>, std::vector<const Row*>> of;
  for (const Row& row : rows) {
    of[{row.name.workspace, row.git_repo}].push_back(&row);
  }
  std::vector<admin::v1::GitRepo> out;
  for (const auto& [key, entry] : documents_.map()) {
    const storage::v1::Document& document = entry.first;
    if (!document.has_git_repo() ||
        !Matches(workspace, document.workspace()) ||
        !Matches(name, document.name())) {
      continue;
    }
    out.emplace_back();
    FoldGitRepo(document, of[{document.workspace(), document.name()}],
                out.back());
  }
  return out;
}

std::vector<admin::v1::Bundle> ReadModel::Bundles(
    const std::string& workspace, const std::string& name,
    const std::string& git_repo) const {
  DeploymentFilter filter;
  filter.workspace = workspace;
  filter.bundle = name;
  filter.git_repo = git_repo;
  const std::vector<Row> rows = Rows(filter);
  absl::flat_hash_map<std::string, std::vector<const Row*>> of;
  for (const Row& row : rows) of[row.name.bundle_id].push_back(&row);
  std::vector<admin::v1::Bundle> out;
  for (const auto& [key, entry] : heads_.map()) {
    const storage::v1::BundleHead& head = entry.first;
    if (!Matches(workspace, head.workspace()) || !Matches(name, head.name()) ||
        !Matches(git_repo, head.git_repo())) {
      continue;
    }
    admin::v1::Bundle bundle;
    bundle.set_bundle_id(head.bundle_id());
    bundle.set_workspace(head.workspace());
    bundle.set_name(head.name());
    bundle.set_git_repo(head.git_repo());
    bundle.set_helm_op(head.helm_op());
    bundle.set_revision(head.revision());
    *bundle.mutable_commit() = head.commit();
    const storage::v1::BundleRevision* revision =
        revisions_.Find(BundleRevisionKey(head.bundle_id(), head.revision()));
    if (revision != nullptr) bundle.set_directory(revision->directory());
    StateAggregate aggregate("Cluster");
    for (const Row* row : of[head.bundle_id()]) {
      aggregate.Add(row->name.cluster, row->verdict);
    }
    *bundle.mutable_deployments() = aggregate.counts();
    bundle.set_state(std::string(StateWord(aggregate.worst())));
    bundle.set_message(aggregate.message());
    *bundle.mutable_problems() = head.problems();
    if (head.removal() != core::v1::DELETE_CAUSE_UNSPECIFIED) {
      bundle.set_state("Deleting");
    } else if (head.problems_size() > 0) {
      bundle.set_state("ErrApplied");
      bundle.set_message(ProblemText(head.problems(0)));
    } else if (of[head.bundle_id()].empty()) {
      bundle.set_state("Pending");
      bundle.set_message(absl::StrCat("0 clusters match its targets",
                                      NoAgentNote(head.workspace())));
    }
    out.push_back(std::move(bundle));
  }
  std::sort(out.begin(), out.end(),
            [](const admin::v1::Bundle& a, const admin::v1::Bundle& b) {
              return std::tie(a.workspace(), a.name(), a.bundle_id()) <
                     std::tie(b.workspace(), b.name(), b.bundle_id());
            });
  return out;
}

std::vector<admin::v1::Cluster> ReadModel::Clusters(
    const std::string& workspace, const std::string& name) const {
  // Bundles of other workspaces count too: a mapping may bring them here.
  DeploymentFilter filter;
  filter.cluster = name;
  const std::vector<Row> rows = Rows(filter);
  absl::flat_hash_map<std::string, std::vector<const Row*>> of;
  for (const Row& row : rows) of[row.name.cluster_id].push_back(&row);
  std::map<std::pair<std::string, std::string>,
           const storage::v1::ClusterIdentity*>
      identity_of;
  for (const auto& [key, entry] : identities_.map()) {
    if (entry.first.revoked()) continue;
    identity_of[{entry.first.workspace(), entry.first.name()}] = &entry.first;
  }
  const absl::Time now = clock_.Now();
  std::vector<admin::v1::Cluster> out;
  for (const auto& [key, entry] : documents_.map()) {
    const storage::v1::Document& document = entry.first;
    if (!IsDocumentOf(key, "Cluster") ||
        !Matches(workspace, document.workspace()) ||
        !Matches(name, document.name())) {
      continue;
    }
    admin::v1::Cluster cluster;
    cluster.set_workspace(document.workspace());
    cluster.set_name(document.name());
    for (const auto& label : document.labels()) {
      (*cluster.mutable_labels())[label.key()] = label.value();
    }
    for (std::string& group : GroupsOf(document)) {
      cluster.add_groups(std::move(group));
    }
    const auto identity =
        identity_of.find({document.workspace(), document.name()});
    StateAggregate aggregate("Bundle");
    if (identity != identity_of.end()) {
      for (const Row* row : of[identity->second->cluster_id()]) {
        aggregate.Add(row->name.bundle, row->verdict);
      }
    }
    *cluster.mutable_deployments() = aggregate.counts();
    cluster.set_state(std::string(StateWord(aggregate.worst())));
    cluster.set_message(aggregate.message());
    if (identity == identity_of.end()) {
      cluster.set_state("WaitCheckIn");
      cluster.set_message(absl::StrCat(
          "no agent has enrolled: `flotilla token create --workspace ",
          document.workspace(), " --name ", document.name(),
          "` makes a token for one"));
      out.push_back(std::move(cluster));
      continue;
    }
    const std::string& id = identity->second->cluster_id();
    cluster.set_cluster_id(id);
    const AgentPresence presence = sources_.presence(id);
    cluster.set_online(presence.online);
    cluster.set_agent_version(presence.agent_version);
    if (presence.frames.has_value()) {
      *cluster.mutable_frames() = *presence.frames;
    }
    if (presence.last_seen.has_value()) {
      SetTime(*presence.last_seen, *cluster.mutable_last_seen_time());
      SetDuration(now - *presence.last_seen, *cluster.mutable_age());
    }
    if (!presence.online) {
      cluster.set_state("Offline");
      cluster.set_message(
          presence.last_seen.has_value()
              ? absl::StrCat("no contact with the agent for ",
                             AgeText(now - *presence.last_seen))
              : "the agent has never connected");
    }
    if (const storage::v1::Facts* facts = facts_.Find(FactsKey(id));
        facts != nullptr) {
      cluster.set_kube_version(facts->facts().kube_version());
    }
    out.push_back(std::move(cluster));
  }
  return out;
}

void ReadModel::FoldHelmOp(const storage::v1::Document& document,
                           const std::vector<const Row*>& rows,
                           admin::v1::HelmOp& out) const {
  const storage::v1::HelmOptions& helm =
      document.helm_op().bundle().options().helm();
  out.set_workspace(document.workspace());
  out.set_name(document.name());
  out.set_repo(WithoutCredentials(helm.repo()));
  out.set_chart(WithoutCredentials(helm.chart()));
  const storage::v1::ChartSource* chart =
      charts_.Find(ChartKey(document.workspace(), document.name()));
  if (chart != nullptr) out.set_version(chart->version());
  StateAggregate aggregate("Bundle");
  absl::flat_hash_set<std::string> clusters;
  for (const Row* row : rows) {
    aggregate.Add(absl::StrCat(row->name.bundle, " on ", row->name.cluster),
                  row->verdict);
    clusters.insert(row->name.cluster_id);
    if (row->observed != nullptr) {
      AddCounts(row->observed->state().counts(), *out.mutable_resources());
    }
  }
  *out.mutable_deployments() = aggregate.counts();
  out.set_clusters(static_cast<uint32_t>(clusters.size()));
  const bool found = chart != nullptr && !chart->has_problem();
  if (chart != nullptr && chart->has_problem()) {
    *out.add_problems() = chart->problem();
  }
  const storage::v1::BundleBuild* build =
      builds_.Find(BundleBuildKey(document.workspace(), document.name()));
  if (build != nullptr) {
    *out.mutable_warnings() = build->warnings();
    for (const auto& problem : build->problems()) *out.add_problems() = problem;
  }
  for (const auto& [key, entry] : heads_.map()) {
    if (entry.first.workspace() == document.workspace() &&
        entry.first.helm_op() == document.name()) {
      for (const auto& problem : entry.first.problems()) {
        *out.add_problems() = problem;
      }
    }
  }
  const bool accepted = out.problems_size() == 0;
  if (document.has_delete_time()) {
    out.set_state("Deleting");
    out.set_message(rows.empty() ? "its bundle is being removed"
                                 : aggregate.message());
  } else if (!accepted) {
    out.set_state("Error");
    out.set_message(ProblemText(out.problems(0)));
  } else if (chart == nullptr || chart->version().empty()) {
    out.set_state("Pending");
    out.set_message("the chart has not been found yet");
  } else if (rows.empty()) {
    out.set_state("NotReady");
    out.set_message(absl::StrCat("0 clusters match the targets",
                                 NoAgentNote(document.workspace())));
  } else {
    out.set_state(std::string(StateWord(aggregate.worst())));
    out.set_message(aggregate.message());
  }
  auto& conditions = *out.mutable_conditions();
  AddCondition("Ready", out.state() == "Ready",
               out.state() == "Ready" ? "" : out.state(), out.message(),
               conditions);
  AddCondition("Accepted", accepted, accepted ? "" : "Error",
               accepted ? "" : out.message(), conditions);
  AddCondition("Polled", found, found ? "" : "Error",
               chart != nullptr && chart->has_problem()
                   ? ProblemText(chart->problem())
                   : "",
               conditions);
}

std::vector<admin::v1::HelmOp> ReadModel::HelmOps(
    const std::string& workspace, const std::string& name) const {
  DeploymentFilter filter;
  filter.workspace = workspace;
  const std::vector<Row> rows = Rows(filter);
  std::map<std::pair<std::string, std::string>, std::vector<const Row*>> of;
  for (const Row& row : rows) {
    if (!row.helm_op.empty()) {
      of[{row.name.workspace, row.helm_op}].push_back(&row);
    }
  }
  std::vector<admin::v1::HelmOp> out;
  for (const auto& [key, entry] : documents_.map()) {
    const storage::v1::Document& document = entry.first;
    if (!document.has_helm_op() || !Matches(workspace, document.workspace()) ||
        !Matches(name, document.name())) {
      continue;
    }
    FoldHelmOp(document, of[{document.workspace(), document.name()}],
               out.emplace_back());
  }
  return out;
}

std::vector<admin::v1::ClusterGroup> ReadModel::ClusterGroups(
    const std::string& workspace, const std::string& name) const {
  constexpr size_t kNamed = 10;
  const std::vector<admin::v1::Cluster> clusters = Clusters(workspace, "");
  std::vector<admin::v1::ClusterGroup> out;
  for (const auto& [key, entry] : documents_.map()) {
    const storage::v1::Document& document = entry.first;
    if (!document.has_cluster_group() ||
        !Matches(workspace, document.workspace()) ||
        !Matches(name, document.name())) {
      continue;
    }
    admin::v1::ClusterGroup& group = out.emplace_back();
    group.set_workspace(document.workspace());
    group.set_name(document.name());
    std::vector<std::string> waiting;
    admin::v1::StateCounts& sum = *group.mutable_deployments();
    for (const admin::v1::Cluster& cluster : clusters) {
      if (cluster.workspace() != document.workspace() ||
          std::find(cluster.groups().begin(), cluster.groups().end(),
                    document.name()) == cluster.groups().end()) {
        continue;
      }
      group.set_clusters(group.clusters() + 1);
      const admin::v1::StateCounts& one = cluster.deployments();
      sum.set_desired(sum.desired() + one.desired());
      sum.set_ready(sum.ready() + one.ready());
      sum.set_not_ready(sum.not_ready() + one.not_ready());
      sum.set_wait_applied(sum.wait_applied() + one.wait_applied());
      sum.set_err_applied(sum.err_applied() + one.err_applied());
      sum.set_modified(sum.modified() + one.modified());
      sum.set_pending(sum.pending() + one.pending());
      sum.set_offline(sum.offline() + one.offline());
      sum.set_deleting(sum.deleting() + one.deleting());
      sum.set_out_of_sync(sum.out_of_sync() + one.out_of_sync());
      if (cluster.state() == "Ready") continue;
      group.set_non_ready_clusters(group.non_ready_clusters() + 1);
      if (waiting.size() < kNamed) waiting.push_back(cluster.name());
      if (group.state().empty()) {
        group.set_state(cluster.state());
        group.set_message(absl::StrCat(cluster.state(), " [Cluster ",
                                      cluster.name(), ": ", cluster.message(),
                                      "]"));
      }
    }
    if (group.state().empty()) group.set_state("Ready");
    group.set_clusters_ready(absl::StrCat(
        group.clusters() - group.non_ready_clusters(), "/", group.clusters(),
        waiting.empty() ? "" : absl::StrCat(" (", absl::StrJoin(waiting, ", "),
                                            ")")));
    group.set_bundles_ready(absl::StrCat(sum.ready(), "/", sum.desired()));
  }
  return out;
}

const core::v1::ClusterFacts* ReadModel::Facts(
    const std::string& workspace, const std::string& cluster) const {
  for (const auto& [key, entry] : identities_.map()) {
    const storage::v1::ClusterIdentity& identity = entry.first;
    if (identity.revoked() || identity.workspace() != workspace ||
        identity.name() != cluster) {
      continue;
    }
    const storage::v1::Facts* facts =
        facts_.Find(FactsKey(identity.cluster_id()));
    return facts == nullptr ? nullptr : &facts->facts();
  }
  return nullptr;
}

const storage::v1::Document* ReadModel::Document(
    const std::string& kind, const std::string& workspace,
    const std::string& name) const {
  return documents_.Find(DocumentKey(workspace, kind, name));
}

std::vector<admin::v1::Deployment> ReadModel::Deployments(
    const DeploymentFilter& filter) const {
  std::vector<admin::v1::Deployment> out;
  for (const Row& row : Rows(filter)) {
    admin::v1::Deployment deployment;
    deployment.set_workspace(row.name.workspace);
    deployment.set_bundle(row.name.bundle);
    deployment.set_cluster(row.name.cluster);
    deployment.set_bundle_id(row.name.bundle_id);
    deployment.set_cluster_id(row.name.cluster_id);
    deployment.set_state(std::string(StateWord(row.verdict.state)));
    deployment.set_message(row.verdict.message);
    deployment.set_target(row.desired->target_name());
    deployment.set_paused(row.desired->paused());
    if (row.released != nullptr) {
      deployment.set_generation(row.released->generation());
      *deployment.mutable_commit() = row.released->commit();
    }
    if (row.observed != nullptr) {
      deployment.set_observed_generation(row.observed->state().generation());
      *deployment.mutable_observed() = row.observed->state();
    }
    if (!row.name.online && row.silent_for.has_value()) {
      SetDuration(*row.silent_for, *deployment.mutable_age());
    }
    for (const auto& problem : row.verdict.problems) {
      *deployment.add_problems() = problem;
    }
    if (row.rendered != nullptr) {
      *deployment.mutable_warnings() = row.rendered->warnings();
    }
    out.push_back(std::move(deployment));
  }
  return out;
}

}  // namespace flotilla::manager
