// SPDX-License-Identifier: Apache-2.0

#include "common/kube/transport_front.h"

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "common/kube/http_transport.h"
#include "common/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace flotilla {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TransportEvent Head(HttpTransport::CallId id, int code) {
  HttpAnswer answer;
  answer.code = code;
  return {id, TransportEvent::Head{std::move(answer)}};
}

TransportEvent Bytes(HttpTransport::CallId id, std::string bytes,
                     const UntakenBytes& untaken) {
  untaken->fetch_add(bytes.size());
  return {id, TransportEvent::Bytes{std::move(bytes), untaken}};
}

TransportEvent End(HttpTransport::CallId id, absl::Status status,
                   int code = 0) {
  HttpAnswer answer;
  answer.code = code;
  return {id, TransportEvent::End{std::move(status), std::move(answer)}};
}

std::vector<TransportEvent> Events(TransportEvent first, TransportEvent second,
                                   TransportEvent third) {
  std::vector<TransportEvent> events;
  events.push_back(std::move(first));
  events.push_back(std::move(second));
  events.push_back(std::move(third));
  return events;
}

// What a listener heard, in words.
//
// Loop-affine.
class Ears : public HttpStreamListener {
 public:
  void OnHead(HttpAnswer head) override {
    heard.push_back(absl::StrCat("head ", head.code));
    if (then != nullptr) then();
  }
  void OnBytes(std::string bytes) override { heard.push_back(bytes); }
  void OnEnd(absl::Status status) override {
    heard.push_back(absl::StrCat("end ", status.ok() ? "" : "badly"));
  }

  std::vector<std::string> heard;
  std::function<void()> then;
};

class TransportFrontTest : public ::testing::Test {
 protected:
  // A call whose end is told as a code, or 0 for an error.
  TransportFront::Done Told() {
    return [this](absl::StatusOr<HttpAnswer> answer) {
      ended_.push_back(answer.ok() ? answer->code : 0);
      if (then_ != nullptr) then_();
    };
  }

  TransportFront front_;
  Ears ears_;
  const UntakenBytes untaken_ = std::make_shared<std::atomic<size_t>>(0);
  std::vector<int> ended_;
  std::function<void()> then_;
};

TEST_F(TransportFrontTest, TellsACallItsEndOnce) {
  front_.AddCall(1, Told());
  front_.AddCall(2, Told());
  front_.Dispatch(Events(End(1, absl::OkStatus(), 200),
                         End(2, absl::UnavailableError("x")),
                         End(1, absl::OkStatus(), 200)));

  EXPECT_THAT(ended_, ElementsAre(200, 0));
  EXPECT_EQ(front_.waiting(), 0u);
}

TEST_F(TransportFrontTest, TellsAStreamWhatCame) {
  front_.AddStream(1, &ears_);
  front_.Dispatch(Events(Head(1, 200), Bytes(1, "abc", untaken_),
                         End(1, absl::DataLossError("x"))));
  front_.Dispatch(Events(Head(1, 200), Bytes(1, "late", untaken_),
                         End(1, absl::OkStatus())));

  EXPECT_THAT(ears_.heard, ElementsAre("head 200", "abc", "end badly"));
  EXPECT_EQ(front_.streams(), 0u);
}

TEST_F(TransportFrontTest, CountsBytesAsTakenEvenIfNobodyHearsThem) {
  front_.Dispatch(Events(Bytes(1, "abc", untaken_), Bytes(2, "de", untaken_),
                         End(1, absl::OkStatus())));

  EXPECT_EQ(untaken_->load(), 0u);
}

TEST_F(TransportFrontTest, WhatIsForgottenHearsNothing) {
  front_.AddCall(1, Told());
  front_.AddStream(2, &ears_);
  front_.Forget(1);
  front_.Forget(2);
  front_.Dispatch(Events(End(1, absl::OkStatus(), 200), Head(2, 200),
                         End(2, absl::OkStatus())));

  EXPECT_THAT(ended_, IsEmpty());
  EXPECT_THAT(ears_.heard, IsEmpty());
}

TEST_F(TransportFrontTest, AListenerMayEndItsStreamWhileItHears) {
  front_.AddStream(1, &ears_);
  ears_.then = [this] { front_.Forget(1); };
  front_.Dispatch(Events(Head(1, 200), Bytes(1, "abc", untaken_),
                         End(1, absl::OkStatus())));

  EXPECT_THAT(ears_.heard, ElementsAre("head 200"));
  EXPECT_EQ(untaken_->load(), 0u);
}

TEST_F(TransportFrontTest, NobodyHearsAnythingAfterTheClose) {
  front_.AddCall(1, Told());
  front_.AddCall(2, Told());
  front_.AddStream(3, &ears_);
  then_ = [this] { front_.Close(); };
  front_.Dispatch(Events(End(1, absl::OkStatus(), 200),
                         End(2, absl::OkStatus(), 200), Head(3, 200)));

  EXPECT_THAT(ended_, ElementsAre(200));
  EXPECT_THAT(ears_.heard, IsEmpty());
  EXPECT_EQ(front_.waiting(), 0u);
}

}  // namespace
}  // namespace flotilla
