// SPDX-License-Identifier: Apache-2.0
//
// What to do about a database whose file gives back other bytes than were
// written.

#ifndef FLOTILLA_COMMON_SQLITE_DATABASE_DAMAGE_H_
#define FLOTILLA_COMMON_SQLITE_DATABASE_DAMAGE_H_

#include <string>

#include "absl/status/status.h"
#include "common/sqlite/database.h"

namespace flotilla {

// DATA_LOSS when the structure of the file is damaged. Reads all of it. Other
// bytes inside a value are not noticed.
absl::Status FindDatabaseDamage(Database& database);

// Moves the file of a damaged database to `path`.damaged, in the place of an
// earlier one, and removes the log beside it, so that Database::Open() makes a
// new one. REQUIRES: it is not open.
absl::Status SetDamagedDatabaseAside(const std::string& path);

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_SQLITE_DATABASE_DAMAGE_H_
