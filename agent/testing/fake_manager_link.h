// SPDX-License-Identifier: Apache-2.0
//
// FakeManagerLink is a manager in memory: a test gives it manifests and
// assignments, and it remembers what was reported. The session can end and
// begin; blobs are served while it is up.

#ifndef FLOTILLA_AGENT_TESTING_FAKE_MANAGER_LINK_H_
#define FLOTILLA_AGENT_TESTING_FAKE_MANAGER_LINK_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "agent/connection/manager_link.h"
#include "common/event/loop.h"
#include "common/kube/object.h"
#include "nlohmann/json.hpp"

namespace flotilla::agent {

// Loop-affine.
class FakeManagerLink : public ManagerLink {
 public:
  explicit FakeManagerLink(Loop& loop) : loop_(loop) {}
  ~FakeManagerLink() override { *alive_ = false; }

  // Keeps the objects as blobs; the manifest that names them. Each object gets
  // our label and the mark of `bundle_id`.
  core::v1::Manifest MakeManifest(const std::string& bundle_id,
                                  const std::vector<nlohmann::json>& objects);
  // The digest of the manifest, kept as a blob.
  std::string Keep(const core::v1::Manifest& manifest);

  // Sends an Assign.
  void Assign(const std::string& bundle_id, uint64_t generation,
              const core::v1::Manifest& manifest);
  void Tombstone(const std::string& bundle_id, uint64_t generation);
  void Send(agent::v1::Assign assign);
  agent::v1::Upsert MakeUpsert(const std::string& bundle_id,
                               uint64_t generation,
                               const core::v1::Manifest& manifest);

  // Asks for values in the cluster.
  void Ask(agent::v1::ValuesRequest request);

  void Connect();
  void Disconnect();

  // What the manager holds: the newest of each.
  const std::map<std::string, core::v1::DeploymentState>& states() const {
    return states_;
  }
  const core::v1::ResourceStatus* Resource(const std::string& bundle_id,
                                           const std::string& name) const;
  const std::vector<core::v1::DriftRecord>& drift() const { return drift_; }
  // Answers to Ask(), in order.
  const std::vector<agent::v1::ValuesReport>& values() const {
    return values_;
  }
  std::vector<agent::v1::AssignItem>& refused() { return refused_; }
  // Reports of any kind so far.
  int frames() const { return frames_; }

  // ManagerLink
  void Start(LinkEvents& events) override;
  void Stop(absl::AnyInvocable<void()> done) override;
  void AckAssign(uint64_t epoch, uint64_t nonce,
                 std::vector<agent::v1::AssignItem> items, uint64_t av,
                 std::string set_digest) override;
  void FetchBlob(
      std::string digest, uint64_t size,
      absl::AnyInvocable<void(absl::StatusOr<std::string>)> done) override;
  bool CanReport() const override { return connected_; }
  uint64_t SendState(core::v1::DeploymentState state) override;
  uint64_t SendResources(std::vector<core::v1::ResourceStatus> items) override;
  uint64_t SendDrift(std::vector<core::v1::DriftRecord> records) override;
  bool SendValues(agent::v1::ValuesReport report) override;
  void SetFacts(core::v1::ClusterFacts) override {}
  void SetClusterUid(std::string) override {}
  bool connected() const override { return connected_; }

 private:
  uint64_t Count();

  Loop& loop_;
  LinkEvents* events_ = nullptr;
  bool connected_ = false;
  uint64_t epoch_ = 0;
  uint64_t nonce_ = 0;
  uint64_t seq_ = 0;
  uint64_t av_ = 0;
  int frames_ = 0;
  std::map<std::string, std::string> blobs_;
  std::map<std::string, core::v1::DeploymentState> states_;
  std::map<std::pair<std::string, ObjectIdentity>, core::v1::ResourceStatus>
      resources_;
  std::vector<core::v1::DriftRecord> drift_;
  std::vector<agent::v1::AssignItem> refused_;
  std::vector<agent::v1::ValuesReport> values_;
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_TESTING_FAKE_MANAGER_LINK_H_
