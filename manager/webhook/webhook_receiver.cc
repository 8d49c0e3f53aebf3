// SPDX-License-Identifier: Apache-2.0

#include "manager/webhook/webhook_receiver.h"

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
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
// Requests that are judged or wait for it; their bodies are in memory.
constexpr int kMaxJudged = 32;

}  // namespace

WebhookReceiver::WebhookReceiver(Loop& loop, Store& store, WorkerPool& workers,
                                 Unseal unseal, Poll poll)
    : loop_(loop),
      workers_(workers),
      unseal_(std::move(unseal)),
      poll_(std::move(poll)),
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

void WebhookReceiver::Receive(WebhookHeaders headers, std::string body,
                              Respond respond) {
  if (!documents_.loaded()) {
    respond({503, "the manager is starting; try again"});
    return;
  }
  const absl::optional<WebhookProvider> provider = DetectProvider(headers);
  if (!provider.has_value()) {
    respond({400,
             "this is no webhook of GitHub, GitLab, Gitea, Gogs, Bitbucket or "
             "Azure DevOps: it has none of their headers"});
    return;
  }
  if (judged_ >= kMaxJudged) {
    respond({503, "too many webhooks come at once; try again"});
    return;
  }

  ++judged_;
  std::map<SecretName, WebhookSecret> secrets;
  const auto add = [this, &secrets](const SecretName& name) {
    if (secrets.count(name) == 0) secrets[name] = Open(name);
  };
  add({kSystemWorkspace, kGlobalSecret});
  for (const auto& [key, entry] : documents_.map()) {
    if (entry.first.kind() == kGitRepoKind) add(SecretOf(entry.first));
  }
  workers_.Submit<Judgement>(
      [provider = *provider, headers = std::move(headers),
       body = std::move(body), secrets = std::move(secrets)] {
        Judgement out;
        for (const auto& [name, secret] : secrets) {
          if (IsSigned(provider, headers, body, secret)) out.known.insert(name);
        }
        if (!out.known.empty()) out.push = ParsePush(provider, headers, body);
        return out;
      },
      [this, weak = std::weak_ptr<bool>(alive_), provider = *provider,
       respond = std::move(respond)](Judgement judgement) mutable {
        if (weak.expired()) return;
        --judged_;
        respond(Answer(provider, judgement));
      });
}

WebhookAnswer WebhookReceiver::Answer(WebhookProvider provider,
                                      const Judgement& judgement) {
  if (judgement.known.empty()) {
    return {401, absl::StrCat(
                     "the secret of this ", ProviderName(provider),
                     " webhook is missing or wrong: it must be in Secret ",
                     kSystemWorkspace, "/", kGlobalSecret,
                     " or in the Secret that spec.webhookSecret of the "
                     "GitRepo names")};
  }
  if (!judgement.push.ok()) {
    return {400, std::string(judgement.push.status().message())};
  }
  const PushEvent& push = *judgement.push;
  int hinted = 0;
  for (const auto& [key, entry] : documents_.map()) {
    const storage::v1::Document& document = entry.first;
    if (document.kind() != kGitRepoKind || document.has_delete_time() ||
        judgement.known.count(SecretOf(document)) == 0) {
      continue;
    }
    const storage::v1::GitRepoSpec& spec = document.git_repo();
    if (!MovesRef(push, spec.branch(), spec.revision()) ||
        push.repositories.count(RepositoryName(spec.repo())) == 0) {
      continue;
    }
    Hint(key);
    ++hinted;
  }
  return {200, absl::StrCat("GitRepos that will be fetched: ", hinted)};
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
