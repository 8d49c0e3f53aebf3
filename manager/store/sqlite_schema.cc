// SPDX-License-Identifier: Apache-2.0

#include "manager/store/sqlite_schema.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/log/log.h"
#include "common/status/status_macros.h"
#include "manager/store/records.h"

namespace flotilla::manager {
namespace {

// Rows that a migration holds in memory.
constexpr int kMigrationPage = 500;
constexpr int kFirstSealedVersion = 2;

// Keys of `meta`.
constexpr char kSchemaVersionKey[] = "schema_version";
// Sealed; tells the key file that belongs to the store from others.
constexpr char kKeyCheck[] = "key_check";
// There while the file has to be written anew.
constexpr char kRewriteDue[] = "rewrite_due";

constexpr char kCreateTables[] = R"sql(
CREATE TABLE IF NOT EXISTS meta(
  key TEXT PRIMARY KEY,
  value TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS kv(
  key BLOB PRIMARY KEY,
  value BLOB NOT NULL,
  mod_revision INTEGER NOT NULL,
  create_revision INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS change_log(
  revision INTEGER NOT NULL,
  key BLOB NOT NULL,
  deleted INTEGER NOT NULL,
  value BLOB NOT NULL,
  create_revision INTEGER NOT NULL,
  PRIMARY KEY(revision, key)
) WITHOUT ROWID;
)sql";

// A copy of the whole store, for who must go back.
absl::Status CopyTo(Database& db, const std::string& copy) {
  // Left by an earlier try that did not come to its end.
  if (unlink(copy.c_str()) != 0 && errno != ENOENT) {
    return absl::ErrnoToStatus(errno, absl::StrCat("removing ", copy));
  }
  RETURN_IF_ERROR(db.Run("VACUUM INTO ?", SqlText{copy}));
  if (chmod(copy.c_str(), 0600) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("protecting ", copy));
  }
  return absl::OkStatus();
}

// Leads from one schema version to the next.
using Migration = std::function<absl::Status(Database&, const SealedBox&)>;

std::string KeyCheckContext(absl::string_view store_id) {
  return absl::StrCat("store ", store_id);
}

absl::Status WriteKeyCheck(Database& db, const SealedBox& box) {
  ASSIGN_OR_RETURN(const std::string store_id, ReadMeta(db, "store_id", ""));
  return WriteMeta(
      db, kKeyCheck,
      absl::BytesToHexString(box.Seal("", KeyCheckContext(store_id))));
}

absl::Status CheckKey(Database& db, const SealedBox& box) {
  ASSIGN_OR_RETURN(const std::string store_id, ReadMeta(db, "store_id", ""));
  ASSIGN_OR_RETURN(const std::string check, ReadMeta(db, kKeyCheck, ""));
  if (box.Open(absl::HexStringToBytes(check), KeyCheckContext(store_id)).ok()) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(absl::StrCat(
      "store ", db.path(), " was sealed with another key than that in ",
      box.key_file(),
      ": restore the key file that belongs to it from its backup; nothing was "
      "changed"));
}

// From 1 to 2.
absl::Status SealAll(Database& db, const SealedBox& box) {
  std::string last;
  while (true) {
    std::vector<std::pair<std::string, std::string>> page;
    RETURN_IF_ERROR(db.Query(
        "SELECT key, value FROM kv WHERE key > ? ORDER BY key LIMIT ?",
        [&page](const Row& row) {
          page.emplace_back(row.Blob(0), row.Blob(1));
        },
        last, kMigrationPage));
    if (page.empty()) break;
    last = page.back().first;
    for (const auto& [key, value] : page) {
      RETURN_IF_ERROR(db.Run("UPDATE kv SET value = ? WHERE key = ?",
                             box.Seal(value, key), key));
    }
  }
  // Nobody watches from before a restart.
  RETURN_IF_ERROR(db.Run("DELETE FROM change_log"));
  ASSIGN_OR_RETURN(const std::string revision, ReadMeta(db, "revision", "0"));
  RETURN_IF_ERROR(WriteMeta(db, "compacted", revision));
  RETURN_IF_ERROR(WriteKeyCheck(db, box));
  return WriteMeta(db, kRewriteDue, "1");
}

// Writes the file anew when pages that are in use no more hold what was not
// sealed.
absl::Status RewriteIfDue(Database& db) {
  ASSIGN_OR_RETURN(const std::string due, ReadMeta(db, kRewriteDue, ""));
  if (due.empty()) return absl::OkStatus();
  RETURN_IF_ERROR(db.Execute("VACUUM"));
  RETURN_IF_ERROR(db.Execute("PRAGMA wal_checkpoint(TRUNCATE)"));
  return db.Run("DELETE FROM meta WHERE key = ?", SqlText{kRewriteDue});
}

// Where the store is copied to before it is migrated from `version`.
std::string CopyPath(const Database& db, int64_t version) {
  return absl::StrCat(db.path(), ".v", version);
}

void WarnOfCopyInTheClear(const Database& db) {
  for (int version = 1; version < kFirstSealedVersion; ++version) {
    const std::string copy = CopyPath(db, version);
    if (access(copy.c_str(), F_OK) != 0) continue;
    FLOTILLA_LOG(WARNING)
        << copy << " is the store from before its values were sealed, secrets "
        << "and all: delete it once you are sure not to go back";
  }
}

absl::Status Migrate(Database& db, const SealedBox& box, int64_t found,
                     const std::vector<Migration>& migrations) {
  RETURN_IF_ERROR(CopyTo(db, CopyPath(db, found)));
  return db.Transaction([&]() -> absl::Status {
    for (size_t i = static_cast<size_t>(found - 1); i < migrations.size();
         ++i) {
      RETURN_IF_ERROR(migrations[i](db, box))
          << "migrating from schema version " << i + 1;
    }
    return WriteMeta(db, kSchemaVersionKey,
                     absl::StrCat(migrations.size() + 1));
  });
}

}  // namespace

absl::StatusOr<std::string> ReadMeta(Database& db, absl::string_view key,
                                     absl::string_view otherwise) {
  std::string value(otherwise);
  RETURN_IF_ERROR(db.Query(
      "SELECT value FROM meta WHERE key = ?",
      [&value](const Row& row) { value = row.Blob(0); }, SqlText{key}));
  return value;
}

absl::StatusOr<int64_t> ReadMetaInt(Database& db, absl::string_view key) {
  ASSIGN_OR_RETURN(const std::string text, ReadMeta(db, key, "0"));
  int64_t value = 0;
  if (!absl::SimpleAtoi(text, &value) || value < 0) {
    return absl::DataLossError(absl::StrCat(
        "store ", db.path(), " is damaged: \"", key, "\" is not a number"));
  }
  return value;
}

absl::Status WriteMeta(Database& db, absl::string_view key,
                       absl::string_view value) {
  return db.Run(
      "INSERT INTO meta(key, value) VALUES(?, ?) "
      "ON CONFLICT(key) DO UPDATE SET value = excluded.value",
      SqlText{key}, SqlText{value});
}

absl::Status PrepareSqliteSchema(
    Database& db, Random& random, const SealedBox& box,
    const std::vector<std::string>& more_migrations) {
  std::vector<Migration> migrations = {SealAll};
  static_assert(kSchemaVersion == 2);
  for (const std::string& sql : more_migrations) {
    migrations.push_back(
        [sql](Database& to, const SealedBox&) { return to.Execute(sql); });
  }
  const auto wanted = static_cast<int64_t>(migrations.size() + 1);
  int tables = 0;
  bool has_meta = false;
  RETURN_IF_ERROR(
      db.Query("SELECT name FROM sqlite_master WHERE type = 'table'",
               [&](const Row& row) {
                 ++tables;
                 has_meta = has_meta || row.Blob(0) == "meta";
               }));
  if (tables > 0 && !has_meta) {
    return absl::FailedPreconditionError(
        absl::StrCat(db.path(), " is a database of something else; choose "
                                "another data directory"));
  }
  if (tables == 0) {
    return db.Transaction([&]() -> absl::Status {
      RETURN_IF_ERROR(db.Execute(kCreateTables));
      RETURN_IF_ERROR(WriteMeta(db, "store_id", random.Uuid()));
      RETURN_IF_ERROR(WriteKeyCheck(db, box));
      return WriteMeta(db, kSchemaVersionKey, absl::StrCat(wanted));
    });
  }
  ASSIGN_OR_RETURN(const int64_t found, ReadMetaInt(db, kSchemaVersionKey));
  if (found > wanted) {
    return absl::FailedPreconditionError(absl::StrCat(
        "store ", db.path(),
        " was written by a newer Flotilla (schema version ", found,
        "; this one understands up to ", wanted,
        "): run that version, or restore a copy from before the upgrade"));
  }
  if (found < 1) {
    return absl::DataLossError(absl::StrCat(
        "store ", db.path(), " is damaged: it has no schema version"));
  }
  if (found >= kFirstSealedVersion) RETURN_IF_ERROR(CheckKey(db, box));
  if (found < wanted) RETURN_IF_ERROR(Migrate(db, box, found, migrations));
  WarnOfCopyInTheClear(db);
  return RewriteIfDue(db);
}

}  // namespace flotilla::manager
