// SPDX-License-Identifier: Apache-2.0

#include "manager/status/status_recorder.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/log/log.h"
#include "manager/store/records.h"

namespace flotilla::manager {

using storage::v1::Observed;

namespace {

constexpr int kLoadedAtOnce = 10000;

}  // namespace

StatusRecorder::StatusRecorder(Loop& loop, WorkerPool& pool, const Clock& clock,
                               Store& store, FamilyWriter observed,
                               StatusDatabase& database,
                               StatusListener listener)
    : loop_(loop),
      pool_(pool),
      clock_(clock),
      database_(database),
      listener_(std::move(listener)),
      writer_(std::move(observed)),
      released_(store, kReleasedFamily,
                [this](const std::string& key,
                       const storage::v1::Released* record) {
                  const auto pair = ParseClusterBundleKey(kReleasedFamily, key);
                  if (!pair.ok()) return;
                  const auto said =
                      rejections_.find({pair->cluster_id, pair->bundle_id});
                  if (said != rejections_.end() &&
                      (record == nullptr ||
                       record->generation() != said->second.first)) {
                    rejections_.erase(said);
                    TellRejection(pair->cluster_id, pair->bundle_id);
                  }
                  if (record != nullptr &&
                      record->state() == storage::v1::Released::STATE_GONE) {
                    Forget(pair->cluster_id, pair->bundle_id);
                  }
                }),
      identities_(
          store, kClusterFamily,
          [this](const std::string&,
                 const storage::v1::ClusterIdentity* identity) {
            if (identity != nullptr && identity->revoked()) {
              ForgetCluster(identity->cluster_id());
            }
          },
          nullptr,
          [](const std::string& key) {
            return ParseIdKey(kClusterFamily, key).ok();
          }) {
  Load(nullptr);
}

void StatusRecorder::Load(std::shared_ptr<StatusDatabase::ResourceRow> after) {
  using Rows = std::vector<StatusDatabase::ResourceRow>;
  pool_.Submit<absl::StatusOr<Rows>>(
      [&database = database_, after] {
        return database.ResourcesAfter(after.get(), kLoadedAtOnce);
      },
      [this, alive = std::weak_ptr<bool>(alive_)](absl::StatusOr<Rows> rows) {
        if (alive.expired()) return;
        if (!rows.ok()) {
          FLOTILLA_LOG(ERROR) << "reading what agents said of resources: "
                              << rows.status()
                              << "; statuses lack what is not said again";
        }
        if (!rows.ok() || rows->empty()) {
          Loaded();
          return;
        }
        if (listener_.on_resource != nullptr) {
          for (const StatusDatabase::ResourceRow& row : *rows) {
            listener_.on_resource(row.deployment.cluster_id, row.status);
          }
        }
        Load(std::make_shared<StatusDatabase::ResourceRow>(
            std::move(rows->back())));
      });
}

void StatusRecorder::Loaded() {
  if (listener_.on_loaded != nullptr) listener_.on_loaded();
  writing_ = false;
  if (!next_->done.empty() || !next_->rows.forget.empty()) Wake();
}

void StatusRecorder::Tell(const StatusDatabase::Batch& rows) {
  if (listener_.on_resource != nullptr) {
    for (const auto& [cluster_id, status] : rows.resources) {
      listener_.on_resource(cluster_id, status);
    }
  }
  if (listener_.on_forgotten == nullptr) return;
  for (const DeploymentId& gone : rows.forget) {
    listener_.on_forgotten(gone.cluster_id, gone.bundle_id);
  }
}

void StatusRecorder::TellRejection(const std::string& cluster_id,
                                   const std::string& bundle_id) {
  if (listener_.on_rejection != nullptr) {
    listener_.on_rejection(cluster_id, bundle_id);
  }
}

void StatusRecorder::Forget(const std::string& cluster_id,
                            const std::string& bundle_id) {
  next_->rows.forget.push_back({cluster_id, bundle_id});
  Wake();
}

void StatusRecorder::ForgetCluster(const std::string& cluster_id) {
  const std::string prefix = ReleasedPrefix(cluster_id);
  for (auto it = released_.map().lower_bound(prefix);
       it != released_.map().end() && absl::StartsWith(it->first, prefix);
       ++it) {
    const auto pair = ParseClusterBundleKey(kReleasedFamily, it->first);
    if (!pair.ok()) continue;
    Forget(pair->cluster_id, pair->bundle_id);
    if (rejections_.erase({pair->cluster_id, pair->bundle_id}) > 0) {
      TellRejection(pair->cluster_id, pair->bundle_id);
    }
  }
}

bool StatusRecorder::Released(const std::string& cluster_id,
                              const std::string& bundle_id) const {
  return released_.Find(ReleasedKey(cluster_id, bundle_id)) != nullptr;
}

void StatusRecorder::Refuse(Done done, const std::string& bundle_id) {
  loop_.Post([done = std::move(done), bundle_id]() mutable {
    done(absl::PermissionDeniedError(absl::StrCat(
        "bundle ", bundle_id, " was never released to this cluster")));
  });
}

void StatusRecorder::OnState(const std::string& cluster_id, uint64_t epoch,
                             core::v1::DeploymentState state, Done done) {
  if (!Released(cluster_id, state.bundle_id())) {
    Refuse(std::move(done), state.bundle_id());
    return;
  }
  if (rejections_.erase({cluster_id, state.bundle_id()}) > 0) {
    TellRejection(cluster_id, state.bundle_id());
  }
  Observed observed;
  const std::string key = ObservedKey(cluster_id, state.bundle_id());
  *observed.mutable_state() = std::move(state);
  observed.mutable_receive_time()->set_seconds(
      absl::ToUnixSeconds(clock_.Now()));
  observed.set_epoch(epoch);
  next_->states[key] = std::move(observed);
  next_->done.push_back(std::move(done));
  Wake();
}

void StatusRecorder::OnResources(const std::string& cluster_id, uint64_t,
                                 std::vector<core::v1::ResourceStatus> items,
                                 Done done) {
  for (const auto& item : items) {
    if (Released(cluster_id, item.bundle_id())) continue;
    Refuse(std::move(done), item.bundle_id());
    return;
  }
  for (auto& item : items) {
    next_->rows.resources.emplace_back(cluster_id, std::move(item));
  }
  next_->done.push_back(std::move(done));
  Wake();
}

void StatusRecorder::OnDrift(const std::string& cluster_id, uint64_t,
                             std::vector<core::v1::DriftRecord> records,
                             Done done) {
  for (const auto& record : records) {
    if (Released(cluster_id, record.bundle_id())) continue;
    Refuse(std::move(done), record.bundle_id());
    return;
  }
  for (auto& record : records) {
    next_->rows.drift.emplace_back(cluster_id, std::move(record));
  }
  next_->done.push_back(std::move(done));
  Wake();
}

void StatusRecorder::OnRejected(const std::string& cluster_id, uint64_t,
                                const std::string& bundle_id,
                                uint64_t generation,
                                core::v1::Problem problem) {
  if (!Released(cluster_id, bundle_id)) return;
  rejections_[{cluster_id, bundle_id}] = {generation, std::move(problem)};
  TellRejection(cluster_id, bundle_id);
}

std::optional<core::v1::Problem> StatusRecorder::Rejection(
    const std::string& cluster_id, const std::string& bundle_id) const {
  const auto said = rejections_.find({cluster_id, bundle_id});
  if (said == rejections_.end()) return std::nullopt;
  return said->second.second;
}

void StatusRecorder::Wake() {
  if (writing_ || posted_) return;
  posted_ = true;
  // Posted, so that all reports of this turn of the loop share one commit.
  loop_.Post([this, alive = std::weak_ptr<bool>(alive_)] {
    if (alive.expired()) return;
    posted_ = false;
    if (writing_) return;
    writing_ = true;
    auto batch = std::make_shared<Batch>();
    batch.swap(next_);
    const StatusDatabase::Batch& rows = batch->rows;
    if (rows.resources.empty() && rows.drift.empty() && rows.forget.empty()) {
      WriteStates(std::move(batch));
      return;
    }
    pool_.Submit<absl::Status>(
        [&database = database_, batch] { return database.Write(batch->rows); },
        [this, alive, batch](absl::Status written) {
          if (alive.expired()) return;
          if (!written.ok()) {
            Finish(batch, written);
            return;
          }
          Tell(batch->rows);
          WriteStates(batch);
        });
  });
}

void StatusRecorder::WriteStates(std::shared_ptr<Batch> batch) {
  if (batch->states.empty()) {
    Finish(std::move(batch), absl::OkStatus());
    return;
  }
  std::vector<Op> ops;
  for (const auto& [key, observed] : batch->states) {
    ops.push_back(Op::Put(key, SerializeRecord(observed)));
  }
  writer_.Txn({}, std::move(ops),
              [this, alive = std::weak_ptr<bool>(alive_),
               batch](absl::StatusOr<int64_t> revision) {
                if (alive.expired()) return;
                Finish(batch, revision.status());
              });
}

void StatusRecorder::Finish(std::shared_ptr<Batch> batch,
                            const absl::Status& status) {
  writing_ = false;
  for (Done& done : batch->done) done(status);
  if (!next_->done.empty() || !next_->rows.forget.empty()) Wake();
}

}  // namespace flotilla::manager
