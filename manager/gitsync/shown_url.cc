// SPDX-License-Identifier: Apache-2.0

#include "manager/gitsync/shown_url.h"

#include "absl/strings/str_cat.h"

namespace flotilla::manager {

std::string ShownUrl(absl::string_view url) {
  const size_t scheme = url.find("://");
  if (scheme == absl::string_view::npos) {
    return std::string(url.substr(0, url.find('?')));
  }
  absl::string_view rest = url.substr(scheme + 3);
  // Before the query is cut: a password may have a question mark.
  const size_t at = rest.substr(0, rest.find('/')).rfind('@');
  if (at != absl::string_view::npos) rest.remove_prefix(at + 1);
  return absl::StrCat(url.substr(0, scheme + 3),
                      rest.substr(0, rest.find('?')));
}

}  // namespace flotilla::manager
