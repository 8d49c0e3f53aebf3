// SPDX-License-Identifier: Apache-2.0

#include "agent/facts/facts_watcher.h"

#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "agent/facts/cluster_facts.h"
#include "common/log/log.h"

namespace flotilla::agent {
namespace {

constexpr absl::Duration kEvery = absl::Minutes(10);

Backoff::Options RetryOptions() {
  Backoff::Options options;
  options.initial = absl::Milliseconds(300);
  options.maximum = absl::Seconds(15);
  return options;
}

}  // namespace

FactsWatcher::FactsWatcher(KubeClient& client, Loop& loop, Random& random,
                           Told told)
    : client_(client),
      random_(random),
      told_(std::move(told)),
      backoff_(RetryOptions()),
      timer_(loop.CreateTimer([this] { Ask(); })),
      crds_(std::make_unique<ArrivalWatch>(
          client, loop,
          KindName{"apiextensions.k8s.io", "v1", "CustomResourceDefinition"},
          [this] { Ask(); })),
      alive_(std::make_shared<bool>(true)) {
  timer_->Arm(absl::ZeroDuration());
}

FactsWatcher::~FactsWatcher() { *alive_ = false; }

void FactsWatcher::Ask() {
  if (asking_) {
    again_ = true;
    return;
  }
  asking_ = true;
  if (uid_known_) {
    AskVersion();
  } else {
    AskUid();
  }
}

void FactsWatcher::AskUid() {
  core::v1::ResourceKey key;
  key.set_version("v1");
  key.set_kind("Namespace");
  key.set_name("kube-system");
  GetOptions options;
  options.metadata_only = true;
  client_.Get(key, options,
              [this, alive = alive_](absl::StatusOr<KubeObject> object) {
                if (!*alive) return;
                if (!object.ok() || object->head.uid.empty()) {
                  Failed(object.status());
                  return;
                }
                uid_known_ = true;
                told_.cluster_uid(object->head.uid);
                AskVersion();
              });
}

void FactsWatcher::AskVersion() {
  client_.GetServerVersion(
      [this, alive = alive_](absl::StatusOr<ServerVersion> version) {
        if (!*alive) return;
        if (!version.ok()) {
          Failed(version.status());
          return;
        }
        if (version->git_version != version_.git_version) kinds_.reset();
        version_ = *std::move(version);
        AskKinds();
      });
}

void FactsWatcher::AskKinds() {
  client_.Discover(
      [this, alive = alive_](
          absl::StatusOr<std::shared_ptr<const Discovery>> kinds) {
        if (!*alive) return;
        if (!kinds.ok()) {
          Failed(kinds.status());
          return;
        }
        asking_ = false;
        backoff_.Reset();
        timer_->Arm(again_ ? absl::ZeroDuration() : kEvery);
        again_ = false;
        if (*kinds == kinds_) return;
        kinds_ = *std::move(kinds);
        told_.facts(BuildFacts(version_, *kinds_));
        told_.kinds_changed();
      });
}

void FactsWatcher::Failed(const absl::Status& status) {
  FLOTILLA_LOG_EVERY(WARNING, absl::Seconds(30))
      << "the API server does not say what it serves: " << status.message();
  asking_ = false;
  again_ = false;
  timer_->Arm(backoff_.Next(random_.Uniform(Backoff::kRandomBound)));
}

}  // namespace flotilla::agent
