// SPDX-License-Identifier: Apache-2.0
//
// Any body, as a push of any provider: an answer, and nothing that is no
// branch, tag or address.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "absl/strings/string_view.h"
#include "manager/webhook/webhook_request.h"

namespace {

void Check(bool good) {
  if (!good) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace flotilla::manager;  // NOLINT: one function.
  const absl::string_view body(reinterpret_cast<const char*>(data), size);
  for (int i = 0; i < 6; ++i) {
    const auto provider = static_cast<WebhookProvider>(i);
    const auto push = ParsePush(provider, {}, body);
    if (!push.ok()) {
      Check(!push.status().message().empty());
      continue;
    }
    Check(push->branches.size() + push->tags.size() <= 1000);
    for (const std::string& name : push->repositories) Check(!name.empty());
    MovesRef(*push, "main", "");
    // Nobody knows this secret.
    Check(!IsSigned(provider, {{"x-hub-signature-256", std::string(body)}},
                    body, {{"github", "k"}}));
  }
  return 0;
}
