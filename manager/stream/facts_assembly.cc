// SPDX-License-Identifier: Apache-2.0

#include "manager/stream/facts_assembly.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/crypto/sha256.h"

namespace flotilla::manager {
namespace {

constexpr size_t kMaxTextBytes = 256;

}  // namespace

absl::StatusOr<std::optional<NewFacts>> FactsAssembly::OnPage(
    const agent::v1::FactsPage& page) {
  if (!facts_.has_value() || page.facts_digest() != digest_) {
    facts_.emplace();
    digest_ = page.facts_digest();
  }
  if (static_cast<size_t>(facts_->kinds_size()) +
          static_cast<size_t>(page.facts().kinds_size()) >
      kMaxKinds) {
    return absl::ResourceExhaustedError(
        absl::StrCat("facts of more than ", kMaxKinds, " kinds"));
  }
  if (!page.facts().kube_version().empty()) {
    facts_->set_kube_version(page.facts().kube_version());
  }
  facts_->mutable_kinds()->MergeFrom(page.facts().kinds());
  if (!page.last()) return std::nullopt;
  core::v1::ClusterFacts facts = *std::move(facts_);
  facts_.reset();
  std::string digest = Sha256(facts.SerializeAsString());
  if (digest != page.facts_digest() ||
      facts.kube_version().size() > kMaxTextBytes) {
    ++counts_.ignored["bad_facts"];
    return std::nullopt;
  }
  return NewFacts{std::move(facts), std::move(digest)};
}

}  // namespace flotilla::manager
