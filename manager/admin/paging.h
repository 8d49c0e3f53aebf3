// SPDX-License-Identifier: Apache-2.0
//
// Pages of sorted lists. A page token is the sort key of the last item that was
// given, so that a list which changes between two pages is neither repeated nor
// cut: what was there all the time is given once.

#ifndef FLOTILLA_MANAGER_ADMIN_PAGING_H_
#define FLOTILLA_MANAGER_ADMIN_PAGING_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/string_view.h"

namespace flotilla::manager {

inline constexpr uint32_t kMaxPageSize = 500;

// 0 means kMaxPageSize, and nothing is more.
inline uint32_t PageSize(uint32_t asked) {
  return asked == 0 || asked > kMaxPageSize ? kMaxPageSize : asked;
}

inline std::string PageToken(absl::string_view key) {
  return absl::WebSafeBase64Escape(absl::string_view(key));
}

// The key in a token. INVALID_ARGUMENT when it is not one of ours.
inline absl::StatusOr<std::string> KeyOfToken(const std::string& token) {
  std::string key;
  if (!absl::WebSafeBase64Unescape(token, &key)) {
    return absl::InvalidArgumentError(
        "page_token is not one that this method gave");
  }
  return key;
}

template <typename T>
struct Page {
  std::vector<T> items;
  std::string next_token;
};

// The items after `token`, at most PageSize(asked). `items` must be sorted by
// `key_of`.
template <typename T, typename KeyOf>
absl::StatusOr<Page<T>> TakePage(std::vector<T> items, uint32_t asked,
                                 const std::string& token, KeyOf key_of) {
  absl::StatusOr<std::string> after = KeyOfToken(token);
  if (!after.ok()) return after.status();
  Page<T> page;
  const uint32_t size = PageSize(asked);
  for (T& item : items) {
    if (!token.empty() && key_of(item) <= *after) continue;
    if (page.items.size() == size) {
      page.next_token = PageToken(key_of(page.items.back()));
      break;
    }
    page.items.push_back(std::move(item));
  }
  return page;
}

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_ADMIN_PAGING_H_
