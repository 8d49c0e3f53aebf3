// SPDX-License-Identifier: Apache-2.0

#include "manager/bundle/bundle_plan.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "manager/bundle/bundle_source.h"
#include "manager/store/records.h"

namespace flotilla::manager {

using core::v1::Problem;
using storage::v1::BundleBuild;
using storage::v1::BundleHead;
using storage::v1::Document;

void BundlePlan::Require(const std::string& key, int64_t revision) {
  compares_.push_back({key, revision});
}

void BundlePlan::PutBundle(const Document& document,
                           const SourceBuild::Bundle& bundle,
                           const core::v1::Commit& commit, NewId new_id) {
  const BundleHead* known =
      bundles_.FindHead(document.workspace(), bundle.name);
  if (known != nullptr && known->revision() == bundle.digest &&
      known->removal() == core::v1::DELETE_CAUSE_UNSPECIFIED) {
    return;
  }
  BundleHead head;
  if (known == nullptr) {
    head.set_bundle_id(new_id());
    head.set_workspace(document.workspace());
    head.set_name(bundle.name);
    if (document.kind() == kGitRepoKind) head.set_git_repo(document.name());
    if (document.kind() == kHelmOpKind) head.set_helm_op(document.name());
  } else {
    head = *known;
  }
  head.clear_removal();
  head.clear_removed_by();
  const std::string previous = head.revision();
  if (previous != bundle.digest) {
    head.set_revision(bundle.digest);
    *head.mutable_commit() = commit;
    PutRevision(head.bundle_id(), bundle, previous);
  }
  PutHead(head);
}

void BundlePlan::PutRevision(const std::string& id,
                             const SourceBuild::Bundle& bundle,
                             const std::string& previous) {
  const std::set<std::string>& kept = bundles_.RevisionsOf(id);
  if (kept.count(bundle.digest) == 0) {
    ops_.push_back(Op::Put(BundleRevisionKey(id, bundle.digest), bundle.bytes));
  }
  for (const std::string& old : kept) {
    if (old == previous || old == bundle.digest) continue;
    ops_.push_back(Op::Delete(BundleRevisionKey(id, old)));
  }
}

void BundlePlan::MarkRemoved(const BundleHead& head,
                             core::v1::DeleteCause cause,
                             const std::string& by) {
  BundleHead removed = head;
  removed.set_removal(cause);
  removed.set_removed_by(by);
  PutHead(removed);
}

void BundlePlan::Erase(const BundleHead& head) {
  const std::string& id = head.bundle_id();
  const std::string key = BundleHeadKey(id);
  Require(key, bundles_.HeadRevision(id));
  ops_.push_back(Op::Delete(key));
  for (const std::string& revision : bundles_.RevisionsOf(id)) {
    ops_.push_back(Op::Delete(BundleRevisionKey(id, revision)));
  }
}

void BundlePlan::PutHead(const BundleHead& head) {
  const std::string key = BundleHeadKey(head.bundle_id());
  // A head that is written twice in one transaction: the later one counts.
  const auto [it, added] = heads_.emplace(key, ops_.size());
  if (!added) {
    ops_[it->second].value = SerializeRecord(head);
    return;
  }
  Require(key, bundles_.HeadRevision(head.bundle_id()));
  ops_.push_back(Op::Put(key, SerializeRecord(head)));
}

void BundlePlan::ShowContested(const Document& document,
                               const std::set<std::string>& names) {
  const std::string subject = SubjectOf(document);
  std::set<std::string> ids = bundles_.with_problems();
  for (const std::string& name : names) {
    const BundleHead* head = bundles_.FindHead(document.workspace(), name);
    if (head != nullptr) ids.insert(head->bundle_id());
  }
  for (const std::string& id : ids) {
    const BundleHead* head = bundles_.FindHead(id);
    if (head == nullptr || head->workspace() != document.workspace()) continue;
    const bool wanted = names.count(head->name()) > 0 && !Owns(document, *head);
    BundleHead changed = *head;
    changed.clear_problems();
    bool shown = false;
    for (const Problem& problem : head->problems()) {
      if (problem.subject() == subject) {
        if (!wanted) continue;
        shown = true;
      }
      *changed.add_problems() = problem;
    }
    if (wanted && !shown) {
      Problem& problem = *changed.add_problems();
      problem.set_code("ALREADY_EXISTS");
      problem.set_subject(subject);
      problem.set_message(absl::StrCat(
          subject, " has a bundle of the same name, \"", head->name(),
          "\", which is not deployed; give one of them another name"));
    }
    if (changed.problems_size() != head->problems_size()) PutHead(changed);
  }
}

void BundlePlan::PutBuild(const Document& document,
                          const std::string& commit_id, size_t bundle_count,
                          const std::vector<Problem>& errors,
                          const std::vector<Problem>& warnings) {
  const std::string key = BuildRecordKey(document);
  const BundleBuild* last = bundles_.FindBuild(key);
  // A Bundle document is built as soon as it is read.
  if (document.kind() == kBundleKind && errors.empty() && warnings.empty()) {
    if (last != nullptr) ops_.push_back(Op::Delete(key));
    return;
  }
  BundleBuild record;
  record.set_workspace(document.workspace());
  record.set_name(BuildRecordName(document));
  record.set_commit_id(commit_id);
  record.set_document_generation(document.generation());
  if (errors.empty()) {
    record.set_bundle_count(static_cast<uint32_t>(bundle_count));
  } else if (last != nullptr) {
    record.set_bundle_count(last->bundle_count());
  }
  for (const Problem& problem : errors) *record.add_problems() = problem;
  for (const Problem& warning : warnings) *record.add_warnings() = warning;
  std::string bytes = SerializeRecord(record);
  if (last != nullptr && SerializeRecord(*last) == bytes) return;
  ops_.push_back(Op::Put(key, std::move(bytes)));
}

void BundlePlan::EraseBuild(const Document& document) {
  const std::string key = BuildRecordKey(document);
  if (bundles_.FindBuild(key) == nullptr) return;
  Require(key, bundles_.BuildRevision(key));
  ops_.push_back(Op::Delete(key));
}

ContestedNames FindContested(const BundleMirror& bundles,
                             const Document& document,
                             const std::vector<SourceBuild::Bundle>& built) {
  ContestedNames contested;
  for (const SourceBuild::Bundle& bundle : built) {
    const BundleHead* head =
        bundles.FindHead(document.workspace(), bundle.name);
    if (head == nullptr || Owns(document, *head)) continue;
    contested.names.insert(bundle.name);
    Problem& problem = contested.problems.emplace_back();
    problem.set_code("ALREADY_EXISTS");
    problem.set_subject(SubjectOf(document));
    problem.set_file(bundle.directory);
    problem.set_message(absl::StrCat(
        "bundle \"", bundle.name, "\" belongs to ", OwnerOf(*head),
        " already, which keeps it; give one of them another name"));
  }
  return contested;
}

}  // namespace flotilla::manager
