// SPDX-License-Identifier: Apache-2.0

#include "manager/bundle/bundle_controller.h"

#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/crypto/sha256.h"
#include "manager/documents/documents.h"
#include "manager/store/records.h"

namespace flotilla::manager {
namespace {

using core::v1::Problem;
using storage::v1::BundleBuild;
using storage::v1::BundleHead;
using storage::v1::BundleRevision;
using storage::v1::Document;
using storage::v1::Source;

constexpr absl::Duration kRetry = absl::Seconds(1);
constexpr absl::Duration kRebuild = absl::Seconds(10);
constexpr char kGitRepo[] = "GitRepo";
constexpr char kBundle[] = "Bundle";

std::string NameKey(absl::string_view workspace, absl::string_view name) {
  return absl::StrCat(workspace, "/", name);
}

std::string SubjectOf(const Document& document) {
  return absl::StrCat(document.kind(), " ", document.workspace(), "/",
                      document.name());
}

// Key of the document that a bundle comes from.
std::string SourceOf(const BundleHead& head) {
  return head.git_repo().empty()
             ? DocumentKey(head.workspace(), kBundle, head.name())
             : DocumentKey(head.workspace(), kGitRepo, head.git_repo());
}

std::string OwnerOf(const BundleHead& head) {
  return head.git_repo().empty()
             ? absl::StrCat("Bundle ", head.workspace(), "/", head.name())
             : absl::StrCat("GitRepo ", head.workspace(), "/",
                            head.git_repo());
}

std::string BuildRecordKey(const Document& document) {
  return document.kind() == kGitRepo
             ? BundleBuildKey(document.workspace(), document.name())
             : BundleBuildKey(document.workspace(),
                              absl::StrCat("bundle:", document.name()));
}

Problem MakeProblem(const absl::Status& status, absl::string_view subject) {
  Problem problem;
  problem.set_code(absl::StatusCodeToString(status.code()));
  problem.set_subject(std::string(subject));
  problem.set_message(std::string(status.message()));
  return problem;
}

bool IsSource(const std::string& key) {
  absl::StatusOr<DocumentName> name = ParseDocumentKey(key);
  return name.ok() && (name->kind == kGitRepo || name->kind == kBundle);
}

bool IsRecord(const std::string& key, BundleRecord wanted) {
  absl::StatusOr<BundleRecord> record = ClassifyBundleKey(key);
  return record.ok() && *record == wanted;
}

}  // namespace

BundleController::BundleController(Loop& loop, WorkerPool& workers,
                                   Store& store, FamilyWriter writer,
                                   BlobStore& blobs, GitRepository& git,
                                   Random& random, BuildLimits limits)
    : limits_(limits),
      loop_(loop),
      workers_(workers),
      blobs_(blobs),
      git_(git),
      random_(random),
      writer_(std::move(writer)),
      retry_(loop.CreateTimer([this] { Wake(); })),
      rebuild_(loop.CreateTimer([this] { RebuildUnlucky(); })),
      documents_(
          store, kDocumentFamily,
          [this](const std::string& key, const Document* document) {
            OnDocument(key, document);
          },
          [this] { Wake(); }, IsSource),
      sources_(
          store, kSourceFamily,
          [this](const std::string& key, const Source*) {
            absl::StatusOr<SourceName> name = ParseSourceKey(key);
            if (name.ok()) {
              MarkDirty(DocumentKey(name->workspace, kGitRepo, name->name));
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

void BundleController::OnDocument(const std::string& key,
                                  const Document* document) {
  if (document == nullptr) {
    states_.erase(key);
    dirty_.erase(key);
    return;
  }
  MarkDirty(key);
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
  return documents_.loaded() && sources_.loaded() && heads_.loaded() &&
         builds_.loaded() && revisions_loaded_ && desired_loaded_;
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
  if (head.workspace() != document.workspace()) return false;
  return document.kind() == kGitRepo
             ? head.git_repo() == document.name()
             : head.git_repo().empty() && head.name() == document.name();
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
  for (Op& op : write.ops) {
    if (op.key != key) continue;
    op.value = SerializeRecord(head);
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
  if (state.building) return false;
  if (document->kind() == kBundle) {
    const std::string built_for = absl::StrCat(document->generation());
    if (state.built_for != built_for) {
      StartBuild(source, *document, nullptr, built_for);
    }
    return false;
  }
  const Source* commit = sources_.Find(
      SourceKey(document->workspace(), document->name()));
  if (commit == nullptr || commit->commit().id().empty() ||
      commit->has_problem() ||
      commit->document_generation() < document->generation()) {
    return false;
  }
  const std::string built_for =
      absl::StrCat(commit->commit().id(), " ", document->generation());
  if (state.built_for == built_for) return false;
  const BundleBuild* last = builds_.Find(BuildRecordKey(*document));
  if (state.built_for.empty() && last != nullptr && last->problems().empty() &&
      last->commit_id() == commit->commit().id() &&
      last->document_generation() == document->generation()) {
    state.built_for = built_for;
    return false;
  }
  StartBuild(source, *document, commit, built_for);
  return false;
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

BundleController::Built BundleController::BuildGitRepo(
    GitRepository& git, BlobStore& blobs, const Document& document,
    const Source& source, const BundleCache& cache,
    const BuildLimits& limits) {
  Built built;
  built.cache = cache;
  absl::StatusOr<std::unique_ptr<FileTree>> tree =
      git.OpenTree(source.clone_id(), source.commit().id());
  if (!tree.ok()) {
    built.errors.push_back(MakeProblem(tree.status(), SubjectOf(document)));
    built.try_again = true;
    return built;
  }
  BuildResult result = BuildBundles(**tree, document, cache, limits);
  built.errors = std::move(result.errors);
  built.warnings = std::move(result.warnings);
  built.read_directories = result.read_directories;
  built.try_again =
      std::any_of(built.errors.begin(), built.errors.end(),
                  [](const Problem& problem) {
                    return problem.code() == "DATA_LOSS" ||
                           problem.code() == "UNAVAILABLE" ||
                           problem.code() == "INTERNAL" ||
                           problem.code() == "UNKNOWN";
                  });
  if (!built.errors.empty()) return built;

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
      return built;
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
    built.cache[bundle.content->directory] = bundle.content;
    built.bundles.push_back({bundle.name, MakeRevision(bundle, document)});
  }
  return built;
}

BundleController::Built BundleController::BuildDocument(
    BlobStore& blobs, const Document& document) {
  Built built;
  absl::StatusOr<BundleRevision> revision = MakeDocumentRevision(
      document,
      [&](const std::string& name) -> absl::StatusOr<std::string> {
        for (const storage::v1::BundleFile& file :
             document.bundle().resources()) {
          if (file.name() == name) return blobs.Get(file.blob_digest());
        }
        return absl::NotFoundError("spec.resources has no such file");
      });
  if (!revision.ok()) {
    built.errors.push_back(
        MakeProblem(revision.status(), SubjectOf(document)));
    return built;
  }
  built.bundles.push_back({document.name(), *std::move(revision)});
  return built;
}

void BundleController::StartBuild(const SourceKeyText& source,
                                  const Document& document,
                                  const Source* commit,
                                  const std::string& built_for) {
  SourceState& state = states_[source];
  state.building = true;
  ++build_count_;
  Finished finished;
  finished.source = source;
  finished.built_for = built_for;
  finished.document_revision = documents_.ModRevision(source);
  Source what;
  if (commit != nullptr) {
    what = *commit;
    finished.source_key = SourceKey(document.workspace(), document.name());
    finished.source_revision = sources_.ModRevision(finished.source_key);
    finished.commit = commit->commit();
  }
  workers_.Submit<Built>(
      [&git = git_, &blobs = blobs_, document, what = std::move(what),
       is_git = commit != nullptr, cache = state.cache,
       limits = limits_]() -> Built {
        return is_git
                   ? BuildGitRepo(git, blobs, document, what, cache, limits)
                   : BuildDocument(blobs, document);
      },
      [this, alive = std::weak_ptr<bool>(alive_),
       finished = std::move(finished)](Built built) mutable {
        if (alive.expired()) return;
        finished.built = std::move(built);
        finished_.push_back(std::move(finished));
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
    problem.set_file(bundle.revision.directory());
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
  const std::string bytes = SerializeRecord(bundle.revision);
  const std::string revision = absl::BytesToHexString(Sha256(bytes));
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
          Op::Put(BundleRevisionKey(head.bundle_id(), revision), bytes));
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
  if (document.kind() == kBundle && errors.empty()) {
    if (last != nullptr) write.ops.push_back(Op::Delete(key));
    return;
  }
  BundleBuild record;
  record.set_workspace(document.workspace());
  record.set_name(document.kind() == kGitRepo
                      ? document.name()
                      : absl::StrCat("bundle:", document.name()));
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
      (!finished.source_key.empty() &&
       sources_.ModRevision(finished.source_key) != finished.source_revision);
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
  if (!finished.source_key.empty()) {
    write.compares.push_back({finished.source_key, finished.source_revision});
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
