// SPDX-License-Identifier: Apache-2.0

#include "manager/bundle/bundle_controller.h"

#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "absl/types/optional.h"
#include "manager/bundle/bundle_source.h"
#include "manager/documents/documents.h"
#include "manager/documents/policy.h"
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
constexpr char kSecret[] = "Secret";
constexpr char kRestriction[] = "GitRepoRestriction";
constexpr char kPolicy[] = "Policy";

bool IsPolicyKind(absl::string_view kind) {
  return kind == kRestriction || kind == kPolicy;
}

bool IsWanted(const std::string& key) {
  absl::StatusOr<DocumentName> name = ParseDocumentKey(key);
  return name.ok() && (IsSourceKind(name->kind) || IsPolicyKind(name->kind) ||
                       name->kind == kSecret);
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
              MarkDirty(DocumentKey(name->workspace, kGitRepoKind, name->name));
            }
          },
          [this] { Wake(); }),
      chart_sources_(
          store, kChartFamily,
          [this](const std::string& key, const ChartSource*) {
            absl::StatusOr<SourceName> name = ParseChartKey(key);
            if (name.ok()) {
              MarkDirty(DocumentKey(name->workspace, kHelmOpKind, name->name));
            }
          },
          [this] { Wake(); }),
      bundles_(
          store,
          [this](const std::string& workspace, const std::string& name) {
            OnNameFree(workspace, name);
          },
          [this] { Wake(); }) {}

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
    Forget(key);
    return;
  }
  MarkDirty(key);
}

void BundleController::Forget(const SourceKeyText& source) {
  states_.erase(source);
  dirty_.erase(source);
  claims_.Clear(source);
}

void BundleController::OnNameFree(const std::string& workspace,
                                  const std::string& name) {
  for (const SourceKeyText& source : claims_.WaitingFor(workspace, name)) {
    states_[source].built_for.clear();
    MarkDirty(source);
  }
}

void BundleController::ForEachDocument(
    const std::string& workspace, const char* kind,
    absl::FunctionRef<void(const std::string&, const Document&)> visit) const {
  const std::string prefix = DocumentPrefix(workspace, kind);
  const auto& map = documents_.map();
  for (auto it = map.lower_bound(prefix);
       it != map.end() && absl::StartsWith(it->first, prefix); ++it) {
    visit(it->first, it->second.first);
  }
}

void BundleController::OnSecret(const std::string& workspace,
                                const std::string& name) {
  ForEachDocument(workspace, kGitRepoKind,
                  [&](const std::string& key, const Document& document) {
                    if (ChartSecretName(document.git_repo()) == name) {
                      Renew(key);
                    }
                  });
}

void BundleController::OnPolicy(const std::string& workspace) {
  for (const char* kind : {kGitRepoKind, kBundleKind, kHelmOpKind}) {
    ForEachDocument(
        workspace, kind,
        [&](const std::string& key, const Document&) { Renew(key); });
  }
}

std::vector<const Document*> BundleController::PoliciesOf(
    const std::string& workspace) const {
  std::vector<const Document*> policies;
  for (const char* kind : {kRestriction, kPolicy}) {
    ForEachDocument(workspace, kind,
                    [&](const std::string&, const Document& document) {
                      if (!document.has_delete_time()) {
                        policies.push_back(&document);
                      }
                    });
  }
  return policies;
}

int64_t BundleController::InputRevision(const std::string& key) const {
  return absl::StartsWith(key, kChartFamily) ? chart_sources_.ModRevision(key)
                                             : sources_.ModRevision(key);
}

bool BundleController::Loaded() const {
  return documents_.loaded() && sources_.loaded() && chart_sources_.loaded() &&
         bundles_.loaded();
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

// Removes the records of bundles that no cluster has any more.
bool BundleController::Reap() {
  BundlePlan plan(bundles_);
  std::vector<SourceKeyText> sources;
  for (const std::string& id : bundles_.removed()) {
    const BundleHead* head = bundles_.FindHead(id);
    if (head == nullptr || bundles_.IsDesired(id)) continue;
    plan.Erase(*head);
    sources.push_back(SourceKeyOf(*head));
  }
  return Begin(std::move(plan), std::move(sources));
}

bool BundleController::Reconcile(const SourceKeyText& source) {
  const Document* document = documents_.Find(source);
  // Absent means nothing: a document that goes has a delete_time first.
  if (document == nullptr) return false;
  if (document->has_delete_time()) return RemoveBundles(source, *document);
  SourceState& state = states_[source];
  if (state.building && state.downloads == nullptr) return false;

  const std::vector<const Document*> policies =
      PoliciesOf(document->workspace());
  BuildInputs inputs;
  inputs.document = *document;
  if (!policies.empty()) {
    PolicyVerdict verdict = EvaluatePolicies(*document, policies);
    if (!verdict.allowed()) {
      return Refuse(source, *document, std::move(verdict.violations));
    }
    inputs.document = std::move(verdict.source);
    for (const Document* policy : policies) {
      inputs.policies.push_back(*policy);
    }
  }

  const absl::optional<Input> input = TakeInput(*document, inputs);
  if (!input.has_value()) return ClearRefusal(source, *document);
  if (state.built_for == input->built_for) return false;
  if (state.downloads != nullptr) {
    if (state.downloads->finished.input.built_for == input->built_for &&
        state.downloads->finished.epoch == state.epoch) {
      return false;
    }
    // There is something newer: the downloads are for nothing.
    state.cache = std::move(state.downloads->finished.build.cache);
    state.downloads.reset();
    state.building = false;
  }
  // Not after a restart with policies: they may have changed since.
  const BundleBuild* last = bundles_.FindBuild(BuildRecordKey(*document));
  if (document->kind() == kGitRepoKind && state.built_for.empty() &&
      state.epoch == 0 && policies.empty() && last != nullptr &&
      last->problems().empty() &&
      last->commit_id() == inputs.source.commit().id() &&
      last->document_generation() == document->generation()) {
    state.built_for = input->built_for;
    return false;
  }
  StartBuild(source, std::move(inputs), *input);
  return false;
}

absl::optional<BundleController::Input> BundleController::TakeInput(
    const Document& document, BuildInputs& inputs) const {
  const std::string generation = absl::StrCat(document.generation());
  if (document.kind() == kGitRepoKind) {
    std::string key = SourceKey(document.workspace(), document.name());
    const Source* commit = sources_.Find(key);
    if (commit == nullptr || commit->commit().id().empty() ||
        commit->has_problem() ||
        commit->document_generation() < document.generation()) {
      return absl::nullopt;
    }
    inputs.source = *commit;
    const int64_t revision = sources_.ModRevision(key);
    return Input{std::move(key), revision,
                 absl::StrCat(commit->commit().id(), " ", generation)};
  }
  if (document.kind() == kHelmOpKind) {
    std::string key = ChartKey(document.workspace(), document.name());
    const ChartSource* chart = chart_sources_.Find(key);
    if (chart == nullptr || chart->has_problem() || chart->files().empty() ||
        chart->document_generation() < document.generation()) {
      return absl::nullopt;
    }
    inputs.chart = *chart;
    const int64_t revision = chart_sources_.ModRevision(key);
    return Input{std::move(key), revision,
                 absl::StrCat(generation, " ", revision)};
  }
  return Input{"", 0, generation};
}

// Records what policies forbid. Nothing that runs is touched.
bool BundleController::Refuse(const SourceKeyText& source,
                              const Document& document,
                              std::vector<Problem> violations) {
  SourceState& state = states_[source];
  state.built_for.clear();
  if (state.downloads != nullptr) {
    state.downloads.reset();
    state.building = false;
  }
  std::string commit_id;
  if (document.kind() == kGitRepoKind) {
    const Source* commit =
        sources_.Find(SourceKey(document.workspace(), document.name()));
    const BundleBuild* last = bundles_.FindBuild(BuildRecordKey(document));
    if (commit != nullptr) {
      commit_id = commit->commit().id();
    } else if (last != nullptr) {
      commit_id = last->commit_id();
    }
  }
  for (Problem& violation : violations) violation.set_code(kPolicyViolation);
  BundlePlan plan(bundles_);
  plan.Require(source, documents_.ModRevision(source));
  plan.PutBuild(document, commit_id, 0, violations, {});
  return Begin(std::move(plan), {source});
}

// There is nothing to build yet, and what policies forbade is allowed now.
bool BundleController::ClearRefusal(const SourceKeyText& source,
                                    const Document& document) {
  const BundleBuild* last = bundles_.FindBuild(BuildRecordKey(document));
  if (last == nullptr || last->problems().empty() ||
      last->problems(0).code() != kPolicyViolation) {
    return false;
  }
  BundlePlan plan(bundles_);
  plan.Require(source, documents_.ModRevision(source));
  plan.EraseBuild(document);
  return Begin(std::move(plan), {source});
}

bool BundleController::RemoveBundles(const SourceKeyText& source,
                                     const Document& document) {
  BundlePlan plan(bundles_);
  const std::vector<const BundleHead*> heads = bundles_.HeadsOf(source);
  for (const BundleHead* head : heads) {
    if (head->removal() == core::v1::DELETE_CAUSE_OPERATOR) continue;
    plan.MarkRemoved(*head, core::v1::DELETE_CAUSE_OPERATOR,
                     manager::SubjectOf(document));
  }
  SourceState& state = states_[source];
  state.built_for.clear();
  state.cache.clear();
  claims_.Clear(source);
  plan.ShowContested(document, {});
  if (heads.empty()) plan.EraseBuild(document);
  plan.Require(source, documents_.ModRevision(source));
  return Begin(std::move(plan), {source});
}

void BundleController::StartBuild(const SourceKeyText& source,
                                  BuildInputs inputs, const Input& input) {
  SourceState& state = states_[source];
  state.building = true;
  ++build_count_;
  inputs.cache = state.cache;
  Finished finished;
  finished.source = source;
  finished.document_revision = documents_.ModRevision(source);
  finished.input = input;
  finished.epoch = state.epoch;
  finished.commit = inputs.source.commit();
  // Filled-in defaults say which credentials are used.
  Document document = inputs.document;
  workers_.Submit<SourceBuild>(
      [&git = git_, &blobs = blobs_, inputs = std::move(inputs),
       limits = limits_]() mutable -> SourceBuild {
        return BuildSource(git, blobs, std::move(inputs), limits);
      },
      [this, alive = std::weak_ptr<bool>(alive_),
       finished = std::move(finished),
       document = std::move(document)](SourceBuild build) mutable {
        if (alive.expired()) return;
        finished.build = std::move(build);
        OnBuilt(std::move(finished), document);
      });
}

void BundleController::OnBuilt(Finished finished, const Document& document) {
  if (finished.build.has_needs() && states_.contains(finished.source)) {
    StartDownloads(std::move(finished), document);
  } else {
    finished_.push_back(std::move(finished));
  }
  Wake();
}

absl::StatusOr<ChartCredentialRules> BundleController::CredentialsOf(
    const Document& document) {
  if (document.kind() != kGitRepoKind) return ChartCredentialRules();
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
    return absl::FailedPreconditionError(
        absl::StrCat("Secret ", document.workspace(), "/", name,
                     " cannot be opened; apply it again"));
  }
  return ChartCredentialRules::ForGitRepo(document.workspace(),
                                          document.git_repo(), &data);
}

// Has everything fetched that the bundles of a build need.
void BundleController::StartDownloads(Finished finished,
                                      const Document& document) {
  absl::StatusOr<ChartCredentialRules> rules =
      charts_.fetcher != nullptr
          ? CredentialsOf(document)
          : absl::UnimplementedError(
                "charts cannot be fetched: this manager has no chart fetcher");
  if (!rules.ok()) {
    finished.build.errors.push_back(
        ProblemOf(rules.status(), manager::SubjectOf(document)));
    finished_.push_back(std::move(finished));
    return;
  }
  ChartRound round(finished.build, *rules);
  std::vector<ChartRequest> requests = round.TakeRequests();
  const auto downloads = std::make_shared<Downloads>(
      Downloads{std::move(finished), std::move(round)});
  states_[downloads->finished.source].downloads = downloads;
  for (size_t i = 0; i < requests.size(); ++i) {
    charts_.fetcher->Fetch(
        std::move(requests[i]), [this, alive = std::weak_ptr<bool>(alive_),
                                 weak = std::weak_ptr<Downloads>(downloads),
                                 i](const absl::StatusOr<FetchedChart>& chart) {
          if (alive.expired()) return;
          // Given up when it is not there any more.
          const std::shared_ptr<Downloads> strong = weak.lock();
          if (strong == nullptr) return;
          strong->round.Answer(i, chart, SubjectOf(strong->finished.source),
                               strong->finished.build);
          if (strong->round.done()) EndDownloads(*strong);
        });
  }
}

void BundleController::EndDownloads(Downloads& downloads) {
  Finished finished = std::move(downloads.finished);
  FetchedCharts fetched = downloads.round.TakeFetched();
  const auto state = states_.find(finished.source);
  if (state != states_.end()) state->second.downloads.reset();
  if (!finished.build.errors.empty()) {
    finished_.push_back(std::move(finished));
    Wake();
    return;
  }
  std::string subject = SubjectOf(finished.source);
  workers_.Submit<Finished>(
      [finished = std::move(finished), fetched = std::move(fetched),
       subject = std::move(subject), limits = limits_,
       &blobs = blobs_]() mutable -> Finished {
        AttachDownloads(fetched, subject, limits, blobs, finished.build);
        return std::move(finished);
      },
      [this, alive = std::weak_ptr<bool>(alive_)](Finished done) {
        if (alive.expired()) return;
        finished_.push_back(std::move(done));
        Wake();
      });
}

std::string BundleController::SubjectOf(const SourceKeyText& source) const {
  const Document* document = documents_.Find(source);
  return document == nullptr ? "" : manager::SubjectOf(*document);
}

bool BundleController::Commit(Finished finished) {
  SourceState& state = states_[finished.source];
  state.building = false;
  state.downloads.reset();
  state.cache = std::move(finished.build.cache);
  read_directories_ += finished.build.read_directories;
  const Document* document = documents_.Find(finished.source);
  if (document == nullptr) {
    Forget(finished.source);
    return false;
  }
  const bool stale =
      document->has_delete_time() ||
      documents_.ModRevision(finished.source) != finished.document_revision ||
      state.epoch != finished.epoch ||
      (!finished.input.key.empty() &&
       InputRevision(finished.input.key) != finished.input.revision);
  if (stale) {
    MarkDirty(finished.source);
    return false;
  }
  state.built_for = finished.input.built_for;
  if (finished.build.try_again) {
    unlucky_.insert(finished.source);
    if (!rebuild_->armed()) rebuild_->Arm(kRebuild);
  }

  BundlePlan plan(bundles_);
  plan.Require(finished.source, finished.document_revision);
  if (!finished.input.key.empty()) {
    plan.Require(finished.input.key, finished.input.revision);
  }
  std::vector<Problem> errors = std::move(finished.build.errors);
  if (errors.empty()) {
    ContestedNames contested =
        FindContested(bundles_, *document, finished.build.bundles);
    claims_.Set(finished.source, document->workspace(), contested.names);
    plan.ShowContested(*document, contested.names);
    errors = std::move(contested.problems);
  }
  if (errors.empty()) PlanBundles(finished, *document, plan);
  plan.PutBuild(*document, finished.commit.id(), finished.build.bundles.size(),
                errors, finished.build.warnings);
  return Begin(std::move(plan), {finished.source});
}

// Puts what was built, and marks what was not built any more.
void BundleController::PlanBundles(const Finished& finished,
                                   const Document& document, BundlePlan& plan) {
  std::set<std::string> built;
  for (const SourceBuild::Bundle& bundle : finished.build.bundles) {
    built.insert(bundle.name);
    plan.PutBundle(document, bundle, finished.commit,
                   [this] { return random_.Uuid(); });
  }
  const BundleBuild* last = bundles_.FindBuild(BuildRecordKey(document));
  const bool same_commit =
      last != nullptr && last->commit_id() == finished.commit.id();
  for (const BundleHead* head : bundles_.HeadsOf(finished.source)) {
    if (built.count(head->name()) > 0 ||
        head->removal() != core::v1::DELETE_CAUSE_UNSPECIFIED) {
      continue;
    }
    plan.MarkRemoved(
        *head, core::v1::DELETE_CAUSE_GIT_REMOVED,
        same_commit ? manager::SubjectOf(document) : finished.commit.id());
  }
}

bool BundleController::Begin(BundlePlan plan,
                             std::vector<SourceKeyText> sources) {
  if (plan.empty()) return false;
  writing_ = true;
  writer_.Txn(plan.TakeCompares(), plan.TakeOps(),
              [this, alive = std::weak_ptr<bool>(alive_),
               sources = std::move(sources)](absl::StatusOr<int64_t> revision) {
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
  return absl::StrCat(
      "loaded=", Loaded(), " dirty=", dirty_.size(),
      " finished=", finished_.size(), " writing=", writing_,
      " heads=", bundles_.head_count(), " removed=", bundles_.removed().size(),
      " builds=", build_count_, " last_error=", last_error_.ToString());
}

}  // namespace flotilla::manager
