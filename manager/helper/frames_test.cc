// SPDX-License-Identifier: Apache-2.0

#include "manager/helper/frames.h"

#include <memory>
#include <string>

#include "absl/strings/string_view.h"
#include "common/env/posix/posix_subprocess.h"
#include "common/status/status_matchers.h"
#include "flotilla/render/v1/fetch.pb.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace flotilla::manager {
namespace {

using ::testing::HasSubstr;

// Long enough for a busy machine; nothing waits for it to pass.
constexpr absl::Duration kLong = absl::Seconds(30);

// A program that says what it is told.
class FramesTest : public testing::Test {
 protected:
  FramesTest() {
    SubprocessOptions options;
    options.argv = {"/bin/cat"};
    echo_ = *PosixSubprocesses().Start(options);
  }

  void Say(absl::string_view bytes) {
    EXPECT_THAT(echo_->Write(bytes, kLong), IsOk());
    echo_->CloseStdin();
  }

  std::unique_ptr<Subprocess> echo_;
  render::v1::FetchRequest read_;
};

TEST_F(FramesTest, ReadsWhatWasEncoded) {
  render::v1::FetchRequest request;
  request.set_chart(std::string(300, 'x'));
  const absl::StatusOr<std::string> frame = EncodeFrame(request);
  ASSERT_THAT(frame, IsOk());
  EXPECT_EQ(frame->substr(0, 4),
            std::string({0, 0, 1, static_cast<char>(request.ByteSizeLong() -
                                                    256)}));
  Say(*frame + *frame);

  for (int i = 0; i < 2; ++i) {
    read_.Clear();
    ASSERT_THAT(ReadFrame(*echo_, 1000, kLong, read_), IsOk());
    EXPECT_EQ(read_.chart(), request.chart());
  }
  EXPECT_TRUE(
      absl::IsUnavailable(ReadFrame(*echo_, 1000, kLong, read_)));
}

TEST_F(FramesTest, ReadsAnEmptyMessage) {
  const absl::StatusOr<std::string> frame = EncodeFrame(read_);
  ASSERT_THAT(frame, IsOk());
  EXPECT_EQ(*frame, std::string(4, '\0'));
  Say(*frame);

  EXPECT_THAT(ReadFrame(*echo_, 0, kLong, read_), IsOk());
}

TEST_F(FramesTest, RefusesALengthOverTheLimitBeforeItTakesMemory) {
  Say("\xff\xff\xff\xff");

  const absl::Status status = ReadFrame(*echo_, 1 << 20, kLong, read_);
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_THAT(status.message(), HasSubstr("4294967295"));
}

TEST_F(FramesTest, RefusesWhatIsNoMessage) {
  Say(absl::string_view("\0\0\0\2zz", 6));

  const absl::Status status = ReadFrame(*echo_, 1 << 20, kLong, read_);
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
}

TEST_F(FramesTest, TellsOfAFrameThatEndsEarly) {
  Say(absl::string_view("\0\0\0\5ab", 6));

  EXPECT_TRUE(
      absl::IsUnavailable(ReadFrame(*echo_, 1 << 20, kLong, read_)));
}

}  // namespace
}  // namespace flotilla::manager
