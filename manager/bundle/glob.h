// SPDX-License-Identifier: Apache-2.0
//
// Shell-like patterns of one path part, and .fleetignore files (spec 3.2, 3.4).

#ifndef FLOTILLA_MANAGER_BUNDLE_GLOB_H_
#define FLOTILLA_MANAGER_BUNDLE_GLOB_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace flotilla::manager {

// A pattern: `*` any characters, `?` one character, `[a-z]`, `[^a-z]`, `\x` the
// character x. A malformed one matches nothing.
//
// Immutable.
class Glob {
 public:
  explicit Glob(absl::string_view pattern);

  // Linear in the sizes' product. Takes what it costs from `steps`; with
  // nothing left it matches nothing.
  bool Matches(absl::string_view name, uint64_t& steps) const;

 private:
  // One element of a pattern.
  struct Element {
    enum class Kind { kAnything, kOne, kText, kClass };
    Kind kind = Kind::kText;
    std::string text;  // One character.
    bool negated = false;
    std::vector<std::pair<std::string, std::string>> ranges;

    bool Matches(absl::string_view character) const;
  };

  static bool TakeClass(absl::string_view& pattern, Element& element);
  // False when it is malformed.
  bool Compile(absl::string_view pattern);

  std::vector<Element> elements_;
  bool malformed_ = false;
};

bool GlobMatches(absl::string_view pattern, absl::string_view name);

// Whether a pattern holds anything but plain characters.
bool HasGlobMeta(absl::string_view pattern);

// The rules of the .fleetignore files of one bundle. A rule counts for base
// names in its file's directory and below; "name/*" drops the directories of
// that name. Errors are RESOURCE_EXHAUSTED.
//
// Thread-compatible.
class IgnoreRules {
 public:
  // `steps` is what matching may still cost; it is taken from there. It must
  // outlive the rules.
  explicit IgnoreRules(uint64_t& steps) : steps_(steps) {}

  // `directory` is relative to the bundle's root; "" is the root.
  absl::Status AddFile(absl::string_view directory, absl::string_view text);

  // `path` is relative to the bundle's root, and its parents were not ignored.
  absl::StatusOr<bool> Ignores(absl::string_view path, bool is_directory) const;

 private:
  struct Rule {
    Glob glob;
    bool directories_only = false;
  };

  // By the directories of their files.
  std::map<std::string, std::vector<Rule>, std::less<>> rules_;
  size_t rule_count_ = 0;
  size_t pattern_bytes_ = 0;
  uint64_t& steps_;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_BUNDLE_GLOB_H_
