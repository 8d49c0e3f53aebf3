// SPDX-License-Identifier: Apache-2.0
//
// SecretTexts are the values of Secrets that a render was made with. A template
// may put them anywhere: into any object, and into the words with which it
// fails. So such objects are treated as Secrets are, and these texts are taken
// out of what people read. What a template makes of them (a hash, a part) is
// not known again; base64 is.

#ifndef FLOTILLA_MANAGER_RENDER_SECRET_TEXTS_H_
#define FLOTILLA_MANAGER_RENDER_SECRET_TEXTS_H_

#include <cstddef>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

namespace flotilla::manager {

// Thread-compatible.
class SecretTexts {
 public:
  // Shorter ones are not taken out: they are in everything.
  static constexpr size_t kShortest = 3;
  // With more than that, nothing is said at all.
  static constexpr size_t kMaxTexts = 2000;

  // All that is no map and no list in `values`.
  void Add(const nlohmann::json& values);

  // Whether anything was added.
  bool any() const { return any_; }

  // `text` with "<redacted>" in the place of each of them, and of the beginning
  // of one at which the text was cut ("...", as one character).
  std::string Redact(absl::string_view text) const;

 private:
  void AddText(absl::string_view text);
  void RedactCut(std::string* text) const;
  void AddForm(std::string form);

  bool any_ = false;
  // By size: the longest is taken out first.
  std::set<std::pair<size_t, std::string>> texts_;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_RENDER_SECRET_TEXTS_H_
