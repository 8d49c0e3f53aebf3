// SPDX-License-Identifier: Apache-2.0

#include "manager/render/renderer_version.h"

#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace flotilla::manager {
namespace {

class RendererVersionTest : public ::testing::Test {
 protected:
  static std::string Write(const std::string& name, const std::string& bytes) {
    std::string path = absl::StrCat(::testing::TempDir(), "/", name);
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  }

  const std::string large_ = std::string((1 << 20) + 10, 'x');
  const std::string manager_ = Write("manager", large_);
  const std::string worker_ = Write("worker", "one");
};

TEST_F(RendererVersionTest, IsTheSameForTheSamePrograms) {
  EXPECT_EQ(RendererVersion({manager_, worker_}).size(), 64u);
  EXPECT_EQ(RendererVersion({manager_, worker_}),
            RendererVersion({Write("copy", large_), worker_}));
}

TEST_F(RendererVersionTest, ChangesWithEachProgram) {
  const std::string before = RendererVersion({manager_, worker_});

  EXPECT_NE(RendererVersion({manager_, Write("other", "two")}), before);
  EXPECT_NE(RendererVersion({Write("other", large_ + "y"), worker_}), before);
  EXPECT_NE(RendererVersion({Write("other", "y" + large_.substr(1)), worker_}),
            before);
  EXPECT_NE(RendererVersion({worker_, manager_}), before);
  EXPECT_NE(RendererVersion({manager_, "/nowhere"}), before);
}

}  // namespace
}  // namespace flotilla::manager
