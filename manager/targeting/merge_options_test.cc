// SPDX-License-Identifier: Apache-2.0

#include "manager/targeting/merge_options.h"

#include <string>

#include "flotilla/storage/v1/storage.pb.h"
#include "google/protobuf/text_format.h"
#include "google/protobuf/util/message_differencer.h"
#include "gtest/gtest.h"

namespace flotilla::manager {
namespace {

using google::protobuf::util::MessageDifferencer;
using storage::v1::DeployOptions;

DeployOptions Options(const std::string& text) {
  DeployOptions options;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &options))
      << text;
  return options;
}

// One row for each row of the table in spec 4.4, and for each of its rules.
struct Row {
  const char* option;
  const char* base;
  const char* custom;
  const char* wanted;
};

constexpr Row kRows[] = {
    {"a name that custom sets wins",
     "default_namespace: 'a' namespace: 'b' service_account: 'c'",
     "default_namespace: 'x' namespace: 'y' service_account: 'z'",
     "default_namespace: 'x' namespace: 'y' service_account: 'z'"},
    {"an empty name does not",
     "default_namespace: 'a' namespace: 'b' service_account: 'c'", "",
     "default_namespace: 'a' namespace: 'b' service_account: 'c'"},
    {"timeout above 0 wins", "helm { timeout_seconds: 5 }",
     "helm { timeout_seconds: 9 }", "helm { timeout_seconds: 9 }"},
    {"timeout 0 keeps", "helm { timeout_seconds: 5 }", "helm { }",
     "helm { timeout_seconds: 5 }"},
    {"timeout below 0 resets", "helm { timeout_seconds: 5 }",
     "helm { timeout_seconds: -1 }", "helm { }"},
    {"values are merged deeply, lists replaced",
     "helm { values_json: '{\"a\":{\"b\":1,\"c\":[1,2]}}' }",
     "helm { values_json: '{\"a\":{\"c\":[3]},\"d\":4}' }",
     "helm { values_json: '{\"a\":{\"b\":1,\"c\":[3]},\"d\":4}' }"},
    {"templateValues key by key",
     "helm { template_values { key: 'a' value: '1' } "
     "       template_values { key: 'b' value: '2' } }",
     "helm { template_values { key: 'b' value: '3' } "
     "       template_values { key: 'aa' value: '4' } }",
     "helm { template_values { key: 'a' value: '1' } "
     "       template_values { key: 'aa' value: '4' } "
     "       template_values { key: 'b' value: '3' } }"},
    {"valuesFrom by identity, in place, others behind",
     "helm { values_from { kind: KIND_SECRET name: 's' key: 'k' } "
     "       values_from { kind: KIND_CONFIG_MAP name: 'c' } }",
     "helm { values_from { kind: KIND_CONFIG_MAP name: 's' key: 'k' } "
     "       values_from { kind: KIND_SECRET name: 's' key: 'k' } }",
     "helm { values_from { kind: KIND_SECRET name: 's' key: 'k' } "
     "       values_from { kind: KIND_CONFIG_MAP name: 'c' } "
     "       values_from { kind: KIND_CONFIG_MAP name: 's' key: 'k' } }"},
    {"the chart's names",
     "helm { chart: 'c' repo: 'r' version: '1' release_name: 'n' }",
     "helm { version: '2' release_name: 'm' }",
     "helm { chart: 'c' repo: 'r' version: '2' release_name: 'm' }"},
    {"switches are switched on",
     "helm { force: true atomic: true wait_for_jobs: true }",
     "helm { take_ownership: true disable_pre_process: true "
     "       disable_dns: true }",
     "helm { force: true atomic: true wait_for_jobs: true "
     "       take_ownership: true disable_pre_process: true "
     "       disable_dns: true }"},
    {"kustomize.dir", "kustomize_dir: 'a'", "kustomize_dir: 'b'",
     "kustomize_dir: 'b'"},
    {"comparePatches by identity",
     "compare_patches { api_version: 'v1' kind: 'A' json_pointers: '/x' }",
     "compare_patches { api_version: 'v1' kind: 'A' json_pointers: '/y' } "
     "compare_patches { api_version: 'v1' kind: 'A' name: 'n' }",
     "compare_patches { api_version: 'v1' kind: 'A' json_pointers: '/y' } "
     "compare_patches { api_version: 'v1' kind: 'A' name: 'n' }"},
    {"health rules by kind",
     "health_rules { group: 'g' kind: 'A' script: '1' }",
     "health_rules { group: 'g' kind: 'A' script: '2' } "
     "health_rules { kind: 'A' script: '3' }",
     "health_rules { group: 'g' kind: 'A' script: '2' } "
     "health_rules { kind: 'A' script: '3' }"},
    {"overlays are appended", "yaml_overlays: 'a' yaml_overlays: 'b'",
     "yaml_overlays: 'a'",
     "yaml_overlays: 'a' yaml_overlays: 'b' yaml_overlays: 'a'"},
    {"forceSyncGeneration above 0 wins", "force_sync_generation: 5",
     "force_sync_generation: 3", "force_sync_generation: 3"},
    {"forceSyncGeneration 0 keeps", "force_sync_generation: 5", "",
     "force_sync_generation: 5"},
    {"keepResources is switched on", "", "keep_resources: true",
     "keep_resources: true"},
    {"correctDrift is replaced as a whole",
     "correct_drift: TRI_STATE_TRUE correct_drift_force: true",
     "correct_drift: TRI_STATE_FALSE", "correct_drift: TRI_STATE_FALSE"},
    {"an absent correctDrift keeps",
     "correct_drift: TRI_STATE_TRUE correct_drift_force: true", "",
     "correct_drift: TRI_STATE_TRUE correct_drift_force: true"},
    {"downstreamResources by kind in lower case and name",
     "downstream_resources { kind: 'Secret' name: 'a' }",
     "downstream_resources { kind: 'secret' name: 'a' } "
     "downstream_resources { kind: 'ConfigMap' name: 'a' }",
     "downstream_resources { kind: 'secret' name: 'a' } "
     "downstream_resources { kind: 'ConfigMap' name: 'a' }"},
    {"what is never merged",
     "helm { max_history: 1 } "
     "ignore_conditions { fields { key: 'type' value: 'A' } }",
     "helm { max_history: 5 skip_schema_validation: true "
     "       disable_dependency_update: true } "
     "delete_namespace: true delete_crd_resources: true "
     "create_namespace: TRI_STATE_FALSE "
     "ignore_conditions { fields { key: 'type' value: 'B' } }",
     "helm { max_history: 1 } "
     "ignore_conditions { fields { key: 'type' value: 'A' } }"},
    {"namespace labels and annotations key by key, better than Fleet",
     "namespace_labels { key: 'a' value: '1' } "
     "namespace_labels { key: 'b' value: '1' }",
     "namespace_labels { key: 'b' value: '2' } "
     "namespace_annotations { key: 'c' value: '3' }",
     "namespace_labels { key: 'a' value: '1' } "
     "namespace_labels { key: 'b' value: '2' } "
     "namespace_annotations { key: 'c' value: '3' }"},
    {"a root without helm", "", "helm { chart: 'c' }", "helm { chart: 'c' }"},
};

TEST(MergeOptions, FollowsTheTable) {
  for (const Row& row : kRows) {
    const DeployOptions merged =
        MergeOptions(Options(row.base), Options(row.custom));
    EXPECT_TRUE(MessageDifferencer::Equals(merged, Options(row.wanted)))
        << row.option << ":\n"
        << merged.DebugString();
  }
}

}  // namespace
}  // namespace flotilla::manager
