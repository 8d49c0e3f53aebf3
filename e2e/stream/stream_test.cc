// SPDX-License-Identifier: Apache-2.0
//
// The manager's stream package and the agent's link, in one process, over
// mutual TLS on loopback: what neither half can show alone.

#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "agent/connection/file_identity_store.h"
#include "agent/connection/grpc_manager_link.h"
#include "agent/connection/identity_store.h"
#include "agent/connection/manager_link.h"
#include "common/assignment/set_digest.h"
#include "common/blob/memory_blob_store.h"
#include "common/crypto/sealed_box.h"
#include "common/crypto/sha256.h"
#include "common/crypto/x509.h"
#include "common/enrolment/join_token.h"
#include "common/env/posix/posix_clock.h"
#include "common/env/posix/posix_random.h"
#include "common/event/inline_worker_pool.h"
#include "common/event/real_loop.h"
#include "common/rpc/channel.h"
#include "common/rpc/server.h"
#include "common/status/status_matchers.h"
#include "flotilla/agent/v1/agent.grpc.pb.h"
#include "flotilla/agent/v1/agent.pb.h"
#include "flotilla/core/v1/core.pb.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "gmock/gmock.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "manager/status/report_sink.h"
#include "manager/store/memory_store.h"
#include "manager/store/records.h"
#include "manager/store/store.h"
#include "manager/stream/agent_service.h"
#include "manager/stream/certificate_authority.h"
#include "manager/stream/enrolment.h"
#include "manager/stream/identity_registry.h"
#include "manager/stream/session_hub.h"

namespace flotilla {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

constexpr absl::Duration kLimit = absl::Seconds(20);
constexpr char kUid[] = "uid-of-kube-system";

// Runs the loop until `done` holds; whether it came to hold.
template <typename F>
bool RunUntil(RealLoop& loop, F done) {
  const absl::Duration end = loop.MonotonicNow() + kLimit;
  bool held = false;
  std::unique_ptr<Timer> timer;
  timer = loop.CreateTimer([&] {
    held = done();
    if (held || loop.MonotonicNow() > end) {
      loop.Stop();
    } else {
      timer->Arm(absl::Milliseconds(1));
    }
  });
  timer->Arm(absl::ZeroDuration());
  loop.RunUntilStopped();
  return held;
}

// Keeps states as the status recorder does, and counts.
class StoringSink final : public manager::ReportSink {
 public:
  StoringSink(RealLoop& loop, manager::MemoryStore& store)
      : loop_(loop), store_(store) {}

  void OnState(const std::string& cluster_id, uint64_t epoch,
               core::v1::DeploymentState state, Done done) override {
    storage::v1::Observed observed;
    observed.set_epoch(epoch);
    *observed.mutable_state() = state;
    store_.Put(manager::ObservedKey(cluster_id, state.bundle_id()),
               manager::SerializeRecord(observed));
    ++states;
    Finish(std::move(done));
  }
  void OnResources(const std::string&, uint64_t,
                   std::vector<core::v1::ResourceStatus> items,
                   Done done) override {
    resources += items.size();
    Finish(std::move(done));
  }
  void OnDrift(const std::string&, uint64_t,
               std::vector<core::v1::DriftRecord> records,
               Done done) override {
    drifts += records.size();
    Finish(std::move(done));
  }
  void OnRejected(const std::string&, uint64_t, const std::string& bundle_id,
                  uint64_t, core::v1::Problem problem) override {
    rejected[bundle_id] = problem.message();
  }

  size_t states = 0;
  size_t resources = 0;
  size_t drifts = 0;
  std::map<std::string, std::string> rejected;

 private:
  void Finish(Done done) {
    loop_.Post([done = std::move(done)]() mutable { done(absl::OkStatus()); });
  }

  RealLoop& loop_;
  manager::MemoryStore& store_;
};

// What survives a manager: its disk.
struct Disk {
  explicit Disk(RealLoop& loop) : store(loop) {}

  manager::MemoryStore store;
  MemoryBlobStore blobs;
  std::string folder;
};

// All of the manager that an agent meets.
class Manager {
 public:
  Manager(RealLoop& loop, Disk& disk, int port)
      : loop_(loop), pool_(loop), tokens_(disk.store, manager::kTokenFamily),
        clusters_(disk.store, manager::kClusterFamily),
        sessions_(disk.store, manager::kSessionFamily),
        facts_(disk.store, manager::kFactsFamily),
        highwater_(disk.store, manager::kHighWaterFamily),
        values_(disk.store, manager::kValuesFamily),
        sink(loop, disk.store), registry_(loop, disk.store, clusters_),
        box_(*SealedBox::Create(disk.folder + "/key", random_)),
        authority_(*manager::CertificateAuthority::LoadOrCreate(
            disk.folder + "/ca", *box_, clock_.Now())),
        enrolment({loop, clock_, random_, disk.store, tokens_, registry_,
                   *authority_}),
        hub({loop, clock_, random_, disk.store, sessions_, facts_, highwater_,
             registry_, disk.blobs, pool_, sink, values_},
            HubOptions()),
        service_(loop, hub, enrolment) {
    ServerOptions options;
    options.address = absl::StrCat("127.0.0.1:", port);
    auto identity = *authority_->MakeServerIdentity(clock_.Now());
    options.tls.key = identity.key_pem;
    options.tls.certificate = identity.certificate_pem;
    options.tls.client_ca = authority_->certificate().ToPem();
    auto started = RpcServer::Start(loop, options, {&service_});
    EXPECT_THAT(started, IsOk());
    server_ = *std::move(started);
  }

  ~Manager() {
    bool stopped = false;
    server_->Shutdown(absl::ZeroDuration(), [&] { stopped = true; });
    EXPECT_TRUE(RunUntil(loop_, [&] { return stopped; }));
  }

  // Leaves politely.
  void Drain() {
    bool drained = false;
    hub.Drain(absl::Seconds(5), [&] { drained = true; });
    EXPECT_TRUE(RunUntil(loop_, [&] { return drained; }));
  }

  int port() const { return server_->port(); }
  std::string address() const { return absl::StrCat("127.0.0.1:", port()); }

  std::string Token(const std::string& name) {
    absl::StatusOr<std::string> token = absl::UnknownError("");
    manager::Enrolment::TokenRequest request;
    request.workspace = "fleet-default";
    request.name = name;
    enrolment.CreateToken(request, [&](absl::StatusOr<std::string> made) {
      token = std::move(made);
    });
    EXPECT_TRUE(RunUntil(loop_, [&] { return token.ok(); }));
    return *token;
  }

 private:
  manager::SessionHub::Options HubOptions() {
    manager::SessionHub::Options options;
    options.on_notice = [this](const std::string& text) {
      notices.push_back(text);
    };
    return options;
  }

  RealLoop& loop_;
  PosixClock clock_;
  PosixRandom random_;
  InlineWorkerPool pool_;
  manager::FamilyWriter tokens_;
  manager::FamilyWriter clusters_;
  manager::FamilyWriter sessions_;
  manager::FamilyWriter facts_;
  manager::FamilyWriter highwater_;
  manager::FamilyWriter values_;

 public:
  std::vector<std::string> notices;
  StoringSink sink;

 private:
  manager::IdentityRegistry registry_;
  std::unique_ptr<SealedBox> box_;
  std::unique_ptr<manager::CertificateAuthority> authority_;

 public:
  manager::Enrolment enrolment;
  manager::SessionHub hub;

 private:
  manager::AgentService service_;
  std::unique_ptr<RpcServer> server_;
};

// An agent that stores in memory, fetches every manifest and says that it is
// healthy, or deleted.
class Agent final : public agent::LinkEvents {
 public:
  Agent(RealLoop& loop, std::string folder, const std::string& address,
        std::string token)
      : pool_(loop), identities_(std::move(folder), pool_),
        link(loop, clock_, random_, identities_,
             OptionsFor(address, std::move(token))) {
    core::v1::ClusterFacts facts;
    facts.set_kube_version("v1.36.3");
    for (int i = 0; i < 700; ++i) {
      core::v1::KindFact* kind = facts.add_kinds();
      kind->set_kind(absl::StrCat("Kind", i));
    }
    link.SetFacts(std::move(facts));
    link.SetClusterUid(kUid);
    link.Start(*this);
  }

  agent::HeldSummary Held() override {
    agent::HeldSummary summary;
    summary.set_digest = SetDigest(Have());
    summary.have_count = held.size();
    return summary;
  }
  std::vector<AssignedItem> Have() override {
    std::vector<AssignedItem> items;
    for (const auto& [bundle_id, item] : held) items.push_back(item);
    return items;
  }
  void OnWelcome(const agent::SessionOpened& opened) override {
    welcomes.push_back(opened);
    for (const auto& [bundle_id, digest] : opened.known) {
      known[bundle_id] = digest;
      OnAcked(bundle_id);
    }
    acking.clear();
  }
  void OnAssign(uint64_t epoch, const agent::v1::Assign& assign) override {
    for (const agent::v1::Upsert& upsert : assign.upserts()) {
      held[upsert.bundle_id()] = {upsert.bundle_id(), upsert.generation(),
                                  upsert.manifest_digest(), false};
      link.FetchBlob(upsert.manifest_digest(), upsert.manifest_size(),
                     [this, upsert](absl::StatusOr<std::string> bytes) {
                       fetched[upsert.bundle_id()] = std::move(bytes);
                       SetState(upsert.bundle_id(), upsert.generation(),
                                core::v1::PHASE_HEALTHY);
                     });
    }
    for (const agent::v1::Tombstone& tombstone : assign.tombstones()) {
      held[tombstone.bundle_id()] = {tombstone.bundle_id(),
                                     tombstone.generation(), "", true};
      SetState(tombstone.bundle_id(), tombstone.generation(),
               core::v1::PHASE_DELETED);
    }
    link.AckAssign(epoch, assign.nonce(), {}, assign.av_to(),
                   SetDigest(Have()));
  }
  void OnValuesRequest(const agent::v1::ValuesRequest&) override {}
  void OnReportAck(uint64_t seq) override {
    while (!acking.empty() && acking.begin()->first <= seq) {
      known[acking.begin()->second] =
          states[acking.begin()->second].state_digest();
      OnAcked(acking.begin()->second);
      acking.erase(acking.begin());
    }
  }
  void OnReportable() override {
    for (const auto& [bundle_id, state] : states) {
      if (known[bundle_id] != state.state_digest() && !IsAcking(bundle_id)) {
        Report(state);
      }
    }
  }
  void OnDisconnected(const absl::Status& why, bool was_refused) override {
    problems.push_back(std::string(why.message()));
    refused = was_refused;
  }

  bool settled() const {
    for (const auto& [bundle_id, state] : states) {
      const auto it = known.find(bundle_id);
      if (it == known.end() || it->second != state.state_digest()) return false;
    }
    return link.connected();
  }

 private:
  static agent::GrpcManagerLink::Options OptionsFor(const std::string& address,
                                                    std::string token) {
    agent::GrpcManagerLink::Options options;
    options.manager_address = address;
    options.token = std::move(token);
    options.agent_version = "test";
    options.reconnect.first = absl::Milliseconds(5);
    options.reconnect.longest = absl::Milliseconds(50);
    return options;
  }

  void SetState(const std::string& bundle_id, uint64_t generation,
                core::v1::Phase phase) {
    core::v1::DeploymentState& state = states[bundle_id];
    state.set_bundle_id(bundle_id);
    state.set_generation(generation);
    state.set_phase(phase);
    state.set_state_digest(Sha256(
        absl::StrCat(bundle_id, generation, core::v1::Phase_Name(phase))));
    Report(state);
  }
  void Report(const core::v1::DeploymentState& state) {
    const uint64_t seq = link.SendState(state);
    if (seq != 0) acking[seq] = state.bundle_id();
  }
  bool IsAcking(const std::string& bundle_id) const {
    for (const auto& [seq, id] : acking) {
      if (id == bundle_id) return true;
    }
    return false;
  }
  void OnAcked(const std::string& bundle_id) {
    const auto state = states.find(bundle_id);
    if (state != states.end() &&
        state->second.phase() == core::v1::PHASE_DELETED &&
        known[bundle_id] == state->second.state_digest()) {
      held.erase(bundle_id);
    }
  }

  PosixClock clock_;
  PosixRandom random_;
  InlineWorkerPool pool_;
  agent::FileIdentityStore identities_;

 public:
  std::map<std::string, AssignedItem> held;
  std::map<std::string, absl::StatusOr<std::string>> fetched;
  std::map<std::string, core::v1::DeploymentState> states;
  std::map<std::string, std::string> known;
  std::map<uint64_t, std::string> acking;
  std::vector<agent::SessionOpened> welcomes;
  std::vector<std::string> problems;
  bool refused = false;
  agent::GrpcManagerLink link;
};

class StreamTest : public ::testing::Test {
 protected:
  StreamTest() : disk(loop) {
    static int count = 0;
    disk.folder = Folder(absl::StrCat("manager", count));
    ++count;
    manager = std::make_unique<Manager>(loop, disk, 0);
  }

  // A new folder of that name.
  std::string Folder(const std::string& name) {
    std::string path = absl::StrCat(getenv("TEST_TMPDIR"), "/", name, "XXXXXX");
    EXPECT_NE(mkdtemp(path.data()), nullptr);
    return path;
  }

  std::unique_ptr<Agent> NewAgent(const std::string& folder,
                                  const std::string& token) {
    return std::make_unique<Agent>(loop, folder, manager->address(), token);
  }

  // Starts the manager again on the same disk and port.
  void Restart(bool politely) {
    const int port = manager->port();
    if (politely) manager->Drain();
    manager.reset();
    manager = std::make_unique<Manager>(loop, disk, port);
  }

  void Release(const std::string& cluster_id, const std::string& bundle_id,
               uint64_t generation, const std::string& manifest,
               storage::v1::Released::State state =
                   storage::v1::Released::STATE_ACTIVE) {
    storage::v1::Released released;
    released.set_generation(generation);
    released.set_av(++av);
    released.set_state(state);
    released.set_manifest_digest(*disk.blobs.Put(manifest));
    released.set_manifest_size(manifest.size());
    if (state == storage::v1::Released::STATE_DELETING) {
      released.set_cause(core::v1::DELETE_CAUSE_GIT_REMOVED);
    }
    disk.store.Put(manager::ReleasedKey(cluster_id, bundle_id),
                   manager::SerializeRecord(released));
  }

  template <typename F>
  bool Until(F done) {
    return RunUntil(loop, std::move(done));
  }

  uint64_t SentOf(const std::string& type) {
    return manager->hub.Totals().sent[type];
  }

  RealLoop loop;
  Disk disk;
  uint64_t av = 0;
  std::unique_ptr<Manager> manager;
};

TEST_F(StreamTest, EnrolsAndDeliversAndReports) {
  auto one = NewAgent(Folder("agent"), manager->Token("prod"));
  ASSERT_TRUE(Until([&] { return one->link.connected(); }));
  const std::string cluster = one->link.cluster_id();
  EXPECT_EQ(one->welcomes[0].epoch, 1u);

  // Larger than one frame of blobs.
  const std::string manifest(1000 * 1000, 'm');
  Release(cluster, "bundle-a", 1, manifest);
  Release(cluster, "bundle-b", 1, "small");

  ASSERT_TRUE(Until([&] {
    return one->fetched.size() == 2 && one->settled() &&
           disk.store.Find(manager::HighWaterKey(cluster)) != nullptr &&
           disk.store.Find(manager::FactsKey(cluster)) != nullptr;
  }));
  EXPECT_THAT(one->fetched["bundle-a"], IsOkAndHolds(manifest));
  EXPECT_THAT(one->fetched["bundle-b"], IsOkAndHolds(std::string("small")));
  EXPECT_EQ(manager->sink.states, 2u);
  storage::v1::Facts facts;
  ASSERT_TRUE(facts.ParseFromString(
      disk.store.Find(manager::FactsKey(cluster))->value));
  EXPECT_EQ(facts.facts().kinds_size(), 700);
  EXPECT_TRUE(manager->hub.Presence(cluster).online);
}

TEST_F(StreamTest, DeletesByTombstoneAndForgetsIt) {
  auto one = NewAgent(Folder("agent"), manager->Token("prod"));
  ASSERT_TRUE(Until([&] { return one->link.connected(); }));
  const std::string cluster = one->link.cluster_id();
  Release(cluster, "bundle-a", 1, "a");
  ASSERT_TRUE(Until([&] { return one->fetched.size() == 1; }));

  Release(cluster, "bundle-a", 2, "a",
          storage::v1::Released::STATE_DELETING);

  ASSERT_TRUE(Until([&] { return one->held.empty() && one->settled(); }));
  EXPECT_EQ(one->states["bundle-a"].phase(), core::v1::PHASE_DELETED);
}

TEST_F(StreamTest, CostsTwoFramesToReconnectInSync) {
  auto one = NewAgent(Folder("agent"), manager->Token("prod"));
  ASSERT_TRUE(Until([&] { return one->link.connected(); }));
  const std::string cluster = one->link.cluster_id();
  for (int i = 0; i < 20; ++i) {
    Release(cluster, absl::StrCat("bundle-", i), 1, absl::StrCat("m", i));
  }
  ASSERT_TRUE(Until(
      [&] { return one->fetched.size() == 20 && one->settled(); }));
  Release(cluster, "bundle-0", 2, "m0", storage::v1::Released::STATE_DELETING);
  ASSERT_TRUE(
      Until([&] { return one->held.size() == 19 && one->settled(); }));

  for (const bool politely : {true, false}) {
    Restart(politely);
    const size_t before = one->welcomes.size();
    ASSERT_TRUE(Until([&] {
      return one->welcomes.size() > before && one->link.connected();
    }));

    EXPECT_TRUE(one->welcomes.back().in_sync);
    const manager::FrameCounts counts = manager->hub.Totals();
    EXPECT_THAT(counts.received, ElementsAre(Pair("hello", 1)));
    EXPECT_THAT(counts.sent, ElementsAre(Pair("welcome", 1)));
    EXPECT_EQ(manager->sink.states, 0u);
  }
  EXPECT_EQ(one->welcomes.back().epoch, 3u);
}

TEST_F(StreamTest, SendsOnlyTheDifferenceAfterAnAbsence) {
  auto one = NewAgent(Folder("agent"), manager->Token("prod"));
  ASSERT_TRUE(Until([&] { return one->link.connected(); }));
  const std::string cluster = one->link.cluster_id();
  Release(cluster, "bundle-a", 1, "a");
  Release(cluster, "bundle-b", 1, "b");
  ASSERT_TRUE(
      Until([&] { return one->fetched.size() == 2 && one->settled(); }));

  const int port = manager->port();
  manager.reset();
  Release(cluster, "bundle-b", 2, "b2");
  manager = std::make_unique<Manager>(loop, disk, port);

  ASSERT_TRUE(Until([&] {
    return one->held["bundle-b"].generation == 2 && one->settled() &&
           one->states["bundle-b"].generation() == 2;
  }));
  EXPECT_EQ(SentOf("assign"), 1u);
  EXPECT_EQ(one->states["bundle-a"].generation(), 1u);
  EXPECT_FALSE(one->welcomes.back().in_sync);
}

TEST_F(StreamTest, AnswersTheSameForForeignAndAbsentBlobs) {
  auto one = NewAgent(Folder("agent1"), manager->Token("one"));
  auto two = NewAgent(Folder("agent2"), manager->Token("two"));
  ASSERT_TRUE(Until(
      [&] { return one->link.connected() && two->link.connected(); }));
  Release(two->link.cluster_id(), "bundle-b", 1, "secret of two");
  ASSERT_TRUE(Until([&] { return two->fetched.size() == 1; }));

  std::vector<absl::Status> answers;
  for (const std::string& digest : {Sha256("secret of two"), Sha256("none")}) {
    one->link.FetchBlob(digest, 13, [&](absl::StatusOr<std::string> bytes) {
      answers.push_back(bytes.status());
    });
  }

  ASSERT_TRUE(Until([&] { return answers.size() == 2; }));
  EXPECT_THAT(answers[0], StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(answers[1], StatusIs(absl::StatusCode::kNotFound));
  EXPECT_EQ(manager->hub.Totals().ignored["foreign_blobs"], 2u);
}

TEST_F(StreamTest, RefusesAUsedToken) {
  const std::string token = manager->Token("prod");
  auto one = NewAgent(Folder("agent1"), token);
  ASSERT_TRUE(Until([&] { return one->link.connected(); }));

  auto two = NewAgent(Folder("agent2"), token);

  ASSERT_TRUE(Until([&] { return !two->problems.empty(); }));
  EXPECT_THAT(two->problems[0],
              AllOf(HasSubstr("already used by cluster fleet-default/prod"),
                    HasSubstr("flotilla token create")));
  EXPECT_TRUE(two->refused);
  EXPECT_TRUE(one->link.connected());
}

TEST_F(StreamTest, RefusesAnUnknownTokenAndABrokenOne) {
  JoinToken unknown = *ParseJoinToken(manager->Token("prod"));
  unknown.secret[0] = static_cast<char>(unknown.secret[0] ^ 1);

  auto one = NewAgent(Folder("agent1"), FormatJoinToken(unknown));
  auto two = NewAgent(Folder("agent2"), "flt.cut");

  ASSERT_TRUE(Until(
      [&] { return !one->problems.empty() && !two->problems.empty(); }));
  EXPECT_THAT(one->problems[0], HasSubstr("the join token is unknown"));
  EXPECT_THAT(two->problems[0], HasSubstr("not a whole join token"));
}

TEST_F(StreamTest, RefusesACertificateOfAnotherManager) {
  // Enrolled with a manager, then sent to another one.
  const std::string folder = Folder("agent");
  Disk other_disk(loop);
  other_disk.folder = Folder("other");
  auto other = std::make_unique<Manager>(loop, other_disk, 0);
  {
    Agent first(loop, folder, other->address(), other->Token("prod"));
    ASSERT_TRUE(Until([&] { return first.link.connected(); }));
  }

  auto lost = NewAgent(folder, "");

  ASSERT_TRUE(Until([&] { return !lost->problems.empty(); }));
  EXPECT_THAT(lost->problems[0], HasSubstr("another manager"));
  EXPECT_THAT(manager->hub.Sessions(), IsEmpty());

  // A client that trusts this manager but shows the other CA's certificate.
  auto store = std::make_unique<InlineWorkerPool>(loop);
  agent::FileIdentityStore identities(folder, *store);
  agent::AgentIdentity identity;
  identities.Load([&](absl::StatusOr<agent::AgentIdentity> loaded) {
    identity = *std::move(loaded);
    loop.Stop();
  });
  loop.RunUntilStopped();
  ChannelTls tls;
  tls.ca = Certificate::FromDer(ParseJoinToken(manager->Token("x"))->ca_der)
               ->ToPem();
  tls.server_name = "flotilla-manager";
  for (const bool foreign : {true, false}) {
    if (foreign) {
      tls.key = identity.key;
      tls.certificate = identity.certificate;
    } else {
      tls.key.clear();
      tls.certificate.clear();
    }
    auto stub = agent::v1::AgentService::NewStub(
        MakeTlsChannel(manager->address(), tls));
    grpc::ClientContext context;
    auto stream = stub->Session(&context);
    agent::v1::ManagerFrame frame;
    EXPECT_FALSE(stream->Read(&frame));
    const grpc::Status status = stream->Finish();
    EXPECT_EQ(status.error_code(), foreign ? grpc::StatusCode::UNAVAILABLE
                                           : grpc::StatusCode::UNAUTHENTICATED)
        << status.error_message();
  }
  lost.reset();
  other.reset();
}

TEST_F(StreamTest, KeepsItsIdentityAcrossItsOwnRestart) {
  const std::string folder = Folder("agent");
  const std::string token = manager->Token("prod");
  auto one = NewAgent(folder, token);
  ASSERT_TRUE(Until([&] { return one->link.connected(); }));
  const std::string cluster = one->link.cluster_id();
  one.reset();

  // With its token still on the command line, and without.
  for (const std::string& given : {token, std::string()}) {
    auto again = NewAgent(folder, given);
    ASSERT_TRUE(Until([&] { return again->link.connected(); }));
    EXPECT_EQ(again->link.cluster_id(), cluster);
    EXPECT_THAT(again->problems, IsEmpty());
  }
}

TEST_F(StreamTest, GetsTheSameIdentityWhenTheReplyWasLost) {
  const std::string folder = Folder("agent");
  const std::string token = manager->Token("prod");
  std::string cluster;
  {
    auto one = NewAgent(folder, token);
    ASSERT_TRUE(Until([&] { return one->link.connected(); }));
    cluster = one->link.cluster_id();
  }
  // As if the agent had died before the certificate was on its disk.
  InlineWorkerPool pool(loop);
  agent::FileIdentityStore identities(folder, pool);
  bool saved = false;
  identities.Load([&](absl::StatusOr<agent::AgentIdentity> identity) {
    identity->pending_key = std::exchange(identity->key, "");
    identity->pending_token_id = std::exchange(identity->token_id, "");
    identity->certificate.clear();
    identity->ca.clear();
    identity->cluster_id.clear();
    identities.Save(*identity, [&](absl::Status) { saved = true; });
  });
  ASSERT_TRUE(Until([&] { return saved; }));

  auto again = NewAgent(folder, token);

  ASSERT_TRUE(Until([&] { return again->link.connected(); }));
  EXPECT_EQ(again->link.cluster_id(), cluster);
}

TEST_F(StreamTest, ReachesAManagerThatComesLate) {
  auto first = std::make_unique<Manager>(loop, disk, 0);
  const std::string token = first->Token("prod");
  const int port = first->port();
  const std::string address = first->address();
  first.reset();
  Agent one(loop, Folder("agent"), address, token);
  ASSERT_TRUE(Until([&] { return one.problems.size() >= 2; }));
  EXPECT_THAT(one.problems[0], HasSubstr(address));
  EXPECT_FALSE(one.refused);

  first = std::make_unique<Manager>(loop, disk, port);

  ASSERT_TRUE(Until([&] { return one.link.connected(); }));
}

TEST_F(StreamTest, ReplacesTheKeyWhenEnrolledAgain) {
  auto old = NewAgent(Folder("agent1"), manager->Token("prod"));
  ASSERT_TRUE(Until([&] { return old->link.connected(); }));

  auto renewed = NewAgent(Folder("agent2"), manager->Token("prod"));

  ASSERT_TRUE(Until([&] { return renewed->link.connected(); }));
  EXPECT_EQ(renewed->link.cluster_id(), old->link.cluster_id());
  ASSERT_TRUE(Until([&] { return !old->problems.empty(); }));
  EXPECT_THAT(old->problems[0], HasSubstr("enrolled again"));
  EXPECT_TRUE(old->refused);
}

TEST_F(StreamTest, EndsTheSessionOfADeletedCluster) {
  auto one = NewAgent(Folder("agent"), manager->Token("prod"));
  ASSERT_TRUE(Until([&] { return one->link.connected(); }));
  const std::string cluster = one->link.cluster_id();
  storage::v1::Document document;
  const std::string key =
      manager::DocumentKey("fleet-default", "Cluster", "prod");
  disk.store.Put(key, manager::SerializeRecord(document));
  document.mutable_delete_time()->set_seconds(1);

  disk.store.Put(key, manager::SerializeRecord(document));

  ASSERT_TRUE(Until([&] { return one->problems.size() >= 2; }));
  EXPECT_THAT(one->problems[0], HasSubstr("certificate revoked"));
  EXPECT_THAT(one->problems[1], HasSubstr("was deleted"));
  EXPECT_FALSE(manager->hub.Presence(cluster).online);
  EXPECT_THAT(one->held, IsEmpty());

  // A new token makes a new identity of the same name.
  disk.store.Delete(key);
  auto next = NewAgent(Folder("agent2"), manager->Token("prod"));
  ASSERT_TRUE(Until([&] { return next->link.connected(); }));
  EXPECT_NE(next->link.cluster_id(), cluster);
}

TEST_F(StreamTest, SupersedesTheOlderOfTwoSessions) {
  const std::string folder = Folder("agent");
  auto one = NewAgent(folder, manager->Token("prod"));
  ASSERT_TRUE(Until([&] { return one->link.connected(); }));

  auto copy = NewAgent(folder, "");

  ASSERT_TRUE(Until(
      [&] { return copy->link.connected() && !one->problems.empty(); }));
  EXPECT_THAT(one->problems[0], HasSubstr("took over"));
  EXPECT_EQ(manager->hub.Sessions().size(), 1u);
  EXPECT_EQ(copy->welcomes[0].epoch, 2u);
}

TEST_F(StreamTest, SaysGoodbyeWhenItStops) {
  auto one = NewAgent(Folder("agent"), manager->Token("prod"));
  ASSERT_TRUE(Until([&] { return one->link.connected(); }));
  const std::string cluster = one->link.cluster_id();

  bool stopped = false;
  one->link.Stop([&] { stopped = true; });

  ASSERT_TRUE(Until([&] { return stopped; }));
  ASSERT_TRUE(Until([&] { return !manager->hub.Presence(cluster).online; }));
  EXPECT_EQ(manager->hub.Totals().received["bye"], 1u);
}

TEST_F(StreamTest, KeepsQuietWhenNothingChanges) {
  auto one = NewAgent(Folder("agent"), manager->Token("prod"));
  ASSERT_TRUE(Until([&] { return one->link.connected(); }));
  Release(one->link.cluster_id(), "bundle-a", 1, "a");
  ASSERT_TRUE(
      Until([&] { return one->fetched.size() == 1 && one->settled(); }));
  const manager::FrameCounts before = manager->hub.Totals();

  const absl::Duration end = loop.MonotonicNow() + absl::Seconds(2);
  ASSERT_TRUE(Until([&] { return loop.MonotonicNow() > end; }));

  const manager::FrameCounts after = manager->hub.Totals();
  EXPECT_EQ(after.received, before.received);
  EXPECT_EQ(after.sent, before.sent);
}

}  // namespace
}  // namespace flotilla
