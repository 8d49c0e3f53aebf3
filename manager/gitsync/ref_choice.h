// SPDX-License-Identifier: Apache-2.0
//
// Which of a server's branches and tags a GitRepo means (spec.md 9.1): a
// commit in full, a tag, or the head of a branch, "master" when none is named.

#ifndef FLOTILLA_MANAGER_GITSYNC_REF_CHOICE_H_
#define FLOTILLA_MANAGER_GITSYNC_REF_CHOICE_H_

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace flotilla::manager {

// What a server has.
//
// Immutable.
class RemoteRefs {
 public:
  // `ids` is hex by full name, as "refs/heads/main"; `head` the ref that HEAD
  // leads to, empty when it is not known.
  RemoteRefs(std::map<std::string, std::string> ids, absl::string_view head);
  RemoteRefs() = default;

  bool empty() const { return branches_.empty() && tags_.empty(); }

  struct Choice {
    // Full names of what to fetch.
    std::vector<std::string> refs;
    // Hex of the object that is meant; a tag may have to be peeled.
    std::string id;
  };
  // NOT_FOUND names what there is; INVALID_ARGUMENT for names that no ref can
  // have. `shown` is the repository, for messages. A commit that no ref names
  // may be on any of them: all are fetched.
  absl::StatusOr<Choice> Choose(absl::string_view branch,
                                absl::string_view revision,
                                absl::string_view shown) const;

  // As go-getter means its `ref`: a tag, a commit in full or a branch; the
  // default branch when it is empty.
  absl::StatusOr<Choice> ChooseAny(absl::string_view ref,
                                   absl::string_view shown) const;

 private:
  std::map<std::string, std::string> ids_;
  bool knows_default_ = false;
  // Without refs/heads/ and refs/tags/; the default branch first, since it is
  // the likeliest to be meant.
  std::vector<std::string> branches_;
  std::vector<std::string> tags_;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_GITSYNC_REF_CHOICE_H_
