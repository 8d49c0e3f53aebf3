// SPDX-License-Identifier: Apache-2.0

#include "manager/store/blob_sweeper.h"

#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "common/blob/digest.h"
#include "common/log/log.h"
#include "common/status/status_macros.h"

namespace flotilla::manager {
namespace {

// Of keys and values that are in memory at once.
constexpr size_t kPageBytes = 4 << 20;

// FAILED_PRECONDITION when they are another store's. Claims them while there
// are none; returns whether they are the store's.
absl::StatusOr<bool> CheckOwner(BlobStore& blobs, const std::string& store_id) {
  ASSIGN_OR_RETURN(const std::string owner, blobs.Owner());
  if (owner == store_id) return true;
  if (!owner.empty()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the blobs belong to another store.db, ", owner, "; this one is ",
        store_id,
        ": stop the manager and put store.db and blobs back from one backup. "
        "Only if there is none, remove blobs/owner"));
  }
  ASSIGN_OR_RETURN(const std::vector<std::string> held, blobs.List());
  if (!held.empty()) return false;
  RETURN_IF_ERROR(blobs.Claim(store_id));
  return true;
}

// Adds what a page names. DATA_LOSS when a record cannot be told.
absl::Status AddPage(const RangeResult& page, BlobScan& scan) {
  for (const KeyValue& kv : page.kvs) {
    // No record begins with a field 0: this one could not be opened, and what
    // it names cannot be told.
    if (!kv.value.empty() && (kv.value[0] & ~7) == 0) {
      return absl::DataLossError(absl::StrCat(
          "the record ", kv.key,
          " is damaged: restore the store from a backup, or have it written "
          "again; until then nothing is removed"));
    }
    AddNamedBlobs(kv.value, scan.digests, scan.named);
  }
  return absl::OkStatus();
}

absl::StatusOr<size_t> SweepUnnamed(const BlobScan& scan, BlobStore& blobs,
                                    const std::string& store_id) {
  if (scan.named.empty() && !scan.digests.empty()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the store names none of the ", scan.digests.size(),
        " blobs beside it: nothing is removed, for it may be another store's "
        "(was store.db moved, or restored in part?)"));
  }
  // Again: they may have been put back from a backup meanwhile.
  ASSIGN_OR_RETURN(const bool ours, CheckOwner(blobs, store_id));
  if (!ours) RETURN_IF_ERROR(blobs.Claim(store_id));
  return blobs.Sweep(scan.named);
}

}  // namespace

void AddNamedBlobs(absl::string_view value,
                   const absl::flat_hash_set<std::string>& digests,
                   absl::flat_hash_set<std::string>& named) {
  // A field of bytes is written as its length, then itself.
  constexpr char kLength = static_cast<char>(kDigestBytes);
  for (size_t at = value.find(kLength); at != absl::string_view::npos;
       at = value.find(kLength, at + 1)) {
    const absl::string_view field = value.substr(at + 1, kDigestBytes);
    if (field.size() < kDigestBytes) return;
    const auto digest = digests.find(field);
    if (digest != digests.end()) named.insert(*digest);
  }
}

BlobSweeper::BlobSweeper(Loop& loop, WorkerPool& pool, Store& store,
                         BlobStore& blobs)
    : pool_(pool), store_(store), blobs_(blobs),
      timer_(loop.CreateTimer([this] { Sweep(); })) {
  timer_->Arm(kInterval);
  pool_.Submit<absl::Status>(
      [blobs = &blobs_, id = store_.store_id()] {
        return CheckOwner(*blobs, id).status();
      },
      [this, alive = alive_](const absl::Status& checked) {
        if (*alive) SetTrouble(checked);
      });
}

BlobSweeper::~BlobSweeper() { *alive_ = false; }

void BlobSweeper::Sweep() {
  pool_.Submit<absl::StatusOr<ScanPtr>>(
      [blobs = &blobs_, id = store_.store_id()]() -> absl::StatusOr<ScanPtr> {
        RETURN_IF_ERROR(CheckOwner(*blobs, id).status());
        ASSIGN_OR_RETURN(const std::vector<std::string> held, blobs->List());
        auto scan = std::make_shared<BlobScan>();
        scan->digests.insert(held.begin(), held.end());
        return scan;
      },
      [this, alive = alive_](absl::StatusOr<ScanPtr> scan) {
        if (!*alive) return;
        if (scan.ok()) {
          ReadPage(*std::move(scan), "");
        } else {
          OnSwept(scan.status());
        }
      });
}

void BlobSweeper::ReadPage(ScanPtr scan, std::string after) {
  store_.RangePage("/", std::move(after), kPageBytes,
                   [this, alive = alive_, scan = std::move(scan)](
                       absl::StatusOr<RangeResult> page) mutable {
                     if (*alive) OnPage(std::move(scan), std::move(page));
                   });
}

void BlobSweeper::OnPage(ScanPtr scan, absl::StatusOr<RangeResult> page) {
  if (!page.ok()) {
    OnSwept(page.status());
    return;
  }
  if (page->kvs.empty()) {
    pool_.Submit<absl::StatusOr<size_t>>(
        [blobs = &blobs_, id = store_.store_id(), scan = std::move(scan)] {
          return SweepUnnamed(*scan, *blobs, id);
        },
        [this, alive = alive_](const absl::StatusOr<size_t>& removed) {
          if (*alive) OnSwept(removed);
        });
    return;
  }
  std::string last = page->kvs.back().key;
  pool_.Submit<absl::Status>(
      [scan, page = *std::move(page)] { return AddPage(page, *scan); },
      [this, alive = alive_, scan,
       last = std::move(last)](const absl::Status& added) mutable {
        if (!*alive) return;
        if (added.ok()) {
          ReadPage(std::move(scan), std::move(last));
        } else {
          OnSwept(added);
        }
      });
}

void BlobSweeper::OnSwept(const absl::StatusOr<size_t>& removed) {
  ++sweeps_;
  timer_->Arm(kInterval);
  SetTrouble(removed.status());
  if (!removed.ok()) return;
  removed_ += *removed;
  if (*removed > 0) {
    FLOTILLA_LOG(INFO) << "removed " << *removed
                       << " blobs that nothing names any more";
  }
}

void BlobSweeper::SetTrouble(const absl::Status& why) {
  trouble_ = std::string(why.message());
  if (why.ok()) return;
  FLOTILLA_LOG(ERROR) << "blobs that nothing names are not removed: "
                      << trouble_ << "; looking again in "
                      << absl::FormatDuration(kInterval);
}

std::string BlobSweeper::DebugString() const {
  return absl::StrCat("blob sweeper: ", sweeps_, " sweeps, ", removed_,
                      " blobs removed",
                      trouble_.empty() ? "" : ", trouble: ", trouble_);
}

}  // namespace flotilla::manager
