// SPDX-License-Identifier: Apache-2.0
//
// An agent that applies nothing: enrols, tells the facts of a file, fetches
// what it is assigned, prints it once the wanted number of bundles is there,
// and ends. For tests of what a manager streams.
//
//   assignment_probe ADDRESS TOKEN FOLDER FACTS_FILE BUNDLES
//
// Prints a JSON list: {bundle, policy, entries: [{key, ensureNamespace, secret,
// bytes}]}, `bytes` being the object as it came.

#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "agent/connection/file_identity_store.h"
#include "agent/connection/grpc_manager_link.h"
#include "agent/connection/manager_link.h"
#include "common/assignment/set_digest.h"
#include "common/env/posix/posix_clock.h"
#include "common/env/posix/posix_random.h"
#include "common/event/real_loop.h"
#include "common/event/thread_worker_pool.h"
#include "flotilla/agent/v1/agent.pb.h"
#include "flotilla/core/v1/core.pb.h"
#include "google/protobuf/util/json_util.h"
#include "nlohmann/json.hpp"

namespace flotilla {
namespace {

using nlohmann::json;

constexpr absl::Duration kLimit = absl::Seconds(60);

json ToJson(const google::protobuf::Message& message) {
  std::string text;
  const auto written =
      google::protobuf::util::MessageToJsonString(message, &text);
  return written.ok() ? json::parse(text) : json();
}

// Loop-affine.
class Probe final : public agent::LinkEvents {
 public:
  Probe(RealLoop& loop, agent::GrpcManagerLink& link, size_t wanted)
      : loop_(loop), link_(link), wanted_(wanted) {}

  agent::HeldSummary Held() override {
    agent::HeldSummary summary;
    summary.set_digest = SetDigest(Have());
    summary.have_count = held_.size();
    return summary;
  }
  std::vector<AssignedItem> Have() override {
    std::vector<AssignedItem> items;
    for (const auto& [bundle_id, item] : held_) items.push_back(item);
    return items;
  }
  void OnWelcome(const agent::SessionOpened&) override {}
  void OnAssign(uint64_t epoch, const agent::v1::Assign& assign) override {
    for (const agent::v1::Upsert& upsert : assign.upserts()) {
      held_[upsert.bundle_id()] = {upsert.bundle_id(), upsert.generation(),
                                   upsert.manifest_digest(), false};
      link_.FetchBlob(
          upsert.manifest_digest(), upsert.manifest_size(),
          [this, id = upsert.bundle_id(), generation = upsert.generation()](
              absl::StatusOr<std::string> bytes) {
            OnManifest(id, generation, std::move(bytes));
          });
    }
    for (const agent::v1::Tombstone& tombstone : assign.tombstones()) {
      Fail(absl::StrCat("unexpected tombstone of ", tombstone.bundle_id()));
    }
    link_.AckAssign(epoch, assign.nonce(), {}, assign.av_to(),
                    SetDigest(Have()));
  }
  void OnValuesRequest(const agent::v1::ValuesRequest&) override {}
  void OnReportAck(uint64_t) override {}
  void OnReportable() override {}
  void OnDisconnected(const absl::Status& why, bool) override {
    std::cerr << "disconnected: " << why << "\n";
  }

  void Fail(const std::string& why) {
    std::cerr << why << "; " << done_.size() << " of " << wanted_
              << " bundles are here\n";
    failed_ = true;
    loop_.Stop();
  }

  bool failed() const { return failed_; }
  json Result() const {
    json out = json::array();
    for (const auto& [bundle_id, bundle] : done_) out.push_back(bundle);
    return out;
  }

 private:
  // A bundle whose objects are on their way.
  struct Fetch {
    uint64_t generation = 0;
    json bundle;
    int missing = 0;
  };

  void OnManifest(const std::string& id, uint64_t generation,
                  absl::StatusOr<std::string> bytes) {
    core::v1::Manifest manifest;
    if (!bytes.ok() || !manifest.ParseFromString(*bytes)) {
      Fail(absl::StrCat("manifest: ", bytes.status().ToString()));
      return;
    }
    auto fetch = std::make_shared<Fetch>();
    fetch->generation = generation;
    fetch->bundle = {{"bundle", manifest.policy().bundle_name()},
                     {"policy", ToJson(manifest.policy())},
                     {"entries", json::array()}};
    fetch->missing = manifest.entries_size();
    if (fetch->missing == 0) Finish(id, *fetch);
    for (int i = 0; i < manifest.entries_size(); ++i) {
      const core::v1::ManifestEntry& entry = manifest.entries(i);
      fetch->bundle["entries"].push_back(
          {{"key", ToJson(entry.key())},
           {"ensureNamespace", entry.ensure_namespace()},
           {"secret", entry.secret()}});
      link_.FetchBlob(entry.blob_digest(), entry.raw_size(),
                      [this, id, fetch, i](absl::StatusOr<std::string> object) {
                        if (!object.ok()) {
                          Fail(object.status().ToString());
                          return;
                        }
                        fetch->bundle["entries"][static_cast<size_t>(i)]
                                     ["bytes"] = *object;
                        if (--fetch->missing == 0) Finish(id, *fetch);
                      });
    }
  }

  void Finish(const std::string& id, const Fetch& fetch) {
    // Overtaken by a newer one.
    if (held_[id].generation != fetch.generation) return;
    done_[id] = fetch.bundle;
    if (done_.size() == wanted_) loop_.Stop();
  }

  RealLoop& loop_;
  agent::GrpcManagerLink& link_;
  const size_t wanted_;

  std::map<std::string, AssignedItem> held_;
  std::map<std::string, json> done_;
  bool failed_ = false;
};

int Main(int argc, char** argv) {
  size_t wanted = 0;
  if (argc != 6 || !absl::SimpleAtoi(argv[5], &wanted)) {
    std::cerr << "ADDRESS TOKEN FOLDER FACTS_FILE BUNDLES are wanted\n";
    return EXIT_FAILURE;
  }
  std::ifstream file(argv[4]);
  const std::string text((std::istreambuf_iterator<char>(file)),
                         std::istreambuf_iterator<char>());
  core::v1::ClusterFacts facts;
  const auto read = google::protobuf::util::JsonStringToMessage(text, &facts);
  if (!read.ok()) {
    std::cerr << argv[4] << ": " << read.message() << "\n";
    return EXIT_FAILURE;
  }

  RealLoop loop;
  ThreadWorkerPool workers(loop, 1);
  PosixClock clock;
  PosixRandom random;
  agent::FileIdentityStore identities(argv[3], workers);
  agent::GrpcManagerLink::Options options;
  options.manager_address = argv[1];
  options.token = argv[2];
  options.agent_version = "probe";
  agent::GrpcManagerLink link(loop, clock, random, identities, options);
  Probe probe(loop, link, wanted);
  const std::unique_ptr<Timer> limit = loop.CreateTimer(
      [&probe] { probe.Fail("waited for too long"); });
  limit->Arm(kLimit);
  link.SetFacts(std::move(facts));
  link.SetClusterUid(absl::StrCat("uid-of-", argv[3]));
  link.Start(probe);
  loop.RunUntilStopped();
  link.Stop([&loop] { loop.Stop(); });
  loop.RunUntilStopped();
  if (probe.failed()) return EXIT_FAILURE;
  std::cout << probe.Result().dump() << "\n";
  return EXIT_SUCCESS;
}

}  // namespace
}  // namespace flotilla

int main(int argc, char** argv) {
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  return flotilla::Main(argc, argv);
}
