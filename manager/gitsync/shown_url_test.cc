// SPDX-License-Identifier: Apache-2.0

#include "manager/gitsync/shown_url.h"

#include "gtest/gtest.h"

namespace flotilla::manager {
namespace {

TEST(ShownUrl, HasNoSecret) {
  const struct {
    const char* url;
    const char* shown;
  } kRows[] = {
      {"https://h/r.git", "https://h/r.git"},
      {"https://user:canary@h/r.git", "https://h/r.git"},
      {"https://user:ca?nary@h/r.git", "https://h/r.git"},
      {"https://user:can@ary@h/a@b", "https://h/a@b"},
      {"https://h/charts?token=canary", "https://h/charts"},
      {"git::https://user:canary@h/r//c?sshkey=canary", "git::https://h/r//c"},
      {"https://h?token=can@ary", "https://ary"},
      {"git@h:r.git", "git@h:r.git"},
      {"h/r//c?sshkey=canary", "h/r//c"},
      {"../chart", "../chart"},
      {"", ""},
  };
  for (const auto& row : kRows) EXPECT_EQ(ShownUrl(row.url), row.shown);
}

}  // namespace
}  // namespace flotilla::manager
