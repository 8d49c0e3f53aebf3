// SPDX-License-Identifier: Apache-2.0

#include "manager/charts/chart_cache.h"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"

#include "flotilla/storage/v1/storage.pb.h"

#include "common/crypto/hmac.h"
#include "common/sqlite/database.h"
#include "common/status/status_macros.h"

namespace flotilla::manager {
namespace {

// Another form of the table makes another version.
constexpr char kSchema[] =
    "CREATE TABLE IF NOT EXISTS chart_v1("
    "  key BLOB PRIMARY KEY, used INTEGER NOT NULL, value BLOB NOT NULL"
    ") WITHOUT ROWID;"
    "CREATE INDEX IF NOT EXISTS chart_v1_used ON chart_v1(used);";

absl::StatusOr<std::unique_ptr<Database>> OpenDatabase(
    const std::string& path) {
  ASSIGN_OR_RETURN(std::unique_ptr<Database> database, Database::Open(path));
  RETURN_IF_ERROR(database->Execute(kSchema));
  return database;
}

}  // namespace

std::string ChartCache::Key(absl::string_view secret_key,
                            const ChartRequest& request) {
  const ChartCredentials& creds = request.credentials;
  std::string all;
  for (const std::string& part :
       {request.repo, request.chart, request.version, creds.username,
        creds.password, creds.ssh_private_key, creds.ca_bundle}) {
    absl::StrAppend(&all, part.size(), ":", part);
  }
  absl::StrAppend(&all, creds.insecure_skip_tls_verify ? "i" : "-",
                  creds.basic_http ? "b" : "-");
  return HmacSha256(secret_key, all);
}

absl::StatusOr<std::unique_ptr<ChartCache>> ChartCache::Open(
    const std::string& path, int64_t max_entries) {
  absl::StatusOr<std::unique_ptr<Database>> database = OpenDatabase(path);
  if (absl::IsDataLoss(database.status())) {
    std::error_code ignored;
    for (const char* ending : {"", "-wal", "-shm"}) {
      std::filesystem::remove(path + ending, ignored);
    }
    database = OpenDatabase(path);
  }
  RETURN_IF_ERROR(database.status());
  return absl::WrapUnique(
      new ChartCache(*std::move(database), max_entries));
}

absl::StatusOr<FetchedChart> ChartCache::Find(absl::string_view key) {
  std::string value;
  {
    absl::MutexLock lock(&mu_);
    RETURN_IF_ERROR(database_->Query(
        "SELECT value FROM chart_v1 WHERE key = ?",
        [&](const Row& row) { value = row.Blob(0); }, key));
    if (!value.empty()) {
      RETURN_IF_ERROR(database_->Run(
          "UPDATE chart_v1 SET used = (SELECT max(used) + 1 FROM chart_v1) "
          "WHERE key = ? AND used < (SELECT max(used) FROM chart_v1)",
          key));
    }
  }
  storage::v1::ChartSource record;
  if (value.empty() || !record.ParseFromString(value)) {
    return absl::NotFoundError("not in the cache");
  }
  FetchedChart chart;
  chart.version = record.version();
  chart.files.assign(record.files().begin(), record.files().end());
  return chart;
}

absl::Status ChartCache::Put(absl::string_view key, const FetchedChart& chart) {
  storage::v1::ChartSource record;
  record.set_version(chart.version);
  for (const storage::v1::BundleFile& file : chart.files) {
    *record.add_files() = file;
  }
  const std::string value = record.SerializeAsString();
  if (value.empty()) return absl::OkStatus();
  absl::MutexLock lock(&mu_);
  Database& database = *database_;
  return database.Transaction([&]() -> absl::Status {
    RETURN_IF_ERROR(database.Run(
        "INSERT OR REPLACE INTO chart_v1(key, used, value) VALUES(?, "
        "(SELECT coalesce(max(used), 0) + 1 FROM chart_v1), ?)",
        key, absl::string_view(value)));
    return database.Run(
        "DELETE FROM chart_v1 WHERE key IN (SELECT key FROM chart_v1 "
        "ORDER BY used DESC LIMIT -1 OFFSET ?)",
        max_entries_);
  });
}

absl::Status ChartCache::Remove(absl::string_view key) {
  absl::MutexLock lock(&mu_);
  return database_->Run("DELETE FROM chart_v1 WHERE key = ?", key);
}

}  // namespace flotilla::manager
