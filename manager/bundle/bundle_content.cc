// SPDX-License-Identifier: Apache-2.0

#include "manager/bundle/bundle_content.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "manager/documents/field_reader.h"

namespace flotilla::manager {

void SortByName(std::vector<ContentFile>& files) {
  std::sort(files.begin(), files.end(),
            [](const ContentFile& a, const ContentFile& b) {
              return a.name < b.name;
            });
}

std::string ShownDirectory(absl::string_view directory) {
  return directory.empty() ? "the root of the repository"
                           : absl::StrCat("\"", ShownText(directory), "\"");
}

std::string ShownPlace(const BundlePlace& place) {
  std::string shown = ShownDirectory(place.first);
  if (!place.second.empty()) {
    absl::StrAppend(&shown, " with ", ShownText(place.second));
  }
  return shown;
}

}  // namespace flotilla::manager
