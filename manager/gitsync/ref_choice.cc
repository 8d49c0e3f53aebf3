// SPDX-License-Identifier: Apache-2.0

#include "manager/gitsync/ref_choice.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "common/status/status_macros.h"
#include "manager/gitsync/display_text.h"
#include "manager/gitsync/git_url.h"

namespace flotilla::manager {
namespace {

constexpr int kNamedRefs = 5;
constexpr char kHeads[] = "refs/heads/";
constexpr char kTags[] = "refs/tags/";
constexpr char kPeeled[] = "^{}";

// "main", "dev" and 3 more.
std::string NameSome(const std::vector<std::string>& names) {
  std::vector<std::string> shown;
  for (const std::string& name : names) {
    if (shown.size() == kNamedRefs) break;
    shown.push_back(absl::StrCat("\"", ToDisplayText(name, 100), "\""));
  }
  std::string text = absl::StrJoin(shown, ", ");
  if (names.size() > shown.size()) {
    absl::StrAppend(&text, " and ", names.size() - shown.size(), " more");
  }
  return text;
}

}  // namespace

RemoteRefs::RemoteRefs(std::map<std::string, std::string> ids,
                       absl::string_view head)
    : ids_(std::move(ids)) {
  for (const auto& [full, id] : ids_) {
    absl::string_view name(full);
    if (absl::ConsumePrefix(&name, kHeads)) {
      branches_.emplace_back(name);
    } else if (absl::ConsumePrefix(&name, kTags) &&
               !absl::EndsWith(name, kPeeled)) {
      tags_.emplace_back(name);
    }
  }
  absl::ConsumePrefix(&head, kHeads);
  const auto found = std::find(branches_.begin(), branches_.end(), head);
  knows_default_ = found != branches_.end();
  if (knows_default_) {
    std::rotate(branches_.begin(), found, found + 1);
  }
}

absl::StatusOr<RemoteRefs::Choice> RemoteRefs::Choose(
    absl::string_view branch, absl::string_view revision,
    absl::string_view shown) const {
  if (empty()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "repository ", shown, " is empty: push a first commit to it"));
  }
  Choice choice;
  if (IsFullCommitId(revision)) {
    choice.id = std::string(revision);
    for (const auto& [name, id] : ids_) {
      if (id == revision && absl::StartsWith(name, "refs/") &&
          !absl::EndsWith(name, kPeeled)) {
        choice.refs = {name};
        return choice;
      }
    }
    for (const std::string& name : branches_) {
      if (CheckRefName("branch", name).ok()) {
        choice.refs.push_back(kHeads + name);
      }
    }
    for (const std::string& name : tags_) {
      if (CheckRefName("tag", name).ok()) choice.refs.push_back(kTags + name);
    }
    return choice;
  }
  if (!revision.empty()) {
    RETURN_IF_ERROR(CheckRefName("revision", revision));
    const auto tag = ids_.find(absl::StrCat(kTags, revision));
    if (tag == ids_.end()) {
      const bool is_branch = ids_.count(absl::StrCat(kHeads, revision)) > 0;
      return absl::NotFoundError(absl::StrCat(
          "repository ", shown, " has no tag \"", ToDisplayText(revision, 100),
          "\"",
          is_branch ? "; there is a branch of that name: write it as "
                      "spec.branch"
          : tags_.empty()
              ? "; it has no tags at all, and a commit must be given in full"
              : absl::StrCat("; it has ", NameSome(tags_),
                             ", and a commit must be given in full")));
    }
    choice.refs = {tag->first};
    choice.id = tag->second;
    return choice;
  }
  const absl::string_view wanted = branch.empty() ? "master" : branch;
  RETURN_IF_ERROR(CheckRefName("branch", wanted));
  const auto head = ids_.find(absl::StrCat(kHeads, wanted));
  if (head == ids_.end()) {
    return absl::NotFoundError(absl::StrCat(
        "repository ", shown, " has no branch \"", ToDisplayText(wanted, 100),
        "\"",
        branches_.empty() ? "; it has no branches at all"
                          : absl::StrCat("; it has ", NameSome(branches_)),
        branch.empty() ? "; spec.branch is not set, so \"master\" is used"
                       : ""));
  }
  choice.refs = {head->first};
  choice.id = head->second;
  return choice;
}

absl::StatusOr<RemoteRefs::Choice> RemoteRefs::ChooseAny(
    absl::string_view ref, absl::string_view shown) const {
  if (ref.empty() && !empty()) {
    if (knows_default_) return Choose(branches_.front(), "", shown);
    return absl::NotFoundError(absl::StrCat(
        "repository ", shown, " has no default branch; say with ?ref= what is "
        "meant"));
  }
  absl::StatusOr<Choice> choice = Choose("", ref, shown);
  if (!absl::IsNotFound(choice.status())) return choice;
  choice = Choose(ref, "", shown);
  if (!absl::IsNotFound(choice.status())) return choice;
  return absl::NotFoundError(absl::StrCat(
      "repository ", shown, " has neither a tag nor a branch \"",
      ToDisplayText(ref, 100), "\", and a commit must be given in full"));
}

}  // namespace flotilla::manager
