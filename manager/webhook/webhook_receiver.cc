// SPDX-License-Identifier: Apache-2.0

#include "manager/webhook/webhook_receiver.h"

#include <algorithm>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/optional.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "manager/store/records.h"

namespace flotilla::manager {
namespace {

constexpr char kGitRepoKind[] = "GitRepo";
constexpr char kSecretKind[] = "Secret";
constexpr char kSystemWorkspace[] = "cattle-fleet-system";
constexpr char kGlobalSecret[] = "gitjob-webhook";
constexpr absl::Duration kPace = absl::Seconds(1);

}  // namespace

WebhookReceiver::WebhookReceiver(Loop& loop, Store& store, Unseal unseal,
                                 Poll poll)
    : loop_(loop), unseal_(std::move(unseal)), poll_(std::move(poll)),
      timer_(loop.CreateTimer([this] { PollWaiting(); })),
      documents_(store, kDocumentFamily, nullptr, nullptr,
                 [](const std::string& key) {
                   const auto name = ParseDocumentKey(key);
                   return name.ok() && (name->kind == kGitRepoKind ||
                                        name->kind == kSecretKind);
                 }) {}

WebhookReceiver::~WebhookReceiver() = default;

WebhookReceiver::SecretName WebhookReceiver::SecretOf(
    const storage::v1::Document& git_repo) {
  const std::string& name = git_repo.git_repo().webhook_secret();
  if (name.empty()) return {kSystemWorkspace, kGlobalSecret};
  return {git_repo.workspace(), name};
}

WebhookSecret WebhookReceiver::Open(const SecretName& name) const {
  WebhookSecret out;
  const storage::v1::Document* document =
      documents_.Find(DocumentKey(name.first, kSecretKind, name.second));
  if (document == nullptr || document->has_delete_time()) return out;
  const absl::StatusOr<std::string> opened = unseal_(document->secret());
  storage::v1::SecretData data;
  if (!opened.ok() || !data.ParseFromString(*opened)) return out;
  for (const storage::v1::SecretEntry& entry : data.entries()) {
    out[entry.key()] = entry.value();
  }
  return out;
}

WebhookAnswer WebhookReceiver::Receive(const WebhookHeaders& headers,
                                       absl::string_view body) {
  if (!documents_.loaded()) {
    return {503, "the manager is starting; try again"};
  }
  const absl::optional<WebhookProvider> provider = DetectProvider(headers);
  if (!provider.has_value()) {
    return {400,
            "this is no webhook of GitHub, GitLab, Gitea, Gogs, Bitbucket or "
            "Azure DevOps: it has none of their headers"};
  }

  std::set<SecretName> used = {{kSystemWorkspace, kGlobalSecret}};
  for (const auto& [key, entry] : documents_.map()) {
    if (entry.first.kind() == kGitRepoKind) used.insert(SecretOf(entry.first));
  }
  std::set<SecretName> known;
  for (const SecretName& name : used) {
    if (IsSigned(*provider, headers, body, Open(name))) known.insert(name);
  }
  if (known.empty()) {
    return {401, absl::StrCat(
                     "the secret of this ", ProviderName(*provider),
                     " webhook is missing or wrong: it must be in Secret ",
                     kSystemWorkspace, "/", kGlobalSecret,
                     " or in the Secret that spec.webhookSecret of the "
                     "GitRepo names")};
  }

  const absl::StatusOr<PushEvent> push = ParsePush(*provider, headers, body);
  if (!push.ok()) return {400, std::string(push.status().message())};
  int hinted = 0;
  for (const auto& [key, entry] : documents_.map()) {
    const storage::v1::Document& document = entry.first;
    if (document.kind() != kGitRepoKind || document.has_delete_time() ||
        known.count(SecretOf(document)) == 0) {
      continue;
    }
    const storage::v1::GitRepoSpec& spec = document.git_repo();
    if (!MovesRef(*push, spec.branch(), spec.revision())) continue;
    for (const std::string& url : push->urls) {
      if (!SameRepository(url, spec.repo())) continue;
      Hint(key);
      ++hinted;
      break;
    }
  }
  return {200, absl::StrCat(hinted, " GitRepos will be fetched")};
}

void WebhookReceiver::Hint(const std::string& key) {
  Pace& pace = paces_[key];
  if (pace.waiting) return;
  pace.waiting = true;
  if (loop_.MonotonicNow() - pace.last_poll >= kPace) {
    PollWaiting();
  } else if (!timer_->armed()) {
    timer_->Arm(kPace - (loop_.MonotonicNow() - pace.last_poll));
  }
}

void WebhookReceiver::PollWaiting() {
  const absl::Duration now = loop_.MonotonicNow();
  absl::Duration next = absl::InfiniteDuration();
  for (auto it = paces_.begin(); it != paces_.end();) {
    Pace& pace = it->second;
    const absl::Duration due = pace.last_poll + kPace;
    if (due > now) {
      if (pace.waiting) next = std::min(next, due);
      ++it;
    } else if (pace.waiting) {
      pace.waiting = false;
      pace.last_poll = now;
      if (const auto name = ParseDocumentKey(it->first); name.ok()) {
        poll_(name->workspace, name->name);
      }
      ++it;
    } else {
      it = paces_.erase(it);
    }
  }
  if (next < absl::InfiniteDuration()) timer_->Arm(next - now);
}

}  // namespace flotilla::manager
