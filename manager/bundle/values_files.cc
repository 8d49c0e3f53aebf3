// SPDX-License-Identifier: Apache-2.0

#include "manager/bundle/values_files.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/yaml/documents.h"
#include "flotilla/core/v1/core.pb.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "manager/documents/field_reader.h"
#include "manager/documents/values.h"
#include "nlohmann/json.hpp"

namespace flotilla::manager {
namespace {

using core::v1::Problem;
using nlohmann::json;
using storage::v1::HelmOptions;

class Merger {
 public:
  Merger(absl::string_view file, absl::string_view subject,
         ReadValuesFile read, FleetYaml& yaml)
      : file_(file), subject_(subject), read_(read), yaml_(yaml) {}

  void MergeInto(HelmOptions& helm, const OptionLines& lines) {
    json values = json::object();
    if (!helm.values_json().empty()) {
      values = json::parse(helm.values_json(), nullptr, false);
    }
    bool good = true;
    for (int i = 0; i < helm.values_files_size(); ++i) {
      const auto at = static_cast<size_t>(i);
      good &= MergeFile(helm.values_files(i),
                        at < lines.values_files.size() ? lines.values_files[at]
                                                       : 0,
                        values);
    }
    if (good) helm.set_values_json(CanonicalValues(values));
  }

  void WarnUnused(const OptionLines& lines) {
    Add(yaml_.warnings, "WARNING", file_, lines.values_files_key,
        "helm.valuesFiles are not read, because neither helm.chart nor "
        "helm.repo is set (as in Fleet); write \"chart: .\" when the chart is "
        "this directory");
  }

 private:
  bool MergeFile(const std::string& name, int line, json& values) {
    absl::StatusOr<ValuesFile> read = read_(name);
    if (!read.ok()) {
      Add(yaml_.errors, absl::StatusCodeToString(read.status().code()), file_,
          line,
          absl::StrCat("helm.valuesFiles names \"", ShownText(name),
                       "\", which cannot be read: ",
                       read.status().message()));
      return false;
    }
    YamlLimits limits;
    limits.lenient = true;
    absl::StatusOr<YamlDocument> document = ParseYaml(read->text, limits);
    if (!document.ok()) {
      Add(yaml_.errors, absl::StatusCodeToString(document.status().code()),
          read->path, YamlErrorLine(document.status()),
          YamlErrorText(document.status()));
      return false;
    }
    for (const YamlDoubt& doubt : document->doubts) {
      Add(yaml_.warnings, "WARNING", read->path, doubt.line, doubt.text);
    }
    if (document->value.is_null()) return true;
    if (!document->value.is_object()) {
      Add(yaml_.errors, "INVALID_ARGUMENT", read->path, document->line,
          "is not a map of values");
      return false;
    }
    MergeValues(values, document->value);
    return true;
  }

  void Add(std::vector<Problem>& list, absl::string_view code,
           absl::string_view file, int line, absl::string_view message) {
    if (list.size() >= ProblemLog::kMaxProblems) return;
    Problem& problem = list.emplace_back();
    problem.set_code(std::string(code));
    problem.set_subject(std::string(subject_));
    problem.set_file(std::string(file));
    problem.set_line(static_cast<uint32_t>(std::max(0, line)));
    problem.set_message(std::string(message));
  }

  const absl::string_view file_;
  const absl::string_view subject_;
  ReadValuesFile read_;
  FleetYaml& yaml_;
};

}  // namespace

void MergeValuesFiles(absl::string_view file, absl::string_view subject,
                      ReadValuesFile read, FleetYaml& yaml) {
  Merger merger(file, subject, read, yaml);
  if (yaml.options.has_helm() && yaml.options.helm().values_files_size() > 0) {
    if (yaml.options.helm().chart().empty() &&
        yaml.options.helm().repo().empty()) {
      merger.WarnUnused(yaml.lines);
    } else {
      merger.MergeInto(*yaml.options.mutable_helm(), yaml.lines);
    }
  }
  for (int i = 0; i < yaml.customizations.size(); ++i) {
    storage::v1::DeployOptions& options =
        *yaml.customizations[i].mutable_options();
    if (!options.has_helm() || options.helm().values_files_size() == 0) {
      continue;
    }
    const auto at = static_cast<size_t>(i);
    merger.MergeInto(*options.mutable_helm(),
                     at < yaml.customization_lines.size()
                         ? yaml.customization_lines[at]
                         : OptionLines());
  }
}

}  // namespace flotilla::manager
