// SPDX-License-Identifier: Apache-2.0
//
// Tables of facts for data-driven tests: those in the tree, and those of the
// corpus, which lies beside a checkout (../shared/corpus, or where
// FLOTILLA_CORPUS says) and may be absent.

#ifndef FLOTILLA_MANAGER_BUNDLE_CORPUS_H_
#define FLOTILLA_MANAGER_BUNDLE_CORPUS_H_

#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

namespace flotilla::manager {

// A YAML file that the test lists in its data, by its path in the tree. Null
// when it is not there.
nlohmann::json ReadTable(const std::string& path_in_tree);

// corpus/tables/<name>; nothing when there is no corpus.
std::optional<nlohmann::json> ReadCorpusTable(absl::string_view name);

// Folder of the corpus; "" when there is none, which it then says on stdout.
std::string CorpusFolder();

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_BUNDLE_CORPUS_H_
