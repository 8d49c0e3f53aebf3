// SPDX-License-Identifier: Apache-2.0

#include "manager/render/deployment_input.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "common/blob/blob_store.h"
#include "common/status/status_matchers.h"
#include "manager/render/render_input.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace flotilla::manager {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// No file can be opened.
class NoDescriptors final : public BlobStore {
 public:
  absl::StatusOr<std::vector<std::string>> PutAll(
      const std::vector<std::string>&) override {
    return error_;
  }
  absl::StatusOr<std::string> Get(absl::string_view) const override {
    return error_;
  }
  bool Contains(absl::string_view) const override { return true; }
  absl::Status Remove(absl::string_view) override { return error_; }
  absl::StatusOr<std::vector<std::string>> List() const override {
    return error_;
  }
  bool Renew(const std::vector<std::string>&) override { return true; }
  absl::StatusOr<size_t> Sweep(
      const absl::flat_hash_set<std::string>&) override {
    return error_;
  }
  absl::StatusOr<std::string> Owner() const override { return error_; }
  absl::Status Claim(const std::string&) override { return error_; }

 private:
  const absl::Status error_ =
      absl::ResourceExhaustedError("too many open files");
};

TEST(LoadFiles, TakesTroubleOfTheMachineForWhatMayPass) {
  NoDescriptors blobs;
  storage::v1::BundleRevision bundle;
  bundle.add_files()->set_name("a.yaml");
  RenderInput input;

  EXPECT_THAT(LoadFiles(blobs, bundle, input),
              StatusIs(absl::StatusCode::kUnavailable,
                       AllOf(HasSubstr("a.yaml"),
                             HasSubstr("too many open files"))));
}

TEST(LoadFiles, TakesABundleThatIsTooLargeForTheBundlesFault) {
  NoDescriptors blobs;
  storage::v1::BundleRevision bundle;
  bundle.add_files()->set_size(uint64_t{1} << 30);
  RenderInput input;

  EXPECT_THAT(LoadFiles(blobs, bundle, input),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       HasSubstr("100 MiB")));
}

}  // namespace
}  // namespace flotilla::manager
