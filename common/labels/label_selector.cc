// SPDX-License-Identifier: Apache-2.0

#include "common/labels/label_selector.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace flotilla {
namespace {

using core::v1::LabelPair;
using core::v1::LabelRequirement;

bool RequirementHolds(const LabelRequirement& requirement,
                      const LabelMap& labels) {
  const auto it = labels.find(requirement.key());
  const bool present = it != labels.end();
  const bool listed =
      present && std::find(requirement.values().begin(),
                           requirement.values().end(),
                           it->second) != requirement.values().end();
  switch (requirement.operator_()) {
    case LabelRequirement::OPERATOR_IN:
      return listed;
    case LabelRequirement::OPERATOR_NOT_IN:
      return !listed;
    case LabelRequirement::OPERATOR_EXISTS:
      return present;
    case LabelRequirement::OPERATOR_DOES_NOT_EXIST:
      return !present;
    default:
      return false;
  }
}

std::string RequirementText(const LabelRequirement& requirement) {
  const std::string& key = requirement.key();
  switch (requirement.operator_()) {
    case LabelRequirement::OPERATOR_IN:
      return absl::StrCat(key, " in (",
                          absl::StrJoin(requirement.values(), ","), ")");
    case LabelRequirement::OPERATOR_NOT_IN:
      return absl::StrCat(key, " notin (",
                          absl::StrJoin(requirement.values(), ","), ")");
    case LabelRequirement::OPERATOR_EXISTS:
      return key;
    case LabelRequirement::OPERATOR_DOES_NOT_EXIST:
      return absl::StrCat("!", key);
    default:
      return absl::StrCat(key, " ?");
  }
}

}  // namespace

LabelMap ToLabelMap(
    const google::protobuf::RepeatedPtrField<LabelPair>& labels) {
  LabelMap map;
  for (const LabelPair& pair : labels) map[pair.key()] = pair.value();
  return map;
}

bool SelectorMatches(const core::v1::LabelSelector& selector,
                     const LabelMap& labels) {
  for (const LabelPair& pair : selector.match_labels()) {
    const auto it = labels.find(pair.key());
    if (it == labels.end() || it->second != pair.value()) return false;
  }
  return std::all_of(selector.match_expressions().begin(),
                     selector.match_expressions().end(),
                     [&labels](const LabelRequirement& requirement) {
                       return RequirementHolds(requirement, labels);
                     });
}

std::string SelectorText(const core::v1::LabelSelector& selector) {
  std::vector<std::string> parts;
  for (const LabelPair& pair : selector.match_labels()) {
    parts.push_back(absl::StrCat(pair.key(), "=", pair.value()));
  }
  for (const LabelRequirement& requirement : selector.match_expressions()) {
    parts.push_back(RequirementText(requirement));
  }
  return absl::StrJoin(parts, ",");
}

}  // namespace flotilla
