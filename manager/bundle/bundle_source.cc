// SPDX-License-Identifier: Apache-2.0

#include "manager/bundle/bundle_source.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "manager/store/records.h"

namespace flotilla::manager {
namespace {

using storage::v1::BundleHead;
using storage::v1::Document;

// Kind and name of the document.
std::pair<const char*, std::string> OwnerKind(const BundleHead& head) {
  if (!head.git_repo().empty()) return {kGitRepoKind, head.git_repo()};
  if (!head.helm_op().empty()) return {kHelmOpKind, head.helm_op()};
  return {kBundleKind, head.name()};
}

}  // namespace

bool IsSourceKind(absl::string_view kind) {
  return kind == kGitRepoKind || kind == kBundleKind || kind == kHelmOpKind;
}

std::string SourceKeyOf(const BundleHead& head) {
  const auto [kind, name] = OwnerKind(head);
  return DocumentKey(head.workspace(), kind, name);
}

std::string SubjectOf(const Document& document) {
  return absl::StrCat(document.kind(), " ", document.workspace(), "/",
                      document.name());
}

std::string OwnerOf(const BundleHead& head) {
  const auto [kind, name] = OwnerKind(head);
  return absl::StrCat(kind, " ", head.workspace(), "/", name);
}

bool Owns(const Document& document, const BundleHead& head) {
  const auto [kind, name] = OwnerKind(head);
  return head.workspace() == document.workspace() && document.kind() == kind &&
         document.name() == name;
}

std::string BuildRecordName(const Document& document) {
  return BundleBuildName(document.kind(), document.name());
}

std::string BuildRecordKey(const Document& document) {
  return BundleBuildKey(document.workspace(), BuildRecordName(document));
}

}  // namespace flotilla::manager
