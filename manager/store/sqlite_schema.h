// SPDX-License-Identifier: Apache-2.0
//
// The tables of SqliteStore: made in a new file, migrated in an older one
// (decisions.md 21), refused where they are newer or sealed with another key.
//
//   meta        store_id, schema_version, revision, compacted, key_check
//   kv          each key with its sealed value
//   change_log  what each of the last revisions changed

#ifndef FLOTILLA_MANAGER_STORE_SQLITE_SCHEMA_H_
#define FLOTILLA_MANAGER_STORE_SQLITE_SCHEMA_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/crypto/sealed_box.h"
#include "common/env/random.h"
#include "common/sqlite/database.h"

namespace flotilla::manager {

// Makes or migrates the tables; see SqliteStore::Open(). What an earlier
// version left in the clear is no more in the file when this returns OK, only
// in the copy that was made for who must go back.
absl::Status PrepareSqliteSchema(
    Database& db, Random& random, const SealedBox& box,
    const std::vector<std::string>& more_migrations);

// Values of `meta`.
absl::StatusOr<std::string> ReadMeta(Database& db, absl::string_view key,
                                     absl::string_view otherwise);
// 0 when absent; DATA_LOSS when it is not a number from 0 upwards.
absl::StatusOr<int64_t> ReadMetaInt(Database& db, absl::string_view key);
absl::Status WriteMeta(Database& db, absl::string_view key,
                       absl::string_view value);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_STORE_SQLITE_SCHEMA_H_
