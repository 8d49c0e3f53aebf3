// SPDX-License-Identifier: Apache-2.0

#include "manager/stream/session_hub.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/assignment/set_digest.h"
#include "common/assignment/values_digest.h"
#include "common/blob/memory_blob_store.h"
#include "common/crypto/sha256.h"
#include "common/env/fake_clock.h"
#include "common/env/fake_random.h"
#include "common/event/inline_worker_pool.h"
#include "common/event/simulated_loop.h"
#include "common/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "manager/store/memory_store.h"
#include "manager/store/records.h"

namespace flotilla::manager {
namespace {

using agent::v1::AgentFrame;
using agent::v1::Goodbye;
using agent::v1::ManagerFrame;
using agent::v1::Reject;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr char kCluster[] = "3f0c8a52-77d4-4b0e-9a42-0d6f8a1b2c3d";

// What a reactor would do, seen from the other end.
struct Wire {
  std::vector<ManagerFrame> frames;
  int reads_allowed = 0;
  std::optional<absl::Status> closed;
};

class FakeConnection final : public AgentConnection {
 public:
  explicit FakeConnection(Wire& wire) : wire_(wire) {}
  void Write(ManagerFrame frame) override {
    wire_.frames.push_back(std::move(frame));
  }
  void ReadNext() override { ++wire_.reads_allowed; }
  void Close(absl::Status status) override { wire_.closed = status; }

 private:
  Wire& wire_;
};

// Holds completions back until the test lets them go.
class HoldingSink final : public ReportSink {
 public:
  void OnState(const std::string&, uint64_t epoch, core::v1::DeploymentState,
               Done done) override {
    epochs.push_back(epoch);
    pending.push_back(std::move(done));
  }
  void OnResources(const std::string&, uint64_t,
                   std::vector<core::v1::ResourceStatus>,
                   Done done) override {
    pending.push_back(std::move(done));
  }
  void OnDrift(const std::string&, uint64_t,
               std::vector<core::v1::DriftRecord>, Done done) override {
    pending.push_back(std::move(done));
  }
  void OnRejected(const std::string&, uint64_t, const std::string&, uint64_t,
                  core::v1::Problem) override {}

  std::vector<uint64_t> epochs;
  std::vector<Done> pending;
};

class SessionHubTest : public ::testing::Test {
 protected:
  SessionHubTest()
      : store(loop), clusters(store, kClusterFamily),
        sessions(store, kSessionFamily), facts(store, kFactsFamily),
        highwater(store, kHighWaterFamily),
        values(store, kValuesFamily), pool(loop) {
    identity.set_cluster_id(kCluster);
    identity.set_workspace("ws");
    identity.set_name("prod");
    identity.set_cluster_uid("uid");
    identity.set_public_key_digest("key");
    PutIdentity();
    Start();
  }

  void PutIdentity() {
    store.Put(ClusterIdentityKey(kCluster), SerializeRecord(identity));
  }

  void Start() {
    hub.reset();
    registry = std::make_unique<IdentityRegistry>(loop, store, clusters);
    hub = std::make_unique<SessionHub>(
        SessionHub::Collaborators{loop, clock, random, store, sessions, facts,
                                  highwater, *registry, blobs, pool, sink,
                                  values},
        SessionHub::Options{});
  }

  SessionHub::ConnectionId Connect(Wire& wire) {
    return hub->OnOpened(std::make_shared<FakeConnection>(wire),
                         {kCluster, "key", "address"});
  }

  static AgentFrame Hello() {
    AgentFrame frame;
    frame.mutable_hello()->set_proto_min(1);
    frame.mutable_hello()->set_proto_max(1);
    frame.mutable_hello()->set_cluster_uid("uid");
    frame.mutable_hello()->set_set_digest(SetDigest({}));
    return frame;
  }

  SessionHub::ConnectionId OpenSession(Wire& wire) {
    const SessionHub::ConnectionId id = Connect(wire);
    hub->OnFrame(id, Hello());
    loop.RunUntilIdle();
    EXPECT_THAT(wire.frames, SizeIs(1));
    EXPECT_TRUE(wire.frames[0].has_welcome());
    wire.frames.clear();
    // What comes after the welcome is left to the test.
    hub->OnWritten(id);
    return id;
  }

  // As OpenSession(), and keeps what follows Welcome.
  SessionHub::ConnectionId OpenAsking(Wire& wire) {
    const SessionHub::ConnectionId id = Connect(wire);
    hub->OnFrame(id, Hello());
    loop.RunUntilIdle();
    wire.frames.clear();
    hub->OnWritten(id);
    return id;
  }

  void Release(uint64_t generation) {
    storage::v1::Released released;
    released.set_generation(generation);
    released.set_av(generation);
    released.set_state(storage::v1::Released::STATE_ACTIVE);
    released.set_manifest_digest(Sha256("m"));
    store.Put(ReleasedKey(kCluster, "a"), SerializeRecord(released));
    loop.RunUntilIdle();
  }

  // A deployment of bundle "a" whose values lie in a Secret.
  void Desire(const std::string& secret) {
    storage::v1::Desired desired;
    desired.mutable_options()->set_default_namespace("ns");
    desired.mutable_options()->set_service_account("sa");
    if (!secret.empty()) {
      core::v1::ValuesRef& ref =
          *desired.mutable_options()->mutable_helm()->add_values_from();
      ref.set_kind(core::v1::ValuesRef::KIND_SECRET);
      ref.set_name(secret);
    }
    store.Put(DesiredKey(kCluster, "a"), SerializeRecord(desired));
    loop.RunUntilIdle();
  }

  static AgentFrame Answer(const agent::v1::ValuesRequest& request,
                           const std::string& content) {
    AgentFrame frame;
    frame.set_epoch(1);
    agent::v1::ValuesReport& report = *frame.mutable_values();
    report.set_bundle_id(request.bundle_id());
    *report.mutable_refs() = request.refs();
    report.set_service_account(request.service_account());
    report.add_contents(content);
    report.set_digest(ValuesDigest(report));
    return frame;
  }

  storage::v1::ClusterValues Values() {
    storage::v1::ClusterValues record;
    const KeyValue* kv = store.Find(ValuesKey(kCluster, "a"));
    if (kv != nullptr) {
      EXPECT_TRUE(record.ParseFromString(kv->value));
    }
    return record;
  }

  storage::v1::SessionRecord Record() {
    storage::v1::SessionRecord record;
    const KeyValue* kv = store.Find(SessionKey(kCluster));
    EXPECT_TRUE(kv != nullptr && record.ParseFromString(kv->value));
    return record;
  }

  SimulatedLoop loop;
  FakeClock clock;
  FakeRandom random;
  MemoryStore store;
  FamilyWriter clusters;
  FamilyWriter sessions;
  FamilyWriter facts;
  FamilyWriter highwater;
  FamilyWriter values;
  MemoryBlobStore blobs;
  InlineWorkerPool pool;
  HoldingSink sink;
  storage::v1::ClusterIdentity identity;
  std::unique_ptr<IdentityRegistry> registry;
  std::unique_ptr<SessionHub> hub;
};

TEST_F(SessionHubTest, IsNotReadyBeforeItsMirrorsAreLoaded) {
  Wire wire;
  const auto id = Connect(wire);
  hub->OnFrame(id, Hello());

  ASSERT_THAT(wire.frames, SizeIs(1));
  EXPECT_EQ(wire.frames[0].reject().code(), Reject::CODE_NOT_READY);
  EXPECT_GT(wire.frames[0].reject().retry_after_ms(), 0u);
  hub->OnWritten(id);
  EXPECT_TRUE(wire.closed.has_value());
}

TEST_F(SessionHubTest, RaisesTheEpochWithEachSession) {
  loop.RunUntilIdle();
  Wire first;
  const auto id = OpenSession(first);
  EXPECT_EQ(Record().epoch(), 1u);
  EXPECT_FALSE(Record().has_end_time());
  EXPECT_TRUE(hub->Presence(kCluster).online);
  hub->OnBroken(id);
  loop.RunUntilIdle();
  EXPECT_TRUE(Record().has_end_time());
  EXPECT_FALSE(hub->Presence(kCluster).online);
  EXPECT_EQ(hub->Presence(kCluster).last_seen, clock.Now());

  Wire second;
  OpenSession(second);
  EXPECT_EQ(Record().epoch(), 2u);
}

TEST_F(SessionHubTest, RemembersWhenAnAgentWasSeenAcrossARestart) {
  loop.RunUntilIdle();
  Wire wire;
  const auto id = OpenSession(wire);
  hub->OnBroken(id);
  loop.RunUntilIdle();
  const absl::Time seen = clock.Now();
  clock.Advance(absl::Hours(5));

  Start();
  loop.RunUntilIdle();

  EXPECT_FALSE(hub->Presence(kCluster).online);
  EXPECT_EQ(hub->Presence(kCluster).last_seen, seen);
}

TEST_F(SessionHubTest, TakesNothingFromASupersededSession) {
  loop.RunUntilIdle();
  Release(1);
  Wire older;
  const auto old_id = Connect(older);
  hub->OnFrame(old_id, Hello());
  loop.RunUntilIdle();
  // The older stream does not take its Welcome; the newer one comes.
  Wire newer;
  const auto new_id = Connect(newer);
  hub->OnFrame(new_id, Hello());
  loop.RunUntilIdle();

  AgentFrame report;
  report.set_epoch(1);
  report.set_bundle_seq(1);
  report.mutable_bundle()->set_bundle_id("a");
  hub->OnFrame(old_id, report);
  EXPECT_THAT(sink.epochs, IsEmpty());
  hub->OnWritten(old_id);
  ASSERT_THAT(older.frames, SizeIs(2));
  EXPECT_EQ(older.frames[1].bye().reason(), Goodbye::REASON_SUPERSEDED);
  hub->OnWritten(old_id);
  EXPECT_TRUE(older.closed.has_value());
  EXPECT_FALSE(newer.closed.has_value());
  EXPECT_TRUE(hub->Presence(kCluster).online);
}

TEST_F(SessionHubTest, WritesOneFrameAtATime) {
  loop.RunUntilIdle();
  Wire wire;
  const auto id = OpenSession(wire);
  Release(1);
  ASSERT_THAT(wire.frames, SizeIs(1));
  Release(2);
  Release(3);
  EXPECT_THAT(wire.frames, SizeIs(1));
  hub->OnWritten(id);
  ASSERT_THAT(wire.frames, SizeIs(2));
  EXPECT_EQ(wire.frames[1].assign().upserts(0).generation(), 3u);
}

TEST_F(SessionHubTest, AcknowledgesReportsOnlyWhenTheSinkHasThem) {
  loop.RunUntilIdle();
  Release(1);
  Wire wire;
  const auto id = OpenSession(wire);
  AgentFrame report;
  report.set_epoch(1);
  report.set_bundle_seq(1);
  report.mutable_bundle()->set_bundle_id("a");
  hub->OnFrame(id, report);
  loop.RunUntilIdle();
  ASSERT_THAT(sink.pending, SizeIs(1));
  EXPECT_THAT(wire.frames, IsEmpty());

  sink.pending[0](absl::OkStatus());

  ASSERT_THAT(wire.frames, SizeIs(1));
  EXPECT_EQ(wire.frames[0].report_ack().seq(), 1u);
}

TEST_F(SessionHubTest, EndsTheSessionWhenAReportIsLost) {
  loop.RunUntilIdle();
  Release(1);
  Wire wire;
  const auto id = OpenSession(wire);
  AgentFrame report;
  report.set_epoch(1);
  report.set_bundle_seq(1);
  report.mutable_bundle()->set_bundle_id("a");
  hub->OnFrame(id, report);
  sink.pending[0](absl::ResourceExhaustedError("disk full"));

  ASSERT_TRUE(wire.closed.has_value());
  EXPECT_THAT(*wire.closed, StatusIs(absl::StatusCode::kUnavailable,
                                     HasSubstr("disk full")));
  // A completion that comes after the end does nothing.
  hub->OnFrame(id, report);
}

TEST_F(SessionHubTest, StopsReadingWhileReportsPileUp) {
  loop.RunUntilIdle();
  Release(1);
  Wire wire;
  const auto id = OpenSession(wire);
  const int before = wire.reads_allowed;
  AgentFrame report;
  report.set_epoch(1);
  report.mutable_bundle()->set_bundle_id("a");
  for (uint64_t seq = 1; seq <= AgentSession::kMaxPendingReports; ++seq) {
    report.set_bundle_seq(seq);
    hub->OnFrame(id, report);
  }
  EXPECT_EQ(wire.reads_allowed - before, 15);

  sink.pending[0](absl::OkStatus());
  EXPECT_EQ(wire.reads_allowed - before, 16);
}

TEST_F(SessionHubTest, EndsASilentStreamAndOneThatBeginsWrongly) {
  loop.RunUntilIdle();
  Wire silent;
  Connect(silent);
  Wire wrong;
  const auto id = Connect(wrong);
  hub->OnFrame(id, AgentFrame());
  EXPECT_THAT(*wrong.closed, StatusIs(absl::StatusCode::kFailedPrecondition,
                                      HasSubstr("hello")));

  loop.Advance(absl::Seconds(7));

  ASSERT_TRUE(silent.closed.has_value());
  EXPECT_THAT(*silent.closed, StatusIs(absl::StatusCode::kDeadlineExceeded));
}

TEST_F(SessionHubTest, FencesAgainWhenAnotherWriterWasFaster) {
  loop.RunUntilIdle();
  store.FailTxn(1, absl::FailedPreconditionError("changed meanwhile"));
  Wire wire;
  OpenSession(wire);
  EXPECT_EQ(Record().epoch(), 1u);
}

TEST_F(SessionHubTest, SaysThatTheStoreFailsRatherThanThatItIsEmpty) {
  loop.RunUntilIdle();
  for (const bool write : {true, false}) {
    if (write) {
      store.FailTxn(1, absl::UnavailableError("disk"));
    } else {
      store.FailRange(1, absl::UnavailableError("disk"));
    }
    Wire wire;
    const auto id = Connect(wire);
    hub->OnFrame(id, Hello());
    loop.RunUntilIdle();
    EXPECT_THAT(wire.frames, IsEmpty());
    ASSERT_TRUE(wire.closed.has_value());
    EXPECT_THAT(*wire.closed, StatusIs(absl::StatusCode::kUnavailable));
  }
}

TEST_F(SessionHubTest, WritesNothingForAReconnectBesidesItsSession) {
  loop.RunUntilIdle();
  Wire wire;
  const auto id = OpenSession(wire);
  Release(1);
  AgentFrame ack;
  ack.set_epoch(1);
  ack.mutable_assign_ack()->set_nonce(1);
  ack.mutable_assign_ack()->set_set_digest(
      SetDigest({{"a", 1, Sha256("m"), false}}));
  hub->OnFrame(id, ack);
  loop.RunUntilIdle();
  EXPECT_NE(store.Find(HighWaterKey(kCluster)), nullptr);
  hub->OnBroken(id);
  loop.RunUntilIdle();
  const int before = store.txn_count();

  Wire again;
  const auto next = Connect(again);
  AgentFrame hello = Hello();
  hello.mutable_hello()->set_set_digest(
      SetDigest({{"a", 1, Sha256("m"), false}}));
  hub->OnFrame(next, hello);
  loop.RunUntilIdle();
  hub->OnWritten(next);
  loop.Advance(absl::Seconds(10));

  EXPECT_THAT(again.frames, SizeIs(1));
  EXPECT_EQ(store.txn_count() - before, 1);
}

TEST_F(SessionHubTest, DrainsWithAGoodbyeAndADeadline) {
  loop.RunUntilIdle();
  Wire wire;
  const auto id = OpenSession(wire);
  Wire deaf;
  Connect(deaf);
  bool drained = false;
  hub->Drain(absl::Seconds(3), [&] { drained = true; });
  loop.RunUntilIdle();
  ASSERT_THAT(wire.frames, SizeIs(1));
  EXPECT_EQ(wire.frames[0].bye().reason(), Goodbye::REASON_DRAIN);
  hub->OnWritten(id);
  EXPECT_TRUE(wire.closed.has_value());
  EXPECT_FALSE(drained);

  loop.Advance(absl::Seconds(4));
  EXPECT_TRUE(drained);
  EXPECT_TRUE(deaf.closed.has_value());
  Wire late;
  Connect(late);
  EXPECT_TRUE(late.closed.has_value());
}

TEST_F(SessionHubTest, RevokesWhenTheClusterDocumentIsDeletedOnly) {
  loop.RunUntilIdle();
  Wire wire;
  const auto id = OpenSession(wire);
  // No document at all, then one of another cluster, mean nothing.
  storage::v1::Document document;
  document.mutable_delete_time()->set_seconds(1);
  store.Put(DocumentKey("ws", "Cluster", "other"), SerializeRecord(document));
  store.Put(DocumentKey("ws", "GitRepo", "prod"), SerializeRecord(document));
  document.clear_delete_time();
  store.Put(DocumentKey("ws", "Cluster", "prod"), SerializeRecord(document));
  loop.RunUntilIdle();
  EXPECT_FALSE(registry->Find(kCluster)->revoked());

  store.FailTxn(1, absl::UnavailableError("disk"));
  store.Delete(DocumentKey("ws", "Cluster", "prod"));
  loop.Advance(absl::Seconds(2));

  EXPECT_TRUE(registry->Find(kCluster)->revoked());
  EXPECT_EQ(registry->FindByName("ws", "prod"), nullptr);
  ASSERT_THAT(wire.frames, SizeIs(1));
  EXPECT_EQ(wire.frames[0].bye().reason(), Goodbye::REASON_REVOKED);
  hub->OnWritten(id);
  EXPECT_TRUE(wire.closed.has_value());
}

TEST_F(SessionHubTest, RevokesAtItsStartWhatWasDeletedBefore) {
  storage::v1::Document document;
  document.mutable_delete_time()->set_seconds(1);
  store.Put(DocumentKey("ws", "Cluster", "prod"), SerializeRecord(document));

  loop.RunUntilIdle();

  EXPECT_TRUE(registry->Find(kCluster)->revoked());
  Wire wire;
  hub->OnFrame(Connect(wire), Hello());
  EXPECT_EQ(wire.frames[0].reject().code(), Reject::CODE_REVOKED);
}

TEST_F(SessionHubTest, AsksForValuesAndKeepsTheAnswer) {
  Desire("x");
  Wire wire;
  const auto id = OpenAsking(wire);
  ASSERT_THAT(wire.frames, SizeIs(1));
  const agent::v1::ValuesRequest request = wire.frames[0].values_request();
  EXPECT_EQ(request.bundle_id(), "a");
  ASSERT_EQ(request.refs_size(), 1);
  EXPECT_EQ(request.refs(0).name(), "x");
  EXPECT_EQ(request.refs(0).namespace_(), "ns");
  EXPECT_EQ(request.refs(0).key(), "values.yaml");
  EXPECT_EQ(request.service_account(), "sa");
  EXPECT_EQ(request.known_digest(), "");
  hub->OnWritten(id);

  hub->OnFrame(id, Answer(request, "a: 1"));
  loop.RunUntilIdle();
  ASSERT_EQ(Values().contents_size(), 1);
  EXPECT_EQ(Values().contents(0), "a: 1");
  EXPECT_EQ(Values().service_account(), "sa");
  const int64_t revision =
      store.Find(ValuesKey(kCluster, "a"))->mod_revision;

  // The same again writes nothing; what was not asked is not taken.
  hub->OnFrame(id, Answer(request, "a: 1"));
  AgentFrame foreign = Answer(request, "a: 2");
  foreign.mutable_values()->set_bundle_id("other");
  hub->OnFrame(id, foreign);
  loop.RunUntilIdle();
  EXPECT_EQ(store.Find(ValuesKey(kCluster, "a"))->mod_revision, revision);
  EXPECT_EQ(store.Find(ValuesKey(kCluster, "other")), nullptr);
  EXPECT_EQ(hub->Totals().ignored.at("foreign_values"), 1u);
  EXPECT_FALSE(wire.closed.has_value());

  // Another place is asked for at once; the old answer is none to it.
  wire.frames.clear();
  Desire("y");
  ASSERT_THAT(wire.frames, SizeIs(1));
  EXPECT_EQ(wire.frames[0].values_request().refs(0).name(), "y");
  hub->OnWritten(id);
  hub->OnFrame(id, Answer(request, "a: 3"));
  loop.RunUntilIdle();
  EXPECT_EQ(Values().contents(0), "a: 1");
  EXPECT_EQ(hub->Totals().ignored.at("stale_values"), 1u);

  // What nobody needs goes, at the agent and here.
  wire.frames.clear();
  Desire("");
  ASSERT_THAT(wire.frames, SizeIs(1));
  EXPECT_EQ(wire.frames[0].values_request().bundle_id(), "a");
  EXPECT_EQ(wire.frames[0].values_request().refs_size(), 0);
  EXPECT_EQ(store.Find(ValuesKey(kCluster, "a")), nullptr);
}

TEST_F(SessionHubTest, SaysWhichValuesItHasWhenItAsksAgain) {
  Desire("x");
  Wire first;
  const auto id = OpenAsking(first);
  const AgentFrame answer =
      Answer(first.frames.at(0).values_request(), "a: 1");
  hub->OnFrame(id, answer);
  loop.RunUntilIdle();
  Start();
  loop.RunUntilIdle();

  Wire second;
  OpenAsking(second);
  ASSERT_THAT(second.frames, SizeIs(1));
  EXPECT_EQ(second.frames[0].values_request().known_digest(),
            answer.values().digest());
}

TEST_F(SessionHubTest, RefusesToAskForTooManyValues) {
  storage::v1::Desired desired;
  for (int i = 0; i < 101; ++i) {
    core::v1::ValuesRef& ref =
        *desired.mutable_options()->mutable_helm()->add_values_from();
    ref.set_kind(core::v1::ValuesRef::KIND_SECRET);
    ref.set_name(absl::StrCat("s", i));
  }
  store.Put(DesiredKey(kCluster, "a"), SerializeRecord(desired));
  loop.RunUntilIdle();
  Wire wire;
  OpenAsking(wire);

  EXPECT_THAT(wire.frames, IsEmpty());
  EXPECT_EQ(Values().refs_size(), 101);
  EXPECT_THAT(Values().problem().message(), HasSubstr("101 entries"));
}

}  // namespace
}  // namespace flotilla::manager
