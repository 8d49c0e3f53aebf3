// SPDX-License-Identifier: Apache-2.0

#include "agent/testing/fake_manager_link.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "common/crypto/sha256.h"

namespace flotilla::agent {

core::v1::Manifest FakeManagerLink::MakeManifest(
    const std::string& bundle_id, const std::vector<nlohmann::json>& objects) {
  core::v1::Manifest manifest;
  manifest.mutable_policy()->set_correct_drift(true);
  for (nlohmann::json object : objects) {
    core::v1::ManifestEntry* entry = manifest.add_entries();
    *entry->mutable_key() = *KeyOf(object);
    object["metadata"]["labels"]["flotilla.dev/managed"] = "true";
    object["metadata"]["annotations"]["flotilla.dev/bundle-id"] = bundle_id;
    std::string bytes = CanonicalJson(object);
    entry->set_blob_digest(Sha256(bytes));
    entry->set_raw_size(bytes.size());
    entry->set_secret(entry->key().kind() == "Secret");
    blobs_[entry->blob_digest()] = std::move(bytes);
  }
  std::sort(manifest.mutable_entries()->begin(),
            manifest.mutable_entries()->end(),
            [](const auto& a, const auto& b) {
              return KeyLess(a.key(), b.key());
            });
  return manifest;
}

std::string FakeManagerLink::Keep(const core::v1::Manifest& manifest) {
  std::string bytes = manifest.SerializeAsString();
  std::string digest = Sha256(bytes);
  blobs_[digest] = std::move(bytes);
  return digest;
}

agent::v1::Upsert FakeManagerLink::MakeUpsert(
    const std::string& bundle_id, uint64_t generation,
    const core::v1::Manifest& manifest) {
  agent::v1::Upsert upsert;
  upsert.set_bundle_id(bundle_id);
  upsert.set_generation(generation);
  upsert.set_manifest_digest(Keep(manifest));
  upsert.set_manifest_size(manifest.ByteSizeLong());
  upsert.set_workspace("fleet-default");
  upsert.set_bundle_name(bundle_id);
  return upsert;
}

void FakeManagerLink::Assign(const std::string& bundle_id, uint64_t generation,
                             const core::v1::Manifest& manifest) {
  agent::v1::Assign assign;
  *assign.add_upserts() = MakeUpsert(bundle_id, generation, manifest);
  Send(std::move(assign));
}

void FakeManagerLink::Tombstone(const std::string& bundle_id,
                                uint64_t generation) {
  agent::v1::Assign assign;
  agent::v1::Tombstone* tombstone = assign.add_tombstones();
  tombstone->set_bundle_id(bundle_id);
  tombstone->set_generation(generation);
  tombstone->set_cause(core::v1::DELETE_CAUSE_GIT_REMOVED);
  Send(std::move(assign));
}

void FakeManagerLink::Send(agent::v1::Assign assign) {
  assign.set_nonce(++nonce_);
  assign.set_av_to(++av_);
  loop_.Post([this, alive = alive_, assign = std::move(assign)] {
    if (*alive && connected_) events_->OnAssign(epoch_, assign);
  });
}

void FakeManagerLink::Ask(agent::v1::ValuesRequest request) {
  loop_.Post([this, alive = alive_, request = std::move(request)] {
    if (*alive && connected_) events_->OnValuesRequest(request);
  });
}

bool FakeManagerLink::SendValues(agent::v1::ValuesReport report) {
  if (!connected_) return false;
  values_.push_back(std::move(report));
  return true;
}

void FakeManagerLink::Connect() {
  connected_ = true;
  seq_ = 0;
  loop_.Post([this, alive = alive_] {
    if (!*alive || events_ == nullptr) return;
    SessionOpened opened;
    opened.epoch = ++epoch_;
    opened.store_id = "store";
    opened.av = av_;
    opened.in_sync = true;
    for (const auto& [bundle_id, state] : states_) {
      opened.known.emplace_back(bundle_id, state.state_digest());
    }
    events_->OnWelcome(opened);
  });
}

void FakeManagerLink::Disconnect() {
  connected_ = false;
  loop_.Post([this, alive = alive_] {
    if (!*alive || events_ == nullptr) return;
    events_->OnDisconnected(absl::UnavailableError("the manager is away"),
                            false);
  });
}

void FakeManagerLink::Start(LinkEvents& events) {
  events_ = &events;
  if (connected_) Connect();
}

void FakeManagerLink::Stop(absl::AnyInvocable<void()> done) {
  loop_.Post(std::move(done));
}

void FakeManagerLink::AckAssign(uint64_t, uint64_t,
                                std::vector<agent::v1::AssignItem> items,
                                uint64_t, std::string) {
  for (agent::v1::AssignItem& item : items) {
    refused_.push_back(std::move(item));
  }
}

void FakeManagerLink::FetchBlob(
    std::string digest, uint64_t,
    absl::AnyInvocable<void(absl::StatusOr<std::string>)> done) {
  loop_.Post([this, alive = alive_, digest = std::move(digest),
              done = std::move(done)]() mutable {
    if (!*alive || !connected_) return;
    const auto found = blobs_.find(digest);
    if (found == blobs_.end()) {
      done(absl::NotFoundError("no such blob"));
    } else {
      done(found->second);
    }
  });
}

uint64_t FakeManagerLink::Count() {
  ++frames_;
  const uint64_t seq = ++seq_;
  loop_.Post([this, alive = alive_, seq, epoch = epoch_] {
    if (*alive && connected_ && epoch == epoch_) events_->OnReportAck(seq);
  });
  return seq;
}

uint64_t FakeManagerLink::SendState(core::v1::DeploymentState state) {
  states_[state.bundle_id()] = std::move(state);
  return Count();
}

uint64_t FakeManagerLink::SendResources(
    std::vector<core::v1::ResourceStatus> items) {
  for (core::v1::ResourceStatus& item : items) {
    const auto key =
        std::make_pair(item.bundle_id(), IdentityOf(item.key()));
    if (item.removed()) {
      resources_.erase(key);
    } else {
      resources_[key] = std::move(item);
    }
  }
  return Count();
}

uint64_t FakeManagerLink::SendDrift(
    std::vector<core::v1::DriftRecord> records) {
  for (core::v1::DriftRecord& record : records) {
    drift_.push_back(std::move(record));
  }
  return Count();
}

const core::v1::ResourceStatus* FakeManagerLink::Resource(
    const std::string& bundle_id, const std::string& name) const {
  for (const auto& [key, status] : resources_) {
    if (key.first == bundle_id && status.key().name() == name) return &status;
  }
  return nullptr;
}

}  // namespace flotilla::agent
