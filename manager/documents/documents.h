// SPDX-License-Identifier: Apache-2.0
//
// Reads the documents that users apply: the kinds of fleet.cattle.io/v1alpha1
// (spec 1), and of v1 Secret with credentials (decisions.md 24), ConfigMap, and
// Namespace for its labels. Every problem is found at once, with file and line.
// No problem's text holds a value of a Secret.

#ifndef FLOTILLA_MANAGER_DOCUMENTS_DOCUMENTS_H_
#define FLOTILLA_MANAGER_DOCUMENTS_DOCUMENTS_H_

#include <set>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "flotilla/core/v1/core.pb.h"
#include "flotilla/storage/v1/storage.pb.h"

namespace flotilla::manager {

inline constexpr char kDefaultWorkspace[] = "fleet-default";
inline constexpr char kLocalWorkspace[] = "fleet-local";

struct ParsedDocument {
  // Workspace, kind, name, labels, annotations and specification; nothing that
  // the registry gives. `spec.secret.sealed` and the digests of
  // `spec.bundle.resources` are empty.
  storage::v1::Document document;
  // Of a Secret: what is to be sealed.
  storage::v1::SecretData secret_data;
  // Of a Bundle: the decoded bytes of `spec.bundle.resources`, in order.
  std::vector<std::string> contents;
  std::string file;
  int line = 0;
};

struct ParsedDocuments {
  std::vector<ParsedDocument> documents;
  // Nothing may be applied when there is one.
  std::vector<core::v1::Problem> errors;
  std::vector<core::v1::Problem> warnings;
};

struct NamedText {
  std::string name;  // For messages.
  std::string text;
};

// Documents of several files in order. The same document twice is an error. A
// List of documents stands for its items. Kinds of Fleet that need no document
// here are passed over with a warning. `keys` gets every key that was asked
// for, as ProblemLog::set_key_record() says.
ParsedDocuments ParseDocuments(const std::vector<NamedText>& files,
                               absl::string_view default_workspace,
                               std::set<std::string>* keys = nullptr);

// "GitRepo" for "gitrepo", "gitrepos", "GitRepo"; "" for a kind that is not
// known.
std::string CanonicalKind(absl::string_view kind);

// apiVersion of a kind that CanonicalKind() gives; "" of others.
std::string ApiVersionOf(absl::string_view kind);

// Kinds that are accepted, for messages: "GitRepo, Cluster, ...".
std::string AcceptedKinds();

// Kinds of Fleet that are passed over.
std::vector<std::string> PassedOverKindNames();

// One line for each problem, "file:line: message", for a status text.
std::string DescribeProblems(const std::vector<core::v1::Problem>& problems);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_DOCUMENTS_DOCUMENTS_H_
