// SPDX-License-Identifier: Apache-2.0

#include "manager/gitsync/known_hosts.h"

#include <string>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "common/crypto/hmac.h"
#include "common/status/status_matchers.h"

namespace flotilla::manager {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string Blob(const std::string& type, const std::string& key) {
  std::string out("\0\0\0", 3);
  out.push_back(static_cast<char>(type.size()));
  return out + type + key;
}

std::string Line(const std::string& hosts, const std::string& type,
                 const std::string& key) {
  return absl::StrCat(hosts, " ", type, " ",
                      absl::Base64Escape(Blob(type, key)), " comment\n");
}

class KnownHostsTest : public ::testing::Test {
 protected:
  absl::Status Check(const std::string& lines, const std::string& host,
                     int port = 22) {
    return CheckHostKey(lines, {host, port, Blob("ssh-ed25519", "KEY")},
                        "entry known_hosts of Secret w/s");
  }
};

TEST_F(KnownHostsTest, ALineThatNamesHostAndKeyVouches) {
  EXPECT_THAT(Check(Line("example.com", "ssh-ed25519", "KEY"), "example.com"),
              IsOk());
  EXPECT_THAT(Check(Line("a,Example.com", "ssh-ed25519", "KEY"),
                    "EXAMPLE.com"),
              IsOk());
  EXPECT_THAT(Check("# c\n\n" + Line("*.example.com", "ssh-ed25519", "KEY"),
                    "git.example.com"),
              IsOk());
  EXPECT_THAT(Check(Line("[example.com]:2222", "ssh-ed25519", "KEY"),
                    "example.com", 2222),
              IsOk());
  EXPECT_THAT(Check(Line("h", "ssh-rsa", "OTHER") +
                        Line("h", "ssh-ed25519", "KEY"),
                    "h"),
              IsOk());
}

TEST_F(KnownHostsTest, AHashedLineVouches) {
  const std::string salt = "0123456789abcdefghij";
  const std::string hashed =
      absl::StrCat("|1|", absl::Base64Escape(salt), "|",
                   absl::Base64Escape(HmacSha1(salt, "[example.com]:2222")));
  EXPECT_THAT(Check(Line(hashed, "ssh-ed25519", "KEY"), "example.com", 2222),
              IsOk());
  EXPECT_FALSE(Check(Line(hashed, "ssh-ed25519", "KEY"), "example.com").ok());
}

TEST_F(KnownHostsTest, NothingIsTrustedOnFirstUse) {
  EXPECT_THAT(Check("", "example.com", 2222),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("unknown SSH host key"),
                             HasSubstr("[example.com]:2222 ssh-ed25519 AAAA"),
                             HasSubstr("SHA256:"),
                             HasSubstr("Secret w/s"))));
  EXPECT_FALSE(Check(Line("example.com", "ssh-ed25519", "KEY"),
                     "example.com", 2222)
                   .ok());
  EXPECT_FALSE(Check(Line("[example.com]:2222", "ssh-ed25519", "KEY"),
                     "example.com")
                   .ok());
  EXPECT_FALSE(
      Check(Line("example.com,!git.example.com,*.example.com", "ssh-ed25519",
                 "KEY"),
            "git.example.com")
          .ok());
}

TEST_F(KnownHostsTest, AChangedKeyIsSaidToBeOne) {
  EXPECT_THAT(Check(Line("h", "ssh-ed25519", "OLD"), "h"),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("has changed")));
}

TEST_F(KnownHostsTest, AKeyOfAnotherTypeIsSaidToBeThere) {
  EXPECT_THAT(Check(Line("h", "ssh-rsa", "X"), "h"),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("only has a key of type ssh-rsa")));
}

TEST_F(KnownHostsTest, ARevokedKeyIsRefused) {
  EXPECT_THAT(Check(Line("h", "ssh-ed25519", "KEY") +
                        "@revoked " + Line("*", "ssh-ed25519", "KEY"),
                    "h"),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("@revoked")));
  EXPECT_FALSE(
      Check("@cert-authority " + Line("*", "ssh-ed25519", "KEY"), "h").ok());
}

TEST_F(KnownHostsTest, BrokenLinesVouchForNothing) {
  for (const char* lines :
       {"h", "h ssh-ed25519", "h ssh-ed25519 !!!", "@revoked", "@", "|1|x h k",
        "|1|| ssh-ed25519 AAAA", "|||| a b"}) {
    EXPECT_FALSE(Check(lines, "h").ok()) << lines;
  }
  EXPECT_FALSE(CheckHostKey("h x " + absl::Base64Escape("zz"), {"h", 22, "zz"},
                            "w")
                   .ok());
}

}  // namespace
}  // namespace flotilla::manager
