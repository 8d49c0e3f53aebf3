// SPDX-License-Identifier: Apache-2.0

#include "manager/documents/bundle_fields.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "google/protobuf/io/gzip_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "manager/documents/deploy_fields.h"
#include "manager/documents/go_duration.h"
#include "nlohmann/json.hpp"

namespace flotilla::manager {
namespace {

using google::protobuf::RepeatedPtrField;
using nlohmann::json;
using storage::v1::BundleSpec;
using storage::v1::HelmOpSpec;
using storage::v1::RolloutStrategy;
using storage::v1::Target;

const std::vector<std::string>& BundleStates() {
  static const auto& states = *new std::vector<std::string>{
      "Ready",    "NotReady",    "Pending",   "OutOfSync",
      "Modified", "WaitApplied", "ErrApplied"};
  return states;
}

// A number or a percentage as Fleet's rollout reads it, as text.
std::string ReadAmount(FieldReader& reader, absl::string_view key) {
  const json* value = reader.Value(key);
  if (value == nullptr) return "";
  if (value->is_number_integer()) return absl::StrCat(reader.Int32(key));
  if (!value->is_string()) {
    reader.Error(key, "must be a whole number or a percentage, such as 5 or "
                      "\"25%\"");
    return "";
  }
  const auto& text = value->get_ref<const std::string&>();
  if (text.empty()) return "";
  absl::string_view digits = text;
  const bool percent = absl::ConsumeSuffix(&digits, "%");
  double number = 0;
  const bool valid =
      !digits.empty() && digits.size() <= 20 &&
      digits.find_first_not_of(percent ? "0123456789.-+" : "0123456789") ==
          absl::string_view::npos &&
      absl::SimpleAtod(digits, &number) && (percent || number <= INT32_MAX);
  if (!valid) {
    reader.Error(key, absl::StrCat("\"", ShownText(text),
                                   "\" is neither a whole number nor a "
                                   "percentage, such as 5 or \"25%\""));
    return "";
  }
  return text;
}

void ReadFiles(FieldReader& spec, BundleSpec& result,
               std::vector<std::string>& contents) {
  std::map<std::string, std::string> files;
  uint64_t total = 0;
  for (FieldReader& reader : spec.Objects("resources")) {
    const std::string name = reader.String("name");
    const std::string content = reader.String("content");
    const std::string encoding = reader.String("encoding");
    reader.Finish();
    const std::string problem = FileNameProblem(name);
    if (!problem.empty()) {
      reader.Error("name", problem);
      continue;
    }
    absl::StatusOr<std::string> bytes =
        absl::InvalidArgumentError("must be \"\" or \"base64+gz\"");
    if (encoding.empty()) bytes = content;
    if (encoding == "base64+gz") {
      bytes = DecodeContent(content, kMaxBundleBytes - total);
    }
    if (!bytes.ok()) {
      reader.Error(encoding == "base64+gz" ? "content" : "encoding",
                   bytes.status().message());
      continue;
    }
    total += bytes->size();
    if (total > kMaxBundleBytes || files.size() >= kMaxBundleFiles) {
      spec.Error("resources", absl::StrCat("has more than ", kMaxBundleBytes,
                                           " bytes or ", kMaxBundleFiles,
                                           " files; split the bundle"));
      break;
    }
    if (!files.emplace(name, *std::move(bytes)).second) {
      reader.Error("name", absl::StrCat("\"", ShownText(name),
                                        "\" is there twice"));
    }
  }
  for (auto& [name, bytes] : files) {
    storage::v1::BundleFile& file = *result.add_resources();
    file.set_name(name);
    file.set_size(bytes.size());
    contents.push_back(std::move(bytes));
  }
}

// What Bundle and HelmOp share.
void ReadShared(FieldReader& spec, BundleSpec& result) {
  OptionLines lines;
  *result.mutable_options() = ReadDeployOptions(spec, lines);
  for (FieldReader& reader : spec.Objects("targets")) {
    OptionLines target_lines;
    *result.add_targets() = ReadBundleTarget(reader, target_lines);
  }
  NameTargets(*result.mutable_targets());
  ReadPlainTargets(spec, "targetRestrictions",
                   *result.mutable_target_restrictions());
  ReadDependencies(spec, *result.mutable_depends_on());
  result.set_paused(spec.Bool("paused"));
  result.set_all_matches(ReadAllMatches(spec));
  if (std::optional<RolloutStrategy> rollout = ReadRollout(spec);
      rollout.has_value()) {
    *result.mutable_rollout() = *std::move(rollout);
  }
  spec.NoEffect("contentsId",
                "files that lie in an OCI registry are not read; give them in "
                "resources");
  spec.NoEffect("valuesHash",
                "values that Fleet keeps in a Secret are not read; give them "
                "in helm.values");
}

void CheckHelmOpChart(FieldReader& spec, const BundleSpec& bundle) {
  const storage::v1::HelmOptions& helm = bundle.options().helm();
  if (!bundle.options().has_helm()) {
    if (!spec.Has("helm")) {
      spec.Error("", "has no helm block: name the chart in helm.repo and "
                     "helm.chart");
    }
    return;
  }
  const bool url = absl::StrContains(helm.chart(), "://");
  // Three forms.
  if (helm.repo().empty() && url && absl::EndsWith(helm.chart(), ".tgz")) {
    if (!helm.version().empty()) {
      spec.Error("helm", "has a version beside the URL of an archive; take it "
                         "out: the archive is the version");
    }
    return;
  }
  if (absl::StartsWith(helm.repo(), "oci://")) {
    if (!helm.chart().empty()) {
      spec.Error("helm", "has a chart beside an oci:// repo; write the whole "
                         "reference in repo and take chart out");
    }
    return;
  }
  if (!helm.repo().empty() && !helm.chart().empty() && !url) return;
  spec.Error("helm",
             "names no chart: give repo and chart, or an oci:// reference in "
             "repo, or the URL of a .tgz archive in chart");
}

}  // namespace

bool IsBundleState(absl::string_view name) {
  return std::find(BundleStates().begin(), BundleStates().end(), name) !=
         BundleStates().end();
}

void ReadDependencies(FieldReader& reader,
                      RepeatedPtrField<core::v1::Dependency>& out) {
  for (FieldReader& entry : reader.Objects("dependsOn")) {
    core::v1::Dependency& dependency = *out.Add();
    dependency.set_name(entry.String("name"));
    core::v1::LabelSelector selector;
    if (ReadLabelSelector(entry, "selector", selector)) {
      *dependency.mutable_selector() = std::move(selector);
    }
    // A value of a wrong type is an error already.
    const json* name = entry.Value("name");
    if (dependency.name().empty() && !dependency.has_selector() &&
        !entry.Has("selector") && (name == nullptr || name->is_string())) {
      entry.Error("", "needs a name or a selector");
    }
    for (std::string& state : entry.Strings("acceptedStates")) {
      if (!IsBundleState(state)) {
        const std::string nearest = NearestWord(state, BundleStates());
        entry.Error("acceptedStates",
                    absl::StrCat("\"", ShownText(state), "\" is not one of ",
                                 absl::StrJoin(BundleStates(), ", "),
                                 nearest.empty()
                                     ? ""
                                     : absl::StrCat("; did you mean \"",
                                                    nearest, "\"?")));
      }
      dependency.add_accepted_states(std::move(state));
    }
    entry.Finish();
  }
}

std::optional<RolloutStrategy> ReadRollout(FieldReader& reader) {
  std::optional<FieldReader> object = reader.Object("rolloutStrategy");
  if (!object.has_value()) return std::nullopt;
  RolloutStrategy rollout;
  rollout.set_max_unavailable(ReadAmount(*object, "maxUnavailable"));
  rollout.set_max_unavailable_partitions(
      ReadAmount(*object, "maxUnavailablePartitions"));
  rollout.set_auto_partition_size(ReadAmount(*object, "autoPartitionSize"));
  const int32_t threshold = object->Int32("autoPartitionThreshold");
  if (object->Has("autoPartitionThreshold")) {
    rollout.set_auto_partition_threshold(threshold);
  }
  rollout.set_max_new(object->Int32("maxNew"));
  for (FieldReader& entry : object->Objects("partitions")) {
    storage::v1::Partition& partition = *rollout.add_partitions();
    ReadTargetSelectors(entry, *partition.mutable_target());
    partition.set_max_unavailable(ReadAmount(entry, "maxUnavailable"));
    entry.Finish();
  }
  object->Finish();
  return rollout;
}

bool ReadAllMatches(FieldReader& reader) {
  constexpr char kKey[] = "targetCustomizationMode";
  const std::string mode = reader.String(kKey);
  if (mode == "AllMatches") return true;
  if (!mode.empty() && mode != "FirstMatch") {
    reader.Error(kKey, absl::StrCat("\"", ShownText(mode),
                                    "\" is not one of FirstMatch, "
                                    "AllMatches"));
  }
  return false;
}

void ReadPlainTargets(FieldReader& reader, absl::string_view key,
                      RepeatedPtrField<Target>& out) {
  for (FieldReader& entry : reader.Objects(key)) {
    ReadTargetSelectors(entry, *out.Add());
    entry.Finish();
  }
  NameTargets(out);
}

bool ReadDuration(FieldReader& reader, absl::string_view key,
                  google::protobuf::Duration& out) {
  const json* value = reader.Value(key);
  if (value == nullptr || *value == json(0)) return false;
  absl::StatusOr<absl::Duration> parsed =
      value->is_string()
          ? ParseGoDuration(value->get_ref<const std::string&>())
          : absl::InvalidArgumentError(
                "must be a duration in quotes, such as \"15s\"");
  if (!parsed.ok()) {
    reader.Error(key, parsed.status().message());
    return false;
  }
  if (*parsed <= absl::ZeroDuration()) return false;
  absl::Duration rest;
  out.set_seconds(absl::IDivDuration(*parsed, absl::Seconds(1), &rest));
  out.set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(rest)));
  return true;
}

void ReadBundleSpec(FieldReader& spec, BundleSpec& result,
                    std::vector<std::string>& contents) {
  ReadShared(spec, result);
  ReadFiles(spec, result, contents);
  if (result.resources().empty() && !spec.Has("resources")) {
    spec.Warning("resources", "is empty: the bundle deploys nothing");
  }
  spec.NoEffect("helmOpOptions",
                "a chart that lies in a repository is deployed by a HelmOp "
                "document");
}

void ReadHelmOpSpec(FieldReader& spec, HelmOpSpec& result) {
  ReadShared(spec, *result.mutable_bundle());
  ReadLabels(spec, "labels", *result.mutable_labels());
  google::protobuf::Duration interval;
  if (ReadDuration(spec, "pollingInterval", interval)) {
    *result.mutable_polling_interval() = interval;
  }
  result.set_helm_secret_name(ReadDnsSubdomain(spec, "helmSecretName"));
  result.set_insecure_skip_tls_verify(spec.Bool("insecureSkipTLSVerify"));
  CheckHelmOpChart(spec, result.bundle());
  spec.NoEffect("resources", "a HelmOp deploys its chart alone");
  spec.NoEffect("helmOpOptions",
                "helmSecretName and insecureSkipTLSVerify say it");
}

absl::StatusOr<std::string> DecodeContent(absl::string_view content,
                                          uint64_t max_bytes) {
  std::string packed;
  if (!absl::Base64Unescape(content, &packed)) {
    return absl::InvalidArgumentError("is not valid base64");
  }
  google::protobuf::io::ArrayInputStream input(
      packed.data(), static_cast<int>(packed.size()));
  google::protobuf::io::GzipInputStream gzip(
      &input, google::protobuf::io::GzipInputStream::GZIP);
  std::string out;
  const void* chunk = nullptr;
  int size = 0;
  while (gzip.Next(&chunk, &size)) {
    if (out.size() + static_cast<size_t>(size) > max_bytes) {
      return absl::ResourceExhaustedError(
          absl::StrCat("unpacks to more than ", max_bytes, " bytes"));
    }
    out.append(static_cast<const char*>(chunk), static_cast<size_t>(size));
  }
  // Z_STREAM_END is 1; anything else is a cut or damaged stream.
  if (gzip.ZlibErrorCode() != 1) {
    return absl::InvalidArgumentError("is not a whole gzip stream");
  }
  return out;
}

std::string FileNameProblem(absl::string_view name) {
  bool valid = !name.empty() && name.size() <= 4096 && name.front() != '/';
  for (const char c : name) {
    const auto u = static_cast<unsigned char>(c);
    valid = valid && u >= 0x20 && u != 0x7f && c != '\\';
  }
  for (const absl::string_view part : absl::StrSplit(name, '/')) {
    valid = valid && !part.empty() && part != "." && part != "..";
  }
  if (valid) return "";
  return absl::StrCat("\"", ShownText(name),
                      "\" is not a valid file name: write it relative to the "
                      "bundle's root, without \"..\" and backslashes");
}

}  // namespace flotilla::manager
