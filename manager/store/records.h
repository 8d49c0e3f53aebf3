// SPDX-License-Identifier: Apache-2.0
//
// Keys and values of the store's families (decisions.md 16; storage.proto says
// what each holds and who writes it). A key is "/family/part/part"; a part is
// not empty, has at most 512 bytes, no '/' and no control character.
//
// Builders never fail: a part that may not be in a key makes kRefusedKey,
// which no key begins with and which every engine refuses to write. Names that
// users choose are checked at the door with ValidateKeyPart().

#ifndef FLOTILLA_MANAGER_STORE_RECORDS_H_
#define FLOTILLA_MANAGER_STORE_RECORDS_H_

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/message_lite.h"

namespace flotilla::manager {

// Of the values' form. A store with a newer one is refused (decisions.md 21).
// 1: values in the clear. 2: values sealed.
inline constexpr int kSchemaVersion = 2;

// What the builders return for a part that is refused. A Range over it finds
// nothing.
inline constexpr char kRefusedKey[] = "refused";

// Prefixes of whole families, as a FamilyWriter and a watch take them.
inline constexpr char kDocumentFamily[] = "/document/";
inline constexpr char kSourceFamily[] = "/source/";
inline constexpr char kChartFamily[] = "/chart/";
inline constexpr char kBundleFamily[] = "/bundle/";
inline constexpr char kClusterFamily[] = "/cluster/";
inline constexpr char kTokenFamily[] = "/token/";
inline constexpr char kFactsFamily[] = "/facts/";
inline constexpr char kValuesFamily[] = "/values/";
inline constexpr char kSessionFamily[] = "/session/";
inline constexpr char kHighWaterFamily[] = "/highwater/";
inline constexpr char kDesiredFamily[] = "/desired/";
inline constexpr char kRenderedFamily[] = "/rendered/";
inline constexpr char kRenderCacheFamily[] = "/rendercache/";
inline constexpr char kReleasedFamily[] = "/released/";
inline constexpr char kObservedFamily[] = "/observed/";
inline constexpr char kApprovalFamily[] = "/approval/";
inline constexpr char kAuditFamily[] = "/audit/";

// INVALID_ARGUMENT with a sentence when `part` may not be in a key. `what` is
// what the user knows it as, such as "name of the GitRepo".
absl::Status ValidateKeyPart(absl::string_view what, absl::string_view part);

// Document.
std::string DocumentKey(absl::string_view workspace, absl::string_view kind,
                        absl::string_view name);
// All documents of a workspace, or of one kind in it.
std::string DocumentPrefix(absl::string_view workspace);
std::string DocumentPrefix(absl::string_view workspace,
                           absl::string_view kind);
// Source.
std::string SourceKey(absl::string_view workspace, absl::string_view name);
// ChartSource.
std::string ChartKey(absl::string_view workspace, absl::string_view name);
// BundleBuild.
std::string BundleBuildKey(absl::string_view workspace,
                           absl::string_view name);
// `name` of the BundleBuild of a document: GitRepo, HelmOp or Bundle, which
// may share one name.
std::string BundleBuildName(absl::string_view kind,
                            absl::string_view document);
// Kind and name of that document.
std::pair<std::string, std::string> BuiltDocument(absl::string_view name);
// BundleHead.
std::string BundleHeadKey(absl::string_view bundle_id);
// BundleRevision.
std::string BundleRevisionKey(absl::string_view bundle_id,
                              absl::string_view revision);
// Head and revisions of one bundle.
std::string BundlePrefix(absl::string_view bundle_id);
// ClusterIdentity.
std::string ClusterIdentityKey(absl::string_view cluster_id);
// JoinToken.
std::string TokenKey(absl::string_view token_id);
// Facts, SessionRecord, HighWater.
std::string FactsKey(absl::string_view cluster_id);
std::string SessionKey(absl::string_view cluster_id);
std::string HighWaterKey(absl::string_view cluster_id);
// ClusterValues.
std::string ValuesKey(absl::string_view cluster_id,
                      absl::string_view bundle_id);
std::string ValuesPrefix(absl::string_view cluster_id);
// Desired, Rendered, Released, Observed; the prefixes are all of a cluster.
std::string DesiredKey(absl::string_view cluster_id,
                       absl::string_view bundle_id);
std::string DesiredPrefix(absl::string_view cluster_id);
std::string RenderedKey(absl::string_view cluster_id,
                        absl::string_view bundle_id);
std::string RenderedPrefix(absl::string_view cluster_id);
// CachedRender. Parts are digests in hex.
std::string RenderCacheKey(absl::string_view inputs, absl::string_view others);
std::string ReleasedKey(absl::string_view cluster_id,
                        absl::string_view bundle_id);
std::string ReleasedPrefix(absl::string_view cluster_id);
std::string ObservedKey(absl::string_view cluster_id,
                        absl::string_view bundle_id);
std::string ObservedPrefix(absl::string_view cluster_id);

// The parts of keys. INVALID_ARGUMENT when a key is not of that shape.
struct DocumentName {
  std::string workspace;
  std::string kind;
  std::string name;
};
absl::StatusOr<DocumentName> ParseDocumentKey(absl::string_view key);

struct SourceName {
  std::string workspace;
  std::string name;
};
// Keys of Source, of ChartSource and of BundleBuild.
absl::StatusOr<SourceName> ParseSourceKey(absl::string_view key);
absl::StatusOr<SourceName> ParseChartKey(absl::string_view key);
absl::StatusOr<SourceName> ParseBundleBuildKey(absl::string_view key);

// What lies under /bundle/.
enum class BundleRecord { kBuild, kHead, kRevision };
// INVALID_ARGUMENT when it is none of them.
absl::StatusOr<BundleRecord> ClassifyBundleKey(absl::string_view key);

struct BundleRevisionName {
  std::string bundle_id;
  std::string revision;
};
absl::StatusOr<std::string> ParseBundleHeadKey(absl::string_view key);
absl::StatusOr<BundleRevisionName> ParseBundleRevisionKey(
    absl::string_view key);

struct ClusterBundle {
  std::string cluster_id;
  std::string bundle_id;
};
// `family` is kDesiredFamily, kRenderedFamily, kReleasedFamily,
// kObservedFamily or kValuesFamily.
absl::StatusOr<ClusterBundle> ParseClusterBundleKey(absl::string_view family,
                                                    absl::string_view key);
// The id in keys of kFactsFamily, kSessionFamily, kHighWaterFamily,
// kTokenFamily, and in /cluster/<id>/identity.
absl::StatusOr<std::string> ParseIdKey(absl::string_view family,
                                       absl::string_view key);

// The bytes of a record; the same for equal records.
std::string SerializeRecord(const google::protobuf::MessageLite& record);

// DATA_LOSS, naming the key, when `value` is not such a record.
absl::Status ParseRecordInto(absl::string_view key, absl::string_view value,
                             google::protobuf::MessageLite& record);
template <typename T>
absl::StatusOr<T> ParseRecord(absl::string_view key, absl::string_view value) {
  T record;
  absl::Status parsed = ParseRecordInto(key, value, record);
  if (!parsed.ok()) return parsed;
  return record;
}

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_STORE_RECORDS_H_
