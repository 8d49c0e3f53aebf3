// SPDX-License-Identifier: Apache-2.0

#include "manager/frontend/crd_installer.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/kube/kube_error.h"
#include "common/kube/object.h"
#include "common/yaml/documents.h"
#include "manager/frontend/crds/crd_plan.h"
#include "manager/frontend/crds/embedded_crds.h"
#include "manager/frontend/field_managers.h"

namespace flotilla::manager {
namespace {

using nlohmann::json;

constexpr absl::Duration kEstablishLimit = absl::Seconds(30);
constexpr absl::Duration kEstablishPoll = absl::Milliseconds(100);

core::v1::ResourceKey KeyOfCrd(const json& crd) {
  core::v1::ResourceKey key;
  key.set_group("apiextensions.k8s.io");
  key.set_version("v1");
  key.set_kind("CustomResourceDefinition");
  key.set_name(TextOr(Member(Member(crd, "metadata"), "name")));
  return key;
}

}  // namespace

CrdInstaller::CrdInstaller(KubeClient& client, Loop& loop,
                           std::function<void(const std::string&)> notice)
    : client_(client),
      loop_(loop),
      notice_(std::move(notice)),
      timer_(loop.CreateTimer([this] { WaitForIt(); })) {
  for (const std::string& text : EmbeddedCrds()) {
    absl::StatusOr<YamlDocument> document = ParseYaml(text);
    if (document.ok()) wanted_.push_back(std::move(document->value));
  }
}

void CrdInstaller::Run(absl::AnyInvocable<void(absl::Status)> done) {
  done_ = std::move(done);
  at_ = 0;
  Next();
}

void CrdInstaller::Finish(absl::Status status) {
  absl::AnyInvocable<void(absl::Status)> done = std::move(done_);
  done_ = nullptr;
  done(std::move(status));
}

void CrdInstaller::Next() {
  if (at_ == wanted_.size()) {
    client_.Discover(
        [this, alive = std::weak_ptr<bool>(alive_)](
            const absl::StatusOr<std::shared_ptr<const Discovery>>& found) {
          if (!alive.expired()) Finish(found.status());
        });
    return;
  }
  client_.Get(
      KeyOfCrd(wanted_[at_]), GetOptions(),
      [this, alive = std::weak_ptr<bool>(alive_)](
          absl::StatusOr<KubeObject> found) {
        if (alive.expired()) return;
        if (absl::IsNotFound(found.status())) return Judge(json());
        if (absl::IsPermissionDenied(found.status())) {
          notice_(absl::StrCat(
              "CustomResourceDefinitions may not be read in the management "
              "cluster: install them by hand, as "
              "docs/examples/management-cluster says (",
              found.status().message(), ")"));
          at_ = wanted_.size();
          return Next();
        }
        if (!found.ok()) return Finish(found.status());
        absl::StatusOr<json> live = ParseKubeJson(found->json);
        if (!live.ok()) return Finish(live.status());
        Judge(*live);
      });
}

void CrdInstaller::Judge(const json& live) {
  const json& wanted = wanted_[at_];
  const std::string name = KeyOfCrd(wanted).name();
  const CrdPlan plan = PlanCrd(wanted, live);
  if (plan.action == CrdPlan::Action::kForeign) {
    notice_(absl::StrCat(
        "CustomResourceDefinition ", name,
        " is not ours and stays as it is",
        plan.lacks.empty() ? ""
                           : absl::StrCat("; it lacks ",
                                          absl::StrJoin(plan.lacks, ", "))));
  }
  if (plan.action == CrdPlan::Action::kForeign ||
      plan.action == CrdPlan::Action::kKeep) {
    ++at_;
    return Next();
  }
  ApplyOptions options;
  options.field_manager = kManagerFields;
  // One that comes at this very moment is somebody else's.
  options.force = plan.action == CrdPlan::Action::kUpdate;
  client_.Apply(
      KeyOfCrd(wanted), CanonicalJson(wanted), std::move(options),
      [this, name, alive = std::weak_ptr<bool>(alive_)](
          const absl::StatusOr<ApplyResult>& applied) {
        if (alive.expired()) return;
        if (absl::IsPermissionDenied(applied.status())) {
          notice_(absl::StrCat(
              "CustomResourceDefinition ", name,
              " may not be made in the management cluster: install it by "
              "hand, as docs/examples/management-cluster says"));
          ++at_;
          return Next();
        }
        if (IsFieldConflict(applied.status())) return Next();
        if (!applied.ok()) return Finish(applied.status());
        notice_(absl::StrCat(
            "CustomResourceDefinition ", name,
            applied->outcome == ApplyResult::Outcome::kCreated ? " made"
                                                               : " updated"));
        deadline_ = loop_.MonotonicNow() + kEstablishLimit;
        WaitForIt();
      });
}

void CrdInstaller::WaitForIt() {
  client_.Get(KeyOfCrd(wanted_[at_]), GetOptions(),
              [this, alive = std::weak_ptr<bool>(alive_)](
                  absl::StatusOr<KubeObject> found) {
                if (alive.expired()) return;
                if (!found.ok()) return Finish(found.status());
                absl::StatusOr<json> live = ParseKubeJson(found->json);
                if (live.ok() && IsEstablished(*live)) {
                  ++at_;
                  return Next();
                }
                if (loop_.MonotonicNow() >= deadline_) {
                  return Finish(absl::UnavailableError(absl::StrCat(
                      "CustomResourceDefinition ",
                      KeyOfCrd(wanted_[at_]).name(),
                      " is not established after ",
                      absl::FormatDuration(kEstablishLimit))));
                }
                timer_->Arm(kEstablishPoll);
              });
}

}  // namespace flotilla::manager
