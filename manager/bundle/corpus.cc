// SPDX-License-Identifier: Apache-2.0

#include "manager/bundle/corpus.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>
#include <system_error>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "common/yaml/documents.h"

namespace flotilla::manager {
namespace {

namespace fs = std::filesystem;

nlohmann::json ReadYamlFile(const fs::path& path) {
  std::ifstream in(path);
  if (!in) return nullptr;
  std::ostringstream text;
  text << in.rdbuf();
  absl::StatusOr<YamlDocument> document = ParseYaml(text.str());
  if (!document.ok()) {
    std::cout << path << ": " << document.status() << std::endl;
    return nullptr;
  }
  return document->value;
}

}  // namespace

nlohmann::json ReadTable(const std::string& path_in_tree) {
  return ReadYamlFile(path_in_tree);
}

std::string CorpusFolder() {
  if (const char* given = std::getenv("FLOTILLA_CORPUS"); given != nullptr) {
    return given;
  }
  // Runfiles are links into the checkout.
  std::error_code error;
  fs::path at = fs::canonical("manager/bundle/testdata/names.yaml", error);
  while (!error && at.has_parent_path() && at != at.parent_path()) {
    at = at.parent_path();
    const fs::path corpus = at / "shared" / "corpus";
    if (fs::is_directory(corpus, error)) return corpus.string();
    error.clear();
  }
  std::cout << "no corpus beside this checkout, and FLOTILLA_CORPUS is not "
               "set: nothing of it is checked"
            << std::endl;
  return "";
}

std::optional<nlohmann::json> ReadCorpusTable(absl::string_view name) {
  const std::string folder = CorpusFolder();
  if (folder.empty()) return std::nullopt;
  nlohmann::json table =
      ReadYamlFile(fs::path(folder) / "tables" / std::string(name));
  if (table.is_null()) {
    std::cout << "the corpus has no readable " << name << std::endl;
    return std::nullopt;
  }
  return table;
}

}  // namespace flotilla::manager
