// SPDX-License-Identifier: Apache-2.0
//
// What one render depends on, and how its problems are worded. Part of the
// pure core of rendering.

#ifndef FLOTILLA_MANAGER_RENDER_RENDER_INPUT_H_
#define FLOTILLA_MANAGER_RENDER_RENDER_INPUT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "flotilla/core/v1/core.pb.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "manager/render/secret_texts.h"

namespace flotilla::manager {

// A file of a bundle, with its content.
struct RenderFile {
  std::string name;
  std::string bytes;
  // File of the bundle that the bytes came from; empty means `name`. Differs
  // after an overlay.
  std::string source = {};

  const std::string& origin() const { return source.empty() ? name : source; }
};

// What a render depends on.
struct RenderInput {
  std::string workspace;
  std::string bundle_name;
  std::string bundle_id;
  // Revision of the bundle, for the version of a chart that is made up.
  std::string revision;
  // Directory in the repository, put before file names in problems.
  std::string directory;
  std::vector<RenderFile> files;
  // Effective options of the deployment: templates in the values filled in,
  // values of the cluster merged.
  storage::v1::DeployOptions options;
  // Of Secrets of the cluster, in those values.
  SecretTexts secrets;
  storage::v1::TriState source_correct_drift =
      storage::v1::TRI_STATE_UNSPECIFIED;
  // Labels of the bundle, sorted by key.
  std::vector<core::v1::LabelPair> bundle_labels;
  // What must be deployed before.
  std::vector<core::v1::Dependency> depends_on;
  core::v1::ClusterFacts facts;
  // Of the random functions: 32 bytes.
  std::string random_seed;
  // The commit's time.
  int64_t now_unix_seconds = 0;
};

// `file` of the bundle as a path in the repository.
std::string InRepository(const RenderInput& input, absl::string_view file);

// A problem about `file` of the bundle; its text is cut where it is too long.
core::v1::Problem MakeProblem(
    const RenderInput& input, absl::string_view file, int line,
    absl::string_view message, absl::string_view subject = "",
    absl::StatusCode code = absl::StatusCode::kInvalidArgument);

// Directory of a file, with a slash at its end; "" for the root.
std::string DirectoryOf(absl::string_view file);
// Name of a file in its directory.
absl::string_view BaseOf(absl::string_view file);

// A relative path with "." and ".." resolved, no slash at its end; "" for the
// root. Nothing when it leads out of the root or is absolute.
absl::optional<std::string> CleanPath(absl::string_view path);

// Whether `text` can be a namespace.
bool IsNamespaceName(absl::string_view text);

// Namespace of objects that carry none (spec 6.3).
std::string ReleaseNamespace(const storage::v1::DeployOptions& options);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_RENDER_RENDER_INPUT_H_
