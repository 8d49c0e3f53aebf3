// SPDX-License-Identifier: Apache-2.0
//
// Label selectors made ready for being asked very often: a label is told apart
// by a 64-bit fingerprint first, and compared only when that is equal. The
// answers are those of SelectorMatches().

#ifndef FLOTILLA_MANAGER_TARGETING_FAST_SELECTOR_H_
#define FLOTILLA_MANAGER_TARGETING_FAST_SELECTOR_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "flotilla/core/v1/core.pb.h"
#include "common/labels/label_selector.h"

namespace flotilla::manager {

// A label with its fingerprints.
struct FastLabel {
  FastLabel(absl::string_view label_key, absl::string_view label_value);

  uint64_t key_print;
  uint64_t pair_print;
  std::string key;
  std::string value;
};

// Immutable.
class FastLabels {
 public:
  FastLabels() = default;
  explicit FastLabels(const LabelMap& labels);

  // Null when absent.
  const FastLabel* Find(uint64_t key_print, const std::string& key) const {
    for (const FastLabel& label : labels_) {
      if (label.key_print == key_print && label.key == key) return &label;
    }
    return nullptr;
  }
  bool Has(const FastLabel& pair) const {
    for (const FastLabel& label : labels_) {
      if (label.pair_print == pair.pair_print && label.key == pair.key &&
          label.value == pair.value) {
        return true;
      }
    }
    return false;
  }

  friend bool operator==(const FastLabels& a, const FastLabels& b);

 private:
  std::vector<FastLabel> labels_;
};

// Immutable.
class FastSelector {
 public:
  // Matches everything.
  FastSelector() = default;
  explicit FastSelector(const core::v1::LabelSelector& selector);

  bool Matches(const FastLabels& labels) const;

 private:
  struct Requirement {
    core::v1::LabelRequirement::Operator op;
    FastLabel key;  // Its value is empty.
    std::vector<std::string> values;
  };

  static bool Holds(const Requirement& requirement, const FastLabels& labels);

  std::vector<FastLabel> pairs_;
  std::vector<Requirement> requirements_;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_TARGETING_FAST_SELECTOR_H_
