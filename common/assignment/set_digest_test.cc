// SPDX-License-Identifier: Apache-2.0

#include "common/assignment/set_digest.h"

#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "gtest/gtest.h"

namespace flotilla {
namespace {

TEST(SetDigest, DoesNotDependOnOrder) {
  const AssignedItem a{"a", 1, "da", false};
  const AssignedItem b{"b", 2, "", true};

  EXPECT_EQ(SetDigest({a, b}), SetDigest({b, a}));
  EXPECT_EQ(SetDigest({a, b}).size(), 32u);
}

TEST(SetDigest, DependsOnEveryField) {
  const std::string base = SetDigest({{"a", 1, "d", false}});

  EXPECT_NE(base, SetDigest({}));
  EXPECT_NE(base, SetDigest({{"b", 1, "d", false}}));
  EXPECT_NE(base, SetDigest({{"a", 2, "d", false}}));
  EXPECT_NE(base, SetDigest({{"a", 1, "e", false}}));
  EXPECT_NE(base, SetDigest({{"a", 1, "d", true}}));
  EXPECT_NE(base, SetDigest({{"a", 1, "d", false}, {"b", 1, "d", false}}));
}

TEST(SetDigest, KeepsFieldsApart) {
  EXPECT_NE(SetDigest({{"ab", 1, "c", false}}),
            SetDigest({{"a", 1, "bc", false}}));
}

// Both halves of different versions must agree for ever.
TEST(SetDigest, HasTheDocumentedBytes) {
  EXPECT_EQ(
      absl::BytesToHexString(SetDigest({})),
      "555f738320313e32909a879446f7f3ee9395fc426571a62f1a957d355496caa5");
  EXPECT_EQ(
      absl::BytesToHexString(
          SetDigest({{"a", 1, "d", false}, {"b", 2, "", true}})),
      "5f639c1357a8df9a1081a7a492596415029163041895b5efa98c35a26aec1716");
}

}  // namespace
}  // namespace flotilla
