// SPDX-License-Identifier: Apache-2.0

#include "manager/render/overlays.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/types/optional.h"
#include "common/yaml/documents.h"

namespace flotilla::manager {
namespace {

using nlohmann::json;

constexpr char kOverlays[] = "overlays/";
constexpr char kPatchEnding[] = "_patch";
constexpr size_t kMaxProblems = 20;
constexpr size_t kMaxSteps = 10000;
constexpr size_t kMaxOperations = 10000;

// "a/x_patch.yaml" gives "a/x.yaml".
absl::optional<std::string> PatchTarget(absl::string_view name) {
  absl::string_view base = BaseOf(name);
  const size_t dot = base.rfind('.');
  if (dot == absl::string_view::npos) return absl::nullopt;
  const absl::string_view ending = base.substr(dot);
  base = base.substr(0, dot);
  if (!absl::ConsumeSuffix(&base, kPatchEnding)) return absl::nullopt;
  return absl::StrCat(DirectoryOf(name), base, ending);
}

YamlLimits LenientLimits() {
  YamlLimits limits;
  limits.lenient = true;
  return limits;
}

std::string TextOf(const json& object, const char* name) {
  if (!object.is_object()) return "";
  const auto it = object.find(name);
  return it == object.end() || !it->is_string()
             ? ""
             : it->get_ref<const std::string&>();
}

std::string NameOf(const json& object) {
  if (!object.is_object()) return "";
  const auto it = object.find("metadata");
  return it == object.end() ? "" : TextOf(*it, "name");
}

}  // namespace

OverlayMerge::OverlayMerge(const RenderInput& input) : input_(input) {
  for (const RenderFile& file : input.files) {
    if (absl::StartsWith(file.name, kOverlays)) continue;
    File& known = files_[file.name];
    known.bytes = file.bytes;
    known.source = file.origin();
  }
  for (const std::string& overlay : input.options.yaml_overlays()) {
    AddSteps(overlay);
  }
}

OverlayMerge::~OverlayMerge() = default;

void OverlayMerge::Fail(const std::string& file, int line,
                        absl::string_view message) {
  if (problems_.size() >= kMaxProblems) return;
  problems_.push_back(MakeProblem(input_, file, line, message));
}

void OverlayMerge::WarnOfDoubts(const YamlDocument& document,
                                const std::string& file) {
  for (const YamlDoubt& doubt : document.doubts) {
    if (warnings_.size() >= kMaxProblems) return;
    warnings_.push_back(MakeProblem(input_, file, doubt.line, doubt.text));
  }
}

void OverlayMerge::AddSteps(const std::string& overlay) {
  const absl::optional<std::string> clean = CleanPath(overlay);
  if (!clean.has_value() || clean->empty()) {
    Fail("fleet.yaml", 0,
         absl::StrCat("yaml.overlays: \"", overlay,
                      "\" is no folder under overlays/"));
    return;
  }
  const std::string prefix = absl::StrCat(kOverlays, *clean, "/");
  bool found = false;
  for (const RenderFile& file : input_.files) {
    absl::string_view name = file.name;
    if (!absl::ConsumePrefix(&name, prefix)) continue;
    found = true;
    if (steps_.size() >= kMaxSteps) {
      Fail(file.name, 0,
           absl::StrCat("the overlays make more than ", kMaxSteps,
                        " changes"));
      return;
    }
    if (const auto target = PatchTarget(name); target.has_value()) {
      AddPatch(file, *target);
      continue;
    }
    Step step;
    step.target = std::string(name);
    step.file = file.name;
    step.content = &file.bytes;
    steps_.push_back(std::move(step));
  }
  if (found) return;
  warnings_.push_back(MakeProblem(
      input_, "fleet.yaml", 0,
      absl::StrCat("yaml.overlays names ", overlay,
                   ", and the bundle has no file below ", prefix)));
}

void OverlayMerge::AddPatch(const RenderFile& file,
                            const std::string& target) {
  absl::StatusOr<std::vector<YamlDocument>> documents =
      ParseYamlDocuments(file.bytes, LenientLimits());
  if (!documents.ok()) {
    Fail(file.name, YamlErrorLine(documents.status()),
         absl::StrCat("the patch is not YAML: ",
                      YamlErrorText(documents.status())));
    return;
  }
  for (YamlDocument& document : *documents) {
    Step step;
    step.target = target;
    step.file = file.name;
    step.line = document.line;
    WarnOfDoubts(document, file.name);
    if (!document.value.is_structured()) {
      Fail(file.name, document.line,
           "a patch is a list of operations, or a map that is merged");
      continue;
    }
    if (document.value.is_array()) {
      if (document.value.size() > kMaxOperations) {
        Fail(file.name, document.line,
             absl::StrCat("the patch has more than ", kMaxOperations,
                          " operations"));
        continue;
      }
      for (size_t i = 0; i < document.value.size(); ++i) {
        step.operation_lines.push_back(document.LineOf(absl::StrCat("/", i)));
      }
    }
    step.patch = std::move(document.value);
    steps_.push_back(std::move(step));
  }
}

bool OverlayMerge::Parse(const Step& step, File* file) {
  if (file->parsed) return true;
  absl::StatusOr<std::vector<YamlDocument>> documents =
      ParseYamlDocuments(file->bytes, LenientLimits());
  if (!documents.ok()) {
    Fail(file->source, YamlErrorLine(documents.status()),
         absl::StrCat("the file, which ", step.file,
                      " patches, is not YAML: ",
                      YamlErrorText(documents.status())));
    return false;
  }
  for (YamlDocument& document : *documents) {
    WarnOfDoubts(document, file->source);
    file->documents.push_back(std::move(document.value));
  }
  file->parsed = true;
  return true;
}

void OverlayMerge::ApplyList(const Step& step, File* file) {
  if (file->documents.size() != 1) {
    Fail(step.file, step.line,
         absl::StrCat("a list of operations needs a file with one document, "
                      "and ",
                      step.target, " has ", file->documents.size()));
    return;
  }
  json& document = file->documents[0];
  for (size_t i = 0; i < step.patch.size(); ++i) {
    const std::string why = patcher_.Apply(step.patch[i], &document);
    if (why.empty()) continue;
    Fail(step.file, step.operation_lines[i],
         absl::StrCat("operation ", i + 1, " on ", step.target, " ", why));
    return;
  }
}

void OverlayMerge::AskForMerge(const Step& step, File* file,
                               std::vector<render::v1::Patch>* patches) {
  size_t document = 0;
  if (file->documents.size() != 1) {
    const std::string kind = TextOf(step.patch, "kind");
    const std::string name = NameOf(step.patch);
    size_t found = 0;
    for (size_t i = 0; i < file->documents.size(); ++i) {
      if (TextOf(file->documents[i], "kind") == kind &&
          NameOf(file->documents[i]) == name) {
        document = i;
        ++found;
      }
    }
    if (found != 1) {
      Fail(step.file, step.line,
           absl::StrCat(step.target, " has ", file->documents.size(),
                        " documents, and ", found,
                        " of them have the patch's kind and metadata.name: "
                        "exactly one must"));
      return;
    }
  }
  render::v1::Patch& patch = patches->emplace_back();
  patch.set_original_json(file->documents[document].dump(
      -1, ' ', false, json::error_handler_t::replace));
  patch.set_patch_json(
      step.patch.dump(-1, ' ', false, json::error_handler_t::replace));
  file->pending = true;
  pending_.push_back({&step, file, document});
}

std::vector<render::v1::Patch> OverlayMerge::NextPatches() {
  std::vector<render::v1::Patch> patches;
  for (; next_ < steps_.size() && problems_.size() < kMaxProblems; ++next_) {
    const Step& step = steps_[next_];
    const auto known = files_.find(step.target);
    if (known != files_.end() && known->second.pending) return patches;
    if (step.content != nullptr) {
      File& file = files_[step.target];
      file = File();
      file.bytes = *step.content;
      file.source = step.file;
      continue;
    }
    if (known == files_.end()) {
      Fail(step.file, step.line,
           absl::StrCat("there is no file ", step.target,
                        " that this could patch"));
      continue;
    }
    if (!Parse(step, &known->second)) continue;
    if (step.patch.is_array()) {
      ApplyList(step, &known->second);
    } else {
      AskForMerge(step, &known->second, &patches);
    }
  }
  return patches;
}

void OverlayMerge::TakePatched(const render::v1::RenderResponse& response) {
  std::vector<Pending> pending = std::move(pending_);
  pending_.clear();
  for (const Pending& one : pending) one.file->pending = false;
  if (response.has_error()) {
    size_t index = 0;
    absl::string_view path = response.error().path();
    const bool known = absl::ConsumePrefix(&path, "patches[") &&
                       absl::ConsumeSuffix(&path, "]") &&
                       absl::SimpleAtoi(path, &index) &&
                       index < pending.size();
    const Step& step = *pending[known ? index : 0].step;
    Fail(step.file, step.line, response.error().message());
    next_ = steps_.size();
    return;
  }
  for (size_t i = 0; i < pending.size(); ++i) {
    const Step& step = *pending[i].step;
    absl::StatusOr<json> patched =
        absl::InternalError("the worker gave no answer");
    if (static_cast<int>(i) < response.patched_size()) {
      patched = ParseJson(response.patched(static_cast<int>(i)));
    }
    if (!patched.ok()) {
      Fail(step.file, step.line,
           absl::StrCat("what the patch gives cannot be used: ",
                        YamlErrorText(patched.status())));
      continue;
    }
    pending[i].file->documents[pending[i].document] = *std::move(patched);
  }
}

std::vector<RenderFile> OverlayMerge::TakeFiles() {
  std::vector<RenderFile> files;
  for (auto& [name, file] : files_) {
    RenderFile& out = files.emplace_back();
    out.name = name;
    if (file.source != name) out.source = std::move(file.source);
    if (!file.parsed) {
      out.bytes = std::move(file.bytes);
      continue;
    }
    for (const json& document : file.documents) {
      absl::StrAppend(&out.bytes, out.bytes.empty() ? "" : "---\n",
                      document.dump(-1, ' ', false,
                                    json::error_handler_t::replace),
                      "\n");
    }
  }
  files_.clear();
  return files;
}

}  // namespace flotilla::manager
