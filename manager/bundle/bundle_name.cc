// SPDX-License-Identifier: Apache-2.0

#include "manager/bundle/bundle_name.h"

#include <array>
#include <cmath>
#include <cstdint>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "common/crypto/sha256.h"

namespace flotilla::manager {
namespace {

// RFC 1321, one block of 64 bytes.
class Md5 {
 public:
  void Block(const unsigned char* block) {
    static constexpr int kShift[4][4] = {
        {7, 12, 17, 22}, {5, 9, 14, 20}, {4, 11, 16, 23}, {6, 10, 15, 21}};
    std::array<uint32_t, 16> words{};
    for (size_t i = 0; i < 16; ++i) {
      words[i] = static_cast<uint32_t>(block[4 * i]) |
                 static_cast<uint32_t>(block[4 * i + 1]) << 8 |
                 static_cast<uint32_t>(block[4 * i + 2]) << 16 |
                 static_cast<uint32_t>(block[4 * i + 3]) << 24;
    }
    uint32_t a = state_[0], b = state_[1], c = state_[2], d = state_[3];
    for (uint32_t i = 0; i < 64; ++i) {
      uint32_t f = 0;
      uint32_t g = 0;
      switch (i / 16) {
        case 0:
          f = (b & c) | (~b & d);
          g = i;
          break;
        case 1:
          f = (d & b) | (~d & c);
          g = (5 * i + 1) % 16;
          break;
        case 2:
          f = b ^ c ^ d;
          g = (3 * i + 5) % 16;
          break;
        default:
          f = c ^ (b | ~d);
          g = (7 * i) % 16;
      }
      const auto constant = static_cast<uint32_t>(
          std::floor(std::fabs(std::sin(static_cast<double>(i + 1))) *
                     4294967296.0));
      f += a + constant + words[g];
      a = d;
      d = c;
      c = b;
      const int shift = kShift[i / 16][i % 4];
      b += (f << shift) | (f >> (32 - shift));
    }
    state_[0] += a;
    state_[1] += b;
    state_[2] += c;
    state_[3] += d;
  }

  std::string Bytes() const {
    std::string out;
    for (const uint32_t word : state_) {
      for (int i = 0; i < 4; ++i) {
        out.push_back(static_cast<char>((word >> (8 * i)) & 0xff));
      }
    }
    return out;
  }

 private:
  std::array<uint32_t, 4> state_ = {0x67452301, 0xefcdab89, 0x98badcfe,
                                    0x10325476};
};

bool IsLowerAlnum(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

bool IsAllowed(char c) {
  return IsLowerAlnum(c) || (c >= 'A' && c <= 'Z') || c == '-';
}

}  // namespace

std::string Md5Hex(absl::string_view text) {
  std::string padded(text);
  padded.push_back(static_cast<char>(0x80));
  while (padded.size() % 64 != 56) padded.push_back('\0');
  const uint64_t bits = static_cast<uint64_t>(text.size()) * 8;
  for (int i = 0; i < 8; ++i) {
    padded.push_back(static_cast<char>((bits >> (8 * i)) & 0xff));
  }
  Md5 md5;
  for (size_t at = 0; at < padded.size(); at += 64) {
    md5.Block(reinterpret_cast<const unsigned char*>(padded.data()) + at);
  }
  return absl::BytesToHexString(md5.Bytes());
}

std::string LimitName(absl::string_view text, size_t max) {
  if (text.size() <= max) return std::string(text);
  // A dash and five digits need room for one character before them.
  if (max <= 6) return std::string(text.substr(0, max));
  std::string out(text.substr(0, max - 6));
  if (out.back() != '-') out.push_back('-');
  return out + Md5Hex(text).substr(0, 5);
}

std::string ReleaseName(absl::string_view text) {
  std::string name = absl::StrReplaceAll(text, {{"/", "-"}});
  bool changes = false;
  for (const char c : name) {
    changes = changes || !IsAllowed(c) || absl::ascii_isupper(
                                             static_cast<unsigned char>(c));
  }
  if (changes) absl::StrAppend(&name, "-", Md5Hex(name).substr(0, 8));
  std::string out;
  for (const char c : absl::AsciiStrToLower(name)) {
    const char kept = IsLowerAlnum(c) ? c : '-';
    if (kept == '-' && !out.empty() && out.back() == '-') continue;
    out.push_back(kept);
  }
  const auto trim = [](std::string& s) {
    while (!s.empty() && s.back() == '-') s.pop_back();
    s.erase(0, s.find_first_not_of('-'));
  };
  trim(out);
  out = LimitName(out, kMaxReleaseName);
  if (out.empty() || !IsLowerAlnum(out.front()) || !IsLowerAlnum(out.back())) {
    return Md5Hex(text).substr(0, 24);
  }
  return out;
}

std::string BundleName(absl::string_view git_repo,
                       absl::string_view directory) {
  return ReleaseName(directory.empty()
                         ? std::string(git_repo)
                         : absl::StrCat(git_repo, "/", directory));
}

std::string SafeConcat(const std::vector<std::string>& parts) {
  const std::string full = absl::StrJoin(parts, "-");
  if (full.size() < 64) return full;
  const std::string digest = absl::BytesToHexString(Sha256(full));
  if (absl::ascii_isalnum(static_cast<unsigned char>(full[56]))) {
    return absl::StrCat(full.substr(0, 57), "-", digest.substr(0, 5));
  }
  return absl::StrCat(full.substr(0, 56), "-", digest.substr(0, 6));
}

}  // namespace flotilla::manager
