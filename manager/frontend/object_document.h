// SPDX-License-Identifier: Apache-2.0
//
// Objects of the management cluster as documents: the text that the parser of
// `flotilla apply` reads, the Secrets and ConfigMaps that a document names, and
// the object that shows a document.

#ifndef FLOTILLA_MANAGER_FRONTEND_OBJECT_DOCUMENT_H_
#define FLOTILLA_MANAGER_FRONTEND_OBJECT_DOCUMENT_H_

#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "manager/documents/document_registry.h"
#include "manager/documents/documents.h"
#include "nlohmann/json.hpp"

namespace flotilla::manager {

inline constexpr char kFleetGroup[] = "fleet.cattle.io";
inline constexpr char kFleetVersion[] = "v1alpha1";
inline constexpr char kFleetSystemNamespace[] = "cattle-fleet-system";

// What a user wrote of an object, as canonical JSON: without status and what
// the API server or kubectl keep in metadata. `kind` stands in for that of a
// metadata-only answer.
absl::StatusOr<std::string> DocumentTextOf(absl::string_view kind,
                                           const nlohmann::json& object);

// Reads such a text. INVALID_ARGUMENT with all problems in one line each.
absl::StatusOr<ParsedDocument> ReadObjectDocument(const DocumentId& id,
                                                  const std::string& text);

// Kind, namespace, name of a Secret or ConfigMap.
using NamedObject = std::tuple<std::string, std::string, std::string>;

// What the document needs and names, credentials by their default names
// included.
std::set<NamedObject> ObjectsNamedBy(const storage::v1::Document& document);

// Whether a document that was made here is shown in the management cluster:
// Clusters, and ClusterGroup "default" of fleet-local.
bool IsExported(const storage::v1::Document& document);

// The object that shows it.
nlohmann::json ObjectOf(const storage::v1::Document& document);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_FRONTEND_OBJECT_DOCUMENT_H_
