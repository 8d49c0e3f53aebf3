// SPDX-License-Identifier: Apache-2.0

#include "common/assignment/values_digest.h"

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "common/crypto/sha256.h"
#include "flotilla/core/v1/core.pb.h"

namespace flotilla {
namespace {

void AppendNumber(uint64_t value, std::string& out) {
  for (int shift = 24; shift >= 0; shift -= 8) {
    out.push_back(static_cast<char>((value >> shift) & 0xff));
  }
}

void AppendText(absl::string_view text, std::string& out) {
  AppendNumber(text.size(), out);
  out.append(text.data(), text.size());
}

}  // namespace

std::string ValuesDigest(const agent::v1::ValuesReport& report) {
  std::string bytes = "flotilla.values.v1\n";
  AppendNumber(static_cast<uint64_t>(report.refs_size()), bytes);
  for (const core::v1::ValuesRef& ref : report.refs()) {
    AppendNumber(static_cast<uint64_t>(ref.kind()), bytes);
    AppendText(ref.namespace_(), bytes);
    AppendText(ref.name(), bytes);
    AppendText(ref.key(), bytes);
  }
  AppendText(report.service_account(), bytes);
  AppendNumber(static_cast<uint64_t>(report.contents_size()), bytes);
  for (const std::string& content : report.contents()) {
    AppendText(content, bytes);
  }
  bytes.push_back(report.has_problem() ? 1 : 0);
  if (report.has_problem()) {
    AppendText(report.problem().code(), bytes);
    AppendText(report.problem().message(), bytes);
  }
  return Sha256(bytes);
}

}  // namespace flotilla
