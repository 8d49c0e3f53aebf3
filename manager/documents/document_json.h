// SPDX-License-Identifier: Apache-2.0
//
// Documents as Fleet writes them, the way back from ParseDocuments(): what is
// written here reads back as the same document. Keys that hold their default
// are left out. A Secret is its type alone: no value leaves.

#ifndef FLOTILLA_MANAGER_DOCUMENTS_DOCUMENT_JSON_H_
#define FLOTILLA_MANAGER_DOCUMENTS_DOCUMENT_JSON_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "flotilla/core/v1/core.pb.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "google/protobuf/repeated_ptr_field.h"
#include "nlohmann/json.hpp"

namespace flotilla::manager {

// How the files of a bundle are written (spec 3.5).
enum class FileEncoding {
  // As text; base64+gz for what is no UTF-8, and for all files when the bundle
  // has 1,000,000 bytes or more.
  kText,
  // base64+gz for all files.
  kCompressed,
};

// The whole document with apiVersion, kind and metadata, without status.
// `contents` are the bytes of a Bundle's files in the order of its resources;
// when they are not known the files are named alone.
nlohmann::json DocumentToJson(
    const storage::v1::Document& document,
    const std::vector<std::string>* contents = nullptr,
    FileEncoding encoding = FileEncoding::kText);

// The same as one YAML document, ending in a newline.
std::string DocumentToYaml(const storage::v1::Document& document,
                           const std::vector<std::string>* contents = nullptr,
                           FileEncoding encoding = FileEncoding::kText);

// The Bundle document that stands for a bundle as it was built: customizations
// before targets, and each target a restriction too (spec 4.3). Values files
// are left out: they are merged into the values.
storage::v1::Document BundleDocument(
    absl::string_view workspace, absl::string_view name,
    const storage::v1::BundleRevision& revision);

// Parts, without what surrounds them.
nlohmann::json DeployOptionsToJson(const storage::v1::DeployOptions& options);
nlohmann::json LabelSelectorToJson(const core::v1::LabelSelector& selector);
nlohmann::json TargetToJson(const storage::v1::Target& target);
// A map.
nlohmann::json PairsToJson(
    const google::protobuf::RepeatedPtrField<core::v1::LabelPair>& pairs);

// Packs bytes as base64+gz; DecodeContent() is the way back.
std::string EncodeContent(absl::string_view bytes);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_DOCUMENTS_DOCUMENT_JSON_H_
