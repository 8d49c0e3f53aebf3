// SPDX-License-Identifier: Apache-2.0
//
// Database is RAII over one SQLite connection: prepared statements,
// transactions, errors as Status. The only place where sqlite3.h is seen.
//
// Opened in WAL mode with synchronous=FULL: a committed transaction survives a
// power cut. Statements are prepared once and cached by their text.
// Errors: RESOURCE_EXHAUSTED for a full disk; PERMISSION_DENIED for a path that
// cannot be written; DATA_LOSS for a damaged file; FAILED_PRECONDITION when
// another process holds it; INTERNAL for the rest. Texts name the path.
//
// Example:
//   ASSIGN_OR_RETURN(auto db, Database::Open(path));
//   RETURN_IF_ERROR(db->Transaction([&]() -> absl::Status {
//     return db->Run("INSERT INTO t(k, v) VALUES(?, ?)", key, value);
//   }));
//   RETURN_IF_ERROR(db->Query("SELECT v FROM t WHERE k = ?",
//       [&](const Row& row) { values.push_back(row.Blob(0)); }, key));

#ifndef FLOTILLA_COMMON_SQLITE_DATABASE_H_
#define FLOTILLA_COMMON_SQLITE_DATABASE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

struct sqlite3;
struct sqlite3_stmt;

namespace flotilla {

// A value to bind: integers as int64, bytes and text alike as BLOB or TEXT.
// Views must live until the call returns.
struct SqlText {
  absl::string_view text;
};
using SqlValue = std::variant<int64_t, absl::string_view, SqlText>;

// The current row of a query. Valid in the callback only.
//
// Thread-compatible.
class Row {
 public:
  explicit Row(sqlite3_stmt* statement) : statement_(statement) {}

  int64_t Int(int column) const;
  // Bytes of a BLOB or TEXT column; empty for NULL.
  std::string Blob(int column) const;

 private:
  sqlite3_stmt* const statement_;
};

// Thread-compatible: one thread at a time.
class Database {
 public:
  struct Options {
    // Pages of the log before it is moved into the file (limits.md section 6).
    int wal_autocheckpoint = 20000;
    // How long to wait for a lock of another process.
    int busy_timeout_ms = 2000;
    // Only one process may use the file; taken at once.
    bool exclusive = true;
  };

  // Opens or creates the file (mode 0600). The directory must exist.
  static absl::StatusOr<std::unique_ptr<Database>> Open(
      const std::string& path, const Options& options);
  static absl::StatusOr<std::unique_ptr<Database>> Open(
      const std::string& path) {
    return Open(path, Options());
  }
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  // Runs statements without parameters or results, such as a schema.
  absl::Status Execute(const std::string& sql);

  // Runs one statement with its parameters; rows are dropped.
  template <typename... Values>
  absl::Status Run(const std::string& sql, const Values&... values) {
    return Step(sql, {SqlValue(ToValue(values))...}, [](const Row&) {});
  }

  // Runs one statement and calls `on_row` for each row. `on_row` must not use
  // the database.
  template <typename... Values>
  absl::Status Query(const std::string& sql,
                     absl::FunctionRef<void(const Row&)> on_row,
                     const Values&... values) {
    return Step(sql, {SqlValue(ToValue(values))...}, on_row);
  }

  // As Query(), with parameters that are known at run time only.
  absl::Status QueryWith(const std::string& sql,
                         const std::vector<SqlValue>& values,
                         absl::FunctionRef<void(const Row&)> on_row) {
    return Step(sql, values, on_row);
  }

  // Runs `body` in a transaction that is durable when this returns OK, and
  // undone when `body` or the commit fails. Not to be nested.
  absl::Status Transaction(absl::FunctionRef<absl::Status()> body);

  // Runs `body` so that only its own changes are undone when it fails.
  // REQUIRES: inside Transaction().
  absl::Status Savepoint(absl::FunctionRef<absl::Status()> body);

  // Rows that the last Run() changed.
  int64_t changes() const;
  const std::string& path() const { return path_; }

 private:
  Database(std::string path, sqlite3* handle);

  static SqlValue ToValue(int value) { return int64_t{value}; }
  static SqlValue ToValue(int64_t value) { return value; }
  static SqlValue ToValue(uint64_t value) {
    return static_cast<int64_t>(value);
  }
  static SqlValue ToValue(absl::string_view value) { return value; }
  static SqlValue ToValue(const std::string& value) {
    return absl::string_view(value);
  }
  static SqlValue ToValue(const char* value) {
    return absl::string_view(value);
  }
  static SqlValue ToValue(SqlText value) { return value; }

  absl::Status Step(const std::string& sql, const std::vector<SqlValue>& values,
                    absl::FunctionRef<void(const Row&)> on_row);
  absl::StatusOr<sqlite3_stmt*> Prepare(const std::string& sql);
  absl::Status Error(int code, absl::string_view what) const;

  const std::string path_;
  sqlite3* const handle_;
  absl::flat_hash_map<std::string, sqlite3_stmt*> statements_;
  int savepoint_depth_ = 0;
};

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_SQLITE_DATABASE_H_
