// SPDX-License-Identifier: Apache-2.0

#include "agent/apply/leftovers.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/kube/kube_error.h"
#include "common/kube/object.h"
#include "nlohmann/json.hpp"

namespace flotilla::agent {
namespace {

using core::v1::ResourceKey;
using nlohmann::json;

constexpr size_t kNamed = 5;

// Comes and goes by itself.
bool IsByTheWay(const std::string& kind) {
  return kind == "Event" || kind == "Endpoints" || kind == "EndpointSlice" ||
         kind == "Lease";
}

bool Counts(const std::string& kind, const KubeObject& object) {
  const std::string& name = object.head.name;
  if (object.head.deleting || IsByTheWay(kind)) return false;
  if (kind == "ConfigMap" && name == "kube-root-ca.crt") return false;
  if (kind == "ServiceAccount" && name == "default") return false;
  const absl::StatusOr<json> parsed = ParseKubeJson(object.json);
  if (!parsed.ok()) return true;
  const json& metadata = Member(*parsed, "metadata");
  const json& owners = Member(metadata, "ownerReferences");
  if (owners.is_array() && !owners.empty()) return false;
  const json& account = Member(Member(metadata, "annotations"),
                               "kubernetes.io/service-account.name");
  return kind != "Secret" || account.is_null();
}

// Looks through kind after kind.
//
// Loop-affine.
struct Search {
  Search(KubeClient& the_client, std::string the_ns, LeftoversDone the_done)
      : client(the_client),
        ns(std::move(the_ns)),
        done(std::move(the_done)) {}

  KubeClient& client;
  std::string ns;
  LeftoversDone done;
  std::vector<KindName> kinds;
  size_t next = 0;
  // A kind that is not served is no proof that there are no objects of it.
  bool must_be_served = false;
  std::vector<std::string> names;
  size_t count = 0;
};

void Go(const std::shared_ptr<Search>& search) {
  if (search->next == search->kinds.size()) {
    std::string text = absl::StrJoin(search->names, ", ");
    if (search->count > search->names.size()) {
      absl::StrAppend(&text, " and ", search->count - search->names.size(),
                      " more");
    }
    search->done(std::move(text));
    return;
  }
  const KindName kind = search->kinds[search->next++];
  ListRequest request;
  request.kind = kind;
  request.ns = search->ns;
  search->client.List(
      std::move(request), [search, kind](absl::StatusOr<ListResult> found) {
        const bool missing =
            !found.ok() &&
            (absl::IsNotFound(found.status()) ||
             MissingWhat(found.status()) != KubeError::Missing::kNothing);
        if (missing && search->must_be_served) {
          search->done(absl::FailedPreconditionError(absl::StrCat(
              "the API server does not serve ", kind.kind,
              ", so its objects cannot be seen, and they would go with it: "
              "serve a version of it, or delete it yourself")));
          return;
        }
        // A kind that is gone meanwhile has no objects.
        if (!found.ok() && !missing) {
          search->done(absl::Status(
              found.status().code(),
              absl::StrCat("cannot see whether there is still a ", kind.kind,
                           ": ", found.status().message())));
          return;
        }
        if (found.ok()) {
          for (const KubeObject& object : found->items) {
            if (!Counts(kind.kind, object)) continue;
            ++search->count;
            if (search->names.size() == kNamed) continue;
            ResourceKey key;
            key.set_group(kind.group);
            key.set_kind(kind.kind);
            key.set_namespace_(object.head.ns);
            key.set_name(object.head.name);
            search->names.push_back(KeyText(key));
          }
        }
        Go(search);
      });
}

void SearchNamespace(KubeClient& client, const std::string& ns,
                     LeftoversDone done) {
  client.Discover([&client, ns, done = std::move(done)](
                      absl::StatusOr<std::shared_ptr<const Discovery>>
                          served) mutable {
    if (!served.ok()) {
      done(served.status());
      return;
    }
    if (!(*served)->stale_groups().empty()) {
      done(absl::UnavailableError(absl::StrCat(
          "cannot see what is in it: the API server does not answer for ",
          absl::StrJoin((*served)->stale_groups(), ", "))));
      return;
    }
    auto search = std::make_shared<Search>(client, ns, std::move(done));
    std::vector<std::string> seen;
    for (const ServedKind& kind : (*served)->kinds()) {
      if (!kind.namespaced || !kind.HasVerb("list") ||
          !kind.HasVerb("delete")) {
        continue;
      }
      // One version of each kind, and of two groups with the same objects one.
      const std::string name = absl::StrCat(kind.group, "/", kind.kind);
      if (IsByTheWay(kind.kind) ||
          std::find(seen.begin(), seen.end(), name) != seen.end()) {
        continue;
      }
      seen.push_back(name);
      search->kinds.push_back({kind.group, kind.version, kind.kind});
    }
    Go(search);
  });
}

void SearchKind(KubeClient& client, const ResourceKey& key,
                LeftoversDone done) {
  client.Get(key, GetOptions(),
             [&client, done = std::move(done)](
                 absl::StatusOr<KubeObject> crd) mutable {
               if (!crd.ok()) {
                 done(crd.status());
                 return;
               }
               const absl::StatusOr<json> parsed = ParseKubeJson(crd->json);
               if (!parsed.ok()) {
                 done(parsed.status());
                 return;
               }
               const json& spec = Member(*parsed, "spec");
               KindName kind;
               kind.group = TextOr(Member(spec, "group"));
               kind.kind = TextOr(Member(Member(spec, "names"), "kind"));
               auto search =
                   std::make_shared<Search>(client, "", std::move(done));
               search->must_be_served = true;
               search->kinds.push_back(std::move(kind));
               // What it brings must be known to be looked for.
               client.Discover(
                   [search](absl::StatusOr<std::shared_ptr<const Discovery>>
                                served) {
                     if (served.ok()) {
                       Go(search);
                     } else {
                       search->done(served.status());
                     }
                   });
             });
}

}  // namespace

void FindLeftovers(KubeClient& client, const ResourceKey& key,
                   LeftoversDone done) {
  if (key.kind() == "Namespace") {
    SearchNamespace(client, key.name(), std::move(done));
  } else {
    SearchKind(client, key, std::move(done));
  }
}

}  // namespace flotilla::agent
