// SPDX-License-Identifier: Apache-2.0

#include "manager/render/secret_texts.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace flotilla::manager {
namespace {

using nlohmann::json;

SecretTexts TextsOf(const char* values) {
  SecretTexts texts;
  texts.Add(json::parse(values));
  return texts;
}

TEST(SecretTexts, TakesOutEveryValueAndNoKey) {
  const SecretTexts texts = TextsOf(
      R"({"user": "jane", "pins": [4711, true, null], "deep": {"x": "s3 c"}})");

  EXPECT_EQ(texts.Redact("user jane: pins 4711 and s3 c, true"),
            "user <redacted>: pins <redacted> and <redacted>, true");
}

TEST(SecretTexts, TakesOutTheLongerOfTwoFirst) {
  const SecretTexts texts = TextsOf(R"(["hunter", "hunter22"])");

  EXPECT_EQ(texts.Redact("hunter22, hunter"), "<redacted>, <redacted>");
}

TEST(SecretTexts, KnowsBase64LinesAndQuotes) {
  const SecretTexts texts =
      TextsOf(R"(["canary", "-----BEGIN\n  first line\n", "a\"quote"])");

  EXPECT_EQ(texts.Redact("Y2FuYXJ5"), "<redacted>");
  EXPECT_EQ(texts.Redact("near 'first line'"), "near '<redacted>'");
  EXPECT_EQ(texts.Redact(R"(got "a\"quote")"), R"(got "<redacted>")");
}

TEST(SecretTexts, LeavesTheRestAloneAndWhatIsTooShort) {
  const SecretTexts texts = TextsOf(R"({"a": "in", "b": ""})");

  EXPECT_TRUE(texts.any());
  EXPECT_EQ(texts.Redact("in line 3"), "in line 3");
  EXPECT_FALSE(SecretTexts().any());
  EXPECT_EQ(SecretTexts().Redact("canary"), "canary");
}

TEST(SecretTexts, SaysNothingWhereThereIsTooMuchToLookFor) {
  json values = json::array();
  for (size_t i = 0; i <= SecretTexts::kMaxTexts; ++i) {
    values.push_back(absl::StrCat("value ", i));
  }
  SecretTexts texts;
  texts.Add(values);

  EXPECT_EQ(texts.Redact("value 1999"),
            "not shown: it may quote values of a Secret");
}

TEST(SecretTexts, ThatAreCutAreTakenOutToo) {
  SecretTexts texts;
  texts.Add({"xyzcan", "canary-31337", "correct horse battery"});

  EXPECT_EQ(texts.Redact("failed with canary-31…"), "failed with <redacted>…");
  EXPECT_EQ(texts.Redact("failed with correct hor…"),
            "failed with <redacted>…");
  EXPECT_EQ(texts.Redact("failed with Y2FuYXJ5LT…"),
            "failed with <redacted>…");
  EXPECT_EQ(texts.Redact("canary-31337 and xyzcan…"),
            "<redacted> and <redacted>…");
  EXPECT_EQ(texts.Redact("canary-31337…"), "<redacted>…");
  EXPECT_EQ(texts.Redact("a long text…"), "a long text…");
  EXPECT_EQ(texts.Redact("it can"), "it can");
}

}  // namespace
}  // namespace flotilla::manager
