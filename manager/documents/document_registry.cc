// SPDX-License-Identifier: Apache-2.0

#include "manager/documents/document_registry.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/status/status_macros.h"
#include "google/protobuf/timestamp.pb.h"
#include "manager/documents/secret_seal.h"
#include "manager/store/records.h"

namespace flotilla::manager {
namespace {

using storage::v1::BundleBuild;
using storage::v1::BundleHead;
using storage::v1::ClusterIdentity;
using storage::v1::Document;

constexpr absl::Duration kRetry = absl::Seconds(1);
constexpr char kCluster[] = "Cluster";
constexpr char kClusterGroup[] = "ClusterGroup";
constexpr char kGitRepo[] = "GitRepo";
constexpr char kBundle[] = "Bundle";
constexpr char kHelmOp[] = "HelmOp";
constexpr char kNamespace[] = "Namespace";
constexpr char kSecret[] = "Secret";
constexpr char kDefaultGroup[] = "default";

google::protobuf::Timestamp ToTimestamp(absl::Time time) {
  google::protobuf::Timestamp out;
  const int64_t seconds = absl::ToUnixSeconds(time);
  out.set_seconds(seconds);
  out.set_nanos(static_cast<int32_t>(
      absl::ToInt64Nanoseconds(time - absl::FromUnixSeconds(seconds))));
  return out;
}

// Waits for what it caused before its record goes.
bool LeavesSlowly(absl::string_view kind) {
  return kind == kGitRepo || kind == kBundle || kind == kHelmOp ||
         kind == kCluster;
}

std::string NameOf(const Document& document) {
  return absl::StrCat(document.kind(), " ", document.workspace(), "/",
                      document.name());
}

// What the registry or the front end made by itself, and what mirrors the
// management cluster anyway.
bool MayBeTakenOver(const Document& document) {
  return document.kind() == kCluster || document.kind() == kNamespace ||
         (document.kind() == kClusterGroup &&
          document.workspace() == kLocalWorkspace &&
          document.name() == kDefaultGroup);
}

// Without what is not a part of the specification.
Document Plain(Document document) {
  document.clear_uid();
  document.clear_generation();
  document.clear_create_time();
  document.clear_delete_time();
  document.clear_door();
  document.clear_source_missing();
  if (document.has_secret()) document.mutable_secret()->clear_sealed();
  return document;
}

// A document of the management cluster, changed or deleted from elsewhere.
absl::Status ReadOnlyError(const Document& stored) {
  return absl::FailedPreconditionError(absl::StrCat(
      NameOf(stored),
      " comes from the management cluster and is read-only here; ",
      stored.source_missing()
          ? "its object is missing there: put that back, or delete this "
            "document with `flotilla delete`"
          : "change it there, with kubectl",
      "; nothing was changed"));
}

// Whether a document caused a record under /bundle/.
bool Caused(const Document& document, const KeyValue& kv) {
  absl::StatusOr<BundleRecord> record = ClassifyBundleKey(kv.key);
  if (!record.ok()) return false;
  if (*record == BundleRecord::kHead) {
    absl::StatusOr<BundleHead> head = ParseRecord<BundleHead>(kv.key, kv.value);
    // A record that cannot be read may be of any document.
    if (!head.ok()) return true;
    if (head->workspace() != document.workspace()) return false;
    if (document.kind() == kGitRepo) {
      return head->git_repo() == document.name();
    }
    if (document.kind() == kHelmOp) return head->helm_op() == document.name();
    return head->git_repo().empty() && head->helm_op().empty() &&
           head->name() == document.name();
  }
  if (*record == BundleRecord::kBuild) {
    absl::StatusOr<SourceName> name = ParseBundleBuildKey(kv.key);
    const std::string wanted =
        document.kind() == kGitRepo
            ? document.name()
            : absl::StrCat("bundle:", document.name());
    return name.ok() && name->workspace == document.workspace() &&
           name->name == wanted;
  }
  return false;
}

// In the order in which the documents have their files.
void SetDigests(std::vector<std::string> digests,
                std::vector<ParsedDocument>& documents) {
  auto digest = digests.begin();
  for (ParsedDocument& parsed : documents) {
    if (!parsed.document.has_bundle()) continue;
    for (storage::v1::BundleFile& file :
         *parsed.document.mutable_bundle()->mutable_resources()) {
      if (digest == digests.end()) return;
      file.set_blob_digest(std::move(*digest++));
    }
  }
}

}  // namespace

DocumentRegistry::DocumentRegistry(Loop& loop, WorkerPool& workers,
                                   Store& store, FamilyWriter writer,
                                   BlobStore& blobs, const SealedBox& box,
                                   const Clock& clock, Random& random)
    : loop_(loop),
      workers_(workers),
      store_(store),
      blobs_(blobs),
      box_(box),
      clock_(clock),
      random_(random),
      writer_(std::move(writer)),
      retry_(loop.CreateTimer([this] { Wake(); })),
      documents_(
          store, kDocumentFamily,
          [this](const std::string& key, const Document* document) {
            leaving_.erase(key);
            in_use_.erase(key);
            if (document != nullptr && document->has_delete_time()) {
              leaving_.insert(key);
            }
          },
          [this] { Wake(); }),
      identities_(
          store, kClusterFamily,
          [this](const std::string& key, const ClusterIdentity* identity) {
            if (identity == nullptr) return;
            new_identities_.insert(key);
            // A revoked one may have been what a document waited for.
            in_use_.erase(DocumentKey(identity->workspace(), kCluster,
                                      identity->name()));
          },
          [this] { Wake(); }),
      bundle_watch_(
          store.RangeAndWatch(kBundleFamily, [this](const WatchBatch& batch) {
            const bool less = std::any_of(
                batch.events.begin(), batch.events.end(),
                [](const WatchEvent& event) { return event.deleted; });
            if (less || batch.complete) in_use_.clear();
            Wake();
          })) {}

bool DocumentRegistry::ready() const {
  return documents_.loaded() && identities_.loaded();
}

const Document* DocumentRegistry::Find(absl::string_view kind,
                                       absl::string_view workspace,
                                       absl::string_view name) const {
  return documents_.Find(DocumentKey(workspace, kind, name));
}

void DocumentRegistry::Wake() {
  if (awake_) return;
  awake_ = true;
  loop_.Post([this, alive = std::weak_ptr<bool>(alive_)] {
    if (alive.expired()) return;
    awake_ = false;
    Run();
  });
}

void DocumentRegistry::Enqueue(Call call) {
  calls_.push_back(std::move(call));
  Wake();
}

void DocumentRegistry::Run() {
  if (!ready() || busy_) return;
  while (!calls_.empty()) {
    if (calls_.front().prepared != nullptr && !*calls_.front().prepared) {
      return;
    }
    Call call = std::move(calls_.front());
    calls_.pop_front();
    std::vector<Compare> compares;
    std::vector<Op> ops;
    const absl::Status planned = call.plan(compares, ops);
    if (!planned.ok() || ops.empty()) {
      call.done(planned);
      continue;
    }
    busy_ = true;
    writer_.Txn(std::move(compares), std::move(ops),
                [this, alive = std::weak_ptr<bool>(alive_),
                 call = std::move(call)](
                    absl::StatusOr<int64_t> revision) mutable {
                  if (alive.expired()) return;
                  Finish(std::move(call), std::move(revision));
                });
    return;
  }
  if (!retry_->armed()) Upkeep();
}

void DocumentRegistry::Finish(Call call, absl::StatusOr<int64_t> revision) {
  busy_ = false;
  last_error_ = revision.status();
  if (absl::IsFailedPrecondition(revision.status())) {
    // Planned on what is no longer so.
    calls_.push_front(std::move(call));
  } else {
    call.done(revision.status());
  }
  Wake();
}

void DocumentRegistry::Apply(std::vector<ParsedDocument> documents,
                             Done<std::vector<AppliedDocument>> done) {
  struct State {
    std::vector<ParsedDocument> documents;
    // Whether the files of Bundles are on disk.
    absl::Status stored;
    std::vector<AppliedDocument> results;
    Done<std::vector<AppliedDocument>> done;
  };
  auto state = std::make_shared<State>();
  state->documents = std::move(documents);
  state->done = std::move(done);
  std::vector<std::string> contents;
  for (ParsedDocument& parsed : state->documents) {
    for (std::string& bytes : parsed.contents) {
      contents.push_back(std::move(bytes));
    }
  }
  Call call;
  call.plan = [this, state](std::vector<Compare>& compares,
                            std::vector<Op>& ops) {
    state->results.clear();
    if (!state->stored.ok()) return state->stored;
    return PlanApply(state->documents, state->results, compares, ops);
  };
  call.done = [state](absl::Status status) {
    if (!status.ok()) {
      state->done(std::move(status));
    } else {
      state->done(std::move(state->results));
    }
  };
  if (contents.empty()) {
    Enqueue(std::move(call));
    return;
  }
  call.prepared = std::make_shared<bool>(false);
  const std::shared_ptr<bool> prepared = call.prepared;
  Enqueue(std::move(call));
  using Digests = absl::StatusOr<std::vector<std::string>>;
  workers_.Submit<Digests>(
      [&blobs = blobs_, contents = std::move(contents)]() -> Digests {
        return blobs.PutAll(contents);
      },
      [this, state, prepared,
       alive = std::weak_ptr<bool>(alive_)](Digests digests) {
        if (alive.expired()) return;
        state->stored = digests.status();
        if (digests.ok()) SetDigests(*std::move(digests), state->documents);
        *prepared = true;
        Wake();
      });
}

bool DocumentRegistry::SameSpec(const ParsedDocument& wanted,
                                const Document& stored) const {
  if (stored.spec_case() == Document::SPEC_NOT_SET) return false;
  if (stored.has_secret()) {
    absl::StatusOr<std::string> data = OpenSecret(box_, stored.secret());
    if (!data.ok() || *data != SerializeRecord(wanted.secret_data)) {
      return false;
    }
  }
  return SerializeRecord(Plain(stored)) ==
         SerializeRecord(Plain(wanted.document));
}

absl::Status DocumentRegistry::CheckDoor(const ParsedDocument& wanted,
                                         const Document& stored) const {
  if (wanted.document.door() == stored.door()) return absl::OkStatus();
  if (stored.door() == Document::DOOR_MANAGEMENT_CLUSTER) {
    return ReadOnlyError(stored);
  }
  if (MayBeTakenOver(stored) || SameSpec(wanted, stored)) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(absl::StrCat(
      NameOf(stored),
      " was applied with `flotilla apply` before and goes on as it was applied "
      "there; delete that with `flotilla delete`, or give this object another "
      "name"));
}

Document DocumentRegistry::NewDocument(Document document) const {
  if (document.uid().empty()) document.set_uid(random_.Uuid());
  document.set_generation(1);
  *document.mutable_create_time() = ToTimestamp(clock_.Now());
  return document;
}

absl::Status DocumentRegistry::PlanApply(
    const std::vector<ParsedDocument>& documents,
    std::vector<AppliedDocument>& results, std::vector<Compare>& compares,
    std::vector<Op>& ops) {
  for (const ParsedDocument& parsed : documents) {
    const Document& wanted = parsed.document;
    const std::string key =
        DocumentKey(wanted.workspace(), wanted.kind(), wanted.name());
    if (key == kRefusedKey) {
      return absl::InvalidArgumentError(
          absl::StrCat(wanted.kind(), " ", wanted.workspace(), "/",
                       wanted.name(), " has a name that cannot be stored"));
    }
    AppliedDocument& result = results.emplace_back();
    result.id = {wanted.kind(), wanted.workspace(), wanted.name()};
    const Document* stored = documents_.Find(key);
    if (stored != nullptr) RETURN_IF_ERROR(CheckDoor(parsed, *stored));
    const bool same_spec = stored != nullptr && SameSpec(parsed, *stored);
    if (same_spec && !stored->has_delete_time() &&
        stored->door() == wanted.door() && !stored->source_missing() &&
        (wanted.uid().empty() || wanted.uid() == stored->uid())) {
      result.outcome = AppliedDocument::Outcome::kUnchanged;
      continue;
    }
    Document next = wanted;
    if (stored == nullptr) {
      result.outcome = AppliedDocument::Outcome::kCreated;
      next = NewDocument(std::move(next));
    } else {
      result.outcome = AppliedDocument::Outcome::kConfigured;
      if (next.uid().empty()) next.set_uid(stored->uid());
      const bool same = same_spec && !stored->has_delete_time();
      next.set_generation(stored->generation() + (same ? 0 : 1));
      *next.mutable_create_time() = stored->create_time();
    }
    if (next.kind() == kSecret) {
      next.mutable_secret()->set_sealed(
          SealSecret(box_, parsed.secret_data));
    }
    compares.push_back({key, documents_.ModRevision(key)});
    ops.push_back(Op::Put(key, SerializeRecord(next)));
  }
  return absl::OkStatus();
}

void DocumentRegistry::Delete(std::vector<DocumentId> documents,
                              bool ignore_not_found,
                              Done<std::vector<DocumentId>> done,
                              Document::Door door) {
  struct State {
    std::vector<DocumentId> documents;
    std::vector<DocumentId> deleted;
    Done<std::vector<DocumentId>> done;
  };
  auto state = std::make_shared<State>();
  state->documents = std::move(documents);
  state->done = std::move(done);
  Call call;
  call.plan = [this, state, ignore_not_found, door](
                  std::vector<Compare>& compares, std::vector<Op>& ops) {
    state->deleted.clear();
    return PlanDelete(state->documents, ignore_not_found, door, state->deleted,
                      compares, ops);
  };
  call.done = [state](absl::Status status) {
    if (!status.ok()) {
      state->done(std::move(status));
    } else {
      state->done(std::move(state->deleted));
    }
  };
  Enqueue(std::move(call));
}

absl::Status DocumentRegistry::PlanDelete(
    const std::vector<DocumentId>& documents, bool ignore_not_found,
    Document::Door door, std::vector<DocumentId>& deleted,
    std::vector<Compare>& compares, std::vector<Op>& ops) {
  std::set<std::string> seen;
  for (const DocumentId& id : documents) {
    const std::string key = DocumentKey(id.workspace, id.kind, id.name);
    const Document* stored = documents_.Find(key);
    if (stored == nullptr) {
      if (ignore_not_found) continue;
      return absl::NotFoundError(absl::StrCat("there is no ", id.kind, " \"",
                                              id.name, "\" in workspace ",
                                              id.workspace,
                                              "; nothing was deleted"));
    }
    if (stored->door() != door) {
      if (door == Document::DOOR_MANAGEMENT_CLUSTER) {
        return absl::FailedPreconditionError(absl::StrCat(
            NameOf(*stored), " does not come from the management cluster"));
      }
      if (!stored->source_missing()) return ReadOnlyError(*stored);
    }
    deleted.push_back(id);
    if (!seen.insert(key).second || stored->has_delete_time()) continue;
    compares.push_back({key, documents_.ModRevision(key)});
    if (!LeavesSlowly(id.kind)) {
      ops.push_back(Op::Delete(key));
      continue;
    }
    Document leaving = *stored;
    leaving.set_generation(leaving.generation() + 1);
    *leaving.mutable_delete_time() = ToTimestamp(clock_.Now());
    ops.push_back(Op::Put(key, SerializeRecord(leaving)));
  }
  return absl::OkStatus();
}

void DocumentRegistry::MarkMissing(
    std::vector<DocumentId> documents,
    absl::AnyInvocable<void(absl::Status)> done) {
  Call call;
  call.plan = [this, documents = std::move(documents)](
                  std::vector<Compare>& compares, std::vector<Op>& ops) {
    std::set<std::string> seen;
    for (const DocumentId& id : documents) {
      const std::string key = DocumentKey(id.workspace, id.kind, id.name);
      const Document* stored = documents_.Find(key);
      if (stored == nullptr || stored->source_missing() ||
          stored->has_delete_time() ||
          stored->door() != Document::DOOR_MANAGEMENT_CLUSTER ||
          !seen.insert(key).second) {
        continue;
      }
      Document missing = *stored;
      missing.set_source_missing(true);
      compares.push_back({key, documents_.ModRevision(key)});
      ops.push_back(Op::Put(key, SerializeRecord(missing)));
    }
    return absl::OkStatus();
  };
  call.done = std::move(done);
  Enqueue(std::move(call));
}

bool DocumentRegistry::HasValidIdentity(absl::string_view workspace,
                                        absl::string_view name) const {
  return std::any_of(identities_.map().begin(), identities_.map().end(),
                     [&](const auto& item) {
                       const ClusterIdentity& identity = item.second.first;
                       return !identity.revoked() &&
                              identity.workspace() == workspace &&
                              identity.name() == name;
                     });
}

// Cluster documents of enrolled clusters that have none.
void DocumentRegistry::PlanClusters(std::vector<Compare>& compares,
                                    std::vector<Op>& ops) {
  for (const std::string& identity_key : new_identities_) {
    const ClusterIdentity* identity = identities_.Find(identity_key);
    if (identity == nullptr || identity->revoked()) continue;
    const std::string key =
        DocumentKey(identity->workspace(), kCluster, identity->name());
    if (key == kRefusedKey || documents_.Find(key) != nullptr) continue;
    const bool planned =
        std::any_of(ops.begin(), ops.end(),
                    [&key](const Op& op) { return op.key == key; });
    if (planned) continue;
    Document document;
    document.set_workspace(identity->workspace());
    document.set_kind(kCluster);
    document.set_name(identity->name());
    *document.mutable_labels() = identity->token_labels();
    document.mutable_cluster();
    compares.push_back({key, 0});
    compares.push_back({identity_key, identities_.ModRevision(identity_key)});
    ops.push_back(
        Op::Put(key, SerializeRecord(NewDocument(std::move(document)))));
  }
}

void DocumentRegistry::PlanLocalGroup(std::vector<Compare>& compares,
                                      std::vector<Op>& ops) {
  const std::string key =
      DocumentKey(kLocalWorkspace, kClusterGroup, kDefaultGroup);
  if (documents_.Find(key) != nullptr) return;
  Document document;
  document.set_workspace(kLocalWorkspace);
  document.set_kind(kClusterGroup);
  document.set_name(kDefaultGroup);
  // Empty: all clusters of the workspace.
  document.mutable_cluster_group()->mutable_selector();
  compares.push_back({key, 0});
  ops.push_back(
      Op::Put(key, SerializeRecord(NewDocument(std::move(document)))));
}

bool DocumentRegistry::Upkeep() {
  std::vector<Compare> compares;
  std::vector<Op> ops;
  if (!local_group_made_) {
    PlanLocalGroup(compares, ops);
    local_group_made_ = ops.empty();
  }
  PlanClusters(compares, ops);
  for (const std::string& key : leaving_) {
    const Document* document = documents_.Find(key);
    if (document == nullptr || document->kind() != kCluster ||
        HasValidIdentity(document->workspace(), document->name())) {
      continue;
    }
    compares.push_back({key, documents_.ModRevision(key)});
    ops.push_back(Op::Delete(key));
  }
  if (!ops.empty()) {
    Write(std::move(compares), std::move(ops));
    return true;
  }
  new_identities_.clear();
  for (const std::string& key : leaving_) {
    const Document* document = documents_.Find(key);
    if (document == nullptr || document->kind() == kCluster ||
        in_use_.count(key) > 0) {
      continue;
    }
    RemoveIfUnused(key);
    return true;
  }
  return false;
}

void DocumentRegistry::RemoveIfUnused(const std::string& key) {
  // A snapshot from after the deletion: what a build wrote before is in it,
  // and no build of this document can be written any more.
  busy_ = true;
  store_.Range(kBundleFamily, [this, alive = std::weak_ptr<bool>(alive_),
                               key](absl::StatusOr<RangeResult> range) {
    if (alive.expired()) return;
    busy_ = false;
    OnRangeForRemoval(key, range);
  });
}

void DocumentRegistry::OnRangeForRemoval(
    const std::string& key, const absl::StatusOr<RangeResult>& range) {
  if (!range.ok()) {
    last_error_ = range.status();
    retry_->Arm(kRetry);
    return;
  }
  // One snapshot does for all that are leaving.
  std::vector<Compare> compares;
  std::vector<Op> ops;
  for (const std::string& leaving : leaving_) {
    const Document* document = documents_.Find(leaving);
    if (document == nullptr || document->kind() == kCluster ||
        documents_.ModRevision(leaving) > range->revision) {
      continue;
    }
    const bool used =
        std::any_of(range->kvs.begin(), range->kvs.end(),
                    [document](const KeyValue& kv) {
                      return Caused(*document, kv);
                    });
    if (used) {
      in_use_.insert(leaving);
      continue;
    }
    compares.push_back({leaving, documents_.ModRevision(leaving)});
    ops.push_back(Op::Delete(leaving));
  }
  if (ops.empty()) {
    // Not to ask again before something was deleted.
    in_use_.insert(key);
    Wake();
    return;
  }
  Write(std::move(compares), std::move(ops));
}

void DocumentRegistry::Write(std::vector<Compare> compares,
                             std::vector<Op> ops) {
  busy_ = true;
  writer_.Txn(
      std::move(compares), std::move(ops),
      [this, alive = std::weak_ptr<bool>(alive_)](
          absl::StatusOr<int64_t> revision) {
        if (alive.expired()) return;
        busy_ = false;
        last_error_ = revision.status();
        if (!revision.ok() && !absl::IsFailedPrecondition(revision.status())) {
          retry_->Arm(kRetry);
          if (!calls_.empty()) Wake();
          return;
        }
        Wake();
      });
}

std::string DocumentRegistry::DebugString() const {
  return absl::StrCat("ready=", ready(), " calls=", calls_.size(),
                      " documents=", documents_.map().size(),
                      " leaving=", leaving_.size(),
                      " last_error=", last_error_.ToString());
}

}  // namespace flotilla::manager
