// SPDX-License-Identifier: Apache-2.0

#include "common/fuzz/mutator.h"

#include <set>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace flotilla {
namespace {

TEST(Mutator, GivesTheSameInputsForTheSameSeed) {
  const std::vector<std::string> corpus = {"abc: def\n", ""};
  Mutator a(7, {"token"}, 1000);
  Mutator b(7, {"token"}, 1000);
  Mutator c(8, {"token"}, 1000);
  std::vector<std::string> from_a;
  std::vector<std::string> from_c;

  for (int i = 0; i < 200; ++i) {
    from_a.push_back(a.Next(corpus));
    EXPECT_EQ(from_a.back(), b.Next(corpus));
    from_c.push_back(c.Next(corpus));
  }

  EXPECT_NE(from_a, from_c);
}

TEST(Mutator, GivesManyDifferentInputsWithinTheSize) {
  Mutator mutator(1, {"token"}, 500);
  std::set<std::string> seen;
  bool token = false;

  for (int i = 0; i < 1000; ++i) {
    std::string input = mutator.Next({"some text", "more"});
    EXPECT_LE(input.size(), 500);
    token = token || input.find("token") != std::string::npos;
    seen.insert(std::move(input));
  }

  EXPECT_GT(seen.size(), 700);
  EXPECT_TRUE(token);
}

}  // namespace
}  // namespace flotilla
