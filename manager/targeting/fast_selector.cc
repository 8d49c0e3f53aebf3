// SPDX-License-Identifier: Apache-2.0

#include "manager/targeting/fast_selector.h"

#include <algorithm>
#include <utility>

#include "absl/hash/hash.h"

namespace flotilla::manager {

using core::v1::LabelRequirement;

FastLabel::FastLabel(absl::string_view label_key, absl::string_view label_value)
    : key_print(absl::Hash<absl::string_view>()(label_key)),
      pair_print(absl::Hash<std::pair<absl::string_view, absl::string_view>>()(
          {label_key, label_value})),
      key(label_key),
      value(label_value) {}

FastLabels::FastLabels(const LabelMap& labels) {
  labels_.reserve(labels.size());
  for (const auto& [key, value] : labels) labels_.emplace_back(key, value);
}

bool operator==(const FastLabels& a, const FastLabels& b) {
  return std::equal(a.labels_.begin(), a.labels_.end(), b.labels_.begin(),
                    b.labels_.end(),
                    [](const FastLabel& x, const FastLabel& y) {
                      return x.pair_print == y.pair_print && x.key == y.key &&
                             x.value == y.value;
                    });
}

FastSelector::FastSelector(const core::v1::LabelSelector& selector) {
  for (const core::v1::LabelPair& pair : selector.match_labels()) {
    pairs_.emplace_back(pair.key(), pair.value());
  }
  for (const LabelRequirement& from : selector.match_expressions()) {
    requirements_.push_back({from.operator_(), FastLabel(from.key(), ""),
                             {from.values().begin(), from.values().end()}});
  }
}

bool FastSelector::Holds(const Requirement& requirement,
                         const FastLabels& labels) {
  const FastLabel* label =
      labels.Find(requirement.key.key_print, requirement.key.key);
  const bool listed =
      label != nullptr && std::find(requirement.values.begin(),
                                    requirement.values.end(),
                                    label->value) != requirement.values.end();
  switch (requirement.op) {
    case LabelRequirement::OPERATOR_IN:
      return listed;
    case LabelRequirement::OPERATOR_NOT_IN:
      return !listed;
    case LabelRequirement::OPERATOR_EXISTS:
      return label != nullptr;
    case LabelRequirement::OPERATOR_DOES_NOT_EXIST:
      return label == nullptr;
    default:
      return false;
  }
}

bool FastSelector::Matches(const FastLabels& labels) const {
  for (const FastLabel& pair : pairs_) {
    if (!labels.Has(pair)) return false;
  }
  for (const Requirement& requirement : requirements_) {
    if (!Holds(requirement, labels)) return false;
  }
  return true;
}

}  // namespace flotilla::manager
