// SPDX-License-Identifier: Apache-2.0

#include "manager/store/records.h"

#include <initializer_list>
#include <limits>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "common/status/status_macros.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "google/protobuf/message_lite.h"

namespace flotilla::manager {
namespace {

constexpr size_t kMaxPart = 512;
constexpr char kBuildPart[] = "source";
constexpr char kHeadPart[] = "head";
constexpr char kIdentityPart[] = "identity";

bool IsKeyPart(absl::string_view part) {
  if (part.empty() || part.size() > kMaxPart) return false;
  for (const char c : part) {
    const auto u = static_cast<unsigned char>(c);
    if (u < 0x20 || u == 0x7f || c == '/') return false;
  }
  return true;
}

// family + parts joined by '/'.
std::string Build(absl::string_view family,
                  std::initializer_list<absl::string_view> parts) {
  std::string key(family);
  for (const absl::string_view part : parts) {
    if (!IsKeyPart(part)) return kRefusedKey;
    if (key.back() != '/') key.push_back('/');
    key.append(part.data(), part.size());
  }
  return key;
}

std::string BuildPrefix(absl::string_view family,
                        std::initializer_list<absl::string_view> parts) {
  std::string key = Build(family, parts);
  if (key != kRefusedKey && key.back() != '/') key.push_back('/');
  return key;
}

absl::Status NotA(absl::string_view what, absl::string_view key) {
  return absl::InvalidArgumentError(absl::StrCat(
      "\"", absl::CHexEscape(key.substr(0, 200)), "\" is not a key of ", what));
}

// The parts after `family` when there are exactly `count` good ones.
absl::StatusOr<std::vector<std::string>> Split(absl::string_view family,
                                               absl::string_view key,
                                               size_t count) {
  if (!absl::StartsWith(key, family)) return NotA(family, key);
  std::vector<std::string> parts =
      absl::StrSplit(key.substr(family.size()), '/');
  if (parts.size() != count) return NotA(family, key);
  for (const std::string& part : parts) {
    if (!IsKeyPart(part)) return NotA(family, key);
  }
  return parts;
}

}  // namespace

absl::Status ValidateKeyPart(absl::string_view what, absl::string_view part) {
  if (IsKeyPart(part)) return absl::OkStatus();
  if (part.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("the ", what, " is empty"));
  }
  if (part.size() > kMaxPart) {
    return absl::InvalidArgumentError(
        absl::StrCat("the ", what, " has ", part.size(), " bytes; at most ",
                     kMaxPart, " are allowed"));
  }
  return absl::InvalidArgumentError(
      absl::StrCat("the ", what, " \"", absl::CHexEscape(part),
                   "\" holds a '/' or a control character; remove it"));
}

std::string DocumentKey(absl::string_view workspace, absl::string_view kind,
                        absl::string_view name) {
  return Build(kDocumentFamily, {workspace, kind, name});
}
std::string DocumentPrefix(absl::string_view workspace) {
  return BuildPrefix(kDocumentFamily, {workspace});
}
std::string DocumentPrefix(absl::string_view workspace,
                           absl::string_view kind) {
  return BuildPrefix(kDocumentFamily, {workspace, kind});
}
std::string SourceKey(absl::string_view workspace, absl::string_view name) {
  return Build(kSourceFamily, {workspace, name});
}
std::string ChartKey(absl::string_view workspace, absl::string_view name) {
  return Build(kChartFamily, {workspace, name});
}
std::string BundleBuildKey(absl::string_view workspace,
                           absl::string_view name) {
  return Build(kBundleFamily, {kBuildPart, workspace, name});
}
std::string BundleBuildName(absl::string_view kind,
                            absl::string_view document) {
  // No name of a document has a colon.
  if (kind == "GitRepo") return std::string(document);
  return absl::StrCat(kind == "HelmOp" ? "helmop:" : "bundle:", document);
}

std::pair<std::string, std::string> BuiltDocument(absl::string_view name) {
  if (absl::ConsumePrefix(&name, "helmop:")) {
    return {"HelmOp", std::string(name)};
  }
  if (absl::ConsumePrefix(&name, "bundle:")) {
    return {"Bundle", std::string(name)};
  }
  return {"GitRepo", std::string(name)};
}

std::string BundleHeadKey(absl::string_view bundle_id) {
  if (bundle_id == kBuildPart) return kRefusedKey;
  return Build(kBundleFamily, {bundle_id, kHeadPart});
}
std::string BundleRevisionKey(absl::string_view bundle_id,
                              absl::string_view revision) {
  if (bundle_id == kBuildPart || revision == kHeadPart) return kRefusedKey;
  return Build(kBundleFamily, {bundle_id, revision});
}
std::string BundlePrefix(absl::string_view bundle_id) {
  if (bundle_id == kBuildPart) return kRefusedKey;
  return BuildPrefix(kBundleFamily, {bundle_id});
}
std::string ClusterIdentityKey(absl::string_view cluster_id) {
  return Build(kClusterFamily, {cluster_id, kIdentityPart});
}
std::string TokenKey(absl::string_view token_id) {
  return Build(kTokenFamily, {token_id});
}
std::string FactsKey(absl::string_view cluster_id) {
  return Build(kFactsFamily, {cluster_id});
}
std::string SessionKey(absl::string_view cluster_id) {
  return Build(kSessionFamily, {cluster_id});
}
std::string HighWaterKey(absl::string_view cluster_id) {
  return Build(kHighWaterFamily, {cluster_id});
}
std::string ValuesKey(absl::string_view cluster_id,
                      absl::string_view bundle_id) {
  return Build(kValuesFamily, {cluster_id, bundle_id});
}
std::string ValuesPrefix(absl::string_view cluster_id) {
  return BuildPrefix(kValuesFamily, {cluster_id});
}
std::string DesiredKey(absl::string_view cluster_id,
                       absl::string_view bundle_id) {
  return Build(kDesiredFamily, {cluster_id, bundle_id});
}
std::string DesiredPrefix(absl::string_view cluster_id) {
  return BuildPrefix(kDesiredFamily, {cluster_id});
}
std::string RenderedKey(absl::string_view cluster_id,
                        absl::string_view bundle_id) {
  return Build(kRenderedFamily, {cluster_id, bundle_id});
}
std::string RenderedPrefix(absl::string_view cluster_id) {
  return BuildPrefix(kRenderedFamily, {cluster_id});
}
std::string RenderCacheKey(absl::string_view inputs, absl::string_view others) {
  return Build(kRenderCacheFamily, {inputs, others});
}
std::string ReleasedKey(absl::string_view cluster_id,
                        absl::string_view bundle_id) {
  return Build(kReleasedFamily, {cluster_id, bundle_id});
}
std::string ReleasedPrefix(absl::string_view cluster_id) {
  return BuildPrefix(kReleasedFamily, {cluster_id});
}
std::string ObservedKey(absl::string_view cluster_id,
                        absl::string_view bundle_id) {
  return Build(kObservedFamily, {cluster_id, bundle_id});
}
std::string ObservedPrefix(absl::string_view cluster_id) {
  return BuildPrefix(kObservedFamily, {cluster_id});
}

absl::StatusOr<DocumentName> ParseDocumentKey(absl::string_view key) {
  ASSIGN_OR_RETURN(const std::vector<std::string> parts,
                   Split(kDocumentFamily, key, 3));
  return DocumentName{parts[0], parts[1], parts[2]};
}

absl::StatusOr<SourceName> ParseSourceKey(absl::string_view key) {
  ASSIGN_OR_RETURN(const std::vector<std::string> parts,
                   Split(kSourceFamily, key, 2));
  return SourceName{parts[0], parts[1]};
}

absl::StatusOr<SourceName> ParseChartKey(absl::string_view key) {
  ASSIGN_OR_RETURN(const std::vector<std::string> parts,
                   Split(kChartFamily, key, 2));
  return SourceName{parts[0], parts[1]};
}

absl::StatusOr<SourceName> ParseBundleBuildKey(absl::string_view key) {
  ASSIGN_OR_RETURN(const std::vector<std::string> parts,
                   Split(kBundleFamily, key, 3));
  if (parts[0] != kBuildPart) return NotA("a bundle build", key);
  return SourceName{parts[1], parts[2]};
}

absl::StatusOr<BundleRecord> ClassifyBundleKey(absl::string_view key) {
  if (ParseBundleBuildKey(key).ok()) return BundleRecord::kBuild;
  if (ParseBundleHeadKey(key).ok()) return BundleRecord::kHead;
  RETURN_IF_ERROR(ParseBundleRevisionKey(key).status());
  return BundleRecord::kRevision;
}

absl::StatusOr<std::string> ParseBundleHeadKey(absl::string_view key) {
  ASSIGN_OR_RETURN(const std::vector<std::string> parts,
                   Split(kBundleFamily, key, 2));
  if (parts[0] == kBuildPart || parts[1] != kHeadPart) {
    return NotA("a bundle's head", key);
  }
  return parts[0];
}

absl::StatusOr<BundleRevisionName> ParseBundleRevisionKey(
    absl::string_view key) {
  ASSIGN_OR_RETURN(const std::vector<std::string> parts,
                   Split(kBundleFamily, key, 2));
  if (parts[0] == kBuildPart || parts[1] == kHeadPart) {
    return NotA("a bundle's revision", key);
  }
  return BundleRevisionName{parts[0], parts[1]};
}

absl::StatusOr<ClusterBundle> ParseClusterBundleKey(absl::string_view family,
                                                    absl::string_view key) {
  ASSIGN_OR_RETURN(const std::vector<std::string> parts,
                   Split(family, key, 2));
  return ClusterBundle{parts[0], parts[1]};
}

absl::StatusOr<std::string> ParseIdKey(absl::string_view family,
                                       absl::string_view key) {
  if (family == kClusterFamily) {
    ASSIGN_OR_RETURN(const std::vector<std::string> parts,
                     Split(family, key, 2));
    if (parts[1] != kIdentityPart) return NotA("a cluster's identity", key);
    return parts[0];
  }
  ASSIGN_OR_RETURN(const std::vector<std::string> parts,
                   Split(family, key, 1));
  return parts[0];
}

std::string SerializeRecord(const google::protobuf::MessageLite& record) {
  std::string out;
  {
    google::protobuf::io::StringOutputStream stream(&out);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    record.SerializeToCodedStream(&coded);
  }
  return out;
}

absl::Status ParseRecordInto(absl::string_view key, absl::string_view value,
                             google::protobuf::MessageLite& record) {
  if (value.size() <= std::numeric_limits<int>::max() &&
      record.ParseFromArray(value.data(), static_cast<int>(value.size()))) {
    return absl::OkStatus();
  }
  return absl::DataLossError(
      absl::StrCat("record ", absl::CHexEscape(key.substr(0, 200)),
                   " of the store is damaged: it is not a ",
                   record.GetTypeName()));
}

}  // namespace flotilla::manager
