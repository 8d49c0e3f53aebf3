// SPDX-License-Identifier: Apache-2.0

#include "common/kube/discovery_documents.h"

#include <algorithm>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

#include "common/kube/kube_client.h"
#include "common/kube/object.h"

namespace flotilla {
namespace {

using nlohmann::json;

// Iterates over an array; anything else has no items.
const json& ItemsOf(const json& value) {
  static const json* const kEmpty = new json(json::array());
  return value.is_array() ? value : *kEmpty;
}

std::vector<std::string> Texts(const json& list) {
  std::vector<std::string> texts;
  for (const json& item : ItemsOf(list)) {
    if (item.is_string()) texts.push_back(item.get<std::string>());
  }
  return texts;
}

}  // namespace

bool IsAggregatedDiscovery(const json& document) {
  return TextOr(Member(document, "kind")) == "APIGroupDiscoveryList";
}

DiscoveryDocument ReadAggregatedDiscovery(const json& document) {
  DiscoveryDocument result;
  for (const json& group : ItemsOf(Member(document, "items"))) {
    const std::string group_name =
        TextOr(Member(Member(group, "metadata"), "name"));
    for (const json& version : ItemsOf(Member(group, "versions"))) {
      const std::string version_name = TextOr(Member(version, "version"));
      if (version_name.empty()) continue;
      if (TextOr(Member(version, "freshness")) == "Stale") {
        result.stale_groups.push_back(JoinApiVersion(group_name, version_name));
      }
      for (const json& resource : ItemsOf(Member(version, "resources"))) {
        ServedKind kind;
        const json& response = Member(resource, "responseKind");
        // Empty in responseKind: as the list's own.
        kind.group = TextOr(Member(response, "group"));
        if (kind.group.empty()) kind.group = group_name;
        kind.version = TextOr(Member(response, "version"));
        if (kind.version.empty()) kind.version = version_name;
        kind.kind = TextOr(Member(response, "kind"));
        kind.plural = TextOr(Member(resource, "resource"));
        kind.namespaced = TextOr(Member(resource, "scope")) == "Namespaced";
        kind.verbs = Texts(Member(resource, "verbs"));
        for (const json& sub : ItemsOf(Member(resource, "subresources"))) {
          if (TextOr(Member(sub, "subresource")) == "status") {
            kind.has_status = true;
          }
        }
        if (kind.kind.empty() || kind.plural.empty()) continue;
        // A kind of another group here is a verb in disguise, not an object.
        if (kind.group != group_name || kind.version != version_name) continue;
        result.kinds.push_back(std::move(kind));
      }
    }
  }
  return result;
}

std::vector<std::string> ReadGroupVersions(const json& document) {
  // The core group's document.
  std::vector<std::string> versions = Texts(Member(document, "versions"));
  for (const json& group : ItemsOf(Member(document, "groups"))) {
    std::vector<std::string> of_group;
    for (const json& version : ItemsOf(Member(group, "versions"))) {
      std::string text = TextOr(Member(version, "groupVersion"));
      if (!text.empty()) of_group.push_back(std::move(text));
    }
    const std::string preferred =
        TextOr(Member(Member(group, "preferredVersion"), "groupVersion"));
    std::stable_partition(
        of_group.begin(), of_group.end(),
        [&preferred](const std::string& text) { return text == preferred; });
    versions.insert(versions.end(), of_group.begin(), of_group.end());
  }
  return versions;
}

std::vector<ServedKind> ReadResourceList(absl::string_view api_version,
                                         const json& document) {
  std::vector<ServedKind> kinds;
  std::set<std::string> with_status;
  for (const json& resource : ItemsOf(Member(document, "resources"))) {
    const std::string name = TextOr(Member(resource, "name"));
    if (absl::EndsWith(name, "/status")) {
      with_status.insert(name.substr(0, name.find('/')));
    }
  }
  for (const json& resource : ItemsOf(Member(document, "resources"))) {
    ServedKind kind;
    SplitApiVersion(api_version, &kind.group, &kind.version);
    kind.kind = TextOr(Member(resource, "kind"));
    kind.plural = TextOr(Member(resource, "name"));
    kind.namespaced = BoolOr(Member(resource, "namespaced"), false);
    kind.verbs = Texts(Member(resource, "verbs"));
    // With a slash it is a subresource.
    if (kind.kind.empty() || kind.plural.empty() ||
        kind.plural.find('/') != std::string::npos) {
      continue;
    }
    kind.has_status = with_status.count(kind.plural) > 0;
    kinds.push_back(std::move(kind));
  }
  return kinds;
}

}  // namespace flotilla
