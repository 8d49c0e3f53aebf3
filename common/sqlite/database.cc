// SPDX-License-Identifier: Apache-2.0

#include "common/sqlite/database.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status/status_macros.h"

namespace flotilla {
namespace {

absl::Status Translate(int code, const std::string& path,
                       absl::string_view detail) {
  switch (code & 0xff) {
    case SQLITE_FULL:
      return absl::ResourceExhaustedError(
          absl::StrCat(path, ": the disk is full; free some space"));
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
      return absl::PermissionDeniedError(absl::StrCat(
          path, ": cannot be opened for writing (", detail,
          "); check the owner and the mode of its directory, or choose another "
          "with --data-dir"));
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return absl::DataLossError(absl::StrCat(
          path, ": the file is damaged (", detail,
          "); restore it from a backup, or move it away to begin anew"));
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return absl::FailedPreconditionError(absl::StrCat(
          path,
          ": another process holds it; stop that one, or choose another "
          "directory with --data-dir"));
    case SQLITE_IOERR:
      return absl::UnavailableError(
          absl::StrCat(path, ": the disk failed: ", detail));
    default:
      return absl::InternalError(absl::StrCat(path, ": ", detail));
  }
}

}  // namespace

int64_t Row::Int(int column) const {
  return sqlite3_column_int64(statement_, column);
}

std::string Row::Blob(int column) const {
  const void* bytes = sqlite3_column_blob(statement_, column);
  const int size = sqlite3_column_bytes(statement_, column);
  if (bytes == nullptr || size <= 0) return "";
  return std::string(static_cast<const char*>(bytes),
                     static_cast<size_t>(size));
}

Database::Database(std::string path, sqlite3* handle)
    : path_(std::move(path)), handle_(handle) {}

Database::~Database() {
  for (auto& [sql, statement] : statements_) sqlite3_finalize(statement);
  sqlite3_close(handle_);
}

absl::StatusOr<std::unique_ptr<Database>> Database::Open(
    const std::string& path, const Options& options) {
  // Created by hand, so that nobody else can read it at any time.
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) {
    return Translate(errno == ENOSPC ? SQLITE_FULL : SQLITE_CANTOPEN, path,
                     std::strerror(errno));
  }
  ::close(fd);
  sqlite3* handle = nullptr;
  const int code = sqlite3_open_v2(
      path.c_str(), &handle,
      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
      nullptr);
  if (code != SQLITE_OK) {
    const std::string detail =
        handle == nullptr ? "out of memory" : sqlite3_errmsg(handle);
    sqlite3_close(handle);
    return Translate(code, path, detail);
  }
  auto database = std::unique_ptr<Database>(new Database(path, handle));
  sqlite3_extended_result_codes(handle, 1);
  sqlite3_busy_timeout(handle, options.busy_timeout_ms);
  if (options.exclusive) {
    RETURN_IF_ERROR(database->Execute("PRAGMA locking_mode = EXCLUSIVE"));
  }
  RETURN_IF_ERROR(database->Execute(absl::StrCat(
      "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; "
      "PRAGMA wal_autocheckpoint = ",
      options.wal_autocheckpoint, "; PRAGMA trusted_schema = OFF")));
  if (options.exclusive) {
    // The lock is taken by the first write only; take it now.
    RETURN_IF_ERROR(database->Execute("BEGIN EXCLUSIVE; COMMIT"));
  }
  return database;
}

absl::Status Database::Error(int code, absl::string_view what) const {
  return Translate(code, path_,
                   absl::StrCat(what, ": ", sqlite3_errmsg(handle_)));
}

absl::Status Database::Execute(const std::string& sql) {
  const int code = sqlite3_exec(handle_, sql.c_str(), nullptr, nullptr,
                                nullptr);
  if (code != SQLITE_OK) return Error(code, sql.substr(0, 60));
  return absl::OkStatus();
}

absl::StatusOr<sqlite3_stmt*> Database::Prepare(const std::string& sql) {
  const auto known = statements_.find(sql);
  if (known != statements_.end()) return known->second;
  sqlite3_stmt* statement = nullptr;
  const int code = sqlite3_prepare_v3(
      handle_, sql.c_str(), static_cast<int>(sql.size()),
      SQLITE_PREPARE_PERSISTENT, &statement, nullptr);
  if (code != SQLITE_OK) return Error(code, sql.substr(0, 60));
  if (statement == nullptr) {
    return absl::InvalidArgumentError("an empty SQL statement");
  }
  statements_.emplace(sql, statement);
  return statement;
}

absl::Status Database::Step(const std::string& sql,
                            const std::vector<SqlValue>& values,
                            absl::FunctionRef<void(const Row&)> on_row) {
  ASSIGN_OR_RETURN(sqlite3_stmt * statement, Prepare(sql));
  int index = 0;
  int code = SQLITE_OK;
  for (const SqlValue& value : values) {
    ++index;
    if (const auto* number = std::get_if<int64_t>(&value)) {
      code = sqlite3_bind_int64(statement, index, *number);
    } else if (const auto* bytes = std::get_if<absl::string_view>(&value)) {
      code = sqlite3_bind_blob64(statement, index,
                                 bytes->empty() ? "" : bytes->data(),
                                 bytes->size(), SQLITE_STATIC);
    } else {
      const absl::string_view text = std::get<SqlText>(value).text;
      code = sqlite3_bind_text64(statement, index,
                                 text.empty() ? "" : text.data(), text.size(),
                                 SQLITE_STATIC, SQLITE_UTF8);
    }
    if (code != SQLITE_OK) break;
  }
  if (code == SQLITE_OK) {
    while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
      on_row(Row(statement));
    }
    if (code == SQLITE_DONE) code = SQLITE_OK;
  }
  absl::Status status = absl::OkStatus();
  if (code != SQLITE_OK) status = Error(code, sql.substr(0, 60));
  sqlite3_reset(statement);
  sqlite3_clear_bindings(statement);
  return status;
}

absl::Status Database::Transaction(absl::FunctionRef<absl::Status()> body) {
  RETURN_IF_ERROR(Run("BEGIN IMMEDIATE"));
  absl::Status status = body();
  if (status.ok()) status = Run("COMMIT");
  // After some errors SQLite has rolled back by itself.
  if (!status.ok() && sqlite3_get_autocommit(handle_) == 0) {
    (void)Run("ROLLBACK");
  }
  return status;
}

absl::Status Database::Savepoint(absl::FunctionRef<absl::Status()> body) {
  const std::string name = absl::StrCat("s", ++savepoint_depth_);
  absl::Status status = Run(absl::StrCat("SAVEPOINT ", name));
  if (status.ok()) {
    status = body();
    if (!status.ok() && sqlite3_get_autocommit(handle_) == 0) {
      (void)Run(absl::StrCat("ROLLBACK TO ", name));
    }
    if (sqlite3_get_autocommit(handle_) == 0) {
      const absl::Status released = Run(absl::StrCat("RELEASE ", name));
      if (status.ok()) status = released;
    }
  }
  --savepoint_depth_;
  return status;
}

int64_t Database::changes() const { return sqlite3_changes(handle_); }

}  // namespace flotilla
