// SPDX-License-Identifier: Apache-2.0
//
// Shell-like patterns of one path part, and .fleetignore files (spec 3.2, 3.4).

#ifndef FLOTILLA_MANAGER_BUNDLE_GLOB_H_
#define FLOTILLA_MANAGER_BUNDLE_GLOB_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace flotilla::manager {

// `*` any characters, `?` one character, `[a-z]`, `[^a-z]`, `\x` the character
// x. A malformed pattern matches nothing. Linear in the sizes' product.
bool GlobMatches(absl::string_view pattern, absl::string_view name);

// Whether a pattern holds anything but plain characters.
bool HasGlobMeta(absl::string_view pattern);

// The rules of the .fleetignore files of one bundle. A rule counts for base
// names in its file's directory and below; "name/*" drops the directories of
// that name.
//
// Thread-compatible.
class IgnoreRules {
 public:
  // `directory` is relative to the bundle's root; "" is the root.
  void AddFile(absl::string_view directory, absl::string_view text);

  // `path` is relative to the bundle's root, and its parents were not ignored.
  bool Ignores(absl::string_view path, bool is_directory) const;

 private:
  struct Rule {
    std::string directory;
    std::string pattern;
    bool directories_only = false;
  };
  std::vector<Rule> rules_;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_BUNDLE_GLOB_H_
