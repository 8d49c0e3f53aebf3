// SPDX-License-Identifier: Apache-2.0

#include "manager/admin/admin_actions.h"

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "manager/documents/deploy_fields.h"
#include "manager/documents/documents.h"

namespace flotilla::manager {
namespace {

template <typename T>
using Done = AdminActions::Done<T>;

ParsedDocuments Parse(
    const google::protobuf::RepeatedPtrField<admin::v1::DocumentFile>& files,
    const std::string& default_workspace) {
  std::vector<NamedText> texts;
  for (const auto& file : files) {
    texts.push_back({file.name(), file.content()});
  }
  return ParseDocuments(texts, default_workspace.empty() ? kDefaultWorkspace
                                                         : default_workspace);
}

void Apply(WorkerPool& workers, DocumentRegistry& registry,
           const admin::v1::ApplyDocumentsRequest& request,
           Done<admin::v1::ApplyDocumentsResponse> done) {
  workers.Submit<ParsedDocuments>(
      [&request] {
        return Parse(request.files(), request.default_workspace());
      },
      [&registry, done = std::move(done)](ParsedDocuments parsed) mutable {
        if (!parsed.errors.empty()) {
          done(absl::InvalidArgumentError(
              absl::StrCat("nothing was changed:\n",
                           DescribeProblems(parsed.errors))));
          return;
        }
        if (parsed.documents.empty()) {
          done(absl::InvalidArgumentError(
              "the files hold no document: nothing was changed"));
          return;
        }
        registry.Apply(
            std::move(parsed.documents),
            [warnings = std::move(parsed.warnings), done = std::move(done)](
                absl::StatusOr<std::vector<AppliedDocument>> applied) mutable {
              if (!applied.ok()) {
                done(applied.status());
                return;
              }
              admin::v1::ApplyDocumentsResponse response;
              for (const AppliedDocument& document : *applied) {
                auto* result = response.add_results();
                result->set_kind(document.id.kind);
                result->set_workspace(document.id.workspace);
                result->set_name(document.id.name);
                using Outcome = AppliedDocument::Outcome;
                result->set_outcome(
                    document.outcome == Outcome::kCreated
                        ? admin::v1::ApplyResult::OUTCOME_CREATED
                    : document.outcome == Outcome::kConfigured
                        ? admin::v1::ApplyResult::OUTCOME_CONFIGURED
                        : admin::v1::ApplyResult::OUTCOME_UNCHANGED);
              }
              for (auto& warning : warnings) {
                *response.add_warnings() = std::move(warning);
              }
              done(std::move(response));
            });
      });
}

void Delete(WorkerPool& workers, DocumentRegistry& registry,
            const admin::v1::DeleteDocumentsRequest& request,
            Done<admin::v1::DeleteDocumentsResponse> done) {
  std::vector<DocumentId> ids;
  for (const auto& document : request.documents()) {
    const std::string kind = CanonicalKind(document.kind());
    if (kind.empty()) {
      done(absl::InvalidArgumentError(
          absl::StrCat("kind \"", document.kind(),
                       "\" is not known; choose from ", AcceptedKinds())));
      return;
    }
    ids.push_back({kind,
                   document.workspace().empty() ? kDefaultWorkspace
                                                : document.workspace(),
                   document.name()});
  }
  workers.Submit<ParsedDocuments>(
      [&request] {
        return Parse(request.files(), request.default_workspace());
      },
      [&registry, &request, ids = std::move(ids),
       done = std::move(done)](ParsedDocuments parsed) mutable {
        if (!parsed.errors.empty()) {
          done(absl::InvalidArgumentError(
              absl::StrCat("nothing was deleted:\n",
                           DescribeProblems(parsed.errors))));
          return;
        }
        for (const ParsedDocument& document : parsed.documents) {
          ids.push_back({document.document.kind(),
                         document.document.workspace(),
                         document.document.name()});
        }
        registry.Delete(
            std::move(ids), request.ignore_not_found(),
            [done = std::move(done)](
                absl::StatusOr<std::vector<DocumentId>> deleted) mutable {
              if (!deleted.ok()) {
                done(deleted.status());
                return;
              }
              admin::v1::DeleteDocumentsResponse response;
              for (const DocumentId& id : *deleted) {
                auto* document = response.add_deleted();
                document->set_kind(id.kind);
                document->set_workspace(id.workspace);
                document->set_name(id.name);
              }
              done(std::move(response));
            });
      });
}

// Several polls; the last one to end answers.
struct Polls {
  admin::v1::SyncGitRepoResponse response;
  int outstanding = 0;
  Done<admin::v1::SyncGitRepoResponse> done;
};

void Sync(const ReadModel& model, DocumentRegistry& registry, GitPoller& poller,
          const admin::v1::SyncGitRepoRequest& request,
          Done<admin::v1::SyncGitRepoResponse> done) {
  const std::string workspace =
      request.workspace().empty() ? kDefaultWorkspace : request.workspace();
  std::vector<std::string> names;
  if (!request.name().empty()) {
    if (registry.Find("GitRepo", workspace, request.name()) == nullptr) {
      done(absl::NotFoundError(
          absl::StrCat("GitRepo ", workspace, "/", request.name(),
                       " not found; see `flotilla get gitrepos`")));
      return;
    }
    names.push_back(request.name());
  } else {
    for (const auto& repo : model.GitRepos(workspace, "")) {
      names.push_back(repo.name());
    }
  }
  if (names.empty()) {
    done(admin::v1::SyncGitRepoResponse());
    return;
  }
  auto polls = std::make_shared<Polls>();
  polls->outstanding = static_cast<int>(names.size());
  polls->done = std::move(done);
  for (const std::string& name : names) {
    auto* result = polls->response.add_results();
    result->set_name(name);
    const int index = polls->response.results_size() - 1;
    poller.SyncNow(
        workspace, name,
        [polls, index, workspace, name,
         &model](absl::StatusOr<GitPoller::SyncResult> polled) {
          auto* out = polls->response.mutable_results(index);
          if (polled.ok()) {
            out->set_changed(polled->changed);
            out->mutable_commit()->set_id(polled->commit_id);
            for (const auto& repo : model.GitRepos(workspace, name)) {
              if (repo.commit().id() == polled->commit_id) {
                *out->mutable_commit() = repo.commit();
              }
            }
          } else {
            out->mutable_problem()->set_code(
                absl::StatusCodeToString(polled.status().code()));
            out->mutable_problem()->set_message(
                std::string(polled.status().message()));
          }
          if (--polls->outstanding == 0) {
            polls->done(std::move(polls->response));
          }
        });
  }
}

// What a Cluster document could not be called or labelled either.
absl::Status CheckNames(const admin::v1::CreateTokenRequest& request) {
  if (!request.workspace().empty()) {
    const std::string problem = DnsLabelProblem(request.workspace());
    if (!problem.empty()) {
      return absl::InvalidArgumentError(absl::StrCat("workspace: ", problem));
    }
  }
  const std::string problem = DnsSubdomainProblem(request.cluster_name());
  if (!problem.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("name of the cluster: ", problem));
  }
  for (const auto& [key, value] : request.labels()) {
    std::string label = LabelKeyProblem(key);
    if (label.empty()) label = LabelValueProblem(value);
    if (!label.empty()) {
      return absl::InvalidArgumentError(absl::StrCat("labels: ", label));
    }
  }
  return absl::OkStatus();
}

void CreateToken(Enrolment& enrolment, const Clock& clock,
                 const admin::v1::CreateTokenRequest& request,
                 Done<admin::v1::CreateTokenResponse> done) {
  const absl::Status named = CheckNames(request);
  if (!named.ok()) {
    done(named);
    return;
  }
  Enrolment::TokenRequest wanted;
  wanted.workspace =
      request.workspace().empty() ? kDefaultWorkspace : request.workspace();
  wanted.name = request.cluster_name();
  const std::map<std::string, std::string> sorted(request.labels().begin(),
                                                  request.labels().end());
  for (const auto& [key, value] : sorted) {
    core::v1::LabelPair label;
    label.set_key(key);
    label.set_value(value);
    wanted.labels.push_back(std::move(label));
  }
  if (request.has_ttl()) {
    wanted.ttl = absl::Seconds(request.ttl().seconds()) +
                 absl::Nanoseconds(request.ttl().nanos());
  }
  const absl::Time expires = clock.Now() + wanted.ttl;
  enrolment.CreateToken(
      std::move(wanted),
      [expires, done = std::move(done)](
          absl::StatusOr<std::string> token) mutable {
        if (!token.ok()) {
          done(token.status());
          return;
        }
        admin::v1::CreateTokenResponse response;
        response.set_token(*std::move(token));
        response.mutable_expire_time()->set_seconds(
            absl::ToUnixSeconds(expires));
        done(std::move(response));
      });
}

}  // namespace

AdminActions MakeAdminActions(WorkerPool& workers, const ReadModel& model,
                              DocumentRegistry& registry, GitPoller& poller,
                              Enrolment& enrolment, const Clock& clock) {
  AdminActions actions;
  actions.apply = [&workers, &registry](const auto& request, auto done) {
    Apply(workers, registry, request, std::move(done));
  };
  actions.remove = [&workers, &registry](const auto& request, auto done) {
    Delete(workers, registry, request, std::move(done));
  };
  actions.sync = [&model, &registry, &poller](const auto& request, auto done) {
    Sync(model, registry, poller, request, std::move(done));
  };
  actions.create_token = [&enrolment, &clock](const auto& request, auto done) {
    CreateToken(enrolment, clock, request, std::move(done));
  };
  return actions;
}

}  // namespace flotilla::manager
