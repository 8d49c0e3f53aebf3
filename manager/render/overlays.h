// SPDX-License-Identifier: Apache-2.0
//
// OverlayMerge lays the folders that `yaml.overlays` names over a bundle of raw
// YAML (spec 6.7). A file of a folder replaces or adds the file of that name; a
// file X_patch.EXT is applied to X.EXT: a list of operations as a JSON patch
// (RFC 6902), a map as a strategic merge patch, which the render worker does:
//
//   OverlayMerge merge(input);
//   while (true) {
//     std::vector<render::v1::Patch> patches = merge.NextPatches();
//     if (patches.empty()) break;
//     merge.TakePatched(<ask the worker>);
//   }
//   if (merge.problems().empty()) files = merge.TakeFiles();
//
// In a file of several documents, a map goes to the one with its kind and name.
// Every problem says the file and the line of the patch.

#ifndef FLOTILLA_MANAGER_RENDER_OVERLAYS_H_
#define FLOTILLA_MANAGER_RENDER_OVERLAYS_H_

#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/yaml/documents.h"
#include "flotilla/core/v1/core.pb.h"
#include "flotilla/render/v1/render.pb.h"
#include "manager/render/json_patch.h"
#include "manager/render/render_input.h"
#include "nlohmann/json.hpp"

namespace flotilla::manager {

// Thread-compatible.
class OverlayMerge {
 public:
  // `input` must outlive it.
  explicit OverlayMerge(const RenderInput& input);
  ~OverlayMerge();
  OverlayMerge(const OverlayMerge&) = delete;
  OverlayMerge& operator=(const OverlayMerge&) = delete;

  // What the worker has to do before there can be more; empty at the end.
  std::vector<render::v1::Patch> NextPatches();
  void TakePatched(const render::v1::RenderResponse& response);

  // The files with the overlays over them, sorted by name. The overlays' own
  // files are not among them.
  std::vector<RenderFile> TakeFiles();

  const std::vector<core::v1::Problem>& problems() const { return problems_; }
  const std::vector<core::v1::Problem>& warnings() const { return warnings_; }

 private:
  // One change of a file.
  struct Step {
    std::string target;
    // File of the overlay.
    std::string file;
    // Replaces the target when this is not null.
    const std::string* content = nullptr;
    // Else patches it.
    nlohmann::json patch;
    int line = 0;
    // Lines of a list's operations.
    std::vector<int> operation_lines;
  };
  // A file as it is so far.
  struct File {
    std::string bytes;
    std::string source;
    // The documents that it is read into when it is first patched.
    std::vector<nlohmann::json> documents;
    bool parsed = false;
    // A patch of it is at the worker.
    bool pending = false;
  };
  // Where a patch at the worker belongs.
  struct Pending {
    const Step* step;
    File* file;
    size_t document;
  };

  void WarnOfDoubts(const YamlDocument& document, const std::string& file);
  void AddSteps(const std::string& overlay);
  void AddPatch(const RenderFile& file, const std::string& target);
  bool Parse(const Step& step, File* file);
  void ApplyList(const Step& step, File* file);
  void AskForMerge(const Step& step, File* file,
                   std::vector<render::v1::Patch>* patches);
  void Fail(const std::string& file, int line, absl::string_view message);

  const RenderInput& input_;
  std::map<std::string, File> files_;
  std::vector<Step> steps_;
  size_t next_ = 0;
  std::vector<Pending> pending_;
  JsonPatcher patcher_;
  std::vector<core::v1::Problem> problems_;
  std::vector<core::v1::Problem> warnings_;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_RENDER_OVERLAYS_H_
