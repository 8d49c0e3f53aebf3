// SPDX-License-Identifier: Apache-2.0

#include "tools/ctl/printer.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/yaml/documents.h"
#include "google/protobuf/util/json_util.h"
#include "nlohmann/json.hpp"

namespace flotilla::ctl {

using admin::v1::StateCounts;

absl::StatusOr<Format> ParseFormat(absl::string_view text) {
  if (text.empty() || text == "table") return Format::kTable;
  if (text == "json") return Format::kJson;
  if (text == "yaml") return Format::kYaml;
  return absl::InvalidArgumentError(
      absl::StrCat("-o ", text, ": the formats are table, json and yaml"));
}

namespace {

// Length of the UTF-8 sequence that begins at `i`, 0 when it is not valid.
size_t SequenceLength(absl::string_view text, size_t i) {
  const unsigned char lead = static_cast<unsigned char>(text[i]);
  size_t length = lead < 0x80           ? 1
                  : (lead >> 5) == 0x6  ? 2
                  : (lead >> 4) == 0xe  ? 3
                  : (lead >> 3) == 0x1e ? 4
                                        : 0;
  if (length == 0 || i + length > text.size()) return 0;
  for (size_t k = 1; k < length; ++k) {
    if ((static_cast<unsigned char>(text[i + k]) & 0xc0) != 0x80) return 0;
  }
  return length;
}

// C1 controls (U+0080-9F), and U+200B-200F, 202A-202E, 2060-2069, FEFF: what
// hides or turns text around.
bool ActsOnTerminal(absl::string_view sequence) {
  uint32_t code = 0;
  if (sequence.size() == 2) {
    code = ((sequence[0] & 0x1fu) << 6) | (sequence[1] & 0x3fu);
  } else if (sequence.size() == 3) {
    code = ((sequence[0] & 0x0fu) << 12) | ((sequence[1] & 0x3fu) << 6) |
           (sequence[2] & 0x3fu);
  }
  return (code >= 0x80 && code <= 0x9f) || (code >= 0x200b && code <= 0x200f) ||
         (code >= 0x202a && code <= 0x202e) ||
         (code >= 0x2060 && code <= 0x2069) || code == 0xfeff;
}

size_t DisplayWidth(absl::string_view text) {
  size_t width = 0;
  for (char c : text) {
    if ((static_cast<unsigned char>(c) & 0xc0) != 0x80) ++width;
  }
  return width;
}

}  // namespace

std::string Safe(absl::string_view text, bool one_line) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const char c = text[i];
    if (c == '\n' || c == '\t' || c == '\r') {
      if (one_line || c == '\r') {
        out.push_back(' ');
      } else {
        out.push_back(c);
      }
      ++i;
      continue;
    }
    const size_t length = SequenceLength(text, i);
    const bool ascii_control = absl::ascii_iscntrl(
        static_cast<unsigned char>(c));
    if (length == 0 || ascii_control ||
        (length > 1 && ActsOnTerminal(text.substr(i, length)))) {
      const size_t bad = length == 0 ? 1 : length;
      for (size_t k = 0; k < bad; ++k) {
        absl::StrAppendFormat(&out, "\\x%02x",
                              static_cast<unsigned char>(text[i + k]));
      }
      i += bad;
      continue;
    }
    out.append(text.data() + i, length);
    i += length;
  }
  return out;
}

std::string Table(const std::vector<std::string>& header,
                  const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::vector<std::string>> all;
  all.push_back(header);
  for (const auto& row : rows) {
    all.emplace_back();
    for (const std::string& cell : row) all.back().push_back(Safe(cell));
  }
  std::vector<size_t> width(header.size(), 0);
  for (const auto& row : all) {
    for (size_t i = 0; i < row.size() && i < width.size(); ++i) {
      width[i] = std::max(width[i], DisplayWidth(row[i]));
    }
  }
  std::string out;
  for (const auto& row : all) {
    std::string line;
    for (size_t i = 0; i < row.size() && i < width.size(); ++i) {
      absl::StrAppend(&line, row[i]);
      line.append(width[i] - DisplayWidth(row[i]) + 2, ' ');
    }
    absl::StrAppend(&out, absl::StripTrailingAsciiWhitespace(line), "\n");
  }
  return out;
}

absl::StatusOr<std::string> Structured(const google::protobuf::Message& message,
                                       Format format) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = format == Format::kJson;
  std::string json;
  const auto status =
      google::protobuf::util::MessageToJsonString(message, &json, options);
  if (!status.ok()) {
    return absl::InternalError(absl::StrCat("writing JSON: ",
                                            status.ToString()));
  }
  if (format == Format::kJson) return json;
  const nlohmann::json value = nlohmann::json::parse(json, nullptr, false);
  if (value.is_discarded()) return absl::InternalError("writing YAML");
  return ToYaml(value);
}

std::string KeyText(const core::v1::ResourceKey& key) {
  std::string kind = absl::AsciiStrToLower(key.kind());
  if (!key.group().empty()) absl::StrAppend(&kind, ".", key.group());
  return absl::StrCat(kind, " ",
                      key.namespace_().empty() ? "" : key.namespace_(),
                      key.namespace_().empty() ? "" : "/", key.name());
}

std::string ProblemLine(const core::v1::Problem& problem) {
  std::string where;
  if (!problem.file().empty()) {
    where = problem.file();
    if (problem.line() > 0) {
      absl::StrAppend(&where, ":", problem.line());
    } else if (!problem.subject().empty()) {
      // A file may hold many objects.
      absl::StrAppend(&where, ": ", problem.subject());
    }
    absl::StrAppend(&where, ": ");
  } else if (!problem.subject().empty()) {
    where = absl::StrCat(problem.subject(), ": ");
  }
  return Safe(absl::StrCat(where, problem.message()));
}

namespace {

std::string ShortCommit(const core::v1::Commit& commit) {
  return commit.id().substr(0, 12);
}

std::string ReadyText(const StateCounts& counts) {
  return absl::StrCat(counts.ready(), "/", counts.desired());
}

std::string AgeOf(const google::protobuf::Duration& age) {
  const int64_t s = age.seconds();
  if (s < 0) return "0s";
  if (s < 600) return absl::StrCat(s, "s");
  if (s < 36000) return absl::StrCat(s / 60, "m");
  if (s < 864000) return absl::StrCat(s / 3600, "h");
  return absl::StrCat(s / 86400, "d");
}

std::string TimeText(const google::protobuf::Timestamp& time) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ",
                          absl::FromUnixSeconds(time.seconds()),
                          absl::UTCTimeZone());
}

// "HEALTH_NOT_TRACKABLE" -> "NotTrackable".
std::string EnumWord(absl::string_view name, absl::string_view prefix) {
  if (name.size() > prefix.size() && name.substr(0, prefix.size()) == prefix) {
    name.remove_prefix(prefix.size());
  }
  std::string out;
  bool upper = true;
  for (char c : name) {
    if (c == '_') {
      upper = true;
      continue;
    }
    out.push_back(upper ? c : absl::ascii_tolower(
                                  static_cast<unsigned char>(c)));
    upper = false;
  }
  return out == "Unspecified" ? "Unknown" : out;
}

std::string LabelText(
    const google::protobuf::Map<std::string, std::string>& m) {
  std::vector<std::string> pairs;
  for (const auto& [key, value] : m) pairs.push_back(key + "=" + value);
  std::sort(pairs.begin(), pairs.end());
  std::string out;
  for (const std::string& pair : pairs) {
    absl::StrAppend(&out, out.empty() ? "" : ",", pair);
  }
  return out;
}

void Field(std::string& out, absl::string_view name, absl::string_view value) {
  if (value.empty()) return;
  absl::StrAppend(&out, absl::StrFormat("%-14s %s\n", absl::StrCat(name, ":"),
                                        Safe(value)));
}

template <typename List>
void Problems(std::string& out, absl::string_view title, const List& list) {
  if (list.empty()) return;
  absl::StrAppend(&out, title, ":\n");
  for (const core::v1::Problem& problem : list) {
    absl::StrAppend(&out, "  - ", ProblemLine(problem), "\n");
  }
}

std::string CountsText(const StateCounts& c) {
  std::string out = absl::StrCat(c.ready(), " of ", c.desired(), " ready");
  const auto add = [&out](uint32_t n, absl::string_view word) {
    if (n > 0) absl::StrAppend(&out, ", ", n, " ", word);
  };
  add(c.not_ready(), "not ready");
  add(c.wait_applied(), "waiting to be applied");
  add(c.err_applied(), "in error");
  add(c.modified(), "modified");
  add(c.pending(), "pending");
  add(c.offline(), "offline");
  add(c.out_of_sync(), "out of sync");
  add(c.deleting(), "deleting");
  return out;
}

std::string ResourceCountsText(const core::v1::ResourceCounts& c) {
  std::string out = absl::StrCat(c.ready(), " of ", c.desired(), " ready");
  const auto add = [&out](uint32_t n, absl::string_view word) {
    if (n > 0) absl::StrAppend(&out, ", ", n, " ", word);
  };
  add(c.not_ready(), "progressing");
  add(c.degraded(), "degraded");
  add(c.modified(), "modified");
  add(c.missing(), "missing");
  add(c.error(), "in error");
  add(c.wait_applied(), "waiting to be applied");
  add(c.unknown(), "unknown");
  add(c.pruning(), "being deleted");
  add(c.suspended(), "suspended");
  add(c.not_trackable(), "without a health rule");
  return out;
}

}  // namespace

std::string GitRepoTable(const admin::v1::ListGitReposResponse& list) {
  std::vector<std::vector<std::string>> rows;
  for (const auto& r : list.git_repos()) {
    rows.push_back({r.workspace(), r.name(), r.repo(), ShortCommit(r.commit()),
                    ReadyText(r.deployments()), r.state(), r.message()});
  }
  return Table({"WORKSPACE", "NAME", "REPO", "COMMIT",
                "BUNDLEDEPLOYMENTS-READY", "STATE", "STATUS"},
               rows);
}

std::string HelmOpTable(const admin::v1::ListHelmOpsResponse& list) {
  std::vector<std::vector<std::string>> rows;
  for (const auto& h : list.helm_ops()) {
    rows.push_back({h.workspace(), h.name(), h.repo().empty() ? "-" : h.repo(),
                    h.chart().empty() ? "-" : h.chart(),
                    h.version().empty() ? "-" : h.version(),
                    ReadyText(h.deployments()), h.state(), h.message()});
  }
  return Table({"WORKSPACE", "NAME", "REPO", "CHART", "VERSION",
                "BUNDLEDEPLOYMENTS-READY", "STATE", "STATUS"},
               rows);
}

std::string ClusterGroupTable(
    const admin::v1::ListClusterGroupsResponse& list) {
  std::vector<std::vector<std::string>> rows;
  for (const auto& g : list.cluster_groups()) {
    rows.push_back({g.workspace(), g.name(), g.clusters_ready(),
                    g.bundles_ready(), g.state(), g.message()});
  }
  return Table({"WORKSPACE", "NAME", "CLUSTERS-READY", "BUNDLES-READY", "STATE",
                "STATUS"},
               rows);
}

std::string BundleTable(const admin::v1::ListBundlesResponse& list) {
  std::vector<std::vector<std::string>> rows;
  for (const auto& b : list.bundles()) {
    rows.push_back({b.workspace(), b.name(),
                    b.git_repo().empty() ? "-" : b.git_repo(),
                    b.commit().id().empty() ? "-" : ShortCommit(b.commit()),
                    ReadyText(b.deployments()), b.state(), b.message()});
  }
  return Table({"WORKSPACE", "NAME", "GITREPO", "COMMIT",
                "BUNDLEDEPLOYMENTS-READY", "STATE", "STATUS"},
               rows);
}

std::string ClusterTable(const admin::v1::ListClustersResponse& list) {
  std::vector<std::vector<std::string>> rows;
  for (const auto& c : list.clusters()) {
    rows.push_back({c.workspace(), c.name(), ReadyText(c.deployments()),
                    c.online()                ? "now"
                    : c.has_last_seen_time() ? AgeOf(c.age()) + " ago"
                                             : "never",
                    c.kube_version().empty() ? "-" : c.kube_version(),
                    LabelText(c.labels()), c.state(), c.message()});
  }
  return Table({"WORKSPACE", "NAME", "BUNDLES-READY", "LAST-SEEN", "VERSION",
                "LABELS", "STATE", "STATUS"},
               rows);
}

std::string DeploymentTable(const admin::v1::ListDeploymentsResponse& list) {
  std::vector<std::vector<std::string>> rows;
  for (const auto& d : list.deployments()) {
    rows.push_back({d.workspace(),
                    d.cluster_workspace().empty()
                        ? d.cluster()
                        : absl::StrCat(d.cluster_workspace(), "/", d.cluster()),
                    d.bundle(), absl::StrCat(d.generation()),
                    d.commit().id().empty() ? "-" : ShortCommit(d.commit()),
                    absl::StrCat(d.observed().counts().ready(), "/",
                                 d.observed().counts().desired()),
                    d.state(), d.message()});
  }
  return Table({"WORKSPACE", "CLUSTER", "BUNDLE", "GENERATION", "COMMIT",
                "RESOURCES-READY", "STATE", "STATUS"},
               rows);
}

std::string ResourceTable(const admin::v1::ListResourcesResponse& list) {
  std::vector<std::vector<std::string>> rows;
  for (const auto& r : list.resources()) {
    const auto& s = r.status();
    rows.push_back(
        {r.cluster(), r.bundle(), KeyText(s.key()),
         r.stale() ? "Unknown (offline)"
                   : EnumWord(core::v1::Health_Name(s.health()), "HEALTH_"),
         EnumWord(core::v1::SyncState_Name(s.sync()), "SYNC_STATE_"),
         absl::StrCat(s.corrections()), s.message()});
  }
  return Table({"CLUSTER", "BUNDLE", "RESOURCE", "HEALTH", "SYNC", "CORRECTED",
                "MESSAGE"},
               rows);
}

std::string DriftTable(const admin::v1::ListDriftResponse& list,
                       absl::Time now) {
  std::vector<std::vector<std::string>> rows;
  for (const auto& d : list.drift()) {
    const auto& r = d.record();
    google::protobuf::Duration age;
    age.set_seconds(absl::ToUnixSeconds(now) - r.last_seen_time().seconds());
    rows.push_back(
        {AgeOf(age) + " ago", d.cluster(), d.bundle(), KeyText(r.key()),
         EnumWord(core::v1::DriftOperation_Name(r.operation()),
                  "DRIFT_OPERATION_"),
         r.path().empty() ? "-" : r.path(), r.wanted(), r.live(),
         r.field_manager().empty() ? "unknown" : r.field_manager(),
         EnumWord(core::v1::DriftAction_Name(r.action()), "DRIFT_ACTION_"),
         absl::StrCat(r.count())});
  }
  return Table({"SEEN", "CLUSTER", "BUNDLE", "RESOURCE", "WHAT", "FIELD",
                "WANTED", "LIVE", "BY", "ACTION", "COUNT"},
               rows);
}

std::string DescribeGitRepo(const admin::v1::GitRepo& repo) {
  std::string out;
  Field(out, "GitRepo", absl::StrCat(repo.workspace(), "/", repo.name()));
  Field(out, "Repository", repo.repo());
  Field(out, "Follows", repo.ref());
  Field(out, "Commit", absl::StrCat(repo.commit().id(), " ",
                                    repo.commit().summary()));
  Field(out, "Author", repo.commit().author());
  if (repo.has_last_poll_time()) {
    Field(out, "Last polled", TimeText(repo.last_poll_time()));
  }
  Field(out, "State", repo.state());
  Field(out, "Message", repo.message());
  Field(out, "Bundles", absl::StrCat(repo.bundles()));
  Field(out, "Clusters", absl::StrCat(repo.clusters(), " match"));
  Field(out, "Deployments", CountsText(repo.deployments()));
  Field(out, "Resources", ResourceCountsText(repo.resources()));
  if (repo.conditions_size() > 0) {
    std::vector<std::vector<std::string>> rows;
    for (const auto& c : repo.conditions()) {
      rows.push_back({c.type(), c.status(), c.reason(), c.message()});
    }
    absl::StrAppend(&out, "\n",
                    Table({"CONDITION", "STATUS", "REASON", "MESSAGE"}, rows));
  }
  Problems(out, "Problems", repo.problems());
  Problems(out, "Warnings", repo.warnings());
  return out;
}

std::string DescribeBundle(const admin::v1::Bundle& bundle) {
  std::string out;
  Field(out, "Bundle", absl::StrCat(bundle.workspace(), "/", bundle.name()));
  Field(out, "Id", bundle.bundle_id());
  Field(out, "GitRepo", bundle.git_repo());
  Field(out, "Directory", bundle.directory());
  Field(out, "Commit", absl::StrCat(bundle.commit().id(), " ",
                                    bundle.commit().summary()));
  Field(out, "Revision", bundle.revision());
  Field(out, "State", bundle.state());
  Field(out, "Message", bundle.message());
  Field(out, "Deployments", CountsText(bundle.deployments()));
  Problems(out, "Problems", bundle.problems());
  return out;
}

std::string DescribeCluster(const admin::v1::Cluster& cluster) {
  std::string out;
  Field(out, "Cluster", absl::StrCat(cluster.workspace(), "/", cluster.name()));
  Field(out, "Id", cluster.cluster_id());
  Field(out, "Labels", LabelText(cluster.labels()));
  std::string groups;
  for (const std::string& g : cluster.groups()) {
    absl::StrAppend(&groups, groups.empty() ? "" : ", ", g);
  }
  Field(out, "Groups", groups);
  Field(out, "Kubernetes", cluster.kube_version());
  Field(out, "Agent", cluster.agent_version());
  Field(out, "Last seen",
        cluster.online()               ? "now"
        : cluster.has_last_seen_time() ? AgeOf(cluster.age()) + " ago"
                                       : "never");
  Field(out, "State", cluster.state());
  Field(out, "Message", cluster.message());
  Field(out, "Deployments", CountsText(cluster.deployments()));
  if (cluster.has_frames()) {
    std::vector<std::vector<std::string>> rows;
    for (const auto& [kind, n] : cluster.frames().received()) {
      rows.push_back({"received", kind, absl::StrCat(n)});
    }
    for (const auto& [kind, n] : cluster.frames().sent()) {
      rows.push_back({"sent", kind, absl::StrCat(n)});
    }
    std::sort(rows.begin(), rows.end());
    absl::StrAppend(&out, "\nFrames of session ", cluster.frames().epoch(),
                    ":\n", Table({"DIRECTION", "FRAME", "COUNT"}, rows));
  }
  return out;
}

std::string DescribeDeployment(const admin::v1::Deployment& deployment) {
  std::string out;
  Field(out, "Deployment",
        absl::StrCat(deployment.workspace(), "/", deployment.cluster(), "/",
                     deployment.bundle()));
  Field(out, "Generation",
        absl::StrCat(deployment.generation(), " released, ",
                     deployment.observed_generation(), " observed"));
  Field(out, "Commit", absl::StrCat(deployment.commit().id(), " ",
                                    deployment.commit().summary()));
  Field(out, "State", deployment.state());
  Field(out, "Message", deployment.message());
  Field(out, "Phase",
        EnumWord(core::v1::Phase_Name(deployment.observed().phase()),
                 "PHASE_"));
  Field(out, "Resources",
        ResourceCountsText(deployment.observed().counts()));
  Problems(out, "Problems", deployment.problems());
  Problems(out, "Warnings", deployment.warnings());
  for (const std::string& note : deployment.observed().notes()) {
    absl::StrAppend(&out, "Note: ", Safe(note), "\n");
  }
  return out;
}

}  // namespace flotilla::ctl
