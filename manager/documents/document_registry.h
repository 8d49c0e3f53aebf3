// SPDX-License-Identifier: Apache-2.0
//
// DocumentRegistry is the only writer of /document/. It applies and deletes
// documents, all or none of a call; makes the Cluster document of an enrolled
// cluster, with the labels of its token, once; and sees to it that ClusterGroup
// "default" of workspace fleet-local is there.
//
// Deleting a GitRepo or Bundle gives it a delete_time; the record goes when no
// bundle of it is left. Deleting a Cluster gives it a delete_time; the record
// goes when no identity of that name is valid any more. ClusterGroup and Secret
// go at once. Applying a document that is on its way out keeps it.
//
// A document has one door (Document.door). One that came from the management
// cluster is read-only for `flotilla apply`, and `flotilla delete` takes it
// only when its object is missing there. The management cluster takes over what
// was made here by itself (Clusters, ClusterGroup "default", Namespaces), and a
// document that says the same; else the older one stays (decisions.md 1, 3).
//
// A call waits until the store is known, then for the calls before it. Its
// completion runs on the loop, after the mirrors have what it wrote.

#ifndef FLOTILLA_MANAGER_DOCUMENTS_DOCUMENT_REGISTRY_H_
#define FLOTILLA_MANAGER_DOCUMENTS_DOCUMENT_REGISTRY_H_

#include <deque>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/blob/blob_store.h"
#include "common/crypto/sealed_box.h"
#include "common/env/clock.h"
#include "common/env/random.h"
#include "common/event/loop.h"
#include "common/event/worker_pool.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "manager/documents/documents.h"
#include "manager/store/store.h"
#include "manager/store/typed_mirror.h"

namespace flotilla::manager {

// A document by name.
struct DocumentId {
  std::string kind;  // As CanonicalKind() gives it.
  std::string workspace;
  std::string name;
};

struct AppliedDocument {
  enum class Outcome { kCreated, kConfigured, kUnchanged };
  DocumentId id;
  Outcome outcome = Outcome::kUnchanged;
};

// Loop-affine.
class DocumentRegistry {
 public:
  template <typename T>
  using Done = absl::AnyInvocable<void(absl::StatusOr<T>)>;

  // Everything must outlive it but `writer`, which writes kDocumentFamily.
  DocumentRegistry(Loop& loop, WorkerPool& workers, Store& store,
                   FamilyWriter writer, BlobStore& blobs,
                   const SealedBox& box, const Clock& clock, Random& random);
  DocumentRegistry(const DocumentRegistry&) = delete;
  DocumentRegistry& operator=(const DocumentRegistry&) = delete;

  // Whether everything stored is known.
  bool ready() const;

  // Outcomes are in the order of `documents`. `document.door` says which door
  // they came through; a `document.uid` that is given is kept. Errors: those of
  // the store; FAILED_PRECONDITION for a document of the other door.
  void Apply(std::vector<ParsedDocument> documents,
             Done<std::vector<AppliedDocument>> done);

  // What is being deleted, in order. NOT_FOUND, naming the first document that
  // is not there, unless `ignore_not_found`. FAILED_PRECONDITION for a document
  // of another door than `door`.
  void Delete(std::vector<DocumentId> documents, bool ignore_not_found,
              Done<std::vector<DocumentId>> done,
              storage::v1::Document::Door door =
                  storage::v1::Document::DOOR_UNSPECIFIED);

  // Documents of the management cluster whose objects are absent there without
  // having been deleted: they stay as they are. Others are passed over.
  void MarkMissing(std::vector<DocumentId> documents,
                   absl::AnyInvocable<void(absl::Status)> done);

  // Null when there is none. Valid until the loop's next task.
  const storage::v1::Document* Find(absl::string_view kind,
                                    absl::string_view workspace,
                                    absl::string_view name) const;
  std::string DebugString() const;

 private:
  // A call that waits for its turn. Run gets called again when the store was
  // written to by somebody else meanwhile.
  struct Call {
    // False while the call waits for a worker; null when it never does.
    std::shared_ptr<bool> prepared;
    // Plans; sets what runs when the write succeeded.
    absl::AnyInvocable<absl::Status(std::vector<Compare>&, std::vector<Op>&)>
        plan;
    absl::AnyInvocable<void(absl::Status)> done;
  };

  void Enqueue(Call call);
  void Wake();
  void Run();
  void Finish(Call call, absl::StatusOr<int64_t> revision);
  // The registry's own upkeep. True when it began a transaction.
  bool Upkeep();
  void RemoveIfUnused(const std::string& key);
  void OnRangeForRemoval(const std::string& key,
                         const absl::StatusOr<RangeResult>& range);
  void Write(std::vector<Compare> compares, std::vector<Op> ops);

  absl::Status PlanApply(const std::vector<ParsedDocument>& documents,
                         std::vector<AppliedDocument>& results,
                         std::vector<Compare>& compares,
                         std::vector<Op>& ops);
  absl::Status PlanDelete(const std::vector<DocumentId>& documents,
                          bool ignore_not_found,
                          storage::v1::Document::Door door,
                          std::vector<DocumentId>& deleted,
                          std::vector<Compare>& compares,
                          std::vector<Op>& ops);
  // Labels, annotations and specification alike.
  bool SameSpec(const ParsedDocument& wanted,
                const storage::v1::Document& stored) const;
  absl::Status CheckDoor(const ParsedDocument& wanted,
                         const storage::v1::Document& stored) const;
  storage::v1::Document NewDocument(storage::v1::Document document) const;
  void PlanClusters(std::vector<Compare>& compares, std::vector<Op>& ops);
  void PlanLocalGroup(std::vector<Compare>& compares, std::vector<Op>& ops);
  bool HasValidIdentity(absl::string_view workspace,
                        absl::string_view name) const;

  // Collaborators. Not owned.
  Loop& loop_;
  WorkerPool& workers_;
  Store& store_;
  BlobStore& blobs_;
  const SealedBox& box_;
  const Clock& clock_;
  Random& random_;

  // Loop state.
  FamilyWriter writer_;
  std::deque<Call> calls_;
  bool awake_ = false;
  // Invariant: at most one transaction or removal check at a time.
  bool busy_ = false;
  bool local_group_made_ = false;
  // Keys of documents with a delete_time.
  std::set<std::string> leaving_;
  // Keys of identities without a look at their Cluster document yet.
  std::set<std::string> new_identities_;
  // Of these the removal was checked, and something was left.
  std::set<std::string> in_use_;
  absl::Status last_error_;
  std::unique_ptr<Timer> retry_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);

  // Declared last: destroyed first.
  TypedMirror<storage::v1::Document> documents_;
  TypedMirror<storage::v1::ClusterIdentity> identities_;
  std::unique_ptr<WatchHandle> bundle_watch_;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_DOCUMENTS_DOCUMENT_REGISTRY_H_
