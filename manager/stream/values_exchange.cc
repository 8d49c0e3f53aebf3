// SPDX-License-Identifier: Apache-2.0

#include "manager/stream/values_exchange.h"

#include <algorithm>
#include <utility>

#include "common/assignment/values_digest.h"

namespace flotilla::manager {
namespace {

constexpr size_t kMaxProblemBytes = 4096;
constexpr size_t kMaxCodeBytes = 64;

bool Same(const core::v1::ValuesRef& a, const core::v1::ValuesRef& b) {
  return a.kind() == b.kind() && a.namespace_() == b.namespace_() &&
         a.name() == b.name() && a.key() == b.key();
}

}  // namespace

bool operator==(const ValuesAsk& a, const ValuesAsk& b) {
  return a.service_account == b.service_account &&
         std::equal(a.refs.begin(), a.refs.end(), b.refs.begin(),
                    b.refs.end(), Same);
}

void ValuesExchange::Ask(const std::string& bundle_id, ValuesAsk ask,
                         std::string known_digest) {
  Asked& asked = asks_[bundle_id];
  const bool same = asked.ask == ask;
  asked.known_digest = std::move(known_digest);
  if (same) return;
  asked.ask = std::move(ask);
  dirty_.insert(bundle_id);
}

void ValuesExchange::End(const std::string& bundle_id) {
  if (asks_.erase(bundle_id) == 0) return;
  if (sent_.count(bundle_id) > 0) {
    dirty_.insert(bundle_id);
  } else {
    dirty_.erase(bundle_id);
  }
}

std::optional<agent::v1::ValuesRequest> ValuesExchange::Next() {
  if (dirty_.empty()) return std::nullopt;
  agent::v1::ValuesRequest request;
  request.set_bundle_id(*dirty_.begin());
  dirty_.erase(dirty_.begin());
  const auto asked = asks_.find(request.bundle_id());
  if (asked == asks_.end()) {
    sent_.erase(request.bundle_id());
    return request;
  }
  for (const core::v1::ValuesRef& ref : asked->second.ask.refs) {
    *request.add_refs() = ref;
  }
  request.set_service_account(asked->second.ask.service_account);
  request.set_known_digest(asked->second.known_digest);
  sent_.insert(request.bundle_id());
  return request;
}

absl::string_view ValuesExchange::Judge(
    const agent::v1::ValuesReport& report) const {
  const auto asked = asks_.find(report.bundle_id());
  if (asked == asks_.end() || sent_.count(report.bundle_id()) == 0) {
    return "foreign_values";
  }
  const ValuesAsk& ask = asked->second.ask;
  if (report.service_account() != ask.service_account ||
      !std::equal(ask.refs.begin(), ask.refs.end(), report.refs().begin(),
                  report.refs().end(), Same)) {
    return "stale_values";
  }
  size_t bytes = 0;
  for (const std::string& content : report.contents()) bytes += content.size();
  const bool complete =
      report.has_problem()
          ? report.contents_size() == 0 &&
                report.problem().code().size() <= kMaxCodeBytes &&
                report.problem().message().size() <= kMaxProblemBytes &&
                !report.problem().message().empty()
          : report.contents_size() == report.refs_size();
  if (!complete || bytes > kMaxBytes ||
      report.digest() != ValuesDigest(report)) {
    return "bad_values";
  }
  return {};
}

}  // namespace flotilla::manager
