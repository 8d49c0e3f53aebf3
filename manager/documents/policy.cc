// SPDX-License-Identifier: Apache-2.0

#include "manager/documents/policy.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "google/protobuf/repeated_ptr_field.h"
#include "manager/documents/field_reader.h"
#include "manager/documents/regex.h"

namespace flotilla::manager {
namespace {

using core::v1::LabelRequirement;
using core::v1::LabelSelector;
using google::protobuf::RepeatedPtrField;
using storage::v1::Document;
using storage::v1::Target;

// An allow list, and the documents that it comes from.
struct AllowList {
  std::vector<std::string> values;
  std::vector<std::string> origins;
};

// Regular expressions or exact texts.
struct Patterns {
  std::vector<std::pair<std::string, RegexAnchor>> values;
  std::vector<std::string> origins;
};

std::string NameOf(const Document& document) {
  return absl::StrCat(document.kind(), " ", document.workspace(), "/",
                      document.name());
}

void Extend(AllowList& list, const Document& origin,
            const RepeatedPtrField<std::string>& values) {
  if (values.empty()) return;
  list.values.insert(list.values.end(), values.begin(), values.end());
  list.origins.push_back(NameOf(origin));
}

void Extend(Patterns& list, const Document& origin, RegexAnchor anchor,
            const RepeatedPtrField<std::string>& values) {
  if (values.empty()) return;
  for (const std::string& value : values) {
    list.values.emplace_back(value, anchor);
  }
  list.origins.push_back(NameOf(origin));
}

void SetFirst(std::string& value, const std::string& candidate) {
  if (value.empty()) value = candidate;
}

void MergeSelector(const LabelSelector& from, LabelSelector& into) {
  std::map<std::string, std::string> labels;
  for (const auto& pair : into.match_labels()) {
    labels[pair.key()] = pair.value();
  }
  // The later name wins.
  for (const auto& pair : from.match_labels()) {
    labels[pair.key()] = pair.value();
  }
  into.clear_match_labels();
  for (const auto& [key, value] : labels) {
    core::v1::LabelPair& pair = *into.add_match_labels();
    pair.set_key(key);
    pair.set_value(value);
  }
  for (const LabelRequirement& requirement : from.match_expressions()) {
    const auto same = [&requirement](const LabelRequirement& other) {
      return other.key() == requirement.key() &&
             other.operator_() == requirement.operator_() &&
             std::equal(other.values().begin(), other.values().end(),
                        requirement.values().begin(),
                        requirement.values().end());
    };
    if (std::none_of(into.match_expressions().begin(),
                     into.match_expressions().end(), same)) {
      *into.add_match_expressions() = requirement;
    }
  }
}

enum class Source { kGitRepo, kHelmOp, kBundleOfGitRepo, kBundle };

// All restrictions and policies of a workspace, as they count for one source.
struct Rules {
  std::string default_service_account;
  std::string default_secret;
  AllowList service_accounts;
  AllowList secrets;
  AllowList target_namespaces;
  Patterns repos;
  Patterns charts;
  std::optional<LabelSelector> namespace_selector;
  std::vector<std::string> selector_origins;
  bool require_service_account = false;
  std::vector<std::string> require_origins;
  bool allow_namespace_creation = false;
};

void AddRestriction(const Document& document, Rules& rules) {
  const auto& spec = document.git_repo_restriction();
  SetFirst(rules.default_service_account, spec.default_service_account());
  SetFirst(rules.default_secret, spec.default_client_secret_name());
  Extend(rules.service_accounts, document, spec.allowed_service_accounts());
  Extend(rules.secrets, document, spec.allowed_client_secret_names());
  Extend(rules.repos, document, RegexAnchor::kNone,
         spec.allowed_repo_patterns());
  Extend(rules.target_namespaces, document, spec.allowed_target_namespaces());
  if (spec.has_allowed_target_namespace_selector()) {
    if (!rules.namespace_selector.has_value()) {
      rules.namespace_selector.emplace();
    }
    MergeSelector(spec.allowed_target_namespace_selector(),
                  *rules.namespace_selector);
    rules.selector_origins.push_back(NameOf(document));
  }
}

void AddPolicy(const Document& document, Source source, Rules& rules) {
  const storage::v1::PolicySpec& spec = document.policy();
  if (spec.require_service_account()) {
    rules.require_service_account = true;
    rules.require_origins.push_back(NameOf(document));
  }
  rules.allow_namespace_creation |= spec.allow_namespace_creation();
  Extend(rules.service_accounts, document, spec.allowed_service_accounts());
  if (source != Source::kGitRepo && source != Source::kHelmOp) return;
  const storage::v1::SourcePolicy& policy =
      source == Source::kGitRepo ? spec.git_repo() : spec.helm_op();
  SetFirst(rules.default_service_account, policy.default_service_account());
  SetFirst(rules.default_secret, policy.default_secret_name());
  Extend(rules.secrets, document, policy.allowed_secret_names());
  Extend(rules.repos, document, RegexAnchor::kBoth,
         policy.allowed_repo_patterns());
  Extend(rules.charts, document, RegexAnchor::kBoth,
         policy.allowed_chart_patterns());
}

Rules CollectRules(absl::string_view workspace, Source source,
                   const std::vector<const Document*>& documents) {
  // By name, which is the order that counts.
  std::map<std::string, const Document*> restrictions;
  std::map<std::string, const Document*> policies;
  for (const Document* document : documents) {
    if (document->workspace() != workspace) continue;
    if (document->has_git_repo_restriction()) {
      restrictions[document->name()] = document;
    } else if (document->has_policy()) {
      policies[document->name()] = document;
    }
  }
  Rules rules;
  if (source == Source::kGitRepo || source == Source::kBundleOfGitRepo) {
    for (const auto& [name, document] : restrictions) {
      AddRestriction(*document, rules);
    }
  }
  for (const auto& [name, document] : policies) {
    AddPolicy(*document, source, rules);
  }
  return rules;
}

// Holds values against rules and says what is wrong.
//
// Thread-compatible.
class Judge {
 public:
  Judge(absl::string_view subject, const Rules& rules, PolicyVerdict& verdict)
      : subject_(subject), rules_(rules), verdict_(verdict) {}

  void CheckServiceAccount(absl::string_view field, const std::string& value,
                           bool may_be_required) {
    if (value.empty() && may_be_required && rules_.require_service_account) {
      Add(absl::StrCat(field, ": must be set: ",
                       absl::StrJoin(rules_.require_origins, ", "),
                       " requires a service account"));
    }
    CheckListed(field, value, rules_.service_accounts);
  }

  void CheckListed(absl::string_view field, const std::string& value,
                   const AllowList& list) {
    if (value.empty() || list.values.empty()) return;
    if (std::find(list.values.begin(), list.values.end(), value) !=
        list.values.end()) {
      return;
    }
    Refuse(field, value, list.values, list.origins);
  }

  void CheckPattern(absl::string_view field, const std::string& value,
                    const Patterns& patterns) {
    if (value.empty() || patterns.values.empty()) return;
    std::vector<std::string> texts;
    for (const auto& [pattern, anchor] : patterns.values) {
      if (pattern == value || RegexMatches(pattern, value, anchor)) return;
      texts.push_back(pattern);
    }
    Refuse(field, value, texts, patterns.origins);
  }

  void CheckTargetNamespace(const std::string& value) {
    constexpr char kField[] = "spec.targetNamespace";
    const bool listed = !rules_.target_namespaces.values.empty();
    if (!listed && !rules_.namespace_selector.has_value()) return;
    if (value.empty()) {
      std::vector<std::string> origins = rules_.target_namespaces.origins;
      for (const std::string& origin : rules_.selector_origins) {
        if (std::find(origins.begin(), origins.end(), origin) ==
            origins.end()) {
          origins.push_back(origin);
        }
      }
      Add(absl::StrCat(kField, ": must be set: ", absl::StrJoin(origins, ", "),
                       " restricts the namespaces",
                       listed ? absl::StrCat("; allowed are ",
                                             Listed(
                                                 rules_.target_namespaces
                                                     .values))
                              : ""));
      return;
    }
    CheckListed(kField, value, rules_.target_namespaces);
  }

  void CheckChart(const std::string& prefix,
                  const storage::v1::HelmOptions& helm) {
    CheckPattern(prefix + "helm.repo", helm.repo(), rules_.repos);
    CheckPattern(prefix + "helm.chart", helm.chart(), rules_.charts);
    if (helm.repo().empty() && rules_.charts.values.empty() &&
        absl::StrContains(helm.chart(), "://")) {
      CheckPattern(prefix + "helm.chart", helm.chart(), rules_.repos);
    }
  }

  void CheckTargets(absl::string_view field,
                    const RepeatedPtrField<Target>& targets, bool charts) {
    for (int i = 0; i < targets.size(); ++i) {
      const std::string prefix = absl::StrCat(field, "[", i, "].");
      const storage::v1::DeployOptions& options = targets[i].options();
      CheckServiceAccount(prefix + "serviceAccount", options.service_account(),
                          /*may_be_required=*/false);
      if (charts) CheckChart(prefix, options.helm());
    }
  }

 private:
  static std::string Listed(std::vector<std::string> values) {
    constexpr size_t kMaxShown = 10;
    std::sort(values.begin(), values.end());
    values.erase(std::unique(values.begin(), values.end()), values.end());
    const size_t count = values.size();
    if (count > kMaxShown) values.resize(kMaxShown);
    std::string text = absl::StrJoin(
        values, ", ", [](std::string* out, const std::string& value) {
          out->append(ShownText(value));
        });
    if (count > kMaxShown) {
      absl::StrAppend(&text, " and ", count - kMaxShown, " more");
    }
    return text;
  }

  void Refuse(absl::string_view field, const std::string& value,
              const std::vector<std::string>& allowed,
              const std::vector<std::string>& origins) {
    Add(absl::StrCat(field, ": \"", ShownText(value),
                     "\" is not allowed by ", absl::StrJoin(origins, ", "),
                     "; allowed are ", Listed(allowed)));
  }

  void Add(std::string message) {
    if (verdict_.violations.size() >= ProblemLog::kMaxProblems) return;
    core::v1::Problem& problem = verdict_.violations.emplace_back();
    problem.set_code("PERMISSION_DENIED");
    problem.set_subject(std::string(subject_));
    problem.set_message(std::move(message));
  }

  const absl::string_view subject_;
  const Rules& rules_;
  PolicyVerdict& verdict_;
};

void JudgeGitRepo(const Rules& rules, Judge& judge, PolicyVerdict& verdict) {
  storage::v1::GitRepoSpec& spec = *verdict.source.mutable_git_repo();
  SetFirst(*spec.mutable_service_account(), rules.default_service_account);
  SetFirst(*spec.mutable_client_secret_name(), rules.default_secret);
  judge.CheckServiceAccount("spec.serviceAccount", spec.service_account(),
                            /*may_be_required=*/true);
  judge.CheckListed("spec.clientSecretName", spec.client_secret_name(),
                    rules.secrets);
  judge.CheckPattern("spec.repo", spec.repo(), rules.repos);
  judge.CheckTargetNamespace(spec.target_namespace());
}

void JudgeHelmOp(const Rules& rules, Judge& judge, PolicyVerdict& verdict) {
  storage::v1::HelmOpSpec& spec = *verdict.source.mutable_helm_op();
  storage::v1::DeployOptions& options =
      *spec.mutable_bundle()->mutable_options();
  SetFirst(*options.mutable_service_account(), rules.default_service_account);
  SetFirst(*spec.mutable_helm_secret_name(), rules.default_secret);
  judge.CheckServiceAccount("spec.serviceAccount", options.service_account(),
                            /*may_be_required=*/true);
  judge.CheckListed("spec.helmSecretName", spec.helm_secret_name(),
                    rules.secrets);
  judge.CheckChart("spec.", options.helm());
  judge.CheckTargets("spec.targets", spec.bundle().targets(),
                     /*charts=*/true);
}

void Derive(const Rules& rules, Source source, PolicyVerdict& verdict) {
  verdict.forbids_namespace_creation =
      rules.require_service_account && !rules.allow_namespace_creation;
  if (source == Source::kGitRepo || source == Source::kBundleOfGitRepo) {
    verdict.allowed_target_namespace_selector = rules.namespace_selector;
  }
}

}  // namespace

PolicyVerdict EvaluatePolicies(
    const Document& source, const std::vector<const Document*>& documents) {
  PolicyVerdict verdict;
  verdict.source = source;
  const Source kind = source.has_git_repo()  ? Source::kGitRepo
                      : source.has_helm_op() ? Source::kHelmOp
                                             : Source::kBundle;
  const Rules rules = CollectRules(source.workspace(), kind, documents);
  const std::string subject = NameOf(source);
  Judge judge(subject, rules, verdict);
  switch (kind) {
    case Source::kGitRepo:
      JudgeGitRepo(rules, judge, verdict);
      break;
    case Source::kHelmOp:
      JudgeHelmOp(rules, judge, verdict);
      break;
    default:
      judge.CheckServiceAccount("spec.serviceAccount",
                                source.bundle().options().service_account(),
                                /*may_be_required=*/true);
      judge.CheckTargets("spec.targets", source.bundle().targets(),
                         /*charts=*/false);
      break;
  }
  Derive(rules, kind, verdict);
  return verdict;
}

PolicyVerdict EvaluateBundlePolicies(
    absl::string_view subject, absl::string_view workspace,
    bool from_git_repo, const storage::v1::BundleRevision& revision,
    const std::vector<const Document*>& documents) {
  PolicyVerdict verdict;
  const Source kind =
      from_git_repo ? Source::kBundleOfGitRepo : Source::kBundle;
  const Rules rules = CollectRules(workspace, kind, documents);
  Judge judge(subject, rules, verdict);
  judge.CheckServiceAccount("serviceAccount",
                            revision.options().service_account(),
                            /*may_be_required=*/true);
  judge.CheckTargets("targetCustomizations", revision.customizations(),
                     /*charts=*/false);
  judge.CheckTargets("targets", revision.targets(), /*charts=*/false);
  Derive(rules, kind, verdict);
  return verdict;
}

void ApplyVerdict(const PolicyVerdict& verdict,
                  storage::v1::DeployOptions& options) {
  if (verdict.forbids_namespace_creation) {
    options.set_create_namespace(storage::v1::TRI_STATE_FALSE);
  }
  if (verdict.allowed_target_namespace_selector.has_value()) {
    *options.mutable_allowed_target_namespace_selector() =
        *verdict.allowed_target_namespace_selector;
  }
}

}  // namespace flotilla::manager
