// SPDX-License-Identifier: Apache-2.0

#include "manager/frontend/token_secrets.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/kube/object.h"
#include "manager/frontend/field_managers.h"
#include "manager/frontend/object_document.h"

namespace flotilla::manager {
namespace {

using nlohmann::json;

constexpr char kKind[] = "ClusterRegistrationToken";
constexpr char kExpires[] = "flotilla.dev/token-expires";
constexpr absl::Duration kRetry = absl::Seconds(5);
// A token without an end is replaced this long before it ends.
constexpr absl::Duration kRenewal = absl::Hours(24);

std::string TimeText(absl::Time time) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", time, absl::UTCTimeZone());
}

core::v1::ResourceKey SecretKey(const std::string& ns,
                                const std::string& name) {
  core::v1::ResourceKey key;
  key.set_version("v1");
  key.set_kind("Secret");
  key.set_namespace_(ns);
  key.set_name(name);
  return key;
}

bool IsOwnedBy(const json& object, const std::string& uid) {
  const json& owners = Member(Member(object, "metadata"), "ownerReferences");
  if (!owners.is_array()) return false;
  return std::any_of(owners.begin(), owners.end(), [&uid](const json& owner) {
    return TextOr(Member(owner, "uid")) == uid;
  });
}

}  // namespace

TokenSecrets::TokenSecrets(Loop& loop, const Clock& clock, KubeClient& client,
                           Mint mint, std::string agent_address,
                           OnStatus on_status)
    : loop_(loop),
      clock_(clock),
      client_(client),
      mint_(std::move(mint)),
      agent_address_(std::move(agent_address)),
      on_status_(std::move(on_status)) {}

void TokenSecrets::Keep(RegistrationToken token) {
  const Name name{token.workspace, token.name};
  Kept& kept = kept_[name];
  kept.token = std::move(token);
  if (kept.timer == nullptr) {
    kept.timer = loop_.CreateTimer([this, name] { Look(name); });
  }
  if (!kept.busy) kept.timer->Arm(absl::ZeroDuration());
}

void TokenSecrets::Forget(const std::string& workspace,
                          const std::string& name) {
  kept_.erase({workspace, name});
}

TokenSecrets::Kept* TokenSecrets::Find(const Name& name) {
  const auto found = kept_.find(name);
  return found == kept_.end() ? nullptr : &found->second;
}

void TokenSecrets::Retry(const Name& name, const absl::Status& why) {
  Kept* kept = Find(name);
  if (kept == nullptr) return;
  kept->busy = false;
  kept->timer->Arm(kRetry);
  on_status_(name.first, name.second, why);
}

void TokenSecrets::Look(const Name& name) {
  Kept* kept = Find(name);
  if (kept == nullptr || kept->busy) return;
  kept->busy = true;
  const RegistrationToken& token = kept->token;
  if (token.ttl > absl::ZeroDuration() &&
      clock_.Now() >= token.created + token.ttl) {
    return Expire(name);
  }
  GetOptions options;
  options.metadata_only = true;
  client_.Get(SecretKey(name.first, name.second), options,
              [this, name, alive = std::weak_ptr<bool>(alive_)](
                  const absl::StatusOr<KubeObject>& found) {
                if (!alive.expired()) OnSecret(name, found);
              });
}

void TokenSecrets::OnSecret(const Name& name,
                            const absl::StatusOr<KubeObject>& found) {
  Kept* kept = Find(name);
  if (kept == nullptr) return;
  if (absl::IsNotFound(found.status())) return MakeSecret(name);
  if (!found.ok()) return Retry(name, found.status());
  const absl::StatusOr<json> object = ParseKubeJson(found->json);
  if (!object.ok()) return Retry(name, object.status());
  const json& annotations =
      Member(Member(*object, "metadata"), "annotations");
  const std::string expires_text = TextOr(Member(annotations, kExpires));
  if (!IsOwnedBy(*object, kept->token.uid)) {
    // One of an earlier token of this name goes by itself.
    return Retry(name, absl::AlreadyExistsError(absl::StrCat(
                           "Secret ", name.first, "/", name.second,
                           " is there and is not of this token; delete it, or "
                           "give the token another name")));
  }
  absl::Time expires;
  std::string error;
  if (!absl::ParseTime(absl::RFC3339_full, expires_text, &expires, &error)) {
    return MakeSecret(name);
  }
  const bool endless = kept->token.ttl <= absl::ZeroDuration();
  if (endless && clock_.Now() >= expires - kRenewal) return MakeSecret(name);
  Settle(name, expires);
}

void TokenSecrets::MakeSecret(const Name& name) {
  const RegistrationToken& token = Find(name)->token;
  absl::Time expires = clock_.Now() + kMaxLife;
  if (token.ttl > absl::ZeroDuration()) {
    expires = std::min(expires, token.created + token.ttl);
  }
  MintRequest request;
  request.workspace = token.workspace;
  request.name = token.name;
  request.labels = token.labels;
  request.ttl = expires - clock_.Now();
  mint_(std::move(request),
        [this, name, expires, alive = std::weak_ptr<bool>(alive_)](
            const absl::StatusOr<std::string>& minted) {
          if (alive.expired() || Find(name) == nullptr) return;
          if (!minted.ok()) return Retry(name, minted.status());
          WriteSecret(name, *minted, expires);
        });
}

void TokenSecrets::WriteSecret(const Name& name, const std::string& token,
                               absl::Time expires) {
  const RegistrationToken& owner = Find(name)->token;
  // Single quotes: neither a token nor an address holds one.
  const std::string values = absl::StrCat(
      "clusterNamespace: '", name.first, "'\nclusterName: '", name.second,
      "'\nmanagerAddress: '", agent_address_, "'\ntoken: '", token,
      "'\ntokenName: '", name.second,
      "'\nsystemRegistrationNamespace: 'cattle-fleet-clusters-system'\n");
  const json object = {
      {"apiVersion", "v1"},
      {"kind", "Secret"},
      {"type", "fleet.cattle.io/cluster-registration-values"},
      {"metadata",
       {{"name", name.second},
        {"namespace", name.first},
        {"annotations", {{kExpires, TimeText(expires)}}},
        {"ownerReferences",
         json::array({{{"apiVersion",
                        absl::StrCat(kFleetGroup, "/", kFleetVersion)},
                       {"kind", kKind},
                       {"name", name.second},
                       {"uid", owner.uid}}})}}},
      {"stringData", {{"values", values}, {"token", token}}}};
  ApplyOptions options;
  options.field_manager = kManagerFields;
  client_.Apply(SecretKey(name.first, name.second), CanonicalJson(object),
                std::move(options),
                [this, name, expires, alive = std::weak_ptr<bool>(alive_)](
                    const absl::StatusOr<ApplyResult>& written) {
                  if (alive.expired() || Find(name) == nullptr) return;
                  if (!written.ok()) {
                    // Its text may quote the object.
                    return Retry(name,
                                 absl::Status(written.status().code(),
                                              "the Secret of this token could "
                                              "not be written"));
                  }
                  Settle(name, expires);
                });
}

void TokenSecrets::Settle(const Name& name, absl::Time expires) {
  Kept& kept = *Find(name);
  kept.busy = false;
  const bool endless = kept.token.ttl <= absl::ZeroDuration();
  const absl::Time next = endless
                              ? expires - kRenewal
                              : kept.token.created + kept.token.ttl;
  kept.timer->Arm(std::max(kRetry, next - clock_.Now()));
  json status = {{"secretName", name.second}};
  // As in Fleet: one without an end says none.
  if (!endless) status["expires"] = TimeText(expires);
  on_status_(name.first, name.second, std::move(status));
}

void TokenSecrets::Expire(const Name& name) {
  core::v1::ResourceKey key;
  key.set_group(kFleetGroup);
  key.set_version(kFleetVersion);
  key.set_kind(kKind);
  key.set_namespace_(name.first);
  key.set_name(name.second);
  DeleteOptions options;
  options.uid = Find(name)->token.uid;
  // Its Secret goes with it, by the garbage collector.
  client_.Delete(key, std::move(options),
                 [this, name, alive = std::weak_ptr<bool>(alive_)](
                     const absl::StatusOr<DeleteResult>& deleted) {
                   if (alive.expired() || Find(name) == nullptr) return;
                   if (absl::IsNotFound(deleted.status())) return;
                   Retry(name, deleted.ok()
                                   ? absl::UnavailableError("it expired")
                                   : deleted.status());
                 });
}

}  // namespace flotilla::manager
