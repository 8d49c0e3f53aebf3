// SPDX-License-Identifier: Apache-2.0
//
// Reads one directory as a bundle: its fleet.yaml with the values files that
// this names (spec 2.1-2.3), the files that belong to it (3.4), and the charts
// that it needs (3.8).

#ifndef FLOTILLA_MANAGER_BUNDLE_BUNDLE_READER_H_
#define FLOTILLA_MANAGER_BUNDLE_BUNDLE_READER_H_

#include <memory>
#include <string>

#include "manager/bundle/bundle_content.h"
#include "manager/bundle/bundle_file_reader.h"
#include "manager/bundle/directory_entries.h"

namespace flotilla::manager {

// `entries` is what lies in the place's directory, `fingerprint` theirs.
// Problems are about `subject` and go to the content's yaml; with an error the
// content is not whole.
std::shared_ptr<BundleContent> ReadBundle(BundleFileReader& reader,
                                          const std::string& subject,
                                          const BundlePlace& place,
                                          const DirectoryEntries& entries,
                                          const std::string& fingerprint);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_BUNDLE_BUNDLE_READER_H_
