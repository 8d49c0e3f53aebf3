// SPDX-License-Identifier: Apache-2.0

#include "manager/store/blob_sweeper.h"

#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "common/blob/digest.h"
#include "common/log/log.h"

namespace flotilla::manager {
namespace {

absl::StatusOr<size_t> SweepUnnamed(const RangeResult& all, BlobStore& blobs) {
  absl::StatusOr<std::vector<std::string>> held = blobs.List();
  if (!held.ok()) return held.status();
  const absl::flat_hash_set<std::string> digests(held->begin(), held->end());
  absl::flat_hash_set<std::string> named;
  for (const KeyValue& kv : all.kvs) {
    // No record begins with a field 0: this one could not be opened, and what
    // it names cannot be told.
    if (!kv.value.empty() && (kv.value[0] & ~7) == 0) {
      return absl::DataLossError(absl::StrCat(
          "the record ", kv.key,
          " is damaged: restore the store from a backup, or have it written "
          "again; until then nothing is removed"));
    }
    AddNamedBlobs(kv.value, digests, named);
  }
  if (named.empty() && !digests.empty()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the store names none of the ", digests.size(),
        " blobs beside it: nothing is removed, for it may be another store's "
        "(was store.db moved, or restored in part?)"));
  }
  return blobs.Sweep(named);
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
}

BlobSweeper::~BlobSweeper() { *alive_ = false; }

void BlobSweeper::Sweep() {
  store_.Range("/", [this, alive = alive_](absl::StatusOr<RangeResult> all) {
    if (*alive) OnRead(std::move(all));
  });
}

void BlobSweeper::OnRead(absl::StatusOr<RangeResult> all) {
  if (!all.ok()) {
    OnSwept(all.status());
    return;
  }
  pool_.Submit<absl::StatusOr<size_t>>(
      [blobs = &blobs_, all = *std::move(all)] {
        return SweepUnnamed(all, *blobs);
      },
      [this, alive = alive_](const absl::StatusOr<size_t>& removed) {
        if (*alive) OnSwept(removed);
      });
}

void BlobSweeper::OnSwept(const absl::StatusOr<size_t>& removed) {
  ++sweeps_;
  timer_->Arm(kInterval);
  if (!removed.ok()) {
    FLOTILLA_LOG(WARNING) << "removing blobs that nothing names: "
                          << removed.status().message() << "; trying again in "
                          << absl::FormatDuration(kInterval);
    return;
  }
  removed_ += *removed;
  if (*removed > 0) {
    FLOTILLA_LOG(INFO) << "removed " << *removed
                       << " blobs that nothing names any more";
  }
}

std::string BlobSweeper::DebugString() const {
  return absl::StrCat("blob sweeper: ", sweeps_, " sweeps, ", removed_,
                      " blobs removed");
}

}  // namespace flotilla::manager
