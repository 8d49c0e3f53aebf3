// SPDX-License-Identifier: Apache-2.0

#include "manager/render/manifest_hooks.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"

#include "manager/render/manifest_object.h"

namespace flotilla::manager {
namespace {

using core::v1::Hook;
using core::v1::ManifestEntry;
using core::v1::ResourceKey;
using nlohmann::json;

constexpr char kHook[] = "helm.sh/hook";
constexpr char kWeight[] = "helm.sh/hook-weight";
constexpr char kDeletePolicy[] = "helm.sh/hook-delete-policy";
constexpr const char* kDependsOn[] = {"config.kubernetes.io/depends-on",
                                      "flotilla.dev/depends-on"};
constexpr size_t kMaxDependencies = 50;

// Helm's order of installing kinds; others come after them.
constexpr const char* kKinds[] = {
    "PriorityClass",
    "Namespace",
    "NetworkPolicy",
    "ResourceQuota",
    "LimitRange",
    "PodSecurityPolicy",
    "PodDisruptionBudget",
    "ServiceAccount",
    "Secret",
    "ConfigMap",
    "StorageClass",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "CustomResourceDefinition",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
    "Service",
    "DaemonSet",
    "Pod",
    "ReplicationController",
    "ReplicaSet",
    "Deployment",
    "HorizontalPodAutoscaler",
    "StatefulSet",
    "Job",
    "CronJob",
    "IngressClass",
    "Ingress",
    "APIService",
    "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration",
};

// Events that run; of others Helm knows that nothing is to be run here.
struct EventName {
  const char* name;
  Hook::Event event;
};
constexpr EventName kEvents[] = {
    {"pre-install", Hook::EVENT_PRE_INSTALL},
    {"post-install", Hook::EVENT_POST_INSTALL},
    {"pre-upgrade", Hook::EVENT_PRE_UPGRADE},
    {"post-upgrade", Hook::EVENT_POST_UPGRADE},
    {"pre-delete", Hook::EVENT_PRE_DELETE},
    {"post-delete", Hook::EVENT_POST_DELETE},
    {"pre-rollback", Hook::EVENT_UNSPECIFIED},
    {"post-rollback", Hook::EVENT_UNSPECIFIED},
    {"test", Hook::EVENT_UNSPECIFIED},
    {"test-success", Hook::EVENT_UNSPECIFIED},
};

std::vector<std::string> Words(const std::string& text) {
  std::vector<std::string> words;
  for (absl::string_view word : absl::StrSplit(text, ',')) {
    words.push_back(absl::AsciiStrToLower(absl::StripAsciiWhitespace(word)));
  }
  return words;
}

ptrdiff_t KindOrder(const std::string& kind) {
  return std::find(std::begin(kKinds), std::end(kKinds), kind) -
         std::begin(kKinds);
}

using Place = std::tuple<std::string, std::string, std::string, std::string>;

Place PlaceOf(const ResourceKey& key) {
  return {key.group(), key.kind(), key.namespace_(), key.name()};
}

std::string Words(const ResourceKey& key) {
  return absl::StrCat(key.kind(), " ", key.namespace_(),
                      key.namespace_().empty() ? "" : "/", key.name());
}

// False: it has another form.
bool ReadReference(absl::string_view text, ResourceKey* key) {
  const std::vector<std::string> parts =
      absl::StrSplit(absl::StripAsciiWhitespace(text), '/');
  if (parts.size() == 5 && parts[1] == "namespaces" && !parts[2].empty()) {
    key->set_namespace_(parts[2]);
  } else if (parts.size() != 3) {
    return false;
  }
  key->set_group(parts[0]);
  key->set_kind(parts[parts.size() - 2]);
  key->set_name(parts.back());
  return !key->kind().empty() && !key->name().empty();
}

}  // namespace

HookReading ReadHook(const json& object) {
  HookReading reading;
  const std::string text = AnnotationOf(object, kHook);
  if (text.empty()) return reading;
  reading.is_hook = true;
  std::set<Hook::Event> events;
  for (const std::string& word : Words(text)) {
    const auto* known = std::find_if(
        std::begin(kEvents), std::end(kEvents),
        [&](const EventName& event) { return word == event.name; });
    if (known == std::end(kEvents)) {
      reading.warning = absl::StrCat(
          "the object has the annotation ", kHook, ": ", text,
          ", which Helm does not know: it is left out, as Helm does");
      return reading;
    }
    if (known->event != Hook::EVENT_UNSPECIFIED) events.insert(known->event);
  }
  for (const Hook::Event event : events) reading.hook.add_events(event);
  int32_t weight = 0;
  if (absl::SimpleAtoi(AnnotationOf(object, kWeight), &weight)) {
    reading.hook.set_weight(weight);
  }
  const std::string policies = AnnotationOf(object, kDeletePolicy);
  if (policies.empty()) {
    reading.hook.set_delete_before(true);
    return reading;
  }
  for (const std::string& word : Words(policies)) {
    if (word == "before-hook-creation") {
      reading.hook.set_delete_before(true);
    } else if (word == "hook-succeeded") {
      reading.hook.set_delete_succeeded(true);
    } else if (word == "hook-failed") {
      reading.hook.set_delete_failed(true);
    } else {
      reading.warning = absl::StrCat(
          kDeletePolicy, " names \"", word,
          "\"; known are before-hook-creation, hook-succeeded and hook-failed");
    }
  }
  return reading;
}

void SortHooks(std::vector<ManifestEntry>* hooks) {
  const auto place = [](const ManifestEntry& hook) {
    return std::make_tuple(hook.hook().weight(), hook.key().name(),
                           KindOrder(hook.key().kind()), hook.key().kind(),
                           hook.key().namespace_());
  };
  std::stable_sort(hooks->begin(), hooks->end(),
                   [&](const ManifestEntry& a, const ManifestEntry& b) {
                     return place(a) < place(b);
                   });
}

DependsOnReading ReadDependsOn(const json& object) {
  DependsOnReading reading;
  for (const char* annotation : kDependsOn) {
    const std::string text = AnnotationOf(object, annotation);
    if (text.empty()) continue;
    for (absl::string_view part : absl::StrSplit(text, ',')) {
      ResourceKey key;
      if (!ReadReference(part, &key)) {
        reading.problem = absl::StrCat(
            "the annotation ", annotation, " says \"", part,
            "\": write group/kind/name, or group/namespaces/namespace/kind/"
            "name, with commas between several");
        return reading;
      }
      if (reading.keys.size() == kMaxDependencies) {
        reading.problem =
            absl::StrCat("the annotation ", annotation, " names more than ",
                         kMaxDependencies, " objects");
        return reading;
      }
      reading.keys.push_back(std::move(key));
    }
  }
  return reading;
}

std::vector<DependencyProblem> CheckDependsOn(
    const std::vector<const ManifestEntry*>& entries) {
  std::vector<DependencyProblem> problems;
  std::map<Place, const ManifestEntry*> known;
  for (const ManifestEntry* entry : entries)
    known[PlaceOf(entry->key())] = entry;
  // What has no unfinished dependency is taken out, again and again; what is
  // left then is in a circle or depends on one.
  std::map<const ManifestEntry*, size_t> open;
  std::map<const ManifestEntry*, std::vector<const ManifestEntry*>> waiting;
  std::vector<const ManifestEntry*> free;
  for (const ManifestEntry* entry : entries) {
    size_t count = 0;
    for (const ResourceKey& key : entry->depends_on()) {
      const auto other = known.find(PlaceOf(key));
      if (other == known.end()) {
        problems.push_back(
            {entry, absl::StrCat("depends on ", Words(key),
                                 ", which is not in this bundle; for another "
                                 "bundle, use dependsOn in fleet.yaml")});
        break;
      }
      ++count;
      waiting[other->second].push_back(entry);
    }
    if (count == 0) free.push_back(entry);
    if (count > 0) open[entry] = count;
  }
  if (!problems.empty()) return problems;
  while (!free.empty()) {
    const ManifestEntry* entry = free.back();
    free.pop_back();
    for (const ManifestEntry* other : waiting[entry]) {
      if (--open[other] > 0) continue;
      open.erase(other);
      free.push_back(other);
    }
  }
  if (open.empty()) return problems;
  // Along what is left one comes back to where one was.
  std::vector<const ManifestEntry*> path;
  const ManifestEntry* at = open.begin()->first;
  while (std::find(path.begin(), path.end(), at) == path.end()) {
    path.push_back(at);
    for (const ResourceKey& key : at->depends_on()) {
      const ManifestEntry* next = known.at(PlaceOf(key));
      if (open.count(next) == 0) continue;
      at = next;
      break;
    }
  }
  std::string circle;
  for (auto it = std::find(path.begin(), path.end(), at); it != path.end();
       ++it) {
    absl::StrAppend(&circle, Words((*it)->key()), " -> ");
  }
  problems.push_back(
      {at, absl::StrCat("depends on itself: ", circle, Words(at->key()))});
  return problems;
}

}  // namespace flotilla::manager
