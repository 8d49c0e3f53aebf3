// SPDX-License-Identifier: Apache-2.0

#include "manager/webhook/webhook_request.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/types/optional.h"
#include "common/crypto/hmac.h"
#include "manager/gitsync/git_url.h"
#include "nlohmann/json.hpp"

namespace flotilla::manager {
namespace {

using nlohmann::json;

constexpr size_t kMaxRefs = 1000;
constexpr size_t kMaxNames = 20;
constexpr char kDefaultBranch[] = "master";

absl::string_view Find(const WebhookHeaders& headers, absl::string_view name) {
  for (const auto& [key, value] : headers) {
    if (key == name) return value;
  }
  return "";
}

bool Has(const WebhookHeaders& headers, absl::string_view name) {
  return std::any_of(headers.begin(), headers.end(),
                     [&](const auto& header) { return header.first == name; });
}

absl::string_view SecretOf(const WebhookSecret& secret, const char* key) {
  const auto found = secret.find(key);
  return found == secret.end() ? "" : absl::string_view(found->second);
}

bool IsHmac(absl::string_view given, absl::string_view key,
            absl::string_view body) {
  if (key.empty() || given.empty()) return false;
  return EqualInConstantTime(
      absl::AsciiStrToLower(given),
      absl::BytesToHexString(HmacSha256(key, body)));
}

// The member, or null: whatever the value is.
const json& At(const json& value, const char* key) {
  static const json* const kNull = new json;
  if (!value.is_object()) return *kNull;
  const auto found = value.find(key);
  return found == value.end() ? *kNull : *found;
}

void AddUrl(const json& value, PushEvent& push) {
  if (!value.is_string()) return;
  std::string name = RepositoryName(value.get_ref<const std::string&>());
  if (!name.empty()) push.repositories.insert(std::move(name));
}

void AddRef(const json& value, PushEvent& push) {
  if (!value.is_string()) return;
  if (push.branches.size() + push.tags.size() >= kMaxRefs) return;
  absl::string_view ref = value.get_ref<const std::string&>();
  if (absl::ConsumePrefix(&ref, "refs/heads/")) {
    push.branches.emplace_back(ref);
  } else if (absl::ConsumePrefix(&ref, "refs/tags/")) {
    push.tags.emplace_back(ref);
  }
}

// GitHub, Gogs and Gitea.
PushEvent ReadGitHub(const json& body) {
  PushEvent push;
  const json& repository = At(body, "repository");
  for (const char* key : {"html_url", "clone_url", "ssh_url"}) {
    AddUrl(At(repository, key), push);
  }
  AddRef(At(body, "ref"), push);
  return push;
}

PushEvent ReadGitLab(const json& body) {
  PushEvent push;
  const json& project = At(body, "project");
  for (const char* key : {"web_url", "git_http_url", "git_ssh_url"}) {
    AddUrl(At(project, key), push);
  }
  AddRef(At(body, "ref"), push);
  return push;
}

PushEvent ReadBitbucketCloud(const json& body) {
  PushEvent push;
  AddUrl(At(At(At(At(body, "repository"), "links"), "html"), "href"), push);
  const json& changes = At(At(body, "push"), "changes");
  if (!changes.is_array()) return push;
  for (const json& change : changes) {
    const json& now = At(change, "new");
    const json& name = At(now, "name");
    if (!name.is_string() ||
        push.branches.size() + push.tags.size() >= kMaxRefs) {
      continue;
    }
    (At(now, "type") == "tag" ? push.tags : push.branches)
        .push_back(name.get<std::string>());
  }
  return push;
}

PushEvent ReadBitbucketServer(const json& body) {
  PushEvent push;
  const json& links = At(At(body, "repository"), "links");
  for (const char* kind : {"clone", "self"}) {
    const json& list = At(links, kind);
    if (!list.is_array()) continue;
    for (const json& link : list) {
      if (push.repositories.size() >= kMaxNames) break;
      AddUrl(At(link, "href"), push);
    }
  }
  const json& changes = At(body, "changes");
  if (!changes.is_array()) return push;
  for (const json& change : changes) {
    AddRef(At(At(change, "ref"), "id"), push);
  }
  return push;
}

PushEvent ReadAzure(const json& body) {
  PushEvent push;
  const json& resource = At(body, "resource");
  AddUrl(At(At(resource, "repository"), "remoteUrl"), push);
  const json& updates = At(resource, "refUpdates");
  if (!updates.is_array()) return push;
  for (const json& update : updates) AddRef(At(update, "name"), push);
  return push;
}

}  // namespace

absl::optional<WebhookProvider> DetectProvider(const WebhookHeaders& headers) {
  // Gitea sends Gogs' and GitHub's headers too.
  if (Has(headers, "x-gogs-event") || Has(headers, "x-gitea-event")) {
    return WebhookProvider::kGogs;
  }
  if (Has(headers, "x-github-event")) return WebhookProvider::kGitHub;
  if (Has(headers, "x-gitlab-event")) return WebhookProvider::kGitLab;
  if (Has(headers, "x-hook-uuid")) return WebhookProvider::kBitbucketCloud;
  if (Has(headers, "x-event-key")) return WebhookProvider::kBitbucketServer;
  if (Has(headers, "x-vss-activityid") ||
      Has(headers, "x-vss-subscriptionid")) {
    return WebhookProvider::kAzureDevOps;
  }
  return absl::nullopt;
}

absl::string_view ProviderName(WebhookProvider provider) {
  switch (provider) {
    case WebhookProvider::kGitHub:
      return "GitHub";
    case WebhookProvider::kGitLab:
      return "GitLab";
    case WebhookProvider::kGogs:
      return "Gogs or Gitea";
    case WebhookProvider::kBitbucketCloud:
      return "Bitbucket";
    case WebhookProvider::kBitbucketServer:
      return "Bitbucket Server";
    case WebhookProvider::kAzureDevOps:
      return "Azure DevOps";
  }
  return "";
}

bool IsSigned(WebhookProvider provider, const WebhookHeaders& headers,
              absl::string_view body, const WebhookSecret& secret) {
  switch (provider) {
    case WebhookProvider::kGitHub: {
      absl::string_view given = Find(headers, "x-hub-signature-256");
      return absl::ConsumePrefix(&given, "sha256=") &&
             IsHmac(given, SecretOf(secret, "github"), body);
    }
    case WebhookProvider::kGogs:
      return IsHmac(Has(headers, "x-gogs-signature")
                        ? Find(headers, "x-gogs-signature")
                        : Find(headers, "x-gitea-signature"),
                    SecretOf(secret, "gogs"), body);
    case WebhookProvider::kBitbucketServer: {
      absl::string_view given = Find(headers, "x-hub-signature");
      return absl::ConsumePrefix(&given, "sha256=") &&
             IsHmac(given, SecretOf(secret, "bitbucket-server"), body);
    }
    case WebhookProvider::kGitLab: {
      const absl::string_view key = SecretOf(secret, "gitlab");
      return !key.empty() &&
             EqualInConstantTime(Find(headers, "x-gitlab-token"), key);
    }
    case WebhookProvider::kBitbucketCloud: {
      const absl::string_view key = SecretOf(secret, "bitbucket");
      return !key.empty() &&
             EqualInConstantTime(Find(headers, "x-hook-uuid"), key);
    }
    case WebhookProvider::kAzureDevOps: {
      const absl::string_view user = SecretOf(secret, "azure-username");
      const absl::string_view password = SecretOf(secret, "azure-password");
      if (password.empty()) return false;
      absl::string_view given = Find(headers, "authorization");
      if (!absl::StartsWithIgnoreCase(given, "basic ")) return false;
      given.remove_prefix(6);
      return EqualInConstantTime(
          absl::StripAsciiWhitespace(given),
          absl::Base64Escape(absl::StrCat(user, ":", password)));
    }
  }
  return false;
}

absl::StatusOr<PushEvent> ParsePush(WebhookProvider provider,
                                    const WebhookHeaders& headers,
                                    absl::string_view body) {
  if (Find(headers, "x-github-event") == "ping" ||
      Find(headers, "x-event-key") == "diagnostics:ping") {
    return PushEvent();
  }
  const auto refuse = [provider](absl::string_view what) {
    return absl::InvalidArgumentError(
        absl::StrCat("the body of this ", ProviderName(provider), " webhook ",
                     what, "; choose the content type application/json there"));
  };
  // The parser and the destructor keep their own stacks: depth is no danger.
  const json parsed = json::parse(body.begin(), body.end(), nullptr,
                                  /*allow_exceptions=*/false);
  if (!parsed.is_object()) return refuse("is not a JSON object");
  switch (provider) {
    case WebhookProvider::kGitHub:
    case WebhookProvider::kGogs:
      return ReadGitHub(parsed);
    case WebhookProvider::kGitLab:
      return ReadGitLab(parsed);
    case WebhookProvider::kBitbucketCloud:
      return ReadBitbucketCloud(parsed);
    case WebhookProvider::kBitbucketServer:
      return ReadBitbucketServer(parsed);
    case WebhookProvider::kAzureDevOps:
      return ReadAzure(parsed);
  }
  return PushEvent();
}

std::string RepositoryName(absl::string_view text) {
  const absl::StatusOr<GitUrl> url = ParseGitUrl(text);
  if (!url.ok() || url->host.empty()) return "";
  absl::string_view path = url->path;
  while (absl::ConsumePrefix(&path, "/")) {
  }
  while (absl::ConsumeSuffix(&path, "/")) {
  }
  absl::ConsumeSuffix(&path, ".git");
  return absl::AsciiStrToLower(absl::StrCat(url->host, "/", path));
}

bool MovesRef(const PushEvent& push, absl::string_view branch,
              absl::string_view revision) {
  const auto has = [](const std::vector<std::string>& list,
                      absl::string_view name) {
    return std::find(list.begin(), list.end(), name) != list.end();
  };
  if (IsFullCommitId(revision)) return false;
  if (!revision.empty()) return has(push.tags, revision);
  return has(push.branches, branch.empty() ? kDefaultBranch : branch);
}

}  // namespace flotilla::manager
