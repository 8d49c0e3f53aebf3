// SPDX-License-Identifier: Apache-2.0

#include "manager/admin/read_model.h"

#include <algorithm>
#include <tuple>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/labels/label_selector.h"
#include "manager/gitsync/shown_url.h"
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

// Of each of two kinds, in the text of a deployment (spec.md 7.4): those that
// are wrong and those that are not ready yet.
constexpr size_t kNamedObjects = 4;

// Whether the text of such a deployment is that of its objects.
bool NamesObjects(FoldedState state) {
  return state == FoldedState::kNotReady || state == FoldedState::kModified;
}

constexpr char kGitRepo[] = "GitRepo";
constexpr char kHelmOp[] = "HelmOp";
constexpr char kBundle[] = "Bundle";
constexpr char kCluster[] = "Cluster";
constexpr char kClusterGroup[] = "ClusterGroup";

// Deployments whose problems a source lists, and the list.
constexpr size_t kMaxLookedAt = 200;
constexpr int kMaxProblems = 50;
// Ranks of clusters: as FoldedState, but for those without an agent.
constexpr int kNoAgentRank = static_cast<int>(FoldedState::kOffline);

// The source of a bundle; its kind is empty when it has none.
template <typename T>
StatusSubject SourceOf(const std::string& workspace, const T& bundle) {
  if (!bundle.git_repo().empty())
    return {kGitRepo, workspace, bundle.git_repo()};
  if (!bundle.helm_op().empty()) return {kHelmOp, workspace, bundle.helm_op()};
  return {};
}

StatusSubject SourceOf(const DeploymentEntry& entry) {
  if (!entry.git_repo.empty()) {
    return {kGitRepo, entry.name.workspace, entry.git_repo};
  }
  if (!entry.helm_op.empty()) {
    return {kHelmOp, entry.name.workspace, entry.helm_op};
  }
  return {};
}

std::string SourceText(const StatusSubject& source) {
  return absl::StrCat(source.kind, "/", source.workspace, "/", source.name);
}

absl::string_view WordFor(FoldedState state, Wording wording) {
  return wording == Wording::kLive ? StateWord(state) : FleetWord(state);
}

// With its workspace where that is another than the bundle's.
std::string ClusterLabel(const DeploymentName& name) {
  return name.cluster_workspace == name.workspace ? name.cluster
                                                  : ClusterText(name);
}

const DeploymentTally& NoDeployments() {
  static const DeploymentTally& none = *new DeploymentTally();
  return none;
}

// What stands for a Bundle document of which nothing was built.
storage::v1::BundleHead Unbuilt(const std::string& workspace,
                                const std::string& name) {
  storage::v1::BundleHead head;
  head.set_workspace(workspace);
  head.set_name(name);
  return head;
}

// `records` of one workspace, in order of their names; `f` gets each.
template <typename F>
void ForDocuments(const TypedMirror<storage::v1::Document>::Map& documents,
                  const std::string& workspace, const char* kind, F f) {
  const std::string prefix = DocumentPrefix(workspace, kind);
  for (auto it = documents.lower_bound(prefix);
       it != documents.end() && absl::StartsWith(it->first, prefix); ++it) {
    f(it->second.first);
  }
}

}  // namespace

ReadModel::ReadModel(Store& store, const Clock& clock, ReadModelSources sources)
    : sources_(std::move(sources)),
      clock_(clock),
      documents_(store, kDocumentFamily,
                 OnChange([this](const std::string& key, const auto* record) {
                   OnDocument(key, record);
                 }),
                 [this] { OnBatch(); }),
      source_(store, kSourceFamily,
              OnChange([this](const std::string& key, const auto*) {
                const auto name = ParseSourceKey(key);
                if (name.ok()) Touch({kGitRepo, name->workspace, name->name});
              }),
              [this] { OnBatch(); }),
      charts_(store, kChartFamily,
              OnChange([this](const std::string& key, const auto*) {
                const auto name = ParseChartKey(key);
                if (name.ok()) Touch({kHelmOp, name->workspace, name->name});
              }),
              [this] { OnBatch(); }),
      sessions_(store, kSessionFamily,
                OnChange([this](const std::string& key, const auto*) {
                  const auto id = ParseIdKey(kSessionFamily, key);
                  if (id.ok()) OnPresence(*id);
                }),
                [this] { OnBatch(); }),
      builds_(store, kBundleFamily,
              OnChange([this](const std::string& key, const auto*) {
                const auto name = ParseBundleBuildKey(key);
                if (!name.ok()) return;
                const auto [kind, document] = BuiltDocument(name->name);
                Touch({kind, name->workspace, document});
              }),
              [this] { OnBatch(); },
              [](const std::string& key) {
                return ParseBundleBuildKey(key).ok();
              }),
      heads_(store, kBundleFamily,
             OnChange([this](const std::string& key, const auto* record) {
               const auto id = ParseBundleHeadKey(key);
               if (id.ok()) OnHead(*id, record);
             }),
             [this] { OnBatch(); },
             [](const std::string& key) {
               return ParseBundleHeadKey(key).ok();
             }),
      revisions_(store, kBundleFamily, nullptr, [this] { OnBatch(); },
                 [](const std::string& key) {
                   return ParseBundleRevisionKey(key).ok();
                 }),
      identities_(store, kClusterFamily,
                  OnChange([this](const std::string& key, const auto* record) {
                    const auto id = ParseIdKey(kClusterFamily, key);
                    if (id.ok()) OnIdentity(*id, record);
                  }),
                  [this] { OnBatch(); }),
      facts_(store, kFactsFamily,
             OnChange([this](const std::string& key, const auto*) {
               const auto id = ParseIdKey(kFactsFamily, key);
               if (id.ok()) RefoldCluster(*id);
             }),
             [this] { OnBatch(); }),
      desired_(store, kDesiredFamily,
               OnChange([this](const std::string& key, const auto*) {
                 const auto pair = ParseClusterBundleKey(kDesiredFamily, key);
                 if (pair.ok()) Refold(pair->cluster_id, pair->bundle_id);
               }),
               [this] { OnBatch(); }),
      rendered_(store, kRenderedFamily,
                OnChange([this](const std::string& key, const auto*) {
                  const auto pair = ParseClusterBundleKey(kRenderedFamily, key);
                  if (pair.ok()) Refold(pair->cluster_id, pair->bundle_id);
                }),
                [this] { OnBatch(); }),
      released_(store, kReleasedFamily,
                OnChange([this](const std::string& key, const auto*) {
                  const auto pair = ParseClusterBundleKey(kReleasedFamily, key);
                  if (pair.ok()) Refold(pair->cluster_id, pair->bundle_id);
                }),
                [this] { OnBatch(); }),
      observed_(store, kObservedFamily,
                OnChange([this](const std::string& key, const auto*) {
                  const auto pair = ParseClusterBundleKey(kObservedFamily, key);
                  if (pair.ok()) Refold(pair->cluster_id, pair->bundle_id);
                }),
                [this] { OnBatch(); }) {}

// --------------------------------------------------------------- what changes

void ReadModel::OnBatch() {
  if (loaded_ || !documents_.loaded() || !source_.loaded() ||
      !charts_.loaded() || !sessions_.loaded() || !builds_.loaded() ||
      !heads_.loaded() || !revisions_.loaded() || !identities_.loaded() ||
      !facts_.loaded() || !desired_.loaded() || !rendered_.loaded() ||
      !released_.loaded() || !observed_.loaded()) {
    return;
  }
  Build();
  loaded_ = true;
  for (const StatusSubject& subject : Subjects()) Touch(subject);
}

void ReadModel::Build() {
  for (const auto& [key, entry] : heads_.map()) {
    OnHead(entry.first.bundle_id(), &entry.first);
  }
  for (const auto& [key, entry] : identities_.map()) {
    OnIdentity(entry.first.cluster_id(), &entry.first);
  }
  for (const auto& [key, entry] : documents_.map()) {
    if (entry.first.has_cluster_group()) {
      SetMembers({entry.first.workspace(), entry.first.name()}, &entry.first);
    }
  }
  for (const auto& [key, entry] : desired_.map()) {
    Refold(entry.first.cluster_id(), entry.first.bundle_id());
  }
}

void ReadModel::Touch(const StatusSubject& subject) const {
  if (loaded_ && sources_.changed != nullptr) sources_.changed(subject);
}

void ReadModel::TouchCluster(const Name& cluster) const {
  Touch({kCluster, cluster.first, cluster.second});
  const auto groups = groups_of_.find(cluster);
  if (groups == groups_of_.end()) return;
  for (const std::string& group : groups->second) {
    members_of_[{cluster.first, group}].changed.insert(cluster.second);
    Touch({kClusterGroup, cluster.first, group});
  }
}

void ReadModel::TouchClusterOf(const std::string& cluster_id) const {
  const auto name = name_of_identity_.find(cluster_id);
  if (name != name_of_identity_.end()) TouchCluster(name->second);
}

void ReadModel::TouchDeployment(const DeploymentEntry& entry) const {
  const StatusSubject source = SourceOf(entry);
  if (!source.kind.empty()) Touch(source);
  const auto head = head_places_.find(entry.name.bundle_id);
  if (head != head_places_.end()) {
    Touch({kBundle, head->second.name.first, head->second.name.second});
  }
  TouchClusterOf(entry.name.cluster_id);
}

void ReadModel::TouchUnmatched(const std::string& workspace) const {
  if (!loaded_) return;
  for (const char* kind : {kGitRepo, kHelmOp}) {
    ForDocuments(documents_.map(), workspace, kind,
                 [&](const storage::v1::Document& document) {
                   const StatusSubject source{kind, workspace, document.name()};
                   if (SourceTally(source).empty()) Touch(source);
                 });
  }
  for (auto it = heads_by_name_.lower_bound({workspace, ""});
       it != heads_by_name_.end() && it->first.first == workspace; ++it) {
    for (const std::string& bundle_id : it->second) {
      if (BundleTally(bundle_id).empty()) {
        Touch({kBundle, workspace, it->first.second});
      }
    }
  }
}

void ReadModel::OnDocument(const std::string& key,
                           const storage::v1::Document* record) {
  const absl::StatusOr<DocumentName> name = ParseDocumentKey(key);
  if (!name.ok()) return;
  const Name document(name->workspace, name->name);
  if (name->kind == kCluster) {
    SetGroups(document, record == nullptr ? std::set<std::string>()
                                          : GroupsMatching(*record));
    TouchCluster(document);
    TouchUnmatched(name->workspace);
    return;
  }
  if (name->kind == kClusterGroup) SetMembers(document, record);
  if (name->kind == kGitRepo || name->kind == kHelmOp) {
    // A cluster counts those that exist.
    for (const auto& [cluster, share] :
         SourceTally({name->kind, name->workspace, name->name}).shares()) {
      TouchClusterOf(cluster.second);
    }
  }
  Touch({name->kind, name->workspace, name->name});
}

std::set<std::string> ReadModel::GroupsMatching(
    const storage::v1::Document& cluster) const {
  const LabelMap labels = ToLabelMap(cluster.labels());
  std::set<std::string> groups;
  ForDocuments(documents_.map(), cluster.workspace(), kClusterGroup,
               [&](const storage::v1::Document& group) {
                 if (group.cluster_group().has_selector() &&
                     SelectorMatches(group.cluster_group().selector(),
                                     labels)) {
                   groups.insert(group.name());
                 }
               });
  return groups;
}

void ReadModel::SetGroups(const Name& cluster, std::set<std::string> groups) {
  const auto known = groups_of_.find(cluster);
  if (known != groups_of_.end()) {
    for (const std::string& group : known->second) {
      if (groups.count(group) > 0) continue;
      const auto members = members_of_.find({cluster.first, group});
      members->second.tally.Remove(cluster.second);
      members->second.changed.erase(cluster.second);
      if (members->second.tally.size() == 0 &&
          members->second.changed.empty()) {
        members_of_.erase(members);
      }
      Touch({kClusterGroup, cluster.first, group});
    }
  }
  for (const std::string& group : groups) {
    members_of_[{cluster.first, group}].changed.insert(cluster.second);
  }
  if (groups.empty()) {
    groups_of_.erase(cluster);
  } else {
    groups_of_[cluster] = std::move(groups);
  }
}

void ReadModel::SetMembers(const Name& group,
                           const storage::v1::Document* document) {
  const auto& [workspace, group_name] = group;
  const bool selects = document != nullptr &&
                       document->cluster_group().has_selector();
  ForDocuments(
      documents_.map(), workspace, kCluster,
      [&, &ws = workspace, &own = group_name](
          const storage::v1::Document& cluster) {
        const Name name(ws, cluster.name());
        std::set<std::string> groups;
        const auto known = groups_of_.find(name);
        if (known != groups_of_.end()) groups = known->second;
        const bool member =
            selects && SelectorMatches(document->cluster_group().selector(),
                                       ToLabelMap(cluster.labels()));
        const bool changed =
            member ? groups.insert(own).second : groups.erase(own) > 0;
        if (changed) SetGroups(name, std::move(groups));
      });
}

void ReadModel::OnHead(const std::string& bundle_id,
                       const storage::v1::BundleHead* head) {
  const auto known = head_places_.find(bundle_id);
  bool moved = known == head_places_.end();
  if (known != head_places_.end()) {
    const HeadPlace& place = known->second;
    const auto named = heads_by_name_.find(place.name);
    named->second.erase(bundle_id);
    if (named->second.empty()) heads_by_name_.erase(named);
    const auto problems = problem_heads_.find(place.source);
    if (place.has_problems) {
      problems->second.erase(bundle_id);
      if (problems->second.empty()) problem_heads_.erase(problems);
    }
    Touch({kBundle, place.name.first, place.name.second});
    Touch(place.source);
    moved = head == nullptr ||
            !(place.source == SourceOf(head->workspace(), *head)) ||
            place.revision != head->revision() ||
            place.removal != head->removal();
    head_places_.erase(known);
  }
  if (head != nullptr) {
    HeadPlace place;
    place.name = {head->workspace(), head->name()};
    place.source = SourceOf(head->workspace(), *head);
    place.has_problems = head->problems_size() > 0;
    place.revision = head->revision();
    place.removal = head->removal();
    heads_by_name_[place.name].insert(bundle_id);
    if (place.has_problems) problem_heads_[place.source].insert(bundle_id);
    Touch({kBundle, place.name.first, place.name.second});
    Touch(place.source);
    head_places_[bundle_id] = std::move(place);
  }
  if (!moved || !loaded_) return;
  const auto clusters = clusters_of_bundle_.find(bundle_id);
  if (clusters == clusters_of_bundle_.end()) return;
  for (const std::string& cluster : std::set<std::string>(clusters->second)) {
    Refold(cluster, bundle_id);
  }
}

void ReadModel::OnIdentity(const std::string& cluster_id,
                           const storage::v1::ClusterIdentity* identity) {
  std::vector<Name> touched;
  const auto known = name_of_identity_.find(cluster_id);
  if (known != name_of_identity_.end()) {
    const auto ids = identities_by_name_.find(known->second);
    ids->second.erase(cluster_id);
    if (ids->second.empty()) identities_by_name_.erase(ids);
    touched.push_back(known->second);
    name_of_identity_.erase(known);
  }
  if (identity != nullptr && !identity->revoked()) {
    const Name name(identity->workspace(), identity->name());
    identities_by_name_[name].insert(cluster_id);
    name_of_identity_[cluster_id] = name;
    touched.push_back(name);
  }
  for (const Name& name : touched) {
    TouchCluster(name);
    TouchUnmatched(name.first);
  }
}

void ReadModel::OnPresence(const std::string& cluster_id) {
  if (!loaded_) return;
  const bool before = Online(cluster_id);
  online_.erase(cluster_id);
  if (Online(cluster_id) != before) {
    RefoldCluster(cluster_id);
  } else {
    TouchClusterOf(cluster_id);
  }
}

void ReadModel::OnRejection(const std::string& cluster_id,
                            const std::string& bundle_id) {
  if (loaded_) Refold(cluster_id, bundle_id);
}

void ReadModel::OnResource(const std::string& cluster_id,
                           const core::v1::ResourceStatus& status) {
  resources_.Report(cluster_id, status);
  const auto entry = entries_.find(DesiredKey(cluster_id, status.bundle_id()));
  if (entry == entries_.end()) return;
  // Its text names objects then.
  if (NamesObjects(entry->second->state)) {
    TouchDeployment(*entry->second);
  } else {
    Touch(SourceOf(*entry->second));
  }
}

void ReadModel::OnForgotten(const std::string& cluster_id,
                            const std::string& bundle_id) {
  resources_.Forget(cluster_id, bundle_id);
  const auto entry = entries_.find(DesiredKey(cluster_id, bundle_id));
  if (entry != entries_.end()) Touch(SourceOf(*entry->second));
}

void ReadModel::OnCheckIn() {
  for (const auto& [name, ids] : identities_by_name_) {
    if (Online(*ids.rbegin())) Touch({kCluster, name.first, name.second});
  }
}

bool ReadModel::Online(const std::string& cluster_id) const {
  const auto known = online_.find(cluster_id);
  if (known != online_.end()) return known->second;
  const bool online = sources_.presence(cluster_id).online;
  online_[cluster_id] = online;
  return online;
}

// ---------------------------------------------------------------- deployments

void ReadModel::RefoldCluster(const std::string& cluster_id) {
  const std::string prefix = DesiredPrefix(cluster_id);
  for (auto it = desired_.map().lower_bound(prefix);
       it != desired_.map().end() && absl::StartsWith(it->first, prefix);
       ++it) {
    Refold(it->second.first.cluster_id(), it->second.first.bundle_id());
  }
  TouchClusterOf(cluster_id);
}

void ReadModel::Refold(const std::string& cluster_id,
                       const std::string& bundle_id) {
  const std::string key = DesiredKey(cluster_id, bundle_id);
  std::unique_ptr<DeploymentEntry> entry = Fold(cluster_id, bundle_id);
  const auto known = entries_.find(key);
  if (known != entries_.end()) {
    Displace(*known->second);
    entries_.erase(known);
  }
  if (entry == nullptr) return;
  Place(*entry);
  entries_[key] = std::move(entry);
}

void ReadModel::Place(const DeploymentEntry& entry) {
  const DeploymentName& name = entry.name;
  of_bundle_.try_emplace(name.bundle_id).first->second.Add(entry);
  of_cluster_.try_emplace(name.cluster_id).first->second.Add(entry);
  clusters_of_bundle_[name.bundle_id].insert(name.cluster_id);
  const StatusSubject source = SourceOf(entry);
  if (!source.kind.empty()) {
    of_source_.try_emplace(source, /*shares=*/true).first->second.Add(entry);
    resources_.Place(entry, SourceText(source));
  }
  TouchDeployment(entry);
}

void ReadModel::Displace(const DeploymentEntry& entry) {
  const DeploymentName& name = entry.name;
  const auto remove = [&entry](auto& tallies, const auto& key) {
    const auto at = tallies.find(key);
    at->second.Remove(entry);
    if (at->second.empty()) tallies.erase(at);
  };
  remove(of_bundle_, name.bundle_id);
  remove(of_cluster_, name.cluster_id);
  const auto clusters = clusters_of_bundle_.find(name.bundle_id);
  clusters->second.erase(name.cluster_id);
  if (clusters->second.empty()) clusters_of_bundle_.erase(clusters);
  const StatusSubject source = SourceOf(entry);
  if (!source.kind.empty()) {
    remove(of_source_, source);
    resources_.Displace(entry);
  }
  TouchDeployment(entry);
}

DeploymentVerdict ReadModel::Judge(
    const storage::v1::Desired& desired, bool online,
    std::optional<absl::Duration> silent_for) const {
  const std::string& cluster = desired.cluster_id();
  const std::string& bundle = desired.bundle_id();
  DeploymentFacts facts;
  facts.desired = &desired;
  facts.rendered = rendered_.Find(RenderedKey(cluster, bundle));
  facts.released = released_.Find(ReleasedKey(cluster, bundle));
  facts.observed = observed_.Find(ObservedKey(cluster, bundle));
  facts.online = online;
  facts.silent_for = silent_for;
  facts.has_facts = facts_.Find(FactsKey(cluster)) != nullptr;
  const storage::v1::BundleHead* head = heads_.Find(BundleHeadKey(bundle));
  facts.outdated = head != nullptr &&
                   head->removal() == core::v1::DELETE_CAUSE_UNSPECIFIED &&
                   head->revision() != desired.revision();
  DeploymentVerdict verdict = FoldDeployment(facts);
  const std::optional<core::v1::Problem> rejection =
      sources_.rejection(cluster, bundle);
  if (rejection.has_value()) {
    verdict.problems.insert(verdict.problems.begin(), *rejection);
    if (verdict.state != FoldedState::kOffline) {
      verdict.state = FoldedState::kErrApplied;
      verdict.message = ProblemText(*rejection);
    }
  }
  return verdict;
}

std::unique_ptr<DeploymentEntry> ReadModel::Fold(const std::string& cluster_id,
                                                 const std::string& bundle_id) {
  const storage::v1::Desired* desired =
      desired_.Find(DesiredKey(cluster_id, bundle_id));
  if (desired == nullptr) return nullptr;
  if (desired->removal() != core::v1::DELETE_CAUSE_UNSPECIFIED) {
    const Released* released =
        released_.Find(ReleasedKey(cluster_id, bundle_id));
    if (released == nullptr || released->state() == Released::STATE_GONE) {
      return nullptr;
    }
  }
  auto entry = std::make_unique<DeploymentEntry>();
  entry->name = {cluster_id,
                 bundle_id,
                 desired->workspace(),
                 desired->cluster_workspace().empty()
                     ? desired->workspace()
                     : desired->cluster_workspace(),
                 desired->cluster_name(),
                 desired->bundle_name(),
                 Online(cluster_id)};
  const storage::v1::BundleHead* head = heads_.Find(BundleHeadKey(bundle_id));
  if (head != nullptr) {
    entry->git_repo = head->git_repo();
    entry->helm_op = head->helm_op();
  }
  const DeploymentVerdict verdict =
      Judge(*desired, entry->name.online, std::nullopt);
  entry->state = verdict.state;
  entry->counts = verdict.counts;
  return entry;
}

DeploymentVerdict ReadModel::VerdictOf(const DeploymentEntry& entry) const {
  const DeploymentName& name = entry.name;
  std::optional<absl::Duration> silent_for;
  if (!name.online) {
    const AgentPresence presence = sources_.presence(name.cluster_id);
    if (presence.last_seen.has_value()) {
      silent_for = clock_.Now() - *presence.last_seen;
    }
  }
  DeploymentVerdict verdict =
      Judge(*desired_.Find(DesiredKey(name.cluster_id, name.bundle_id)),
            name.online, silent_for);
  if (NamesObjects(verdict.state)) {
    std::vector<std::string> pieces;
    for (const core::v1::Problem& problem : verdict.problems) {
      if (pieces.size() == kNamedObjects) break;
      pieces.push_back(ProblemText(problem));
    }
    for (std::string& one : resources_.Unfinished(name, kNamedObjects)) {
      pieces.push_back(std::move(one));
    }
    // Objects are told of a little later than their counts.
    if (!pieces.empty()) verdict.message = absl::StrJoin(pieces, "; ");
  }
  return verdict;
}

std::string ReadModel::TextOf(const DeploymentEntry& entry,
                              Wording wording) const {
  if (wording == Wording::kLasting && entry.state == FoldedState::kOffline) {
    return "the agent is offline";
  }
  return VerdictOf(entry).message;
}

std::vector<const DeploymentEntry*> ReadModel::Find(
    const DeploymentFilter& filter) const {
  std::vector<const DeploymentEntry*> found;
  for (const auto& [key, entry] : entries_) {
    if (Matches(filter.workspace, entry->name.workspace) &&
        Matches(filter.cluster, entry->name.cluster) &&
        Matches(filter.bundle, entry->name.bundle) &&
        Matches(filter.git_repo, entry->git_repo)) {
      found.push_back(entry.get());
    }
  }
  std::sort(found.begin(), found.end(), DeploymentTally::InOrder());
  return found;
}

std::vector<DeploymentName> ReadModel::Names(
    const DeploymentFilter& filter) const {
  std::vector<DeploymentName> names;
  for (const DeploymentEntry* entry : Find(filter)) {
    names.push_back(entry->name);
  }
  return names;
}

std::vector<admin::v1::Deployment> ReadModel::Deployments(
    const DeploymentFilter& filter) const {
  std::vector<admin::v1::Deployment> out;
  for (const DeploymentEntry* entry : Find(filter)) {
    const DeploymentName& name = entry->name;
    const std::string& cluster = name.cluster_id;
    const std::string& bundle = name.bundle_id;
    const DeploymentVerdict verdict = VerdictOf(*entry);
    const storage::v1::Desired& desired =
        *desired_.Find(DesiredKey(cluster, bundle));
    admin::v1::Deployment& deployment = out.emplace_back();
    deployment.set_workspace(name.workspace);
    deployment.set_bundle(name.bundle);
    deployment.set_cluster(name.cluster);
    if (name.cluster_workspace != name.workspace) {
      deployment.set_cluster_workspace(name.cluster_workspace);
    }
    deployment.set_bundle_id(bundle);
    deployment.set_cluster_id(cluster);
    deployment.set_state(std::string(StateWord(verdict.state)));
    deployment.set_message(verdict.message);
    deployment.set_target(desired.target_name());
    deployment.set_paused(desired.paused());
    if (const Released* released = released_.Find(ReleasedKey(cluster, bundle));
        released != nullptr) {
      deployment.set_generation(released->generation());
      *deployment.mutable_commit() = released->commit();
    }
    if (const storage::v1::Observed* observed =
            observed_.Find(ObservedKey(cluster, bundle));
        observed != nullptr) {
      deployment.set_observed_generation(observed->state().generation());
      *deployment.mutable_observed() = observed->state();
    }
    if (!name.online) {
      const AgentPresence presence = sources_.presence(cluster);
      if (presence.last_seen.has_value()) {
        SetDuration(clock_.Now() - *presence.last_seen,
                    *deployment.mutable_age());
      }
    }
    for (const auto& problem : verdict.problems) {
      *deployment.add_problems() = problem;
    }
    if (const storage::v1::Rendered* rendered =
            rendered_.Find(RenderedKey(cluster, bundle));
        rendered != nullptr) {
      *deployment.mutable_warnings() = rendered->warnings();
    }
  }
  return out;
}

std::vector<NotReadyOne> ReadModel::NotReady(const DeploymentTally& tally,
                                             size_t limit) const {
  std::vector<NotReadyOne> out;
  for (int i = 0; i < kFoldedStates; ++i) {
    for (const DeploymentEntry* entry :
         tally.In(static_cast<FoldedState>(i))) {
      if (out.size() == limit) return out;
      out.push_back({entry, TextOf(*entry, Wording::kLasting)});
    }
  }
  return out;
}

// -------------------------------------------------------------------- sources

const DeploymentTally& ReadModel::SourceTally(
    const StatusSubject& source) const {
  const auto at = of_source_.find(source);
  return at == of_source_.end() ? NoDeployments() : at->second;
}

const DeploymentTally& ReadModel::BundleTally(
    const std::string& bundle_id) const {
  const auto at = of_bundle_.find(bundle_id);
  return at == of_bundle_.end() ? NoDeployments() : at->second;
}

const DeploymentTally& ReadModel::ClusterTally(
    const std::string& cluster_id) const {
  const auto at = of_cluster_.find(cluster_id);
  return at == of_cluster_.end() ? NoDeployments() : at->second;
}

ResourceList ReadModel::Resources(const StatusSubject& source,
                                  size_t budget) const {
  return resources_.Resources(SourceText(source), budget);
}

std::string ReadModel::SourceMessage(const DeploymentTally& tally,
                                     Wording wording) const {
  return tally.Message(
      kBundle, [wording](FoldedState s) { return WordFor(s, wording); },
      [&](const DeploymentEntry& entry) {
        return absl::StrCat(entry.name.bundle, " on ",
                            ClusterLabel(entry.name), ": ",
                            TextOf(entry, wording));
      });
}

template <typename T>
void ReadModel::FoldSource(const StatusSubject& source, Wording wording,
                           T& out) const {
  const DeploymentTally& tally = SourceTally(source);
  *out.mutable_deployments() = tally.counts();
  *out.mutable_resources() = tally.resources();
  out.set_clusters(static_cast<uint32_t>(tally.shares().size()));
  // Statuses do not list them.
  if (wording == Wording::kLasting) return;
  size_t looked = 0;
  for (int i = 0; i < kFoldedStates; ++i) {
    for (const DeploymentEntry* entry :
         tally.In(static_cast<FoldedState>(i))) {
      if (++looked > kMaxLookedAt) return;
      for (const core::v1::Problem& problem : VerdictOf(*entry).problems) {
        if (out.problems_size() >= kMaxProblems) return;
        core::v1::Problem* copy = out.add_problems();
        *copy = problem;
        copy->set_subject(absl::StrCat(
            "bundle ", entry->name.bundle, " on cluster ",
            ClusterLabel(entry->name), problem.subject().empty() ? "" : ", ",
            problem.subject()));
      }
    }
  }
}

const storage::v1::BundleBuild* ReadModel::BuildOf(
    const StatusSubject& document) const {
  return builds_.Find(BundleBuildKey(
      document.workspace, BundleBuildName(document.kind, document.name)));
}

template <typename T>
void ReadModel::AddBuild(const StatusSubject& source, T& out) const {
  const storage::v1::BundleBuild* build = BuildOf(source);
  if (build != nullptr) {
    *out.mutable_warnings() = build->warnings();
    for (const auto& problem : build->problems()) *out.add_problems() = problem;
  }
  const auto heads = problem_heads_.find(source);
  if (heads == problem_heads_.end()) return;
  for (const std::string& bundle_id : heads->second) {
    for (const auto& problem :
         heads_.Find(BundleHeadKey(bundle_id))->problems()) {
      *out.add_problems() = problem;
    }
  }
}

admin::v1::GitRepo ReadModel::FoldGitRepo(const storage::v1::Document& document,
                                          Wording wording) const {
  admin::v1::GitRepo out;
  const StatusSubject subject{kGitRepo, document.workspace(), document.name()};
  const DeploymentTally& tally = SourceTally(subject);
  const storage::v1::GitRepoSpec& spec = document.git_repo();
  out.set_workspace(document.workspace());
  out.set_name(document.name());
  out.set_repo(ShownUrl(spec.repo()));
  out.set_ref(!spec.revision().empty() ? spec.revision()
              : !spec.branch().empty() ? spec.branch()
                                       : "master");
  const storage::v1::Source* source =
      source_.Find(SourceKey(document.workspace(), document.name()));
  const storage::v1::BundleBuild* build = BuildOf(subject);
  if (source != nullptr) *out.mutable_commit() = source->commit();
  const std::optional<absl::Time> polled =
      sources_.last_poll(document.workspace(), document.name());
  if (polled.has_value()) SetTime(*polled, *out.mutable_last_poll_time());

  const bool polled_well = source != nullptr && !source->has_problem();
  if (source != nullptr && source->has_problem()) {
    *out.add_problems() = source->problem();
  }
  if (build != nullptr) out.set_bundles(build->bundle_count());
  AddBuild(subject, out);
  const bool built = source != nullptr && build != nullptr &&
                     build->commit_id() == source->commit().id() &&
                     build->document_generation() == document.generation();
  bool accepted = true;
  if (document.has_delete_time()) {
    out.set_state("Deleting");
    out.set_message(tally.empty() ? "its bundles are being removed"
                                  : SourceMessage(tally, wording));
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
  } else if (tally.empty()) {
    out.set_state("NotReady");
    out.set_message(absl::StrCat(
        "0 clusters match the targets: see `flotilla get clusters` for the "
        "labels, and spec.targets of the GitRepo",
        NoAgentNote(document.workspace())));
  } else {
    out.set_state(std::string(StateWord(tally.worst())));
    out.set_message(SourceMessage(tally, wording));
  }
  FoldSource(subject, wording, out);
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
  AddCondition("ClustersMatch", out.clusters() > 0,
               out.clusters() > 0 ? "" : "NoClusters",
               absl::StrCat(out.clusters(), " clusters match"), conditions);
  return out;
}

admin::v1::HelmOp ReadModel::FoldHelmOp(const storage::v1::Document& document,
                                        Wording wording) const {
  admin::v1::HelmOp out;
  const StatusSubject subject{kHelmOp, document.workspace(), document.name()};
  const DeploymentTally& tally = SourceTally(subject);
  const storage::v1::HelmOptions& helm =
      document.helm_op().bundle().options().helm();
  out.set_workspace(document.workspace());
  out.set_name(document.name());
  out.set_repo(ShownUrl(helm.repo()));
  out.set_chart(ShownUrl(helm.chart()));
  const storage::v1::ChartSource* chart =
      charts_.Find(ChartKey(document.workspace(), document.name()));
  if (chart != nullptr) out.set_version(chart->version());
  const bool found = chart != nullptr && !chart->has_problem();
  if (chart != nullptr && chart->has_problem()) {
    *out.add_problems() = chart->problem();
  }
  AddBuild(subject, out);
  const bool accepted = out.problems_size() == 0;
  if (document.has_delete_time()) {
    out.set_state("Deleting");
    out.set_message(tally.empty() ? "its bundle is being removed"
                                  : SourceMessage(tally, wording));
  } else if (!accepted) {
    out.set_state("Error");
    out.set_message(ProblemText(out.problems(0)));
  } else if (chart == nullptr || chart->version().empty()) {
    out.set_state("Pending");
    out.set_message("the chart has not been found yet");
  } else if (chart->document_generation() < document.generation()) {
    // What runs is not what is asked for.
    out.set_state("Pending");
    out.set_message("the chart of the changed HelmOp has not been found yet");
  } else if (const auto* build = BuildOf(subject);
             build == nullptr ||
             build->document_generation() < document.generation()) {
    out.set_state("Pending");
    out.set_message("the bundle of the chart is being built");
  } else if (tally.empty()) {
    out.set_state("NotReady");
    out.set_message(absl::StrCat("0 clusters match the targets",
                                 NoAgentNote(document.workspace())));
  } else {
    out.set_state(std::string(StateWord(tally.worst())));
    out.set_message(SourceMessage(tally, wording));
  }
  FoldSource(subject, wording, out);
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
  return out;
}

std::string ReadModel::NoAgentNote(const std::string& workspace) const {
  int waiting = 0;
  ForDocuments(documents_.map(), workspace, kCluster,
               [&](const storage::v1::Document& cluster) {
                 waiting += identities_by_name_.count(
                                {workspace, cluster.name()}) == 0
                                ? 1
                                : 0;
               });
  if (waiting == 0) return "";
  return absl::StrCat("; ", waiting, waiting == 1 ? " cluster" : " clusters",
                      " without an enrolled agent not counted");
}

admin::v1::Bundle ReadModel::FoldBundle(const storage::v1::BundleHead& head,
                                        Wording wording) const {
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
  const DeploymentTally& tally = BundleTally(head.bundle_id());
  *bundle.mutable_deployments() = tally.counts();
  bundle.set_state(std::string(StateWord(tally.worst())));
  bundle.set_message(tally.Message(
      kCluster, [wording](FoldedState s) { return WordFor(s, wording); },
      [&](const DeploymentEntry& entry) {
        return absl::StrCat(ClusterLabel(entry.name), ": ",
                            TextOf(entry, wording));
      }));
  *bundle.mutable_problems() = head.problems();
  if (head.git_repo().empty() && head.helm_op().empty()) {
    const storage::v1::BundleBuild* build =
        BuildOf({kBundle, head.workspace(), head.name()});
    if (build != nullptr) {
      bundle.mutable_problems()->MergeFrom(build->problems());
    }
  }
  if (head.removal() != core::v1::DELETE_CAUSE_UNSPECIFIED) {
    bundle.set_state("Deleting");
    if (bundle.message().empty()) {
      bundle.set_message("it is being removed");
    }
  } else if (bundle.problems_size() > 0) {
    bundle.set_state("ErrApplied");
    bundle.set_message(ProblemText(bundle.problems(0)));
  } else if (head.bundle_id().empty()) {
    bundle.set_state("Pending");
    bundle.set_message("it has not been built yet");
  } else if (tally.empty()) {
    bundle.set_state("Pending");
    bundle.set_message(absl::StrCat("0 clusters match its targets",
                                    NoAgentNote(head.workspace())));
  }
  return bundle;
}

// ------------------------------------------------------------------- clusters

SourceCounts ReadModel::SourcesOn(const std::string& cluster_id,
                                  const std::string& kind) const {
  std::map<StatusSubject, bool> sources;
  if (cluster_id.empty()) return {};
  const std::string prefix = DesiredPrefix(cluster_id);
  for (auto it = entries_.lower_bound(prefix);
       it != entries_.end() && absl::StartsWith(it->first, prefix); ++it) {
    StatusSubject source = SourceOf(*it->second);
    if (source.kind != kind) continue;
    bool& ready = sources.try_emplace(std::move(source), true).first->second;
    ready = ready && it->second->state == FoldedState::kReady;
  }
  SourceCounts counts;
  for (const auto& [source, ready] : sources) {
    if (Document(kind, source.workspace, source.name) == nullptr) continue;
    ++counts.all;
    if (ready) ++counts.ready;
  }
  return counts;
}

ReadModel::ClusterState ReadModel::StateOf(const Name& cluster) const {
  ClusterState state;
  const auto ids = identities_by_name_.find(cluster);
  if (ids == identities_by_name_.end()) {
    state.word = "WaitCheckIn";
    state.rank = kNoAgentRank;
    return state;
  }
  state.cluster_id = *ids->second.rbegin();
  state.online = Online(state.cluster_id);
  const FoldedState worst = state.online
                                ? ClusterTally(state.cluster_id).worst()
                                : FoldedState::kOffline;
  state.word = std::string(StateWord(worst));
  state.rank = static_cast<int>(worst);
  return state;
}

const GroupTally& ReadModel::MembersOf(const Name& group) const {
  static const GroupTally& none = *new GroupTally();
  const auto found = members_of_.find(group);
  if (found == members_of_.end()) return none;
  auto& [tally, changed] = found->second;
  for (const std::string& cluster : changed) {
    const ClusterState state = StateOf({group.first, cluster});
    const DeploymentTally& deployments = ClusterTally(state.cluster_id);
    tally.Set(cluster, {state.rank == static_cast<int>(FoldedState::kReady),
                        state.rank, state.word, deployments.counts(),
                        deployments.resources()});
  }
  changed.clear();
  return tally;
}

std::string ReadModel::ClusterMessage(const Name& name,
                                      const ClusterState& state,
                                      Wording wording) const {
  if (state.cluster_id.empty()) {
    return absl::StrCat("no agent has enrolled: `flotilla token create "
                        "--workspace ",
                        name.first, " --name ", name.second,
                        "` makes a token for one");
  }
  if (!state.online) {
    if (wording == Wording::kLasting) return "the agent is offline";
    const AgentPresence presence = sources_.presence(state.cluster_id);
    return presence.last_seen.has_value()
               ? absl::StrCat("no contact with the agent for ",
                              AgeText(clock_.Now() - *presence.last_seen))
               : "the agent has never connected";
  }
  return ClusterTally(state.cluster_id)
      .Message(
          kBundle, [wording](FoldedState s) { return WordFor(s, wording); },
          [&](const DeploymentEntry& entry) {
            return absl::StrCat(entry.name.bundle, ": ",
                                TextOf(entry, wording));
          });
}

admin::v1::Cluster ReadModel::FoldCluster(const storage::v1::Document& document,
                                          Wording wording) const {
  const Name name(document.workspace(), document.name());
  const ClusterState state = StateOf(name);
  admin::v1::Cluster cluster;
  cluster.set_workspace(document.workspace());
  cluster.set_name(document.name());
  for (const auto& label : document.labels()) {
    (*cluster.mutable_labels())[label.key()] = label.value();
  }
  const auto groups = groups_of_.find(name);
  if (groups != groups_of_.end()) {
    for (const std::string& group : groups->second) cluster.add_groups(group);
  }
  *cluster.mutable_deployments() = ClusterTally(state.cluster_id).counts();
  cluster.set_state(state.word);
  cluster.set_message(ClusterMessage(name, state, wording));
  if (state.cluster_id.empty()) return cluster;
  cluster.set_cluster_id(state.cluster_id);
  cluster.set_online(state.online);
  const AgentPresence presence = sources_.presence(state.cluster_id);
  cluster.set_agent_version(presence.agent_version);
  if (presence.frames.has_value()) {
    *cluster.mutable_frames() = *presence.frames;
  }
  if (presence.last_seen.has_value()) {
    SetTime(*presence.last_seen, *cluster.mutable_last_seen_time());
    SetDuration(clock_.Now() - *presence.last_seen, *cluster.mutable_age());
  }
  if (const storage::v1::Facts* facts =
          facts_.Find(FactsKey(state.cluster_id));
      facts != nullptr) {
    cluster.set_kube_version(facts->facts().kube_version());
  }
  return cluster;
}

admin::v1::ClusterGroup ReadModel::FoldClusterGroup(
    const storage::v1::Document& document, Wording wording) const {
  constexpr int kNamed = 10;
  admin::v1::ClusterGroup group;
  group.set_workspace(document.workspace());
  group.set_name(document.name());
  const GroupTally& members =
      MembersOf({document.workspace(), document.name()});
  group.set_clusters(static_cast<uint32_t>(members.size()));
  group.set_non_ready_clusters(
      static_cast<uint32_t>(members.not_ready().size()));
  *group.mutable_deployments() = members.deployments();
  *group.mutable_resources() = members.resources();
  group.set_state(members.waiting().empty()
                      ? "Ready"
                      : members.waiting().begin()->first.second);
  std::string message;
  for (const auto& [which, clusters] : members.waiting()) {
    const Name first(document.workspace(), *clusters.begin());
    const ClusterState state = StateOf(first);
    absl::StrAppend(&message, message.empty() ? "" : "; ",
                    wording == Wording::kLasting && !state.cluster_id.empty()
                        ? FleetWord(static_cast<FoldedState>(which.first))
                        : which.second,
                    "(", clusters.size(), ") [Cluster ", first.second, ": ",
                    ClusterMessage(first, state, wording), "]");
  }
  group.set_message(message);
  for (const std::string& name : members.not_ready()) {
    if (group.non_ready_names_size() == kNamed) break;
    group.add_non_ready_names(name);
  }
  group.set_clusters_ready(absl::StrCat(
      group.clusters() - group.non_ready_clusters(), "/", group.clusters(),
      group.non_ready_names().empty()
          ? ""
          : absl::StrCat(" (", absl::StrJoin(group.non_ready_names(), ", "),
                         ")")));
  group.set_bundles_ready(absl::StrCat(members.deployments().ready(), "/",
                                       members.deployments().desired()));
  return group;
}

const core::v1::ClusterFacts* ReadModel::Facts(
    const std::string& workspace, const std::string& cluster) const {
  const auto ids = identities_by_name_.find({workspace, cluster});
  if (ids == identities_by_name_.end()) return nullptr;
  const storage::v1::Facts* facts =
      facts_.Find(FactsKey(*ids->second.rbegin()));
  return facts == nullptr ? nullptr : &facts->facts();
}

// ---------------------------------------------------------------------- lists

const storage::v1::Document* ReadModel::Document(
    const std::string& kind, const std::string& workspace,
    const std::string& name) const {
  return documents_.Find(DocumentKey(workspace, kind, name));
}

std::vector<admin::v1::GitRepo> ReadModel::GitRepos(
    const std::string& workspace, const std::string& name) const {
  std::vector<admin::v1::GitRepo> out;
  for (const auto& [key, entry] : documents_.map()) {
    const storage::v1::Document& document = entry.first;
    if (document.has_git_repo() && Matches(workspace, document.workspace()) &&
        Matches(name, document.name())) {
      out.push_back(FoldGitRepo(document, Wording::kLive));
    }
  }
  return out;
}

std::vector<admin::v1::HelmOp> ReadModel::HelmOps(
    const std::string& workspace, const std::string& name) const {
  std::vector<admin::v1::HelmOp> out;
  for (const auto& [key, entry] : documents_.map()) {
    const storage::v1::Document& document = entry.first;
    if (document.has_helm_op() && Matches(workspace, document.workspace()) &&
        Matches(name, document.name())) {
      out.push_back(FoldHelmOp(document, Wording::kLive));
    }
  }
  return out;
}

std::vector<admin::v1::Bundle> ReadModel::Bundles(
    const std::string& workspace, const std::string& name,
    const std::string& git_repo) const {
  std::vector<admin::v1::Bundle> out;
  for (const auto& [place, ids] : heads_by_name_) {
    if (!Matches(workspace, place.first) || !Matches(name, place.second)) {
      continue;
    }
    for (const std::string& bundle_id : ids) {
      const storage::v1::BundleHead& head =
          *heads_.Find(BundleHeadKey(bundle_id));
      if (!Matches(git_repo, head.git_repo())) continue;
      out.push_back(FoldBundle(head, Wording::kLive));
    }
  }
  if (!git_repo.empty()) return out;
  for (const auto& [key, entry] : documents_.map()) {
    const storage::v1::Document& document = entry.first;
    if (document.kind() == kBundle &&
        Matches(workspace, document.workspace()) &&
        Matches(name, document.name()) &&
        heads_by_name_.count({document.workspace(), document.name()}) == 0) {
      out.push_back(FoldBundle(Unbuilt(document.workspace(), document.name()),
                               Wording::kLive));
    }
  }
  std::sort(out.begin(), out.end(),
            [](const admin::v1::Bundle& a, const admin::v1::Bundle& b) {
              return std::forward_as_tuple(a.workspace(), a.name(),
                                           a.bundle_id()) <
                     std::forward_as_tuple(b.workspace(), b.name(),
                                           b.bundle_id());
            });
  return out;
}

std::vector<admin::v1::Cluster> ReadModel::Clusters(
    const std::string& workspace, const std::string& name) const {
  std::vector<admin::v1::Cluster> out;
  for (const auto& [key, entry] : documents_.map()) {
    const storage::v1::Document& document = entry.first;
    if (document.kind() == kCluster &&
        Matches(workspace, document.workspace()) &&
        Matches(name, document.name())) {
      out.push_back(FoldCluster(document, Wording::kLive));
    }
  }
  return out;
}

std::vector<admin::v1::ClusterGroup> ReadModel::ClusterGroups(
    const std::string& workspace, const std::string& name) const {
  std::vector<admin::v1::ClusterGroup> out;
  for (const auto& [key, entry] : documents_.map()) {
    const storage::v1::Document& document = entry.first;
    if (document.has_cluster_group() &&
        Matches(workspace, document.workspace()) &&
        Matches(name, document.name())) {
      out.push_back(FoldClusterGroup(document, Wording::kLive));
    }
  }
  return out;
}

std::optional<admin::v1::GitRepo> ReadModel::FindGitRepo(
    const std::string& workspace, const std::string& name,
    Wording wording) const {
  const storage::v1::Document* document = Document(kGitRepo, workspace, name);
  if (document == nullptr) return std::nullopt;
  return FoldGitRepo(*document, wording);
}

std::optional<admin::v1::HelmOp> ReadModel::FindHelmOp(
    const std::string& workspace, const std::string& name,
    Wording wording) const {
  const storage::v1::Document* document = Document(kHelmOp, workspace, name);
  if (document == nullptr) return std::nullopt;
  return FoldHelmOp(*document, wording);
}

std::optional<admin::v1::Bundle> ReadModel::FindBundle(
    const std::string& workspace, const std::string& name,
    Wording wording) const {
  const auto ids = heads_by_name_.find({workspace, name});
  if (ids == heads_by_name_.end()) {
    if (Document(kBundle, workspace, name) == nullptr) return std::nullopt;
    return FoldBundle(Unbuilt(workspace, name), wording);
  }
  // One that goes may have a successor of its name.
  const storage::v1::BundleHead* chosen = nullptr;
  for (const std::string& bundle_id : ids->second) {
    const storage::v1::BundleHead* head =
        heads_.Find(BundleHeadKey(bundle_id));
    if (chosen == nullptr ||
        head->removal() == core::v1::DELETE_CAUSE_UNSPECIFIED) {
      chosen = head;
    }
  }
  return FoldBundle(*chosen, wording);
}

std::optional<admin::v1::Cluster> ReadModel::FindCluster(
    const std::string& workspace, const std::string& name,
    Wording wording) const {
  const storage::v1::Document* document = Document(kCluster, workspace, name);
  if (document == nullptr) return std::nullopt;
  return FoldCluster(*document, wording);
}

std::optional<admin::v1::ClusterGroup> ReadModel::FindClusterGroup(
    const std::string& workspace, const std::string& name,
    Wording wording) const {
  const storage::v1::Document* document =
      Document(kClusterGroup, workspace, name);
  if (document == nullptr) return std::nullopt;
  return FoldClusterGroup(*document, wording);
}

std::vector<StatusSubject> ReadModel::Subjects() const {
  std::vector<StatusSubject> out;
  for (const auto& [name, ids] : heads_by_name_) {
    out.push_back({kBundle, name.first, name.second});
  }
  for (const auto& [key, entry] : documents_.map()) {
    const storage::v1::Document& document = entry.first;
    if (document.kind() == kBundle &&
        heads_by_name_.count({document.workspace(), document.name()}) == 0) {
      out.push_back({kBundle, document.workspace(), document.name()});
    }
    for (const char* kind : {kGitRepo, kHelmOp, kCluster, kClusterGroup}) {
      if (document.kind() == kind) {
        out.push_back({kind, document.workspace(), document.name()});
      }
    }
  }
  return out;
}

}  // namespace flotilla::manager
