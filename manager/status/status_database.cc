// SPDX-License-Identifier: Apache-2.0

#include "manager/status/status_database.h"

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "common/status/status_macros.h"

namespace flotilla::manager {
namespace {

constexpr int kSchemaVersion = 1;

constexpr char kSchema[] = R"sql(
CREATE TABLE IF NOT EXISTS resource(
  cluster BLOB NOT NULL, bundle BLOB NOT NULL, object BLOB NOT NULL,
  status BLOB NOT NULL,
  PRIMARY KEY(cluster, bundle, object)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS drift(
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  cluster BLOB NOT NULL, bundle BLOB NOT NULL, object BLOB NOT NULL,
  what BLOB NOT NULL, record BLOB NOT NULL,
  UNIQUE(cluster, bundle, object, what));
CREATE INDEX IF NOT EXISTS drift_by_cluster ON drift(cluster, id);
)sql";

// Sorts by kind, namespace and name; the version is no part of identity.
std::string ObjectKey(const core::v1::ResourceKey& key) {
  std::string out = key.kind();
  for (const std::string* part :
       {&key.group(), &key.namespace_(), &key.name()}) {
    out.push_back('\0');
    out.append(*part);
  }
  return out;
}

}  // namespace

absl::StatusOr<std::unique_ptr<StatusDatabase>> StatusDatabase::Open(
    const std::string& path) {
  ASSIGN_OR_RETURN(std::unique_ptr<Database> database, Database::Open(path));
  int64_t version = 0;
  RETURN_IF_ERROR(
      database->Query("PRAGMA user_version",
                      [&](const Row& row) { version = row.Int(0); }));
  if (version > kSchemaVersion) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, ": written by a newer manager (schema ", version,
                     ", this one ", "knows ", kSchemaVersion,
                     "); run that version, or move the file away: ",
                     "agents will report again"));
  }
  RETURN_IF_ERROR(database->Execute(kSchema));
  RETURN_IF_ERROR(database->Execute(
      absl::StrCat("PRAGMA user_version = ", kSchemaVersion)));
  return std::unique_ptr<StatusDatabase>(
      new StatusDatabase(std::move(database)));
}

absl::Status StatusDatabase::Write(const Batch& batch) {
  absl::MutexLock lock(&mu_);
  return database_->Transaction([&]() -> absl::Status {
    mu_.AssertHeld();
    return WriteRows(batch);
  });
}

absl::Status StatusDatabase::WriteRows(const Batch& batch) {
  for (const auto& [cluster, status] : batch.resources) {
    const std::string object = ObjectKey(status.key());
    if (status.removed()) {
      RETURN_IF_ERROR(
          database_->Run("DELETE FROM resource WHERE cluster = ? AND bundle = "
                         "? AND object = ?",
                         cluster, status.bundle_id(), object));
      continue;
    }
    RETURN_IF_ERROR(database_->Run(
        "INSERT INTO resource(cluster, bundle, object, status) "
        "VALUES(?, ?, ?, ?) ON CONFLICT DO UPDATE SET status = excluded.status",
        cluster, status.bundle_id(), object, status.SerializeAsString()));
  }
  absl::flat_hash_set<std::string> drifted;
  for (const auto& [cluster, record] : batch.drift) {
    const std::string object = ObjectKey(record.key());
    const std::string what =
        absl::StrCat(record.operation(), " ", record.path(), " ",
                     record.field_manager());
    // Replaced rather than updated: the newest has the highest id.
    RETURN_IF_ERROR(database_->Run(
        "INSERT OR REPLACE INTO drift(cluster, bundle, object, what, record) "
        "VALUES(?, ?, ?, ?, ?)",
        cluster, record.bundle_id(), object, what,
        record.SerializeAsString()));
    drifted.insert(cluster);
  }
  for (const std::string& cluster : drifted) {
    RETURN_IF_ERROR(database_->Run(
        "DELETE FROM drift WHERE cluster = ? AND id <= (SELECT id FROM drift "
        "WHERE cluster = ? ORDER BY id DESC LIMIT 1 OFFSET ?)",
        cluster, cluster, kDriftPerCluster));
  }
  for (const DeploymentId& gone : batch.forget) {
    RETURN_IF_ERROR(
        database_->Run("DELETE FROM resource WHERE cluster = ? AND bundle = ?",
                       gone.cluster_id, gone.bundle_id));
    RETURN_IF_ERROR(
        database_->Run("DELETE FROM drift WHERE cluster = ? AND bundle = ?",
                       gone.cluster_id, gone.bundle_id));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<StatusDatabase::ResourceRow>>
StatusDatabase::Resources(const DeploymentId& deployment) {
  absl::MutexLock lock(&mu_);
  std::vector<ResourceRow> rows;
  RETURN_IF_ERROR(database_->Query(
      "SELECT status FROM resource WHERE cluster = ? AND bundle = ? "
      "ORDER BY object",
      [&](const Row& row) {
        ResourceRow out;
        out.deployment = deployment;
        if (out.status.ParseFromString(row.Blob(0))) {
          rows.push_back(std::move(out));
        }
      },
      deployment.cluster_id, deployment.bundle_id));
  return rows;
}

absl::StatusOr<std::vector<StatusDatabase::ResourceRow>>
StatusDatabase::ResourcesAfter(const ResourceRow* after, int limit) {
  absl::MutexLock lock(&mu_);
  std::vector<ResourceRow> rows;
  const auto on_row = [&](const Row& row) {
    ResourceRow out;
    out.deployment = {row.Blob(0), row.Blob(1)};
    if (out.status.ParseFromString(row.Blob(2))) {
      rows.push_back(std::move(out));
    }
  };
  if (after == nullptr) {
    RETURN_IF_ERROR(database_->Query(
        "SELECT cluster, bundle, status FROM resource "
        "ORDER BY cluster, bundle, object LIMIT ?",
        on_row, limit));
  } else {
    RETURN_IF_ERROR(database_->Query(
        "SELECT cluster, bundle, status FROM resource "
        "WHERE (cluster, bundle, object) > (?, ?, ?) "
        "ORDER BY cluster, bundle, object LIMIT ?",
        on_row, after->deployment.cluster_id, after->deployment.bundle_id,
        ObjectKey(after->status.key()), limit));
  }
  return rows;
}

absl::StatusOr<std::vector<StatusDatabase::DriftRow>> StatusDatabase::Drift(
    const std::string& cluster_id, int64_t below, int limit) {
  absl::MutexLock lock(&mu_);
  std::vector<DriftRow> rows;
  const auto on_row = [&](const Row& row) {
    DriftRow out;
    out.id = row.Int(0);
    out.cluster_id = row.Blob(1);
    if (out.record.ParseFromString(row.Blob(2))) rows.push_back(std::move(out));
  };
  const int64_t bound = below <= 0 ? INT64_MAX : below;
  if (cluster_id.empty()) {
    RETURN_IF_ERROR(database_->Query(
        "SELECT id, cluster, record FROM drift WHERE id < ? "
        "ORDER BY id DESC LIMIT ?",
        on_row, bound, limit));
  } else {
    RETURN_IF_ERROR(database_->Query(
        "SELECT id, cluster, record FROM drift WHERE cluster = ? AND id < ? "
        "ORDER BY id DESC LIMIT ?",
        on_row, cluster_id, bound, limit));
  }
  return rows;
}

}  // namespace flotilla::manager
