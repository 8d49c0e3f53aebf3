// SPDX-License-Identifier: Apache-2.0

// Where the Reconciler gets its bytes from: the disk first, then the manager.

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "agent/reconcile/reconciler.h"
#include "common/log/log.h"

namespace flotilla::agent {
namespace {

using core::v1::Manifest;
using core::v1::ManifestEntry;

constexpr int kMaxEntries = 10000;
constexpr uint64_t kMaxObject = 3 << 19;  // 1.5 MiB, what etcd takes.
constexpr uint64_t kMaxBundle = 64 << 20;
constexpr size_t kStoreAtOnce = 4 << 20;

// Those that are kept in line, and hooks.
std::vector<const ManifestEntry*> EntriesOf(const Manifest& manifest) {
  std::vector<const ManifestEntry*> all;
  for (const ManifestEntry& entry : manifest.entries()) all.push_back(&entry);
  for (const ManifestEntry& hook : manifest.hooks()) all.push_back(&hook);
  return all;
}

absl::StatusOr<std::shared_ptr<const Manifest>> ReadManifest(
    const std::string& bytes) {
  auto manifest = std::make_shared<Manifest>();
  if (!manifest->ParseFromString(bytes)) {
    return absl::DataLossError("the manifest cannot be read");
  }
  const int count = manifest->entries_size() + manifest->hooks_size();
  if (count > kMaxEntries) {
    return absl::InvalidArgumentError(
        absl::StrCat("the bundle has ", count,
                     " objects; the limit is ", kMaxEntries,
                     ": split it into several"));
  }
  uint64_t all = 0;
  for (const ManifestEntry* listed : EntriesOf(*manifest)) {
    const ManifestEntry& entry = *listed;
    all += entry.raw_size();
    if (entry.key().kind().empty() || entry.key().name().empty() ||
        entry.blob_digest().size() != 32 || entry.raw_size() > kMaxObject ||
        all > kMaxBundle) {
      return absl::InvalidArgumentError(absl::StrCat(
          "the manifest names an object that cannot be applied: ",
          KeyText(entry.key()), ", ", entry.raw_size(),
          " bytes (an object may have 1.5 MiB, a bundle 64 MiB)"));
    }
  }
  return std::shared_ptr<const Manifest>(std::move(manifest));
}

}  // namespace

// Blobs of one manifest that are on their way.
struct Reconciler::Fetch {
  Ptr deployment;
  uint64_t generation = 0;
  int outstanding = 0;
  std::vector<std::string> here;
  size_t here_bytes = 0;
  int storing = 0;
  absl::Status error;
};

void Reconciler::LoadManifest(const Ptr& deployment) {
  const uint64_t generation = deployment->record.active_generation();
  parts_.cache.GetBlob(
      deployment->record.active_digest(),
      [this, deployment, generation](absl::StatusOr<std::string> bytes) {
        absl::Status status = bytes.status();
        if (bytes.ok()) {
          auto manifest = ReadManifest(*bytes);
          status = manifest.status();
          if (manifest.ok()) {
            deployment->manifest = *std::move(manifest);
            deployment->manifest_generation = generation;
          }
        }
        if (!status.ok()) {
          FLOTILLA_LOG(WARNING)
              << "bundle " << NameOf(deployment->bundle_id)
              << " cannot be read from the disk and is fetched again: "
              << status;
        }
        if (--loading_ == 0 && !loaded_) OnLoaded();
      });
}

void Reconciler::FetchManifest(const Ptr& deployment) {
  const uint64_t generation = deployment->record.generation();
  const std::string digest = deployment->record.manifest_digest();
  if (parts_.blobs.Contains(digest)) {
    parts_.cache.GetBlob(
        digest, [this, alive = alive_, deployment, generation,
                 digest](absl::StatusOr<std::string> bytes) {
          if (!*alive) return;
          if (bytes.ok()) {
            OnManifest(deployment, generation, std::move(bytes), false);
          } else if (deployment->record.generation() == generation) {
            // Damaged, and removed by the reading.
            FetchManifest(deployment);
          }
        });
    return;
  }
  parts_.link.FetchBlob(
      digest, deployment->record.manifest_size(),
      [this, alive = alive_, deployment,
       generation](absl::StatusOr<std::string> bytes) {
        if (*alive) OnManifest(deployment, generation, std::move(bytes), true);
      });
}

void Reconciler::OnManifest(const Ptr& deployment, uint64_t generation,
                            absl::StatusOr<std::string> bytes, bool store) {
  if (deployment->record.generation() != generation ||
      deployment->machine.generation() != generation) {
    return;
  }
  if (!bytes.ok()) {
    FetchFailed(deployment, bytes.status(), /*manifest=*/true);
    return;
  }
  auto manifest = ReadManifest(*bytes);
  if (!manifest.ok()) {
    FetchFailed(deployment, manifest.status(), /*manifest=*/true);
    return;
  }
  deployment->manifest = *std::move(manifest);
  deployment->manifest_generation = generation;
  deployment->trouble.clear();
  if (store) {
    parts_.cache.PutBlobs({{*std::move(bytes), false}}, [](absl::Status) {});
  }
  ClaimsChanged(*deployment);
  Perform(deployment, deployment->machine.ManifestHere(generation));
}

void Reconciler::FetchBlobs(const Ptr& deployment) {
  auto fetch = std::make_shared<Fetch>();
  fetch->deployment = deployment;
  fetch->generation = deployment->manifest_generation;
  fetch->outstanding = 1;  // This loop.
  ++fetching_;
  absl::flat_hash_set<std::string> seen;
  for (const ManifestEntry* listed : EntriesOf(*deployment->manifest)) {
    const ManifestEntry& entry = *listed;
    if (!seen.insert(entry.blob_digest()).second ||
        parts_.blobs.Contains(entry.blob_digest())) {
      continue;
    }
    ++fetch->outstanding;
    parts_.link.FetchBlob(
        entry.blob_digest(), entry.raw_size(),
        [this, alive = alive_, fetch](absl::StatusOr<std::string> bytes) {
          if (*alive) OnBlob(fetch, std::move(bytes));
        });
  }
  --fetch->outstanding;
  StoreBlobs(fetch);
}

void Reconciler::FetchLost(const Ptr& deployment) {
  if (!deployment->machine.settled() || deployment->running == nullptr ||
      deployment->running != deployment->manifest) {
    return;
  }
  for (const ManifestEntry* entry : EntriesOf(*deployment->running)) {
    if (!parts_.blobs.Contains(entry->blob_digest())) {
      FetchBlobs(deployment);
      return;
    }
  }
}

void Reconciler::OnBlob(const std::shared_ptr<Fetch>& fetch,
                        absl::StatusOr<std::string> bytes) {
  --fetch->outstanding;
  if (bytes.ok()) {
    fetch->here_bytes += bytes->size();
    fetch->here.push_back(*std::move(bytes));
  } else if (fetch->error.ok()) {
    fetch->error = bytes.status();
  }
  if (fetch->outstanding == 0 || fetch->here_bytes >= kStoreAtOnce) {
    StoreBlobs(fetch);
  }
}

void Reconciler::StoreBlobs(const std::shared_ptr<Fetch>& fetch) {
  std::vector<std::string> blobs = std::move(fetch->here);
  fetch->here.clear();
  fetch->here_bytes = 0;
  ++fetch->storing;
  const bool complete = fetch->outstanding == 0 && fetch->error.ok();
  if (complete && !fetch->deployment->machine.settled() &&
      fetch->deployment->manifest_generation == fetch->generation) {
    fetch->deployment->holds = HoldsOf(*fetch->deployment, nullptr);
  }
  const bool held = complete && !fetch->deployment->holds.empty();
  const auto stored = [this, alive = alive_, fetch,
                       held](absl::Status status) {
    if (!*alive) return;
    if (!status.ok() && fetch->error.ok()) fetch->error = status;
    if (--fetch->storing > 0 || fetch->outstanding > 0) return;
    --fetching_;
    const Ptr& deployment = fetch->deployment;
    if (deployment->machine.generation() != fetch->generation) return;
    if (!fetch->error.ok()) {
      FetchFailed(deployment, fetch->error, /*manifest=*/false);
      return;
    }
    if (const auto* record = parts_.cache.Find(deployment->bundle_id)) {
      deployment->record = *record;
    }
    if (deployment->machine.settled()) {
      Perform(deployment, deployment->machine.Replan());
      return;
    }
    if (held) {
      // What ran before goes on, also after a restart.
      deployment->machine.Held(fetch->generation);
      held_.insert(deployment->bundle_id);
      ReviewSoon();
      Touch(*deployment);
      return;
    }
    Adopt(*deployment);
    Perform(deployment, deployment->machine.BlobsHere(fetch->generation));
    UpdateReady(deployment);
    sweep_timer_->Arm(absl::Minutes(1));
  };
  // Durable together: all bytes, and that they are all.
  parts_.cache.PutBlobs(std::move(blobs), [](absl::Status) {});
  if (complete && !held) {
    parts_.cache.SetActive(fetch->deployment->bundle_id, fetch->generation,
                           stored);
  } else {
    parts_.cache.PutBlobs({}, stored);
  }
}

void Reconciler::FetchFailed(const Ptr& deployment, const absl::Status& status,
                             bool manifest) {
  deployment->trouble =
      absl::StrCat("the bundle's bytes cannot be had: ", status.message());
  FLOTILLA_LOG_EVERY(WARNING, absl::Seconds(10))
      << "bundle " << NameOf(deployment->bundle_id) << ": "
      << deployment->trouble;
  Touch(*deployment);
  const uint64_t generation = deployment->machine.generation();
  auto timer = std::make_shared<std::unique_ptr<Timer>>();
  *timer = parts_.loop.CreateTimer(
      [this, alive = alive_, weak = std::weak_ptr<Deployment>(deployment),
       generation, manifest, timer]() mutable {
        const Ptr still = weak.lock();
        if (*alive && still != nullptr &&
            still->machine.generation() == generation) {
          manifest ? FetchManifest(still) : FetchBlobs(still);
        }
        parts_.loop.Post([timer] { timer->reset(); });
      });
  (*timer)->Arm(absl::Seconds(10));
}

void Reconciler::Sweep() {
  if (!loaded_ || fetching_ > 0) {
    sweep_timer_->Arm(absl::Minutes(1));
    return;
  }
  std::vector<std::string> keep;
  const auto keep_all = [&](const std::shared_ptr<const Manifest>& manifest) {
    if (manifest == nullptr) return;
    for (const ManifestEntry* entry : EntriesOf(*manifest)) {
      keep.push_back(entry->blob_digest());
    }
  };
  for (const auto& [bundle_id, deployment] : deployments_) {
    keep.push_back(deployment->record.manifest_digest());
    keep.push_back(deployment->record.active_digest());
    keep_all(deployment->manifest);
    keep_all(deployment->running);
  }
  parts_.cache.SweepBlobs(std::move(keep));
}

}  // namespace flotilla::agent
