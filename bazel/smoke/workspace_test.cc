// SPDX-License-Identifier: Apache-2.0
//
// Proves the workspace: C++17, asserts on, Abseil and GoogleTest link.

#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace flotilla {
namespace {

TEST(Workspace, BuildsWithAssertsAndCxx17) {
#ifdef NDEBUG
  FAIL() << "NDEBUG is set: DCHECKs would vanish";
#endif
  static_assert(__cplusplus == 201703L, "gRPC and Abseil were built as C++17");
}

TEST(Workspace, LinksAbseilAndGoogleTest) {
  absl::Mutex mu;
  absl::flat_hash_map<std::string, absl::Duration> waits;
  absl::StatusOr<int> failed = absl::NotFoundError("nothing here");

  absl::MutexLock lock(&mu);
  waits["a"] = absl::Seconds(2);

  EXPECT_EQ(absl::StrFormat("%s", absl::FormatDuration(waits["a"])), "2s");
  EXPECT_THAT(failed.status().ToString(), ::testing::HasSubstr("NOT_FOUND"));
}

}  // namespace
}  // namespace flotilla
