// SPDX-License-Identifier: Apache-2.0

#include "manager/stream/agent_session.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "common/assignment/set_digest.h"
#include "common/crypto/sha256.h"
#include "common/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "manager/stream/assignment_exchange.h"
#include "manager/stream/blob_exchange.h"

namespace flotilla::manager {
namespace {

using agent::v1::AgentFrame;
using agent::v1::AssignItem;
using agent::v1::Hello;
using agent::v1::ManagerFrame;
using storage::v1::Released;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr uint64_t kEpoch = 7;
constexpr absl::Duration kStart = absl::Hours(1);

Released Active(uint64_t generation, uint64_t av, const std::string& content) {
  Released released;
  released.set_state(Released::STATE_ACTIVE);
  released.set_generation(generation);
  released.set_av(av);
  released.set_manifest_digest(Sha256(content));
  released.set_manifest_size(content.size());
  released.set_bundle_name("name");
  return released;
}

Released Deleting(uint64_t generation, uint64_t av) {
  Released released = Active(generation, av, "last");
  released.set_state(Released::STATE_DELETING);
  released.set_cause(core::v1::DELETE_CAUSE_GIT_REMOVED);
  released.set_approved_by("commit 1234");
  return released;
}

AgentFrame Frame(uint64_t epoch = kEpoch) {
  AgentFrame frame;
  frame.set_epoch(epoch);
  return frame;
}

// One line for each frame: what a reader of the wire would see.
std::string Line(const ManagerFrame& frame) {
  switch (frame.body_case()) {
    case ManagerFrame::kWelcome:
      return absl::StrCat(
          "welcome ",
          frame.welcome().mode() == agent::v1::Welcome::SYNC_MODE_IN_SYNC
              ? "in_sync"
              : "send_have");
    case ManagerFrame::kAssign: {
      std::vector<std::string> items;
      for (const auto& upsert : frame.assign().upserts()) {
        items.push_back(
            absl::StrCat("+", upsert.bundle_id(), "@", upsert.generation()));
      }
      for (const auto& tombstone : frame.assign().tombstones()) {
        items.push_back(absl::StrCat("-", tombstone.bundle_id(), "@",
                                     tombstone.generation()));
      }
      return absl::StrCat("assign ", frame.assign().nonce(), " av ",
                          frame.assign().av_from(), "-",
                          frame.assign().av_to(), " ",
                          absl::StrJoin(items, " "));
    }
    case ManagerFrame::kBlobs:
      return absl::StrCat("blobs ", frame.blobs().chunks_size());
    case ManagerFrame::kReportAck:
      return absl::StrCat("report_ack ", frame.report_ack().seq());
    case ManagerFrame::kPong:
      return absl::StrCat("pong ", frame.pong().id());
    case ManagerFrame::kBye:
      return absl::StrCat(
          "bye ", agent::v1::Goodbye::Reason_Name(frame.bye().reason()));
    default:
      return "?";
  }
}

class AgentSessionTest : public ::testing::Test {
 protected:
  AgentSessionTest() { Reset(); }

  void Reset() {
    session = std::make_unique<AgentSession>(
        AgentSession::Identity{kEpoch, "session", "store"}, kStart);
  }

  // Opens with an agent that holds `items`.
  void Open(const std::vector<AssignedItem>& items) {
    Hello hello;
    hello.set_set_digest(SetDigest(items));
    session->Open(hello, "");
  }

  std::vector<std::string> Sent() {
    std::vector<std::string> lines;
    while (true) {
      std::optional<ManagerFrame> frame = session->NextFrame();
      if (!frame.has_value()) return lines;
      EXPECT_EQ(frame->epoch(), kEpoch);
      lines.push_back(Line(*frame));
      last = *std::move(frame);
    }
  }

  AgentSession::Step Have(const std::vector<AssignedItem>& items) {
    AgentFrame frame = Frame();
    for (const AssignedItem& item : items) {
      auto* have = frame.mutable_have()->add_items();
      have->set_bundle_id(item.bundle_id);
      have->set_generation(item.generation);
      have->set_manifest_digest(item.manifest_digest);
      have->set_tombstone(item.tombstone);
    }
    frame.mutable_have()->set_last(true);
    return session->OnFrame(frame, 100, kStart);
  }

  AgentSession::Step Ack(uint64_t nonce, const std::vector<AssignItem>& items,
                         const std::vector<AssignedItem>& held) {
    AgentFrame frame = Frame();
    frame.mutable_assign_ack()->set_nonce(nonce);
    frame.mutable_assign_ack()->set_set_digest(SetDigest(held));
    for (const AssignItem& item : items) {
      *frame.mutable_assign_ack()->add_items() = item;
    }
    return session->OnFrame(frame, 100, kStart);
  }

  AgentSession::Step Need(const std::vector<std::string>& digests,
                          uint64_t offset = 0) {
    AgentFrame frame = Frame();
    for (const std::string& digest : digests) {
      auto* want = frame.mutable_blob_need()->add_want();
      want->set_digest(digest);
      want->set_offset(offset);
    }
    return session->OnFrame(frame, 100, kStart);
  }

  AgentSession::Step State(uint64_t seq, const std::string& bundle_id,
                           uint64_t generation, core::v1::Phase phase) {
    AgentFrame frame = Frame();
    frame.set_bundle_seq(seq);
    frame.mutable_bundle()->set_bundle_id(bundle_id);
    frame.mutable_bundle()->set_generation(generation);
    frame.mutable_bundle()->set_phase(phase);
    return session->OnFrame(frame, 100, kStart);
  }

  uint64_t Ignored(const std::string& why) {
    const auto it = session->counts().ignored.find(why);
    return it == session->counts().ignored.end() ? 0 : it->second;
  }

  std::unique_ptr<AgentSession> session;
  ManagerFrame last;
};

// ---------------------------------------------------------------------- gate

TEST_F(AgentSessionTest, SendsNothingToAnAgentInSync) {
  session->OnReleased("a", Active(1, 1, "ma"));
  session->OnReleased("b", Deleting(2, 2));
  Released gone = Deleting(3, 3);
  gone.set_state(Released::STATE_GONE);
  session->OnReleased("c", gone);

  Open({{"a", 1, Sha256("ma"), false}, {"b", 2, "", true}});

  EXPECT_THAT(Sent(), ElementsAre("welcome in_sync"));
  EXPECT_EQ(session->acked_av(), 3u);
}

TEST_F(AgentSessionTest, SendsTheDifferenceAfterHave) {
  session->OnReleased("a", Active(1, 1, "ma"));
  session->OnReleased("b", Active(2, 5, "mb"));
  session->OnReleased("c", Active(1, 3, "mc"));
  session->OnReleased("d", Deleting(4, 2));
  Open({});
  EXPECT_THAT(Sent(), ElementsAre("welcome send_have"));
  EXPECT_EQ(session->acked_av(), 0u);

  Have({{"a", 1, Sha256("ma"), false},
        {"b", 1, Sha256("old"), false},
        {"d", 3, Sha256("d"), false},
        {"foreign", 9, Sha256("f"), false}});

  EXPECT_THAT(Sent(), ElementsAre("assign 1 av 0-5 +c@1 +b@2 -d@4"));
  EXPECT_EQ(Ignored("foreign_items"), 1u);
  EXPECT_EQ(session->acked_av(), 1u);
  Ack(1, {}, {});
  EXPECT_EQ(session->acked_av(), 5u);
  EXPECT_THAT(Sent(), IsEmpty());
}

TEST_F(AgentSessionTest, TakesAnAckThatWasLostFromHave) {
  session->OnReleased("a", Active(1, 1, "ma"));
  Open({});
  Have({});
  EXPECT_THAT(Sent(), ElementsAre("welcome send_have", "assign 1 av 0-1 +a@1"));

  // The stream breaks before the ACK; the agent comes back with the item.
  Reset();
  session->OnReleased("a", Active(1, 1, "ma"));
  Open({{"a", 1, Sha256("ma"), false}});

  EXPECT_THAT(Sent(), ElementsAre("welcome in_sync"));
  EXPECT_EQ(session->acked_av(), 1u);
}

TEST_F(AgentSessionTest, PutsAllUpsertsBeforeAnyTombstone) {
  Open({});
  session->OnReleased("gone", Deleting(2, 1));
  for (int i = 0; i < 600; ++i) {
    session->OnReleased(absl::StrCat("b", 1000 + i), Active(1, 2 + i, "m"));
  }
  std::optional<ManagerFrame> welcome = session->NextFrame();
  ASSERT_TRUE(welcome->has_welcome());

  std::optional<ManagerFrame> first = session->NextFrame();
  std::optional<ManagerFrame> second = session->NextFrame();

  EXPECT_EQ(first->assign().upserts_size(), 500);
  EXPECT_EQ(first->assign().tombstones_size(), 0);
  // The tombstone has the lowest av and was not sent: nothing is complete.
  EXPECT_EQ(first->assign().av_to(), 0u);
  EXPECT_THAT(first->assign().set_digest(), IsEmpty());
  EXPECT_EQ(second->assign().upserts_size(), 100);
  EXPECT_EQ(second->assign().tombstones_size(), 1);
  EXPECT_EQ(second->assign().av_to(), 601u);
  EXPECT_THAT(second->assign().set_digest(), SizeIs(32));
}

TEST_F(AgentSessionTest, KeepsFramesUnderTheirLimitAndEightInFlight) {
  Open({});
  for (int i = 0; i < 100; ++i) {
    Released released = Active(1, 1 + i, "m");
    released.set_bundle_name(std::string(100 * 1000, 'n'));
    session->OnReleased(absl::StrCat("b", i), released);
  }

  const std::vector<std::string> sent = Sent();

  EXPECT_THAT(sent, SizeIs(1 + AssignmentExchange::kWindow));
  EXPECT_LE(last.ByteSizeLong(), AssignmentExchange::kMaxAssignBytes + 100);
  Ack(1, {}, {});
  EXPECT_THAT(Sent(), SizeIs(1));
}

TEST_F(AgentSessionTest, MeetsChangesInOneFrameWhileTheAgentDoesNotRead) {
  Open({});
  Sent();
  for (uint64_t generation = 1; generation <= 50; ++generation) {
    session->OnReleased("a", Active(generation, generation, "m"));
  }

  EXPECT_THAT(Sent(), ElementsAre("assign 1 av 0-50 +a@50"));
}

TEST_F(AgentSessionTest, SendsANewerGenerationWhileAnOlderIsInFlight) {
  Open({});
  session->OnReleased("a", Active(1, 1, "m1"));
  Sent();
  session->OnReleased("a", Active(2, 2, "m2"));
  EXPECT_THAT(Sent(), ElementsAre("assign 2 av 1-2 +a@2"));

  Ack(1, {}, {{"a", 1, Sha256("m1"), false}});
  EXPECT_EQ(session->acked_av(), 1u);
  EXPECT_THAT(Sent(), IsEmpty());
  Ack(2, {}, {{"a", 2, Sha256("m2"), false}});
  EXPECT_EQ(session->acked_av(), 2u);
}

TEST_F(AgentSessionTest, NeverSendsATombstoneWithoutACause) {
  Open({});
  Released released = Deleting(2, 1);
  released.clear_cause();
  session->OnReleased("a", released);

  EXPECT_THAT(Sent(), ElementsAre("welcome in_sync"));
  EXPECT_GE(Ignored("no_cause"), 1u);
}

TEST_F(AgentSessionTest, DeletesNothingForAnEmptyOrForeignSet) {
  // A manager that lost its store meets an agent that runs things.
  Open({{"a", 3, Sha256("m"), false}});
  EXPECT_THAT(Sent(), ElementsAre("welcome send_have"));

  Have({{"a", 3, Sha256("m"), false}});

  EXPECT_THAT(Sent(), IsEmpty());
  EXPECT_EQ(Ignored("foreign_items"), 1u);
}

TEST_F(AgentSessionTest, LeavesAnAgentAloneThatIsAhead) {
  session->OnReleased("a", Active(2, 2, "m2"));
  Open({{"a", 5, Sha256("m5"), false}});
  Sent();
  Have({{"a", 5, Sha256("m5"), false}});

  EXPECT_THAT(Sent(), IsEmpty());
}

TEST_F(AgentSessionTest, OffersItsVersionWhenTheAgentHoldsAFork) {
  session->OnReleased("a", Active(2, 2, "ours"));
  Open({{"a", 2, Sha256("theirs"), false}});
  Sent();
  Have({{"a", 2, Sha256("theirs"), false}});
  EXPECT_THAT(Sent(), ElementsAre("assign 1 av 0-2 +a@2"));

  AssignItem item;
  item.set_bundle_id("a");
  item.set_generation(2);
  item.set_code(AssignItem::CODE_BAD_DIGEST);
  item.set_detail("another digest is held");
  const AgentSession::Step step = Ack(1, {item}, {});

  ASSERT_THAT(step.rejections, SizeIs(1));
  EXPECT_EQ(step.rejections[0].problem.code(), "BAD_DIGEST");
  EXPECT_THAT(step.rejections[0].problem.message(), HasSubstr("another"));
  EXPECT_THAT(Sent(), IsEmpty());
}

TEST_F(AgentSessionTest, RemovesWhatAnAgentWithAnOlderDiskStillRuns) {
  Released gone = Deleting(3, 3);
  gone.set_state(Released::STATE_GONE);
  session->OnReleased("a", gone);
  Open({{"a", 2, Sha256("m"), false}});
  Sent();
  Have({{"a", 2, Sha256("m"), false}});

  EXPECT_THAT(Sent(), ElementsAre("assign 1 av 0-3 -a@3"));
}

TEST_F(AgentSessionTest, TriesRetryableRefusalsAgainAndOthersNot) {
  Open({});
  session->OnReleased("full", Active(1, 1, "m"));
  session->OnReleased("large", Active(1, 2, "m"));
  Sent();
  AssignItem full;
  full.set_bundle_id("full");
  full.set_generation(1);
  full.set_code(AssignItem::CODE_STORE_FULL);
  full.set_retryable(true);
  AssignItem large;
  large.set_bundle_id("large");
  large.set_generation(1);
  large.set_code(AssignItem::CODE_TOO_LARGE);

  EXPECT_THAT(Ack(1, {full, large}, {}).rejections, SizeIs(2));
  EXPECT_EQ(session->acked_av(), 0u);
  session->OnTick(kStart + absl::Seconds(29));
  EXPECT_THAT(Sent(), IsEmpty());
  session->OnTick(kStart + absl::Seconds(31));
  EXPECT_THAT(Sent(), ElementsAre("assign 2 av 2-2 +full@1"));
  // A new generation of the other one is offered again.
  session->OnReleased("large", Active(2, 3, "m"));
  EXPECT_THAT(Sent(), ElementsAre("assign 3 av 2-3 +large@2"));
}

TEST_F(AgentSessionTest, TakesAStaleVerdictAsHeld) {
  Open({});
  session->OnReleased("a", Active(1, 1, "m"));
  Sent();
  AssignItem stale;
  stale.set_bundle_id("a");
  stale.set_generation(1);
  stale.set_code(AssignItem::CODE_STALE_GENERATION);

  EXPECT_THAT(Ack(1, {stale}, {}).rejections, IsEmpty());
  EXPECT_EQ(session->acked_av(), 1u);
  EXPECT_THAT(Sent(), IsEmpty());
}

TEST_F(AgentSessionTest, ResyncsWhenTheSetsHaveDriftedApart) {
  Open({});
  session->OnReleased("a", Active(1, 1, "m"));
  Sent();

  Ack(1, {}, {{"a", 1, Sha256("m"), false}, {"b", 1, Sha256("x"), false}});

  EXPECT_THAT(Sent(), ElementsAre("bye REASON_RESYNC"));
  EXPECT_TRUE(session->said_goodbye());
}

TEST_F(AgentSessionTest, IgnoresForeignAndRepeatedNonces) {
  Open({});
  session->OnReleased("a", Active(1, 1, "m"));
  Sent();
  Ack(99, {}, {});
  EXPECT_EQ(session->acked_av(), 0u);
  Ack(1, {}, {{"a", 1, Sha256("m"), false}});
  Ack(1, {}, {});

  EXPECT_EQ(Ignored("stale_nonce"), 2u);
  EXPECT_THAT(Sent(), IsEmpty());
}

TEST_F(AgentSessionTest, ForgetsATombstoneOnceTheDeletionIsDurable) {
  session->OnReleased("a", Deleting(2, 1));
  Open({});
  Have({});
  EXPECT_THAT(Sent(),
              ElementsAre("welcome send_have", "assign 1 av 0-1 -a@2"));
  Ack(1, {}, {{"a", 2, "", true}});
  const AgentSession::Step step = State(1, "a", 2, core::v1::PHASE_DELETED);
  ASSERT_THAT(step.reports, SizeIs(1));
  session->OnReportStored(1, absl::OkStatus());
  EXPECT_THAT(Sent(), ElementsAre("report_ack 1"));

  // Both sides come back without it.
  Reset();
  session->OnReleased("a", Deleting(2, 1));
  core::v1::DeploymentState state;
  state.set_bundle_id("a");
  state.set_generation(2);
  state.set_phase(core::v1::PHASE_DELETED);
  session->OnKnown(state);
  Open({});
  EXPECT_THAT(Sent(), ElementsAre("welcome in_sync"));
}

// --------------------------------------------------------------------- blobs

TEST_F(AgentSessionTest, ServesOnlyTheBlobsOfItsReleases) {
  const std::string foreign = Sha256("of another cluster");
  Released released = Active(2, 2, "manifest");
  released.add_blob_digests(Sha256("object"));
  released.add_previous_blob_digests(Sha256("older object"));
  session->OnReleased("a", released);
  Open({{"a", 2, Sha256("manifest"), false}});
  Sent();

  Need({Sha256("manifest"), foreign, Sha256("object"), Sha256("older object"),
        "", std::string(5000, 'x')});

  const std::vector<std::string> reads = session->TakeBlobReads();
  EXPECT_THAT(reads, ElementsAre(Sha256("manifest"), Sha256("object"),
                                 Sha256("older object")));
  EXPECT_THAT(session->TakeBlobReads(), IsEmpty());
  session->OnBlobs({{reads[0], std::string("manifest")},
                    {reads[1], std::string("object")},
                    {reads[2], absl::NotFoundError("lost")}});
  EXPECT_THAT(Sent(), ElementsAre("blobs 6"));
  const auto& chunks = last.blobs().chunks();
  EXPECT_EQ(chunks[0].data(), "manifest");
  EXPECT_TRUE(chunks[0].last());
  EXPECT_EQ(chunks[1].error(), agent::v1::BlobChunk::ERROR_NOT_FOUND);
  EXPECT_EQ(chunks[2].data(), "object");
  EXPECT_EQ(chunks[3].error(), agent::v1::BlobChunk::ERROR_NOT_FOUND);
  EXPECT_EQ(Ignored("foreign_blobs"), 3u);
  EXPECT_THAT(session->TakeBlobReads(), IsEmpty());
}

TEST_F(AgentSessionTest, StopsServingWhatWasReplacedTwice) {
  session->OnReleased("a", Active(1, 1, "one"));
  Open({{"a", 1, Sha256("one"), false}});
  session->OnReleased("a", Active(2, 2, "two"));
  Need({Sha256("one"), Sha256("two")});

  EXPECT_THAT(session->TakeBlobReads(), ElementsAre(Sha256("two")));
}

TEST_F(AgentSessionTest, CutsLargeBlobsIntoFramesAndResumes) {
  const std::string blob(600 * 1000, 'b');
  session->OnReleased("a", Active(1, 1, blob));
  Open({{"a", 1, Sha256(blob), false}});
  Sent();
  Need({Sha256(blob)}, 1000);
  session->OnBlobs({{session->TakeBlobReads()[0], blob}});

  size_t got = 1000;
  for (int frames = 0; got < blob.size(); ++frames) {
    ASSERT_LT(frames, 4);
    std::optional<ManagerFrame> frame = session->NextFrame();
    ASSERT_TRUE(frame.has_value());
    ASSERT_EQ(frame->blobs().chunks_size(), 1);
    const auto& chunk = frame->blobs().chunks(0);
    EXPECT_EQ(chunk.offset(), got);
    EXPECT_LE(chunk.data().size(), BlobExchange::kMaxFrameBytes);
    got += chunk.data().size();
    EXPECT_EQ(chunk.last(), got == blob.size());
  }
  EXPECT_EQ(session->NextFrame(), std::nullopt);
}

TEST_F(AgentSessionTest, RefusesAnOffsetPastTheEnd) {
  session->OnReleased("a", Active(1, 1, "m"));
  Open({{"a", 1, Sha256("m"), false}});
  Sent();
  Need({Sha256("m")}, ~uint64_t{0});
  session->OnBlobs({{session->TakeBlobReads()[0], std::string("m")}});

  EXPECT_THAT(Sent(), ElementsAre("blobs 1"));
  EXPECT_EQ(last.blobs().chunks(0).error(),
            agent::v1::BlobChunk::ERROR_NOT_FOUND);
}

TEST_F(AgentSessionTest, EndsASessionThatAsksForTooMuch) {
  Open({});
  const std::vector<std::string> digests(BlobExchange::kMaxWants, Sha256("x"));
  EXPECT_THAT(Need(digests).end, IsOk());
  EXPECT_THAT(Need({Sha256("x")}).end,
              StatusIs(absl::StatusCode::kResourceExhausted));
}

// ------------------------------------------------------------------- reports

TEST_F(AgentSessionTest, AcknowledgesReportsInOrderWhenDurable) {
  session->OnReleased("a", Active(1, 1, "m"));
  Open({{"a", 1, Sha256("m"), false}});
  Sent();
  EXPECT_THAT(State(1, "a", 1, core::v1::PHASE_STORED).reports, SizeIs(1));
  EXPECT_THAT(State(2, "a", 1, core::v1::PHASE_HEALTHY).reports, SizeIs(1));
  EXPECT_THAT(Sent(), IsEmpty());

  session->OnReportStored(2, absl::OkStatus());
  EXPECT_THAT(Sent(), IsEmpty());
  session->OnReportStored(1, absl::OkStatus());
  EXPECT_THAT(Sent(), ElementsAre("report_ack 2"));
}

TEST_F(AgentSessionTest, EndsWhenAReportCannotBeStored) {
  session->OnReleased("a", Active(1, 1, "m"));
  Open({{"a", 1, Sha256("m"), false}});
  State(1, "a", 1, core::v1::PHASE_STORED);

  EXPECT_THAT(session->OnReportStored(1, absl::ResourceExhaustedError("full"))
                  .end,
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("full")));
}

TEST_F(AgentSessionTest, DropsReportsAboutBundlesThatAreNotItsOwn) {
  session->OnReleased("a", Active(1, 1, "m"));
  Open({{"a", 1, Sha256("m"), false}});
  Sent();
  EXPECT_THAT(State(1, "b", 1, core::v1::PHASE_HEALTHY).reports, IsEmpty());
  AgentFrame frame = Frame();
  frame.mutable_resources()->set_seq(2);
  frame.mutable_resources()->add_items()->set_bundle_id("b");
  frame.mutable_resources()->add_items()->set_bundle_id("a");
  const AgentSession::Step step = session->OnFrame(frame, 100, kStart);
  ASSERT_THAT(step.reports, SizeIs(1));
  EXPECT_THAT(
      std::get<std::vector<core::v1::ResourceStatus>>(step.reports[0].body),
      SizeIs(1));
  frame = Frame();
  frame.mutable_drift()->set_seq(3);
  frame.mutable_drift()->add_records()->set_bundle_id("b");
  EXPECT_THAT(session->OnFrame(frame, 100, kStart).reports, IsEmpty());

  session->OnReportStored(2, absl::OkStatus());

  EXPECT_THAT(Sent(), ElementsAre("report_ack 3"));
  EXPECT_EQ(Ignored("foreign_reports"), 4u);
}

TEST_F(AgentSessionTest, ReadsNothingMoreWhileSixteenReportsAreNotDurable) {
  session->OnReleased("a", Active(1, 1, "m"));
  Open({{"a", 1, Sha256("m"), false}});
  for (uint64_t seq = 1; seq <= AgentSession::kMaxPendingReports; ++seq) {
    EXPECT_EQ(session->ReadDelay(kStart), absl::ZeroDuration());
    State(seq, "a", 1, core::v1::PHASE_HEALTHY);
  }
  EXPECT_EQ(session->ReadDelay(kStart), absl::InfiniteDuration());

  session->OnReportStored(1, absl::OkStatus());
  EXPECT_EQ(session->ReadDelay(kStart), absl::ZeroDuration());
}

TEST_F(AgentSessionTest, IgnoresSequenceNumbersThatDoNotRise) {
  session->OnReleased("a", Active(1, 1, "m"));
  Open({{"a", 1, Sha256("m"), false}});
  State(5, "a", 1, core::v1::PHASE_HEALTHY);

  EXPECT_THAT(State(5, "a", 1, core::v1::PHASE_FAILED).reports, IsEmpty());
  EXPECT_THAT(State(0, "a", 1, core::v1::PHASE_FAILED).reports, IsEmpty());
  EXPECT_EQ(Ignored("stale_seq"), 2u);
}

// ------------------------------------------------------- facts, life, garbage

TEST_F(AgentSessionTest, JoinsPagesOfFactsAndChecksThem) {
  core::v1::ClusterFacts facts;
  facts.set_kube_version("v1.36.3");
  facts.add_kinds()->set_kind("Pod");
  facts.add_kinds()->set_kind("Secret");
  const std::string digest = Sha256(facts.SerializeAsString());
  Open({});
  EXPECT_TRUE(session->NextFrame()->welcome().send_facts());
  // A page of a set that was given up, then both pages of another.
  AgentFrame frame = Frame();
  frame.mutable_facts()->set_facts_digest("older");
  frame.mutable_facts()->mutable_facts()->add_kinds()->set_kind("Old");
  session->OnFrame(frame, 100, kStart);
  frame = Frame();
  frame.mutable_facts()->set_facts_digest(digest);
  frame.mutable_facts()->mutable_facts()->set_kube_version("v1.36.3");
  *frame.mutable_facts()->mutable_facts()->add_kinds() = facts.kinds(0);
  EXPECT_FALSE(session->OnFrame(frame, 100, kStart).facts.has_value());
  frame = Frame();
  frame.mutable_facts()->set_facts_digest(digest);
  frame.mutable_facts()->set_last(true);
  *frame.mutable_facts()->mutable_facts()->add_kinds() = facts.kinds(1);

  const AgentSession::Step step = session->OnFrame(frame, 100, kStart);

  ASSERT_TRUE(step.facts.has_value());
  EXPECT_EQ(step.facts->digest, digest);
  EXPECT_EQ(step.facts->facts.kinds_size(), 2);
  frame.mutable_facts()->set_facts_digest("wrong");
  EXPECT_FALSE(session->OnFrame(frame, 100, kStart).facts.has_value());
  EXPECT_EQ(Ignored("bad_facts"), 1u);
}

TEST_F(AgentSessionTest, IgnoresAndCountsFramesOfAnotherEpoch) {
  session->OnReleased("a", Active(1, 1, "m"));
  Open({});
  Sent();
  for (const uint64_t epoch : {uint64_t{0}, kEpoch - 1, kEpoch + 1}) {
    AgentFrame frame = Frame(epoch);
    frame.mutable_have()->set_last(true);
    session->OnFrame(frame, 100, kStart);
  }

  EXPECT_EQ(Ignored("wrong_epoch"), 3u);
  EXPECT_THAT(Sent(), IsEmpty());
}

TEST_F(AgentSessionTest, SurvivesFramesWithoutSense) {
  Open({});
  Sent();
  EXPECT_THAT(session->OnFrame(Frame(), 0, kStart).end, IsOk());
  EXPECT_EQ(Ignored("unknown"), 1u);
  AgentFrame frame = Frame();
  frame.mutable_assign_ack();
  EXPECT_THAT(session->OnFrame(frame, 0, kStart).end, IsOk());
  frame.mutable_bundle();
  EXPECT_THAT(session->OnFrame(frame, 0, kStart).end, IsOk());
  frame.mutable_have()->set_last(true);
  EXPECT_THAT(session->OnFrame(frame, 0, kStart).end, IsOk());
  EXPECT_EQ(Ignored("second_have"), 1u);
  frame.mutable_hello();
  EXPECT_THAT(session->OnFrame(frame, 0, kStart).end,
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST_F(AgentSessionTest, EndsWhenAHaveIsTooLong) {
  Open({{"x", 1, "", true}});
  AgentFrame frame = Frame();
  for (int i = 0; i < 10001; ++i) frame.mutable_have()->add_items();
  EXPECT_THAT(session->OnFrame(frame, 0, kStart).end, IsOk());
  EXPECT_THAT(session->OnFrame(frame, 0, kStart).end,
              StatusIs(absl::StatusCode::kResourceExhausted));
}

TEST_F(AgentSessionTest, AnswersPingsBeforeAssignments) {
  Open({});
  Sent();
  session->OnReleased("a", Active(1, 1, "m"));
  AgentFrame frame = Frame();
  frame.mutable_ping()->set_id(42);
  session->OnFrame(frame, 10, kStart);

  EXPECT_THAT(Sent(), ElementsAre("pong 42", "assign 1 av 0-1 +a@1"));
}

TEST_F(AgentSessionTest, EndsAfterSilence) {
  Open({});
  EXPECT_THAT(session->OnTick(kStart + absl::Seconds(89)).end, IsOk());
  EXPECT_THAT(session->OnTick(kStart + absl::Seconds(91)).end,
              StatusIs(absl::StatusCode::kDeadlineExceeded));
}

TEST_F(AgentSessionTest, SlowsDownAnAgentThatFloods) {
  Open({});
  AgentFrame frame = Frame();
  frame.mutable_ping();
  for (int i = 0; i < 1000; ++i) session->OnFrame(frame, 10, kStart);
  EXPECT_EQ(session->ReadDelay(kStart), absl::ZeroDuration());
  for (int i = 0; i < 20; ++i) session->OnFrame(frame, 10, kStart);

  EXPECT_GT(session->ReadDelay(kStart), absl::Milliseconds(90));
  EXPECT_EQ(session->ReadDelay(kStart + absl::Seconds(1)),
            absl::ZeroDuration());
  session->OnFrame(frame, 64 * 1024 * 1024, kStart);
  EXPECT_GT(session->ReadDelay(kStart), absl::Seconds(10));
}

TEST_F(AgentSessionTest, SendsNothingAfterGoodbye) {
  Open({});
  session->OnReleased("a", Active(1, 1, "m"));
  session->SayGoodbye(agent::v1::Goodbye::REASON_DRAIN, "");

  EXPECT_THAT(Sent(), ElementsAre("bye REASON_DRAIN"));
}

}  // namespace
}  // namespace flotilla::manager
