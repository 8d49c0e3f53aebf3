// SPDX-License-Identifier: Apache-2.0

#include "tools/ctl/target_files.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "common/status/status_macros.h"
#include "common/yaml/documents.h"
#include "manager/documents/documents.h"
#include "nlohmann/json.hpp"
#include "tools/ctl/commands.h"
#include "tools/ctl/local_stages.h"

namespace flotilla::ctl {

using nlohmann::json;

absl::StatusOr<TargetsFile> ReadTargetsFile(const std::string& path) {
  ASSIGN_OR_RETURN(const std::vector<admin::v1::DocumentFile> files,
                   ReadDocumentFiles({path}));
  if (files.size() != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, " is a directory; a file is wanted"));
  }
  ASSIGN_OR_RETURN(const YamlDocument document,
                   ParseYaml(files[0].content()), _ << path);
  json value = document.value;
  if (value.is_object() && value.contains("spec")) value = value["spec"];
  if (value.is_array()) value = {{"targets", value}};
  if (!value.is_object() || !value.contains("targets")) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, " has no `targets`; write them as in a GitRepo's spec"));
  }
  // Read as those of a Bundle, which has both lists.
  json spec = {{"targets", value["targets"]}};
  if (value.contains("targetRestrictions")) {
    spec["targetRestrictions"] = value["targetRestrictions"];
  }
  const json wrapped = {{"apiVersion", "fleet.cattle.io/v1alpha1"},
                        {"kind", "Bundle"},
                        {"metadata", {{"name", "targets"}}},
                        {"spec", std::move(spec)}};
  manager::ParsedDocuments parsed = manager::ParseDocuments(
      {{path, ToYaml(wrapped)}}, manager::kDefaultWorkspace);
  if (!parsed.errors.empty()) {
    for (core::v1::Problem& problem : parsed.errors) {
      // They are lines of what was wrapped.
      problem.clear_line();
    }
    return ProblemsError(parsed.errors);
  }
  TargetsFile out;
  const storage::v1::BundleSpec& bundle = parsed.documents[0].document.bundle();
  out.targets = bundle.targets();
  out.restrictions = bundle.target_restrictions().empty()
                         ? bundle.targets()
                         : bundle.target_restrictions();
  return out;
}

}  // namespace flotilla::ctl
