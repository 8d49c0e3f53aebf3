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
#include "manager/documents/deploy_fields.h"
#include "manager/documents/field_reader.h"
#include "manager/targeting/target_resolver.h"
#include "nlohmann/json.hpp"
#include "tools/ctl/commands.h"
#include "tools/ctl/local_stages.h"

namespace flotilla::ctl {

namespace {

using google::protobuf::RepeatedPtrField;
using manager::FieldReader;
using nlohmann::json;
using storage::v1::Target;

RepeatedPtrField<Target> ReadTargets(const json& list,
                                     const std::string& pointer,
                                     manager::ProblemLog& log) {
  RepeatedPtrField<Target> targets;
  if (!list.is_array()) log.Error(pointer, "must be a list of targets");
  for (size_t i = 0; list.is_array() && i < list.size(); ++i) {
    const std::string at = absl::StrCat(pointer, "/", i);
    if (!list[i].is_object()) {
      log.Error(at, "must be a map");
      continue;
    }
    FieldReader reader(list[i], at, log);
    manager::OptionLines lines;
    *targets.Add() = manager::ReadBundleTarget(reader, lines);
  }
  manager::NameTargets(targets);
  return targets;
}

}  // namespace

absl::StatusOr<TargetsFile> ReadTargetsFile(const std::string& path,
                                            std::ostream& warnings) {
  ASSIGN_OR_RETURN(const std::vector<admin::v1::DocumentFile> files,
                   ReadDocumentFiles({path}));
  if (files.size() != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, " is a directory; a file is wanted"));
  }
  ASSIGN_OR_RETURN(const YamlDocument document,
                   ParseYaml(files[0].content()), _ << path);
  const json* value = &document.value;
  std::string pointer;
  if (value->is_object() && value->contains("spec")) {
    value = &(*value)["spec"];
    pointer = "/spec";
  }
  manager::ProblemLog log(path, "", &document);
  TargetsFile out;
  if (value->is_array()) {
    out.targets = ReadTargets(*value, pointer, log);
  } else if (value->is_object() && value->contains("targets")) {
    out.targets = ReadTargets((*value)["targets"], pointer + "/targets", log);
    const auto restrictions = value->find("targetRestrictions");
    if (restrictions != value->end()) {
      out.restrictions =
          ReadTargets(*restrictions, pointer + "/targetRestrictions", log);
    }
  } else {
    return absl::InvalidArgumentError(absl::StrCat(
        path, " has no `targets`; write them as in a GitRepo's spec"));
  }
  PrintWarnings(log.warnings(), warnings);
  if (!log.ok()) return ProblemsError(log.errors());
  // As a GitRepo whose list is empty.
  if (out.targets.empty()) out.targets = manager::DefaultTargets();
  if (out.restrictions.empty()) out.restrictions = out.targets;
  return out;
}

}  // namespace flotilla::ctl
