// SPDX-License-Identifier: Apache-2.0

#include "common/sqlite/database_damage.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/status/status_macros.h"

namespace flotilla {

absl::Status FindDatabaseDamage(Database& database) {
  std::string found;
  RETURN_IF_ERROR(
      database.Query("PRAGMA quick_check(1)",
                     [&found](const Row& row) { found = row.Blob(0); }));
  if (found == "ok") return absl::OkStatus();
  return absl::DataLossError(
      absl::StrCat(database.path(), ": the file is damaged: ", found));
}

absl::Status SetDamagedDatabaseAside(const std::string& path) {
  if (std::rename(path.c_str(), absl::StrCat(path, ".damaged").c_str()) != 0) {
    return absl::UnavailableError(
        absl::StrCat(path, ": cannot be moved away: ", std::strerror(errno)));
  }
  for (const char* ending : {"-wal", "-shm"}) {
    const std::string beside = absl::StrCat(path, ending);
    if (::unlink(beside.c_str()) != 0 && errno != ENOENT) {
      return absl::UnavailableError(absl::StrCat(
          beside, ": cannot be removed: ", std::strerror(errno)));
    }
  }
  return absl::OkStatus();
}

}  // namespace flotilla
