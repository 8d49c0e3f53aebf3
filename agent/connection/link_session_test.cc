// SPDX-License-Identifier: Apache-2.0

#include "agent/connection/link_session.h"

#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/crypto/sha256.h"
#include "common/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace flotilla::agent {
namespace {

using agent::v1::AgentFrame;
using agent::v1::AssignItem;
using agent::v1::Goodbye;
using agent::v1::ManagerFrame;
using agent::v1::Reject;
using agent::v1::Welcome;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr uint64_t kEpoch = 3;
constexpr absl::Duration kStart = absl::Hours(1);

ManagerFrame Frame(uint64_t epoch = kEpoch) {
  ManagerFrame frame;
  frame.set_epoch(epoch);
  return frame;
}

ManagerFrame WelcomeFrame(Welcome::SyncMode mode, uint64_t epoch = kEpoch) {
  ManagerFrame frame = Frame(epoch);
  frame.mutable_welcome()->set_proto(1);
  frame.mutable_welcome()->set_mode(mode);
  frame.mutable_welcome()->set_store_id("store");
  return frame;
}

std::string Name(const AgentFrame& frame) {
  return frame.body_case() == AgentFrame::BODY_NOT_SET
             ? "none"
             : AgentFrame::descriptor()
                   ->FindFieldByNumber(frame.body_case())
                   ->name();
}

class LinkSessionTest : public ::testing::Test {
 protected:
  LinkSessionTest() : session({"version", "boot"}) { Connect(); }

  void Connect() {
    HeldSummary held;
    held.last_store_id = "store";
    held.last_av = 9;
    held.set_digest = "digest";
    held.have_count = 2;
    session.OnConnected(held, "uid", "instance", kStart);
  }

  LinkSession::Step Receive(const ManagerFrame& frame) {
    return session.OnFrame(frame, kStart);
  }

  void Open(Welcome::SyncMode mode = Welcome::SYNC_MODE_IN_SYNC) {
    Sent();
    Receive(WelcomeFrame(mode));
  }

  std::vector<std::string> Sent() {
    std::vector<std::string> names;
    while (true) {
      std::optional<AgentFrame> frame = session.NextFrame();
      if (!frame.has_value()) return names;
      names.push_back(Name(*frame));
      last = *std::move(frame);
    }
  }

  uint64_t Ignored(const std::string& why) {
    const auto it = session.ignored().find(why);
    return it == session.ignored().end() ? 0 : it->second;
  }

  LinkSession session;
  AgentFrame last;
};

TEST_F(LinkSessionTest, SaysWhatItHoldsFirst) {
  EXPECT_THAT(Sent(), ElementsAre("hello"));

  EXPECT_EQ(last.epoch(), 0u);
  EXPECT_EQ(last.hello().cluster_uid(), "uid");
  EXPECT_EQ(last.hello().instance_id(), "instance");
  EXPECT_EQ(last.hello().boot_id(), "boot");
  EXPECT_EQ(last.hello().set_digest(), "digest");
  EXPECT_EQ(last.hello().last_av(), 9u);
  EXPECT_FALSE(session.live());
}

TEST_F(LinkSessionTest, SendsNothingMoreWhenInSync) {
  Sent();
  ManagerFrame welcome = WelcomeFrame(Welcome::SYNC_MODE_IN_SYNC);
  auto* known = welcome.mutable_welcome()->add_known();
  known->set_bundle_id("a");
  known->set_state_digest("d");

  const LinkSession::Step step = Receive(welcome);

  ASSERT_THAT(step.events, SizeIs(2));
  const auto& opened = std::get<SessionOpened>(step.events[0]);
  EXPECT_TRUE(opened.in_sync);
  EXPECT_EQ(opened.epoch, kEpoch);
  EXPECT_THAT(opened.known, ElementsAre(std::make_pair("a", "d")));
  EXPECT_TRUE(std::holds_alternative<LinkSession::Reportable>(step.events[1]));
  EXPECT_THAT(Sent(), IsEmpty());
  EXPECT_TRUE(session.live());
}

TEST_F(LinkSessionTest, PagesWhatItHoldsWhenAsked) {
  Sent();
  const LinkSession::Step step =
      Receive(WelcomeFrame(Welcome::SYNC_MODE_SEND_HAVE));
  ASSERT_THAT(step.events, SizeIs(3));
  ASSERT_TRUE(std::holds_alternative<LinkSession::NeedHave>(step.events[1]));

  session.GiveHave(std::vector<AssignedItem>(2500, {"a", 1, "d", false}));

  EXPECT_THAT(Sent(), ElementsAre("have", "have", "have"));
  EXPECT_TRUE(last.have().last());
  EXPECT_EQ(last.have().items_size(), 500);
  EXPECT_EQ(last.epoch(), kEpoch);
  session.GiveHave({});
  EXPECT_THAT(Sent(), ElementsAre("have"));
}

TEST_F(LinkSessionTest, PassesAssignsOnAndAcknowledgesWhenTold) {
  Open();
  ManagerFrame frame = Frame();
  frame.mutable_assign()->set_nonce(1);
  frame.mutable_assign()->set_av_to(5);
  auto* upsert = frame.mutable_assign()->add_upserts();
  upsert->set_bundle_id("a");
  upsert->set_generation(2);
  upsert->set_manifest_digest(Sha256("m"));
  const LinkSession::Step step = Receive(frame);
  ASSERT_THAT(step.events, SizeIs(1));
  EXPECT_EQ(std::get<LinkSession::Assigned>(step.events[0]).assign.upserts(0)
                .bundle_id(),
            "a");
  EXPECT_THAT(Sent(), IsEmpty());

  session.AckAssign(kEpoch, 1, {}, 5, "set");

  EXPECT_THAT(Sent(), ElementsAre("assign_ack"));
  EXPECT_EQ(last.assign_ack().nonce(), 1u);
  EXPECT_EQ(last.assign_ack().av(), 5u);
  EXPECT_EQ(last.assign_ack().set_digest(), "set");
  EXPECT_EQ(last.assign_ack().items_size(), 0);
  session.AckAssign(kEpoch, 1, {}, 5, "set");
  EXPECT_THAT(Sent(), IsEmpty());
}

TEST_F(LinkSessionTest, RefusesTombstonesWithoutACauseByItself) {
  Open();
  ManagerFrame frame = Frame();
  frame.mutable_assign()->set_nonce(1);
  auto* bare = frame.mutable_assign()->add_tombstones();
  bare->set_bundle_id("a");
  bare->set_generation(2);
  auto* strange = frame.mutable_assign()->add_tombstones();
  strange->set_bundle_id("b");
  strange->set_generation(2);
  strange->set_cause(static_cast<core::v1::DeleteCause>(77));
  auto* good = frame.mutable_assign()->add_tombstones();
  good->set_bundle_id("c");
  good->set_generation(2);
  good->set_cause(core::v1::DELETE_CAUSE_GIT_REMOVED);

  const LinkSession::Step step = Receive(frame);

  const auto& assign =
      std::get<LinkSession::Assigned>(step.events[0]).assign;
  ASSERT_EQ(assign.tombstones_size(), 1);
  EXPECT_EQ(assign.tombstones(0).bundle_id(), "c");
  session.AckAssign(kEpoch, 1, {}, 1, "set");
  Sent();
  ASSERT_EQ(last.assign_ack().items_size(), 2);
  EXPECT_EQ(last.assign_ack().items(0).bundle_id(), "a");
  EXPECT_EQ(last.assign_ack().items(0).code(), AssignItem::CODE_UNSUPPORTED);
  EXPECT_EQ(last.assign_ack().items(1).bundle_id(), "b");
}

TEST_F(LinkSessionTest, RefusesMalformedUpserts) {
  Open();
  ManagerFrame frame = Frame();
  frame.mutable_assign()->set_nonce(1);
  frame.mutable_assign()->add_upserts();
  auto* cut = frame.mutable_assign()->add_upserts();
  cut->set_bundle_id("b");
  cut->set_generation(1);
  cut->set_manifest_digest("short");
  auto* large = frame.mutable_assign()->add_upserts();
  large->set_bundle_id("c");
  large->set_generation(1);
  large->set_manifest_digest(Sha256("m"));
  large->set_manifest_size(uint64_t{1} << 40);

  const LinkSession::Step step = Receive(frame);

  EXPECT_EQ(
      std::get<LinkSession::Assigned>(step.events[0]).assign.upserts_size(),
      0);
  session.AckAssign(kEpoch, 1, {}, 1, "set");
  Sent();
  ASSERT_EQ(last.assign_ack().items_size(), 3);
  EXPECT_EQ(last.assign_ack().items(2).code(), AssignItem::CODE_TOO_LARGE);
}

TEST_F(LinkSessionTest, ForgetsAssignsOfAnEndedSession) {
  Open();
  ManagerFrame frame = Frame();
  frame.mutable_assign()->set_nonce(1);
  Receive(frame);

  Connect();
  Sent();
  Receive(WelcomeFrame(Welcome::SYNC_MODE_IN_SYNC, kEpoch + 1));
  ManagerFrame again = Frame(kEpoch + 1);
  again.mutable_assign()->set_nonce(1);
  Receive(again);

  // The disk was slow: the ACK is for the session before.
  session.AckAssign(kEpoch, 1, {}, 5, "set");
  EXPECT_THAT(Sent(), IsEmpty());
  session.AckAssign(kEpoch + 1, 1, {}, 5, "set");
  EXPECT_THAT(Sent(), ElementsAre("assign_ack"));
}

TEST_F(LinkSessionTest, IgnoresNoncesThatDoNotRise) {
  Open();
  ManagerFrame frame = Frame();
  frame.mutable_assign()->set_nonce(2);
  EXPECT_THAT(Receive(frame).events, SizeIs(1));
  EXPECT_THAT(Receive(frame).events, IsEmpty());
  frame.mutable_assign()->set_nonce(1);
  EXPECT_THAT(Receive(frame).events, IsEmpty());
  EXPECT_EQ(Ignored("stale_nonce"), 2u);
}

TEST_F(LinkSessionTest, EndsWhenAManagerSendsAssignsWithoutEnd) {
  Open();
  ManagerFrame frame = Frame();
  for (uint64_t nonce = 1; nonce <= LinkSession::kMaxOpenAssigns; ++nonce) {
    frame.mutable_assign()->set_nonce(nonce);
    EXPECT_FALSE(Receive(frame).end.has_value());
  }
  frame.mutable_assign()->set_nonce(1000);
  const LinkSession::Step step = Receive(frame);
  ASSERT_TRUE(step.end.has_value());
  EXPECT_THAT(step.end->why, StatusIs(absl::StatusCode::kResourceExhausted));
}

TEST_F(LinkSessionTest, ReportsWithinItsWindow) {
  EXPECT_FALSE(session.CanReport());
  EXPECT_EQ(session.SendState({}), 0u);
  Open();
  for (uint64_t seq = 1; seq <= LinkSession::kReportWindow; ++seq) {
    EXPECT_EQ(session.SendState({}), seq);
  }
  EXPECT_FALSE(session.CanReport());
  EXPECT_EQ(session.SendResources({}), 0u);
  EXPECT_THAT(Sent(), SizeIs(LinkSession::kReportWindow));
  EXPECT_EQ(last.bundle_seq(), LinkSession::kReportWindow);

  ManagerFrame ack = Frame();
  ack.mutable_report_ack()->set_seq(3);
  const LinkSession::Step step = Receive(ack);

  ASSERT_THAT(step.events, SizeIs(2));
  EXPECT_EQ(std::get<LinkSession::ReportAcked>(step.events[0]).seq, 3u);
  EXPECT_TRUE(std::holds_alternative<LinkSession::Reportable>(step.events[1]));
  EXPECT_EQ(session.SendDrift({}), 13u);
  EXPECT_THAT(Receive(ack).events, IsEmpty());
  ack.mutable_report_ack()->set_seq(14);
  EXPECT_THAT(Receive(ack).events, IsEmpty());
  EXPECT_EQ(Ignored("stale_seq"), 2u);
  EXPECT_EQ(session.SendResources(std::vector<core::v1::ResourceStatus>(257)),
            0u);
}

TEST_F(LinkSessionTest, StartsItsSequenceAnewWithEachSession) {
  Open();
  session.SendState({});
  Connect();
  EXPECT_FALSE(session.CanReport());
  Open();

  EXPECT_EQ(session.SendState({}), 1u);
  EXPECT_THAT(Sent(), ElementsAre("bundle"));
}

TEST_F(LinkSessionTest, AsksForBlobsOnceTheSessionIsOpenAndAgainLater) {
  session.FetchBlob(Sha256("b"), 1);
  session.FetchBlob(Sha256("c"), 1);
  EXPECT_THAT(Sent(), ElementsAre("hello"));
  Receive(WelcomeFrame(Welcome::SYNC_MODE_IN_SYNC));
  EXPECT_THAT(Sent(), ElementsAre("blob_need"));
  EXPECT_EQ(last.blob_need().want_size(), 2);
  ManagerFrame frame = Frame();
  auto* chunk = frame.mutable_blobs()->add_chunks();
  chunk->set_digest(Sha256("b"));
  chunk->set_data("b");
  chunk->set_last(true);
  EXPECT_THAT(Receive(frame).events, SizeIs(1));

  Connect();
  Open();

  EXPECT_THAT(Sent(), ElementsAre("blob_need"));
  EXPECT_EQ(last.blob_need().want_size(), 1);
}

TEST_F(LinkSessionTest, SendsFactsOnlyWhenTheManagersDiffer) {
  core::v1::ClusterFacts facts;
  facts.set_kube_version("v1");
  for (int i = 0; i < 1200; ++i) facts.add_kinds()->set_kind("K");
  const std::string digest = Sha256(facts.SerializeAsString());
  session.SetFacts(facts);
  Sent();
  ManagerFrame welcome = WelcomeFrame(Welcome::SYNC_MODE_IN_SYNC);
  welcome.mutable_welcome()->set_facts_digest(digest);
  Receive(welcome);
  EXPECT_THAT(Sent(), IsEmpty());

  session.SetFacts(facts);
  EXPECT_THAT(Sent(), IsEmpty());
  facts.set_kube_version("v2");
  session.SetFacts(facts);
  EXPECT_THAT(Sent(), ElementsAre("facts", "facts", "facts"));
  EXPECT_TRUE(last.facts().last());
  EXPECT_EQ(last.facts().facts_digest(), Sha256(facts.SerializeAsString()));

  Connect();
  Sent();
  welcome.mutable_welcome()->set_send_facts(true);
  welcome.mutable_welcome()->set_facts_digest(last.facts().facts_digest());
  Receive(welcome);
  EXPECT_THAT(Sent(), SizeIs(3));
}

TEST_F(LinkSessionTest, PingsAfterSilenceAndGivesUp) {
  Open();
  session.OnTick(kStart + absl::Seconds(29));
  EXPECT_THAT(Sent(), IsEmpty());
  session.OnTick(kStart + absl::Seconds(30));
  session.OnTick(kStart + absl::Seconds(40));
  EXPECT_THAT(Sent(), ElementsAre("ping"));
  ManagerFrame pong = Frame();
  pong.mutable_pong()->set_id(last.ping().id());
  session.OnFrame(pong, kStart + absl::Seconds(41));
  EXPECT_FALSE(session.OnTick(kStart + absl::Seconds(100)).end.has_value());

  const LinkSession::Step step = session.OnTick(kStart + absl::Seconds(101));

  ASSERT_TRUE(step.end.has_value());
  EXPECT_THAT(step.end->why, StatusIs(absl::StatusCode::kDeadlineExceeded));
}

TEST_F(LinkSessionTest, GivesUpWhenNoWelcomeComes) {
  Sent();
  EXPECT_TRUE(session.OnTick(kStart + absl::Seconds(60)).end.has_value());
}

TEST_F(LinkSessionTest, TellsApartWhyItWasRefused) {
  struct Case {
    Reject::Code code;
    ReconnectSchedule::Ending kind;
  };
  using Kind = ReconnectSchedule::Ending;
  for (const Case& one :
       {Case{Reject::CODE_NOT_READY, Kind::kFailed},
        Case{Reject::CODE_OVERLOADED, Kind::kFailed},
        Case{Reject::CODE_REVOKED, Kind::kRefused},
        Case{Reject::CODE_UNKNOWN_CLUSTER, Kind::kRefused},
        Case{Reject::CODE_UID_MISMATCH, Kind::kRefused},
        Case{Reject::CODE_VERSION, Kind::kRefused},
        Case{static_cast<Reject::Code>(99), Kind::kFailed}}) {
    Connect();
    ManagerFrame frame = Frame(0);
    frame.mutable_reject()->set_code(one.code);
    frame.mutable_reject()->set_detail("because");
    frame.mutable_reject()->set_retry_after_ms(1500);

    const LinkSession::Step step = Receive(frame);

    ASSERT_TRUE(step.end.has_value());
    EXPECT_EQ(step.end->kind, one.kind) << one.code;
    EXPECT_EQ(step.end->retry_after, absl::Milliseconds(1500));
    EXPECT_THAT(step.end->why.message(), HasSubstr("because"));
  }
}

TEST_F(LinkSessionTest, TellsApartWhyItMustLeave) {
  using Kind = ReconnectSchedule::Ending;
  const std::pair<Goodbye::Reason, Kind> cases[] = {
      {Goodbye::REASON_DRAIN, Kind::kAsked},
      {Goodbye::REASON_RESYNC, Kind::kAsked},
      {Goodbye::REASON_SUPERSEDED, Kind::kSuperseded},
      {Goodbye::REASON_REVOKED, Kind::kRefused}};
  for (const auto& [reason, kind] : cases) {
    Connect();
    Open();
    ManagerFrame frame = Frame();
    frame.mutable_bye()->set_reason(reason);

    EXPECT_EQ(Receive(frame).end->kind, kind);
  }
}

TEST_F(LinkSessionTest, IgnoresFramesOfAnotherEpochAndBeforeWelcome) {
  ManagerFrame frame = Frame(kEpoch);
  frame.mutable_assign()->set_nonce(1);
  EXPECT_THAT(Receive(frame).events, IsEmpty());
  EXPECT_EQ(Ignored("before_welcome"), 1u);
  Open();
  frame.set_epoch(kEpoch - 1);
  EXPECT_THAT(Receive(frame).events, IsEmpty());
  EXPECT_THAT(Receive(Frame()).events, IsEmpty());
  EXPECT_EQ(Ignored("wrong_epoch"), 1u);
  EXPECT_EQ(Ignored("unknown"), 1u);
}

TEST_F(LinkSessionTest, LeavesAProtocolThatItDoesNotKnow) {
  Sent();
  ManagerFrame frame = WelcomeFrame(Welcome::SYNC_MODE_UNSPECIFIED);
  EXPECT_TRUE(Receive(frame).end.has_value());
  Connect();
  frame = WelcomeFrame(Welcome::SYNC_MODE_IN_SYNC);
  frame.mutable_welcome()->set_proto(2);
  EXPECT_TRUE(Receive(frame).end.has_value());
}

TEST_F(LinkSessionTest, SendsWhatIsQueuedBeforeItsGoodbye) {
  Open();
  session.SendState({});
  session.SayGoodbye();

  EXPECT_THAT(Sent(), ElementsAre("bundle", "bye"));
}

TEST_F(LinkSessionTest, KeepsTheNewestValuesOfEachBundleAndNotTooMuch) {
  agent::v1::ValuesReport report;
  report.set_bundle_id("a");
  EXPECT_FALSE(session.SendValues(report));
  Open();
  ManagerFrame request = Frame(kEpoch);
  request.mutable_values_request()->set_bundle_id("a");
  EXPECT_EQ(Receive(request).events.size(), 1u);
  request.mutable_values_request()->set_bundle_id("");
  EXPECT_THAT(Receive(request).events, IsEmpty());
  EXPECT_EQ(Ignored("bad_values_request"), 1u);

  EXPECT_TRUE(session.SendValues(report));
  report.add_contents(std::string(LinkSession::kMaxValuesBytes, 'x'));
  EXPECT_TRUE(session.SendValues(report));
  agent::v1::ValuesReport other;
  other.set_bundle_id("b");
  EXPECT_FALSE(session.SendValues(other));

  EXPECT_THAT(Sent(), ElementsAre("values"));
  EXPECT_TRUE(session.SendValues(other));
}

}  // namespace
}  // namespace flotilla::agent
