// SPDX-License-Identifier: Apache-2.0
//
// Webhooks of GitHub, GitLab, Gitea, Gogs, Bitbucket and Azure DevOps
// (spec.md 9.6), judged. A webhook is a hint to fetch and nothing more: no
// commit that it names is ever deployed. The secret is checked over the raw
// body before anything of the body is read.

#ifndef FLOTILLA_MANAGER_WEBHOOK_WEBHOOK_REQUEST_H_
#define FLOTILLA_MANAGER_WEBHOOK_WEBHOOK_REQUEST_H_

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"

namespace flotilla::manager {

enum class WebhookProvider {
  kGitHub,
  kGitLab,
  kGogs,  // And Gitea, which sends the same headers.
  kBitbucketCloud,
  kBitbucketServer,
  kAzureDevOps,
};

// Header names in lower case, sorted by name.
using WebhookHeaders = std::vector<std::pair<std::string, std::string>>;

// Keys of a webhook Secret (spec.md 9.6) and their values.
using WebhookSecret = std::map<std::string, std::string>;

// What a push says.
struct PushEvent {
  // Names of the repository, one for each address that the provider gives it.
  std::set<std::string> repositories;
  // Branches and tags that moved, without refs/heads/ and refs/tags/.
  std::vector<std::string> branches;
  std::vector<std::string> tags;
};

// Absent when no known header is there.
absl::optional<WebhookProvider> DetectProvider(const WebhookHeaders& headers);

// "GitHub" and so on.
absl::string_view ProviderName(WebhookProvider provider);

// Whether the sender knows `secret`. False when the Secret has no key for the
// provider, or an empty one. The time it takes tells nothing of the value.
bool IsSigned(WebhookProvider provider, const WebhookHeaders& headers,
              absl::string_view body, const WebhookSecret& secret);

// What the body says. No repositories: an event that means nothing to us, such
// as a ping. INVALID_ARGUMENT with a sentence for a body that is none of the
// provider's.
absl::StatusOr<PushEvent> ParsePush(WebhookProvider provider,
                                    const WebhookHeaders& headers,
                                    absl::string_view body);

// The name that all addresses of one repository have in common: case, scheme,
// port, user and ".git" do not count, nor whether it is written as scp does.
// Empty for what is no address of a server.
std::string RepositoryName(absl::string_view url);

// Whether a push moves what a GitRepo follows: one with a commit never, one
// with a tag by that tag, else by its branch.
bool MovesRef(const PushEvent& push, absl::string_view branch,
              absl::string_view revision);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_WEBHOOK_WEBHOOK_REQUEST_H_
