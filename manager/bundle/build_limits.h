// SPDX-License-Identifier: Apache-2.0
//
// How much one GitRepo may make a manager read and keep.

#ifndef FLOTILLA_MANAGER_BUNDLE_BUILD_LIMITS_H_
#define FLOTILLA_MANAGER_BUNDLE_BUILD_LIMITS_H_

#include <cstddef>
#include <cstdint>

#include "manager/bundle/chart_needs.h"

namespace flotilla::manager {

struct BuildLimits {
  uint64_t max_file_bytes = 10 << 20;
  uint64_t max_bundle_bytes = 50 << 20;
  size_t max_bundle_files = 10000;
  // Of files that are not in the cache.
  uint64_t max_read_bytes = 256 << 20;
  size_t max_bundles = 10000;
  // Files and directories of all bundles together, nested ones counted for
  // each bundle that ships them.
  size_t max_entries = 2'000'000;

  // Files and directories that are looked at to find the bundles, those of
  // nested paths counted for each path.
  size_t max_walked = 500'000;
  // Characters compared to match paths and .fleetignore files.
  uint64_t max_match_steps = 500'000'000;

  BundleSizeLimits bundle() const {
    return {max_bundle_files, max_bundle_bytes};
  }
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_BUNDLE_BUILD_LIMITS_H_
