// SPDX-License-Identifier: Apache-2.0

#include "manager/bundle/bundle_controller.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "manager/bundle/bundle_revision.h"
#include "manager/documents/documents.h"
#include "manager/store/records.h"

namespace flotilla::manager {
namespace {

using core::v1::Problem;
using storage::v1::BundleBuild;
using storage::v1::BundleHead;
using storage::v1::ChartSource;
using storage::v1::Document;
using storage::v1::Source;

constexpr absl::Duration kRetry = absl::Seconds(1);
constexpr absl::Duration kRebuild = absl::Seconds(10);
// Of one build.
constexpr size_t kMaxProblems = 100;
constexpr char kGitRepo[] = "GitRepo";
constexpr char kBundle[] = "Bundle";
constexpr char kHelmOp[] = "HelmOp";
constexpr char kSecret[] = "Secret";
constexpr char kRestriction[] = "GitRepoRestriction";
constexpr char kPolicy[] = "Policy";

std::string NameKey(absl::string_view workspace, absl::string_view name) {
  return absl::StrCat(workspace, "/", name);
}

std::string SubjectOf(const Document& document) {
  return absl::StrCat(document.kind(), " ", document.workspace(), "/",
                      document.name());
}

// Kind and name of the document that a bundle comes from.
std::pair<const char*, std::string> OwnerKind(const BundleHead& head) {
  if (!head.git_repo().empty()) return {kGitRepo, head.git_repo()};
  if (!head.helm_op().empty()) return {kHelmOp, head.helm_op()};
  return {kBundle, head.name()};
}

std::string SourceOf(const BundleHead& head) {
  const auto [kind, name] = OwnerKind(head);
  return DocumentKey(head.workspace(), kind, name);
}

std::string OwnerOf(const BundleHead& head) {
  const auto [kind, name] = OwnerKind(head);
  return absl::StrCat(kind, " ", head.workspace(), "/", name);
}

std::string BuildRecordName(const Document& document) {
  if (document.kind() == kGitRepo) return document.name();
  return absl::StrCat(document.kind() == kHelmOp ? "helmop:" : "bundle:",
                      document.name());
}

std::string BuildRecordKey(const Document& document) {
  return BundleBuildKey(document.workspace(), BuildRecordName(document));
}

Problem MakeProblem(const absl::Status& status, absl::string_view subject) {
  Problem problem;
  problem.set_code(absl::StatusCodeToString(status.code()));
  problem.set_subject(std::string(subject));
  problem.set_message(std::string(status.message()));
  return problem;
}

bool IsSourceKind(absl::string_view kind) {
  return kind == kGitRepo || kind == kBundle || kind == kHelmOp;
}

bool IsPolicyKind(absl::string_view kind) {
  return kind == kRestriction || kind == kPolicy;
}

bool IsWanted(const std::string& key) {
  absl::StatusOr<DocumentName> name = ParseDocumentKey(key);
  return name.ok() && (IsSourceKind(name->kind) || IsPolicyKind(name->kind) ||
                       name->kind == kSecret);
}

// Whether an error may pass by itself.
bool MayPass(absl::string_view code) {
  for (const char* passing : {"DATA_LOSS", "UNAVAILABLE", "INTERNAL",
                              "UNKNOWN", "DEADLINE_EXCEEDED"}) {
    if (code == passing) return true;
  }
  return false;
}

bool IsRecord(const std::string& key, BundleRecord wanted) {
  absl::StatusOr<BundleRecord> record = ClassifyBundleKey(key);
  return record.ok() && *record == wanted;
}

}  // namespace

BundleController::BundleController(Loop& loop, WorkerPool& workers,
                                   Store& store, FamilyWriter writer,
                                   BlobStore& blobs, GitRepository& git,
                                   Random& random, ChartSupply charts,
                                   BuildLimits limits)
    : limits_(limits),
      loop_(loop),
      workers_(workers),
      blobs_(blobs),
      git_(git),
      random_(random),
      charts_(std::move(charts)),
      writer_(std::move(writer)),
      retry_(loop.CreateTimer([this] { Wake(); })),
      rebuild_(loop.CreateTimer([this] { RebuildUnlucky(); })),
      documents_(
          store, kDocumentFamily,
          [this](const std::string& key, const Document* document) {
            OnDocument(key, document);
          },
          [this] { Wake(); }, IsWanted),
      sources_(
          store, kSourceFamily,
          [this](const std::string& key, const Source*) {
            absl::StatusOr<SourceName> name = ParseSourceKey(key);
            if (name.ok()) {
              MarkDirty(DocumentKey(name->workspace, kGitRepo, name->name));
            }
          },
          [this] { Wake(); }),
      chart_sources_(
          store, kChartFamily,
          [this](const std::string& key, const ChartSource*) {
            absl::StatusOr<SourceName> name = ParseChartKey(key);
            if (name.ok()) {
              MarkDirty(DocumentKey(name->workspace, kHelmOp, name->name));
            }
          },
          [this] { Wake(); }),
      heads_(
          store, kBundleFamily,
          [this](const std::string& key, const BundleHead* head) {
            OnHead(key, head);
          },
          [this] { Wake(); },
          [](const std::string& key) {
            return IsRecord(key, BundleRecord::kHead);
          }),
      builds_(
          store, kBundleFamily, nullptr, [this] { Wake(); },
          [](const std::string& key) {
            return IsRecord(key, BundleRecord::kBuild);
          }),
      revision_watch_(store.RangeAndWatch(
          kBundleFamily,
          [this](const WatchBatch& batch) { OnRevisionKeys(batch); })),
      desired_watch_(store.RangeAndWatch(
          kDesiredFamily,
          [this](const WatchBatch& batch) { OnDesiredKeys(batch); })) {}

void BundleController::MarkDirty(const SourceKeyText& source) {
  dirty_.insert(source);
}

void BundleController::Renew(const SourceKeyText& source) {
  SourceState& state = states_[source];
  state.built_for.clear();
  ++state.epoch;
  MarkDirty(source);
}

void BundleController::OnDocument(const std::string& key,
                                  const Document* document) {
  absl::StatusOr<DocumentName> name = ParseDocumentKey(key);
  if (!name.ok()) return;
  if (!IsSourceKind(name->kind)) {
    // What was there at the start has been heeded.
    if (!documents_.loaded()) return;
    if (name->kind == kSecret) {
      OnSecret(name->workspace, name->name);
    } else {
      OnPolicy(name->workspace);
    }
    return;
  }
  if (document == nullptr) {
    states_.erase(key);
    dirty_.erase(key);
    return;
  }
  MarkDirty(key);
}

void BundleController::OnSecret(const std::string& workspace,
                                const std::string& name) {
  const std::string prefix = DocumentPrefix(workspace, kGitRepo);
  const auto& map = documents_.map();
  for (auto it = map.lower_bound(prefix);
       it != map.end() && absl::StartsWith(it->first, prefix); ++it) {
    if (ChartSecretName(it->second.first.git_repo()) == name) {
      Renew(it->first);
    }
  }
}

void BundleController::OnPolicy(const std::string& workspace) {
  for (const char* kind : {kGitRepo, kBundle, kHelmOp}) {
    const std::string prefix = DocumentPrefix(workspace, kind);
    const auto& map = documents_.map();
    for (auto it = map.lower_bound(prefix);
         it != map.end() && absl::StartsWith(it->first, prefix); ++it) {
      Renew(it->first);
    }
  }
}

std::vector<const Document*> BundleController::PoliciesOf(
    const std::string& workspace) const {
  std::vector<const Document*> policies;
  for (const char* kind : {kRestriction, kPolicy}) {
    const std::string prefix = DocumentPrefix(workspace, kind);
    const auto& map = documents_.map();
    for (auto it = map.lower_bound(prefix);
         it != map.end() && absl::StartsWith(it->first, prefix); ++it) {
      if (!it->second.first.has_delete_time()) {
        policies.push_back(&it->second.first);
      }
    }
  }
  return policies;
}

int64_t BundleController::InputRevision(const std::string& key) const {
  return absl::StartsWith(key, kChartFamily) ? chart_sources_.ModRevision(key)
                                             : sources_.ModRevision(key);
}

void BundleController::OnHead(const std::string& key, const BundleHead* head) {
  absl::StatusOr<std::string> id = ParseBundleHeadKey(key);
  if (!id.ok()) return;
  removed_.erase(*id);
  with_problems_.erase(*id);
  const auto known = names_.find(*id);
  if (head == nullptr) {
    if (known == names_.end()) return;
    by_name_.erase(known->second.name);
    by_source_[known->second.source].erase(*id);
    // Whoever waited for the name may have it now.
    const auto claims = claims_.find(known->second.name);
    if (claims != claims_.end()) {
      for (const SourceKeyText& source : claims->second) {
        states_[source].built_for.clear();
        MarkDirty(source);
      }
    }
    names_.erase(known);
    return;
  }
  const HeadName name{NameKey(head->workspace(), head->name()),
                      SourceOf(*head)};
  by_name_[name.name] = *id;
  by_source_[name.source].insert(*id);
  names_[*id] = name;
  if (head->removal() != core::v1::DELETE_CAUSE_UNSPECIFIED) {
    removed_.insert(*id);
  }
  if (!head->problems().empty()) with_problems_.insert(*id);
}

void BundleController::OnRevisionKeys(const WatchBatch& batch) {
  if (batch.complete) revisions_.clear();
  for (const WatchEvent& event : batch.events) {
    absl::StatusOr<BundleRevisionName> name =
        ParseBundleRevisionKey(event.kv.key);
    if (!name.ok() || !IsRecord(event.kv.key, BundleRecord::kRevision)) {
      continue;
    }
    if (!event.deleted) {
      revisions_[name->bundle_id].insert(name->revision);
      continue;
    }
    const auto it = revisions_.find(name->bundle_id);
    if (it == revisions_.end()) continue;
    it->second.erase(name->revision);
    if (it->second.empty()) revisions_.erase(it);
  }
  revisions_loaded_ = true;
  Wake();
}

void BundleController::OnDesiredKeys(const WatchBatch& batch) {
  if (batch.complete) desired_.clear();
  for (const WatchEvent& event : batch.events) {
    absl::StatusOr<ClusterBundle> pair =
        ParseClusterBundleKey(kDesiredFamily, event.kv.key);
    if (!pair.ok()) continue;
    if (!event.deleted) {
      desired_[pair->bundle_id].insert(pair->cluster_id);
      continue;
    }
    const auto it = desired_.find(pair->bundle_id);
    if (it == desired_.end()) continue;
    it->second.erase(pair->cluster_id);
    if (it->second.empty()) desired_.erase(it);
  }
  desired_loaded_ = true;
  Wake();
}

bool BundleController::Loaded() const {
  return documents_.loaded() && sources_.loaded() && chart_sources_.loaded() &&
         heads_.loaded() && builds_.loaded() && revisions_loaded_ &&
         desired_loaded_;
}

void BundleController::Wake() {
  if (awake_) return;
  awake_ = true;
  loop_.Post([this, alive = std::weak_ptr<bool>(alive_)] {
    if (alive.expired()) return;
    awake_ = false;
    Run();
  });
}

void BundleController::RebuildUnlucky() {
  for (const SourceKeyText& source : unlucky_) {
    const auto state = states_.find(source);
    if (state == states_.end()) continue;
    state->second.built_for.clear();
    MarkDirty(source);
  }
  unlucky_.clear();
  Wake();
}

void BundleController::Run() {
  if (!Loaded() || writing_ || retry_->armed()) return;
  while (!finished_.empty()) {
    Finished finished = std::move(finished_.front());
    finished_.pop_front();
    if (Commit(std::move(finished))) return;
  }
  while (!dirty_.empty()) {
    const SourceKeyText source = *dirty_.begin();
    dirty_.erase(dirty_.begin());
    if (Reconcile(source)) return;
  }
  Reap();
}

std::vector<const BundleHead*> BundleController::HeadsOf(
    const SourceKeyText& source) const {
  std::vector<const BundleHead*> heads;
  const auto ids = by_source_.find(source);
  if (ids == by_source_.end()) return heads;
  for (const std::string& id : ids->second) {
    const BundleHead* head = heads_.Find(BundleHeadKey(id));
    if (head != nullptr) heads.push_back(head);
  }
  return heads;
}

bool BundleController::Owns(const Document& document, const BundleHead& head) {
  const auto [kind, name] = OwnerKind(head);
  return head.workspace() == document.workspace() &&
         document.kind() == kind && document.name() == name;
}

const BundleHead* BundleController::FindHead(absl::string_view workspace,
                                             absl::string_view name) const {
  const auto it = by_name_.find(NameKey(workspace, name));
  return it == by_name_.end() ? nullptr
                              : heads_.Find(BundleHeadKey(it->second));
}

void BundleController::PutHead(const BundleHead& head, Write& write) {
  const std::string key = BundleHeadKey(head.bundle_id());
  // A head that is written twice in one transaction: the later one counts.
  const auto [it, added] = write.heads.emplace(key, write.ops.size());
  if (!added) {
    write.ops[it->second].value = SerializeRecord(head);
    return;
  }
  write.compares.push_back({key, heads_.ModRevision(key)});
  write.ops.push_back(Op::Put(key, SerializeRecord(head)));
}

// Removes the records of bundles that no cluster has any more.
bool BundleController::Reap() {
  Write write;
  for (const std::string& id : removed_) {
    if (desired_.contains(id)) continue;
    const std::string key = BundleHeadKey(id);
    const BundleHead* head = heads_.Find(key);
    if (head == nullptr) continue;
    write.compares.push_back({key, heads_.ModRevision(key)});
    write.ops.push_back(Op::Delete(key));
    const auto revisions = revisions_.find(id);
    if (revisions != revisions_.end()) {
      for (const std::string& revision : revisions->second) {
        write.ops.push_back(Op::Delete(BundleRevisionKey(id, revision)));
      }
    }
    write.sources.push_back(SourceOf(*head));
  }
  return Begin(std::move(write));
}

bool BundleController::Reconcile(const SourceKeyText& source) {
  const Document* document = documents_.Find(source);
  // Absent means nothing: a document that goes has a delete_time first.
  if (document == nullptr) return false;
  if (document->has_delete_time()) return RemoveBundles(source, *document);
  SourceState& state = states_[source];
  if (state.building && state.round == nullptr) return false;

  const std::vector<const Document*> policies =
      PoliciesOf(document->workspace());
  Inputs inputs;
  inputs.document = *document;
  if (!policies.empty()) {
    inputs.verdict = EvaluatePolicies(*document, policies);
    if (!inputs.verdict.allowed()) {
      return Refuse(source, *document, inputs.verdict);
    }
    inputs.document = inputs.verdict.source;
    for (const Document* policy : policies) {
      inputs.policies.push_back(*policy);
    }
  }

  std::string input_key;
  std::string built_for = absl::StrCat(document->generation());
  if (document->kind() == kGitRepo) {
    input_key = SourceKey(document->workspace(), document->name());
    const Source* commit = sources_.Find(input_key);
    if (commit == nullptr || commit->commit().id().empty() ||
        commit->has_problem() ||
        commit->document_generation() < document->generation()) {
      return ClearRefusal(source, *document);
    }
    inputs.source = *commit;
    built_for = absl::StrCat(commit->commit().id(), " ", built_for);
  } else if (document->kind() == kHelmOp) {
    input_key = ChartKey(document->workspace(), document->name());
    const ChartSource* chart = chart_sources_.Find(input_key);
    if (chart == nullptr || chart->has_problem() || chart->files().empty() ||
        chart->document_generation() < document->generation()) {
      return ClearRefusal(source, *document);
    }
    inputs.chart = *chart;
    built_for =
        absl::StrCat(built_for, " ", chart_sources_.ModRevision(input_key));
  }
  if (state.built_for == built_for) return false;
  if (state.round != nullptr) {
    if (state.round->finished.built_for == built_for &&
        state.round->finished.epoch == state.epoch) {
      return false;
    }
    // There is something newer: the downloads are for nothing.
    state.cache = std::move(state.round->finished.built.cache);
    state.round.reset();
    state.building = false;
  }
  // Not after a restart with policies: they may have changed since.
  const BundleBuild* last = builds_.Find(BuildRecordKey(*document));
  if (document->kind() == kGitRepo && state.built_for.empty() &&
      state.epoch == 0 && policies.empty() && last != nullptr &&
      last->problems().empty() &&
      last->commit_id() == inputs.source.commit().id() &&
      last->document_generation() == document->generation()) {
    state.built_for = built_for;
    return false;
  }
  StartBuild(source, std::move(inputs), input_key, built_for);
  return false;
}

// Records what policies forbid. Nothing that runs is touched.
bool BundleController::Refuse(const SourceKeyText& source,
                              const Document& document,
                              const PolicyVerdict& verdict) {
  SourceState& state = states_[source];
  state.built_for.clear();
  if (state.round != nullptr) {
    state.round.reset();
    state.building = false;
  }
  Finished refused;
  const BundleBuild* last = builds_.Find(BuildRecordKey(document));
  if (document.kind() == kGitRepo) {
    const Source* commit =
        sources_.Find(SourceKey(document.workspace(), document.name()));
    if (commit != nullptr) {
      refused.commit = commit->commit();
    } else if (last != nullptr) {
      refused.commit.set_id(last->commit_id());
    }
  }
  Write write;
  write.sources.push_back(source);
  write.compares.push_back({source, documents_.ModRevision(source)});
  std::vector<Problem> violations = verdict.violations;
  for (Problem& violation : violations) violation.set_code(kPolicyViolation);
  PlanBuildRecord(refused, document, std::move(violations), write);
  return Begin(std::move(write));
}

// There is nothing to build yet, and what policies forbade is allowed now.
bool BundleController::ClearRefusal(const SourceKeyText& source,
                                    const Document& document) {
  const std::string key = BuildRecordKey(document);
  const BundleBuild* last = builds_.Find(key);
  if (last == nullptr || last->problems().empty() ||
      last->problems(0).code() != kPolicyViolation) {
    return false;
  }
  Write write;
  write.sources.push_back(source);
  write.compares.push_back({source, documents_.ModRevision(source)});
  write.compares.push_back({key, builds_.ModRevision(key)});
  write.ops.push_back(Op::Delete(key));
  return Begin(std::move(write));
}

bool BundleController::RemoveBundles(const SourceKeyText& source,
                                     const Document& document) {
  Write write;
  write.sources.push_back(source);
  const std::vector<const BundleHead*> heads = HeadsOf(source);
  for (const BundleHead* head : heads) {
    if (head->removal() == core::v1::DELETE_CAUSE_OPERATOR) continue;
    BundleHead removed = *head;
    removed.set_removal(core::v1::DELETE_CAUSE_OPERATOR);
    removed.set_removed_by(SubjectOf(document));
    PutHead(removed, write);
  }
  SourceState& state = states_[source];
  state.built_for.clear();
  state.cache.clear();
  for (const std::string& name : state.contested) {
    claims_[NameKey(document.workspace(), name)].erase(source);
  }
  state.contested.clear();
  PlanContestedHeads(source, document, write);
  const std::string build_key = BuildRecordKey(document);
  if (heads.empty() && builds_.Find(build_key) != nullptr) {
    write.compares.push_back({build_key, builds_.ModRevision(build_key)});
    write.ops.push_back(Op::Delete(build_key));
  }
  if (!write.ops.empty()) {
    write.compares.push_back({source, documents_.ModRevision(source)});
  }
  return Begin(std::move(write));
}

void BundleController::Seal(Built::Bundle& bundle) {
  bundle.bytes = SerializeRecord(bundle.revision);
  bundle.digest = RevisionName(bundle.bytes);
  bundle.revision.Clear();
}

BundleController::Built BundleController::Build(GitRepository& git,
                                                BlobStore& blobs,
                                                Inputs inputs,
                                                const BuildLimits& limits) {
  Built built;
  if (inputs.document.kind() == kGitRepo) {
    BuildGitRepo(git, blobs, inputs, limits, built);
  } else {
    BuildDocument(blobs, inputs, built);
  }
  HoldAllAgainstPolicies(inputs, built);
  built.try_again =
      built.try_again ||
      std::any_of(built.errors.begin(), built.errors.end(),
                  [](const Problem& problem) {
                    return MayPass(problem.code());
                  });
  if (!built.errors.empty()) {
    built.bundles.clear();
    return built;
  }
  for (Built::Bundle& bundle : built.bundles) {
    if (bundle.needs.empty()) Seal(bundle);
  }
  return built;
}

void BundleController::BuildGitRepo(GitRepository& git, BlobStore& blobs,
                                    Inputs& inputs, const BuildLimits& limits,
                                    Built& built) {
  const Document& document = inputs.document;
  built.cache = std::move(inputs.cache);
  absl::StatusOr<std::unique_ptr<FileTree>> tree =
      git.OpenTree(inputs.source.clone_id(), inputs.source.commit().id());
  if (!tree.ok()) {
    built.errors.push_back(MakeProblem(tree.status(), SubjectOf(document)));
    built.try_again = true;
    return;
  }
  BuildResult result = BuildBundles(**tree, document, built.cache, limits);
  built.errors = std::move(result.errors);
  built.warnings = std::move(result.warnings);
  built.read_directories = result.read_directories;
  if (!built.errors.empty()) return;

  std::vector<BlobStore::Blob> contents;
  for (BuiltBundle& bundle : result.bundles) {
    if (bundle.fresh == nullptr) continue;
    for (ContentFile& file : bundle.fresh->files) {
      contents.push_back({std::move(file.bytes), file.secret});
      file.bytes.clear();
    }
  }
  if (!contents.empty()) {
    absl::StatusOr<std::vector<std::string>> digests = blobs.PutAll(contents);
    if (!digests.ok()) {
      built.errors.push_back(
          MakeProblem(digests.status(), SubjectOf(document)));
      built.try_again = true;
      return;
    }
    auto digest = digests->begin();
    for (BuiltBundle& bundle : result.bundles) {
      if (bundle.fresh == nullptr) continue;
      for (ContentFile& file : bundle.fresh->files) {
        file.digest = std::move(*digest++);
      }
    }
  }
  built.cache.clear();
  for (const BuiltBundle& bundle : result.bundles) {
    built.cache[bundle.content->place()] = bundle.content;
    Built::Bundle& out = built.bundles.emplace_back();
    out.name = bundle.name;
    out.directory = bundle.content->directory;
    out.revision = MakeRevision(bundle, document);
    out.needs = bundle.content->charts;
  }
}

void BundleController::BuildDocument(BlobStore& blobs, const Inputs& inputs,
                                     Built& built) {
  const Document& document = inputs.document;
  const bool is_helm_op = document.kind() == kHelmOp;
  const auto& files = is_helm_op ? inputs.chart.files()
                                 : document.bundle().resources();
  const auto read =
      [&](const std::string& name) -> absl::StatusOr<std::string> {
    for (const storage::v1::BundleFile& file : files) {
      if (file.name() == name) return blobs.Get(file.blob_digest());
    }
    return absl::NotFoundError(is_helm_op
                                   ? "the chart has no such file"
                                   : "spec.resources has no such file");
  };
  absl::StatusOr<DraftRevision> draft =
      is_helm_op ? MakeHelmOpRevision(document, inputs.chart, read)
                 : MakeDocumentRevision(document, read);
  if (!draft.ok()) {
    built.errors.push_back(MakeProblem(draft.status(), SubjectOf(document)));
    return;
  }
  built.warnings = std::move(draft->warnings);
  Built::Bundle& out = built.bundles.emplace_back();
  out.name = document.name();
  out.revision = std::move(draft->revision);
  out.needs = std::move(draft->needs);
}

void BundleController::HoldAllAgainstPolicies(const Inputs& inputs,
                                              Built& built) {
  std::vector<const Document*> policies;
  for (const Document& policy : inputs.policies) policies.push_back(&policy);
  for (Built::Bundle& bundle : built.bundles) {
    for (Problem& violation : HoldAgainstPolicies(
             inputs.document, policies, bundle.name, bundle.revision)) {
      if (built.errors.size() >= kMaxProblems) return;
      built.errors.push_back(std::move(violation));
    }
  }
}

void BundleController::AttachAll(const FetchedCharts& fetched,
                                 const std::string& who,
                                 const BuildLimits& limits, Built& built) {
  for (Built::Bundle& bundle : built.bundles) {
    if (bundle.needs.empty()) continue;
    const absl::Status attached = AttachCharts(
        bundle.needs, fetched, limits.bundle(), bundle.revision);
    if (!attached.ok()) {
      Problem& problem =
          built.errors.emplace_back(MakeProblem(attached, who));
      problem.set_file(bundle.needs.front().file);
      problem.set_line(static_cast<uint32_t>(bundle.needs.front().line));
      continue;
    }
    Seal(bundle);
  }
}

void BundleController::StartBuild(const SourceKeyText& source, Inputs inputs,
                                  const std::string& input_key,
                                  const std::string& built_for) {
  SourceState& state = states_[source];
  state.building = true;
  ++build_count_;
  inputs.cache = state.cache;
  Finished finished;
  finished.source = source;
  finished.built_for = built_for;
  finished.document_revision = documents_.ModRevision(source);
  finished.input_key = input_key;
  if (!input_key.empty()) finished.input_revision = InputRevision(input_key);
  finished.epoch = state.epoch;
  finished.commit = inputs.source.commit();
  // Filled-in defaults say which credentials are used.
  Document document = inputs.document;
  workers_.Submit<Built>(
      [&git = git_, &blobs = blobs_, inputs = std::move(inputs),
       limits = limits_]() mutable -> Built {
        return Build(git, blobs, std::move(inputs), limits);
      },
      [this, alive = std::weak_ptr<bool>(alive_),
       finished = std::move(finished),
       document = std::move(document)](Built built) mutable {
        if (alive.expired()) return;
        finished.built = std::move(built);
        OnBuilt(std::move(finished), document);
      });
}

void BundleController::OnBuilt(Finished finished, const Document& document) {
  const bool needs =
      std::any_of(finished.built.bundles.begin(),
                  finished.built.bundles.end(),
                  [](const Built::Bundle& b) { return !b.needs.empty(); });
  const auto state = states_.find(finished.source);
  if (needs && state != states_.end()) {
    StartRound(std::move(finished), document);
  } else {
    finished_.push_back(std::move(finished));
  }
  Wake();
}

absl::StatusOr<ChartCredentialRules> BundleController::CredentialsOf(
    const Document& document) {
  if (document.kind() != kGitRepo) return ChartCredentialRules();
  const std::string name = ChartSecretName(document.git_repo());
  if (name.empty()) {
    return ChartCredentialRules::ForGitRepo(document.workspace(),
                                            document.git_repo(), nullptr);
  }
  const Document* secret =
      documents_.Find(DocumentKey(document.workspace(), kSecret, name));
  if (secret == nullptr || secret->has_delete_time()) {
    return ChartCredentialRules::ForGitRepo(document.workspace(),
                                            document.git_repo(), nullptr);
  }
  storage::v1::SecretData data;
  absl::StatusOr<std::string> opened =
      charts_.unseal != nullptr
          ? charts_.unseal(secret->secret())
          : absl::FailedPreconditionError("Secrets cannot be opened here");
  if (!opened.ok() || !data.ParseFromString(*opened)) {
    return absl::FailedPreconditionError(absl::StrCat(
        "Secret ", document.workspace(), "/", name,
        " cannot be opened; apply it again"));
  }
  return ChartCredentialRules::ForGitRepo(document.workspace(),
                                          document.git_repo(), &data);
}

// Has everything fetched that the bundles of a build need.
void BundleController::StartRound(Finished finished,
                                  const Document& document) {
  const std::string subject = SubjectOf(document);
  absl::StatusOr<ChartCredentialRules> rules =
      charts_.fetcher != nullptr
          ? CredentialsOf(document)
          : absl::UnimplementedError(
                "charts cannot be fetched: this manager has no chart fetcher");
  if (!rules.ok()) {
    finished.built.errors.push_back(MakeProblem(rules.status(), subject));
    finished_.push_back(std::move(finished));
    return;
  }
  auto round = std::make_shared<ChartRound>();
  std::vector<ChartRequest> requests;
  std::map<std::string, size_t> known;
  for (const Built::Bundle& bundle : finished.built.bundles) {
    for (const ChartNeed& need : bundle.needs) {
      ChartRequest request;
      request.chart = need.chart;
      request.repo = need.repo;
      request.version = need.version;
      request.chart_yaml = need.chart_yaml;
      request.chart_lock = need.chart_lock;
      request.credentials =
          need.is_dependencies()
              ? rules->ForDependencies(need.directory, need.chart_yaml)
              : rules->ForChart(need.directory, need.repo, need.chart);
      // Which credentials they are depends on the directory alone.
      ChartNeed anywhere = need;
      anywhere.directory.clear();
      const ChartCredentials& c = request.credentials;
      std::string key = ChartNeedKey(anywhere);
      for (const std::string* part :
           {&c.username, &c.password, &c.ssh_private_key, &c.ca_bundle,
            &c.hint}) {
        absl::StrAppend(&key, part->size(), ":", *part);
      }
      absl::StrAppend(&key, c.insecure_skip_tls_verify, c.basic_http);
      const auto [it, added] = known.emplace(key, requests.size());
      if (added) {
        requests.push_back(std::move(request));
        round->needs.emplace_back();
      }
      round->needs[it->second].push_back(need);
    }
  }
  round->waiting = requests.size();
  round->finished = std::move(finished);
  states_[round->finished.source].round = round;
  for (size_t i = 0; i < requests.size(); ++i) {
    charts_.fetcher->Fetch(
        std::move(requests[i]),
        [this, alive = std::weak_ptr<bool>(alive_),
         weak = std::weak_ptr<ChartRound>(round),
         i](absl::StatusOr<FetchedChart> chart) {
          if (alive.expired()) return;
          // Given up when it is not there any more.
          const std::shared_ptr<ChartRound> strong = weak.lock();
          if (strong != nullptr) OnFetched(strong, i, std::move(chart));
        });
  }
}

void BundleController::OnFetched(const std::shared_ptr<ChartRound>& round,
                                 size_t at,
                                 absl::StatusOr<FetchedChart> chart) {
  Built& built = round->finished.built;
  for (const ChartNeed& need : round->needs[at]) {
    if (chart.ok()) {
      round->fetched[ChartNeedKey(need)] = *chart;
      continue;
    }
    if (built.errors.size() >= kMaxProblems) break;
    const Document* document = documents_.Find(round->finished.source);
    Problem& problem = built.errors.emplace_back(MakeProblem(
        chart.status(), document == nullptr ? "" : SubjectOf(*document)));
    problem.set_file(need.file);
    problem.set_line(static_cast<uint32_t>(need.line));
    problem.set_message(
        absl::StrCat(DescribeChart(need), ": ", problem.message()));
    built.try_again = built.try_again || MayPass(problem.code());
  }
  if (--round->waiting == 0) EndRound(round);
}

void BundleController::EndRound(const std::shared_ptr<ChartRound>& round) {
  Finished finished = std::move(round->finished);
  FetchedCharts fetched = std::move(round->fetched);
  const auto state = states_.find(finished.source);
  if (state != states_.end()) state->second.round.reset();
  if (!finished.built.errors.empty()) {
    finished_.push_back(std::move(finished));
    Wake();
    return;
  }
  const Document* document = documents_.Find(finished.source);
  std::string who = document == nullptr ? "" : SubjectOf(*document);
  workers_.Submit<Finished>(
      [finished = std::move(finished), fetched = std::move(fetched),
       who = std::move(who), limits = limits_]() mutable -> Finished {
        AttachAll(fetched, who, limits, finished.built);
        return std::move(finished);
      },
      [this, alive = std::weak_ptr<bool>(alive_)](Finished done) {
        if (alive.expired()) return;
        finished_.push_back(std::move(done));
        Wake();
      });
}

// Names of a build that belong to another source, as problems.
std::vector<Problem> BundleController::FindContested(
    const SourceKeyText& source, const Document& document,
    const std::vector<Built::Bundle>& bundles) {
  SourceState& state = states_[source];
  for (const std::string& name : state.contested) {
    claims_[NameKey(document.workspace(), name)].erase(source);
  }
  state.contested.clear();
  std::vector<Problem> problems;
  for (const Built::Bundle& bundle : bundles) {
    const BundleHead* head = FindHead(document.workspace(), bundle.name);
    if (head == nullptr || Owns(document, *head)) continue;
    state.contested.insert(bundle.name);
    claims_[NameKey(document.workspace(), bundle.name)].insert(source);
    Problem& problem = problems.emplace_back();
    problem.set_code("ALREADY_EXISTS");
    problem.set_subject(SubjectOf(document));
    problem.set_file(bundle.directory);
    problem.set_message(absl::StrCat(
        "bundle \"", bundle.name, "\" belongs to ", OwnerOf(*head),
        " already, which keeps it; give one of them another name"));
  }
  return problems;
}

// Shows on the heads that `source` would have, and on no others, that it would.
void BundleController::PlanContestedHeads(const SourceKeyText& source,
                                          const Document& document,
                                          Write& write) {
  const std::set<std::string>& contested = states_[source].contested;
  const std::string subject = SubjectOf(document);
  std::set<std::string> ids = with_problems_;
  for (const std::string& name : contested) {
    const auto it = by_name_.find(NameKey(document.workspace(), name));
    if (it != by_name_.end()) ids.insert(it->second);
  }
  for (const std::string& id : ids) {
    const BundleHead* head = heads_.Find(BundleHeadKey(id));
    if (head == nullptr || head->workspace() != document.workspace()) continue;
    const bool wanted =
        contested.count(head->name()) > 0 && !Owns(document, *head);
    BundleHead changed = *head;
    changed.clear_problems();
    bool shown = false;
    for (const Problem& problem : head->problems()) {
      if (problem.subject() == subject) {
        if (!wanted) continue;
        shown = true;
      }
      *changed.add_problems() = problem;
    }
    if (wanted && !shown) {
      Problem& problem = *changed.add_problems();
      problem.set_code("ALREADY_EXISTS");
      problem.set_subject(subject);
      problem.set_message(absl::StrCat(
          subject, " has a bundle of the same name, \"", head->name(),
          "\", which is not deployed; give one of them another name"));
    }
    if (changed.problems_size() != head->problems_size()) {
      PutHead(changed, write);
    }
  }
}

void BundleController::PlanBundle(const Document& document,
                                  const Built::Bundle& bundle,
                                  const core::v1::Commit& commit,
                                  Write& write) {
  const std::string& revision = bundle.digest;
  const BundleHead* known = FindHead(document.workspace(), bundle.name);
  if (known != nullptr && known->revision() == revision &&
      known->removal() == core::v1::DELETE_CAUSE_UNSPECIFIED) {
    return;
  }
  BundleHead head;
  std::string previous;
  if (known == nullptr) {
    head.set_bundle_id(random_.Uuid());
    head.set_workspace(document.workspace());
    head.set_name(bundle.name);
    if (document.kind() == kGitRepo) head.set_git_repo(document.name());
    if (document.kind() == kHelmOp) head.set_helm_op(document.name());
  } else {
    head = *known;
    previous = known->revision();
  }
  head.clear_removal();
  head.clear_removed_by();
  if (previous != revision) {
    head.set_revision(revision);
    *head.mutable_commit() = commit;
    const auto kept = revisions_.find(head.bundle_id());
    const bool there =
        kept != revisions_.end() && kept->second.count(revision) > 0;
    if (!there) {
      write.ops.push_back(
          Op::Put(BundleRevisionKey(head.bundle_id(), revision),
                  bundle.bytes));
    }
    if (kept != revisions_.end()) {
      for (const std::string& old : kept->second) {
        if (old == previous || old == revision) continue;
        write.ops.push_back(
            Op::Delete(BundleRevisionKey(head.bundle_id(), old)));
      }
    }
  }
  PutHead(head, write);
}

void BundleController::PlanBuildRecord(const Finished& finished,
                                       const Document& document,
                                       std::vector<Problem> errors,
                                       Write& write) {
  const std::string key = BuildRecordKey(document);
  const BundleBuild* last = builds_.Find(key);
  if (document.kind() != kGitRepo && errors.empty() &&
      finished.built.warnings.empty()) {
    if (last != nullptr) write.ops.push_back(Op::Delete(key));
    return;
  }
  BundleBuild record;
  record.set_workspace(document.workspace());
  record.set_name(BuildRecordName(document));
  record.set_commit_id(finished.commit.id());
  record.set_document_generation(document.generation());
  record.set_bundle_count(
      errors.empty() ? static_cast<uint32_t>(finished.built.bundles.size())
                     : (last != nullptr ? last->bundle_count() : 0));
  for (Problem& problem : errors) *record.add_problems() = std::move(problem);
  for (const Problem& warning : finished.built.warnings) {
    *record.add_warnings() = warning;
  }
  std::string bytes = SerializeRecord(record);
  if (last != nullptr && SerializeRecord(*last) == bytes) return;
  write.ops.push_back(Op::Put(key, std::move(bytes)));
}

bool BundleController::Commit(Finished finished) {
  SourceState& state = states_[finished.source];
  state.building = false;
  state.round.reset();
  state.cache = std::move(finished.built.cache);
  read_directories_ += finished.built.read_directories;
  const Document* document = documents_.Find(finished.source);
  if (document == nullptr) {
    states_.erase(finished.source);
    return false;
  }
  const bool stale =
      document->has_delete_time() ||
      documents_.ModRevision(finished.source) != finished.document_revision ||
      state.epoch != finished.epoch ||
      (!finished.input_key.empty() &&
       InputRevision(finished.input_key) != finished.input_revision);
  if (stale) {
    MarkDirty(finished.source);
    return false;
  }
  state.built_for = finished.built_for;
  if (finished.built.try_again) {
    unlucky_.insert(finished.source);
    if (!rebuild_->armed()) rebuild_->Arm(kRebuild);
  }

  Write write;
  write.sources.push_back(finished.source);
  write.compares.push_back({finished.source, finished.document_revision});
  if (!finished.input_key.empty()) {
    write.compares.push_back({finished.input_key, finished.input_revision});
  }
  std::vector<Problem> errors = std::move(finished.built.errors);
  if (errors.empty()) {
    errors = FindContested(finished.source, *document, finished.built.bundles);
    PlanContestedHeads(finished.source, *document, write);
  }
  if (errors.empty()) {
    std::set<std::string> built;
    for (const Built::Bundle& bundle : finished.built.bundles) {
      built.insert(bundle.name);
      PlanBundle(*document, bundle, finished.commit, write);
    }
    const BundleBuild* last = builds_.Find(BuildRecordKey(*document));
    const bool same_commit =
        last != nullptr && last->commit_id() == finished.commit.id();
    for (const BundleHead* head : HeadsOf(finished.source)) {
      if (built.count(head->name()) > 0 ||
          head->removal() != core::v1::DELETE_CAUSE_UNSPECIFIED) {
        continue;
      }
      BundleHead removed = *head;
      removed.set_removal(core::v1::DELETE_CAUSE_GIT_REMOVED);
      removed.set_removed_by(same_commit ? SubjectOf(*document)
                                         : finished.commit.id());
      PutHead(removed, write);
    }
  }
  PlanBuildRecord(finished, *document, std::move(errors), write);
  return Begin(std::move(write));
}

bool BundleController::Begin(Write write) {
  if (write.ops.empty()) return false;
  writing_ = true;
  writer_.Txn(std::move(write.compares), std::move(write.ops),
              [this, alive = std::weak_ptr<bool>(alive_),
               sources = std::move(write.sources)](
                  absl::StatusOr<int64_t> revision) {
                if (alive.expired()) return;
                OnWritten(std::move(revision), sources);
              });
  return true;
}

void BundleController::OnWritten(absl::StatusOr<int64_t> revision,
                                 const std::vector<SourceKeyText>& sources) {
  writing_ = false;
  last_error_ = revision.status();
  for (const SourceKeyText& source : sources) {
    if (!revision.ok()) {
      const auto state = states_.find(source);
      if (state != states_.end()) state->second.built_for.clear();
    }
    if (documents_.Find(source) != nullptr) MarkDirty(source);
  }
  if (!revision.ok() && !absl::IsFailedPrecondition(revision.status())) {
    retry_->Arm(kRetry);
    return;
  }
  Wake();
}

std::string BundleController::DebugString() const {
  return absl::StrCat("loaded=", Loaded(), " dirty=", dirty_.size(),
                      " finished=", finished_.size(), " writing=", writing_,
                      " heads=", heads_.map().size(),
                      " removed=", removed_.size(),
                      " builds=", build_count_,
                      " last_error=", last_error_.ToString());
}

}  // namespace flotilla::manager
