// SPDX-License-Identifier: Apache-2.0
//
// Readers for what fleet.yaml, Bundle and HelmOp have beside their options:
// dependsOn, rolloutStrategy, targets, restrictions, the customization mode
// (spec 1.2, 2.1, 5.1), and for the specification of Bundle and HelmOp.

#ifndef FLOTILLA_MANAGER_DOCUMENTS_BUNDLE_FIELDS_H_
#define FLOTILLA_MANAGER_DOCUMENTS_BUNDLE_FIELDS_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "flotilla/core/v1/core.pb.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "google/protobuf/duration.pb.h"
#include "google/protobuf/repeated_ptr_field.h"
#include "manager/documents/field_reader.h"

namespace flotilla::manager {

// Files of one Bundle document, unpacked.
inline constexpr size_t kMaxBundleFiles = 10000;
inline constexpr uint64_t kMaxBundleBytes = 32 << 20;

// Names of bundle states, for `acceptedStates`.
bool IsBundleState(absl::string_view name);

// `dependsOn`: each entry has a name or a selector, and states that exist.
void ReadDependencies(
    FieldReader& reader,
    google::protobuf::RepeatedPtrField<core::v1::Dependency>& out);

// `rolloutStrategy`, every amount checked (spec 5.2); nullopt when absent.
std::optional<storage::v1::RolloutStrategy> ReadRollout(FieldReader& reader);

// `targetCustomizationMode`: true for AllMatches.
bool ReadAllMatches(FieldReader& reader);

// A list of targets that hold criteria only, named by position where they have
// no name.
void ReadPlainTargets(
    FieldReader& reader, absl::string_view key,
    google::protobuf::RepeatedPtrField<storage::v1::Target>& out);

// A duration (spec 1.0.2) at `key`; false when it is absent, 0 or wrong.
bool ReadDuration(FieldReader& reader, absl::string_view key,
                  google::protobuf::Duration& out);

// A Bundle's specification. `contents` gets the decoded bytes of its files in
// the order of `resources`; digests stay empty.
void ReadBundleSpec(FieldReader& spec, storage::v1::BundleSpec& result,
                    std::vector<std::string>& contents);

// A HelmOp's specification (spec 1.12, 13.2).
void ReadHelmOpSpec(FieldReader& spec, storage::v1::HelmOpSpec& result);

// Undoes the encoding "base64+gz" of a Bundle's resource, at most `max_bytes`.
// Errors: INVALID_ARGUMENT; RESOURCE_EXHAUSTED.
absl::StatusOr<std::string> DecodeContent(absl::string_view content,
                                          uint64_t max_bytes);

// A file's name inside a bundle: relative, no "..", forward slashes. "" when
// it is valid.
std::string FileNameProblem(absl::string_view name);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_DOCUMENTS_BUNDLE_FIELDS_H_
