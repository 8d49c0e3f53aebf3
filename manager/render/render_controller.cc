// SPDX-License-Identifier: Apache-2.0

#include "manager/render/render_controller.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/optional.h"
#include "common/crypto/sha256.h"
#include "common/log/log.h"
#include "manager/render/deployment_input.h"
#include "manager/render/effective_values.h"
#include "manager/render/render_input.h"
#include "manager/store/records.h"

namespace flotilla::manager {
namespace {

using storage::v1::BundleRevision;
using storage::v1::ClusterValues;
using storage::v1::DeployOptions;
using storage::v1::Desired;
using storage::v1::Facts;
using storage::v1::Rendered;

// Bounds the size of one commit.
constexpr size_t kPairsPerCommit = 500;
constexpr absl::Duration kFirstRetry = absl::Seconds(2);
constexpr absl::Duration kLongestRetry = absl::Seconds(60);
// How long blobs that were there are taken to be there still.
constexpr absl::Duration kVerifiedFor = absl::Seconds(10);
constexpr char kTransientCode[] = "UNAVAILABLE";

std::string ClusterOf(absl::string_view pair) {
  return std::string(pair.substr(0, pair.find('/')));
}

std::string RevisionKey(const Desired& desired) {
  return BundleRevisionKey(desired.bundle_id(), desired.revision());
}

bool HasTransientProblem(const Rendered& rendered) {
  return std::any_of(rendered.problems().begin(), rendered.problems().end(),
                     [](const core::v1::Problem& problem) {
                       return problem.code() == kTransientCode;
                     });
}

// A stream of its own for each deployment, for ever the same.
std::string RandomSeed(absl::string_view key, const Desired& desired) {
  return Sha256(absl::StrCat(Sha256(key), desired.cluster_id(), "/",
                             desired.bundle_id()));
}

}  // namespace

RenderController::RenderController(Loop& loop, WorkerPool& pool, Store& store,
                                   FamilyWriter rendered, FamilyWriter cached,
                                   BlobStore& blobs, Renderer& renderer,
                                   RenderControllerOptions options)
    : options_(std::move(options)),
      loop_(loop),
      pool_(pool),
      blobs_(blobs),
      renderer_(renderer),
      writer_(std::move(rendered)),
      retry_(loop.CreateTimer([this] {
        dirty_.insert(failed_.begin(), failed_.end());
        failed_.clear();
        Wake();
      })),
      cache_(store, std::move(cached), options_.cache, [this] { Wake(); }),
      revisions_(
          store, kBundleFamily,
          [this](const std::string& key, const BundleRevision*) {
            OnRevision(key);
          },
          [this] { Wake(); },
          [](const std::string& key) {
            const absl::StatusOr<BundleRecord> kind = ClassifyBundleKey(key);
            return kind.ok() && *kind == BundleRecord::kRevision;
          }),
      facts_(
          store, kFactsFamily,
          [this](const std::string& key, const Facts*) { OnFacts(key); },
          [this] { Wake(); }),
      values_(
          store, kValuesFamily,
          [this](const std::string& key, const ClusterValues*) {
            OnValues(key);
          },
          [this] { Wake(); }),
      rendered_(store, kRenderedFamily, nullptr, [this] { Wake(); }),
      desired_(
          store, kDesiredFamily,
          [this](const std::string& key, const Desired* desired) {
            OnDesired(key, desired);
          },
          [this] { Wake(); }) {}

RenderController::~RenderController() { *alive_ = false; }

void RenderController::OnDesired(const std::string& key,
                                 const Desired* desired) {
  Pair pair = key.substr(sizeof(kDesiredFamily) - 1);
  filled_.erase(pair);
  if (desired == nullptr) gone_.insert(pair);
  dirty_.insert(std::move(pair));
}

void RenderController::OnFacts(const std::string& key) {
  const std::string prefix = DesiredPrefix(
      absl::string_view(key).substr(sizeof(kFactsFamily) - 1));
  const auto& map = desired_.map();
  for (auto it = map.lower_bound(prefix);
       it != map.end() && absl::StartsWith(it->first, prefix); ++it) {
    dirty_.insert(it->first.substr(sizeof(kDesiredFamily) - 1));
  }
}

void RenderController::OnValues(const std::string& key) {
  dirty_.insert(key.substr(sizeof(kValuesFamily) - 1));
}

void RenderController::OnRevision(const std::string& key) {
  const auto waiting = missing_.find(key);
  if (waiting == missing_.end()) return;
  dirty_.insert(waiting->second.begin(), waiting->second.end());
  missing_.erase(waiting);
}

void RenderController::Wake() {
  const bool idle = dirty_.empty() && finished_.empty() && gone_.empty();
  if (posted_ || (idle && orphans_collected_)) return;
  if (!desired_.loaded() || !rendered_.loaded() || !facts_.loaded() ||
      !values_.loaded() || !revisions_.loaded() || !cache_.loaded()) {
    return;
  }
  posted_ = true;
  loop_.Post([this, alive = alive_] {
    if (!*alive) return;
    posted_ = false;
    Run();
  });
}

void RenderController::CollectOrphans() {
  orphans_collected_ = true;
  for (const auto& [key, record] : rendered_.map()) {
    Pair pair = key.substr(sizeof(kRenderedFamily) - 1);
    if (desired_.Find(absl::StrCat(kDesiredFamily, pair)) == nullptr) {
      gone_.insert(std::move(pair));
    }
  }
}

void RenderController::Run() {
  if (!orphans_collected_) CollectOrphans();
  while (true) {
    while (!dirty_.empty()) {
      const Pair pair = *dirty_.begin();
      dirty_.erase(dirty_.begin());
      Consider(pair);
    }
    if (deferred_.empty() || slots_used_ >= options_.max_jobs) break;
    dirty_.insert(*deferred_.begin());
    deferred_.erase(deferred_.begin());
  }
  Commit();
}

bool RenderController::IsCurrent(const Desired& desired,
                                 const Rendered* rendered,
                                 const std::string& cluster_digest) const {
  return rendered != nullptr && rendered->revision() == desired.revision() &&
         rendered->options_digest() == desired.options_digest() &&
         rendered->facts_digest() == cluster_digest &&
         !HasTransientProblem(*rendered);
}

void RenderController::Consider(const Pair& pair) {
  const auto busy = busy_.find(pair);
  if (busy != busy_.end()) {
    busy->second = true;
    return;
  }
  const Desired* desired = desired_.Find(absl::StrCat(kDesiredFamily, pair));
  // What is to be removed stays as it is.
  if (desired == nullptr ||
      desired->removal() != core::v1::DELETE_CAUSE_UNSPECIFIED) {
    return;
  }
  gone_.erase(pair);
  const Facts* facts = facts_.Find(FactsKey(ClusterOf(pair)));
  if (facts == nullptr) return;
  const ClusterValues* values = nullptr;
  if (desired->options().helm().values_from_size() > 0) {
    values = values_.Find(absl::StrCat(kValuesFamily, pair));
    // Not asked or not answered yet.
    if (values == nullptr || !Answers(*values, desired->options())) return;
  }
  const std::string cluster_digest =
      ClusterDigest(*desired, facts->digest(), values);
  if (IsCurrent(*desired, rendered_.Find(absl::StrCat(kRenderedFamily, pair)),
                cluster_digest)) {
    return;
  }
  const std::string revision_key = RevisionKey(*desired);
  const BundleRevision* bundle = revisions_.Find(revision_key);
  if (bundle == nullptr) {
    missing_[revision_key].insert(pair);
    return;
  }

  auto job = std::make_shared<Job>();
  job->pair = pair;
  job->desired = *desired;
  job->bundle = *bundle;
  job->cluster_digest = cluster_digest;
  job->is_private = values != nullptr;
  job->input =
      MakeDeploymentInput(*desired, *bundle, facts->facts(),
                          RandomSeed(options_.random_key, *desired));
  job->share_key = absl::StrCat(revision_key, "/", desired->options_digest());
  if (!PrepareValues(job, values)) return;
  if (job->is_private) absl::StrAppend(&job->share_key, "/of ", pair);

  RenderResultPtr shared = cache_.Find(job->share_key, job->input);
  if (shared != nullptr) {
    busy_[pair] = false;
    if (loop_.MonotonicNow() - shared->verified_at < kVerifiedFor) {
      Finish(std::move(job), std::move(shared));
      return;
    }
    CheckShared(std::move(job), std::move(shared));
    return;
  }
  // The first one renders; what comes after it waits for what it finds.
  const auto rendering = sharing_.find(job->share_key);
  if (rendering != sharing_.end()) {
    rendering->second.push_back(pair);
    return;
  }
  if (slots_used_ >= options_.max_jobs) {
    deferred_.insert(pair);
    return;
  }
  ++slots_used_;
  job->has_slot = true;
  sharing_[job->share_key];
  busy_[pair] = false;
  Load(std::move(job));
}

bool RenderController::PrepareValues(const JobPtr& job,
                                     const ClusterValues* values) {
  absl::optional<render::v1::RenderRequest> request =
      ValuesRequest(job->desired, job->input.random_seed,
                    job->input.now_unix_seconds);
  if (request.has_value()) {
    const int64_t revision =
        desired_.ModRevision(absl::StrCat(kDesiredFamily, job->pair));
    const auto known = filled_.find(job->pair);
    if (known == filled_.end() ||
        known->second.desired_revision != revision) {
      if (slots_used_ >= options_.max_jobs) {
        deferred_.insert(job->pair);
        return false;
      }
      ++slots_used_;
      busy_[job->pair] = false;
      FillValues(job, *std::move(request));
      return false;
    }
    job->input.options = *known->second.options;
    job->warnings = known->second.warnings;
    job->share_key =
        absl::StrCat(RevisionKey(job->desired), "/",
                     Sha256(SerializeRecord(job->input.options)));
  }
  if (values == nullptr) return true;
  if (values->has_problem()) {
    busy_[job->pair] = false;
    FinishWithProblem(job, values->problem(), /*transient=*/false);
    return false;
  }
  absl::StatusOr<DeployOptions> merged =
      WithClusterValues(job->input.options, *values);
  if (!merged.ok()) {
    busy_[job->pair] = false;
    FinishWithError(job, merged.status(), /*transient=*/false);
    return false;
  }
  job->input.options = *std::move(merged);
  job->input.secrets = SecretsOf(*values);
  return true;
}

void RenderController::FillValues(JobPtr job,
                                  render::v1::RenderRequest request) {
  renderer_.Render(
      std::move(request),
      [this, alive = alive_,
       job](absl::StatusOr<render::v1::RenderResponse> response) {
        if (*alive) OnValuesFilled(job, std::move(response));
      });
}

void RenderController::OnValuesFilled(
    JobPtr job, absl::StatusOr<render::v1::RenderResponse> response) {
  --slots_used_;
  // Whatever is wrong concerns this cluster only.
  job->is_private = true;
  if (!response.ok()) {
    FinishWithError(job, response.status(),
                    !absl::IsResourceExhausted(response.status()));
    return;
  }
  if (response->has_error()) {
    const std::string& cluster_workspace =
        job->desired.cluster_workspace().empty()
            ? job->desired.workspace()
            : job->desired.cluster_workspace();
    auto result = std::make_shared<RenderResult>();
    result->problems.push_back(MakeProblem(
        job->input, "fleet.yaml", static_cast<int>(response->error().line()),
        absl::StrCat("targeting error: cluster ", job->desired.cluster_name(),
                     " in namespace ", cluster_workspace, ": ",
                     response->error().message()),
        absl::StrCat("Cluster ", cluster_workspace, "/",
                     job->desired.cluster_name())));
    Finish(job, std::move(result));
    return;
  }
  if (desired_.Find(absl::StrCat(kDesiredFamily, job->pair)) == nullptr) {
    busy_.erase(job->pair);
    gone_.insert(job->pair);
    Wake();
    return;
  }
  Filled& filled = filled_[job->pair];
  filled.desired_revision =
      desired_.ModRevision(absl::StrCat(kDesiredFamily, job->pair));
  filled.options = std::make_shared<const DeployOptions>(
      WithValues(job->desired.options(), *response));
  filled.warnings.clear();
  for (const render::v1::RenderError& warning : response->warnings()) {
    filled.warnings.push_back(
        MakeProblem(job->input, "fleet.yaml",
                    static_cast<int>(warning.line()), warning.message()));
  }
  // What changed meanwhile is filled in anew.
  const auto busy = busy_.find(job->pair);
  if (busy != busy_.end()) {
    if (busy->second) filled_.erase(job->pair);
    busy_.erase(busy);
  }
  dirty_.insert(job->pair);
  Wake();
}

void RenderController::CheckShared(JobPtr job,
                                   RenderResultPtr result) {
  // Blobs that nothing names any more may have been removed.
  auto digests = result->blob_digests;
  if (!result->manifest_digest.empty()) {
    digests.push_back(result->manifest_digest);
  }
  pool_.Submit<bool>(
      [this_blobs = &blobs_, digests = std::move(digests)] {
        return this_blobs->Renew(digests);
      },
      [this, alive = alive_, job, result](bool there) {
        if (!*alive) return;
        if (there) {
          result->verified_at = loop_.MonotonicNow();
          Finish(job, result);
          return;
        }
        cache_.Remove(job->share_key, result);
        busy_.erase(job->pair);
        dirty_.insert(job->pair);
        Wake();
      });
}

void RenderController::Load(JobPtr job) {
  ++render_count_;
  pool_.Submit<absl::Status>(
      [this_blobs = &blobs_, job] {
        absl::Status status = LoadFiles(*this_blobs, job->bundle, job->input);
        if (status.ok()) {
          job->render = std::make_unique<BundleRender>(std::move(job->input));
        }
        return status;
      },
      [this, alive = alive_, job](absl::Status status) {
        if (*alive) OnLoaded(job, std::move(status));
      });
}

void RenderController::OnLoaded(JobPtr job, absl::Status status) {
  if (!status.ok()) {
    FinishWithError(job, status, !absl::IsResourceExhausted(status));
    return;
  }
  Advance(std::move(job));
}

void RenderController::Advance(JobPtr job) {
  using Request = absl::optional<render::v1::RenderRequest>;
  pool_.Submit<Request>(
      [job] { return job->render->Next(); },
      [this, alive = alive_, job](Request request) {
        if (!*alive) return;
        if (!request.has_value()) {
          Build(job);
          return;
        }
        renderer_.Render(
            *std::move(request),
            [this, alive,
             job](absl::StatusOr<render::v1::RenderResponse> response) {
              if (*alive) OnResponse(job, std::move(response));
            });
      });
}

void RenderController::OnResponse(
    JobPtr job, absl::StatusOr<render::v1::RenderResponse> response) {
  if (!response.ok()) {
    FinishWithError(job, response.status(),
                    !absl::IsResourceExhausted(response.status()));
    return;
  }
  job->render->Answer(*std::move(response));
  Advance(std::move(job));
}

void RenderController::Build(JobPtr job) {
  pool_.Submit<absl::StatusOr<RenderResultPtr>>(
      [this_blobs = &blobs_,
       job]() -> absl::StatusOr<RenderResultPtr> {
        BuiltManifest built = job->render->Finish();
        const RenderInput& input = job->render->input();
        auto result = std::make_shared<RenderResult>();
        result->problems = std::move(built.problems);
        result->warnings = std::move(built.warnings);
        result->kinds_asked = std::move(built.kinds_asked);
        result->uses_capabilities = built.uses_capabilities;
        result->facts_digest = FactsDigest(input.facts, result->kinds_asked,
                                           result->uses_capabilities);
        if (built.uses_random) result->random_seed = input.random_seed;
        result->uses_now = built.uses_now;
        result->now_unix_seconds = input.now_unix_seconds;
        if (!result->problems.empty()) return {std::move(result)};

        std::vector<std::string> blobs;
        for (ManifestBlob& blob : built.blobs) {
          blobs.push_back(std::move(blob.bytes));
        }
        blobs.push_back(SerializeRecord(built.manifest));
        result->manifest_size = blobs.back().size();
        absl::StatusOr<std::vector<std::string>> digests =
            this_blobs->PutAll(blobs);
        if (!digests.ok()) return digests.status();
        result->blob_digests = *std::move(digests);
        result->manifest_digest = result->blob_digests.back();
        result->blob_digests.pop_back();
        return {std::move(result)};
      },
      [this, alive = alive_,
       job](absl::StatusOr<RenderResultPtr> result) {
        if (!*alive) return;
        if (result.ok()) {
          Finish(job, *std::move(result));
        } else {
          FinishWithError(job, result.status(), /*transient=*/true);
        }
      });
}

void RenderController::FinishWithError(JobPtr job, const absl::Status& status,
                                       bool transient) {
  core::v1::Problem problem;
  problem.set_code(transient ? std::string(kTransientCode)
                             : absl::StatusCodeToString(status.code()));
  problem.set_message(std::string(status.message()));
  FinishWithProblem(std::move(job), std::move(problem), transient);
}

void RenderController::FinishWithProblem(JobPtr job, core::v1::Problem problem,
                                         bool transient) {
  problem.set_subject(absl::StrCat("Bundle ", job->desired.workspace(), "/",
                                   job->desired.bundle_name()));
  problem.set_file(job->bundle.directory());
  if (transient) {
    FLOTILLA_LOG_EVERY(WARNING, absl::Seconds(10))
        << "rendering " << job->desired.workspace() << "/"
        << job->desired.bundle_name() << " for "
        << job->desired.cluster_name() << ": " << problem.message()
        << "; trying again";
  }
  auto result = std::make_shared<RenderResult>();
  result->transient = transient;
  result->lasting = false;
  result->problems.push_back(std::move(problem));
  Finish(std::move(job), std::move(result));
}

void RenderController::Finish(JobPtr job,
                              RenderResultPtr result) {
  job->result = result;
  if (job->has_slot) {
    --slots_used_;
    result->verified_at = loop_.MonotonicNow();
    const auto waiting = sharing_.find(job->share_key);
    dirty_.insert(waiting->second.begin(), waiting->second.end());
    sharing_.erase(waiting);
  }
  // The bytes are not needed any more.
  job->input = RenderInput();
  job->render.reset();
  filled_.erase(job->pair);
  if (result->transient) {
    failed_.insert(job->pair);
    if (!retry_->armed()) {
      retry_->Arm(std::min(kLongestRetry, kFirstRetry * (1 << failures_)));
      failures_ = std::min(failures_ + 1, 5);
    }
  } else {
    failures_ = 0;
    if (!job->is_private) cache_.Add(job->share_key, result);
  }
  finished_.push_back(std::move(job));
  Wake();
}

Rendered RenderController::MakeRecord(const Job& job,
                                      const Rendered* old) const {
  // The last good manifest stays when this try failed.
  Rendered record = old == nullptr ? Rendered() : *old;
  record.set_revision(job.desired.revision());
  record.set_options_digest(job.desired.options_digest());
  record.set_facts_digest(job.cluster_digest);
  const RenderResult& result = *job.result;
  record.clear_problems();
  record.clear_warnings();
  for (const core::v1::Problem& problem : result.problems) {
    *record.add_problems() = problem;
  }
  for (const core::v1::Problem& warning : job.warnings) {
    *record.add_warnings() = warning;
  }
  for (const core::v1::Problem& warning : result.warnings) {
    *record.add_warnings() = warning;
  }
  if (!result.problems.empty()) return record;
  const bool same = record.manifest_digest() == result.manifest_digest &&
                    record.manifest_revision() == job.desired.revision();
  record.set_manifest_digest(result.manifest_digest);
  record.set_manifest_size(result.manifest_size);
  record.set_manifest_revision(job.desired.revision());
  // The commit that brought this manifest, not one that left it as it was.
  if (!same) *record.mutable_commit() = job.desired.commit();
  record.clear_blob_digests();
  for (const std::string& digest : result.blob_digests) {
    record.add_blob_digests(digest);
  }
  return record;
}

void RenderController::Commit() {
  if (committing_) return;
  std::vector<Compare> compares;
  std::vector<Op> ops;
  std::vector<Pair> pairs;
  while (!finished_.empty() && ops.size() < kPairsPerCommit) {
    const JobPtr job = std::move(finished_.back());
    finished_.pop_back();
    const auto busy = busy_.find(job->pair);
    if (busy != busy_.end()) {
      if (busy->second) dirty_.insert(job->pair);
      busy_.erase(busy);
    }
    const std::string desired_key = absl::StrCat(kDesiredFamily, job->pair);
    const Desired* desired = desired_.Find(desired_key);
    if (desired == nullptr) {
      gone_.insert(job->pair);
      continue;
    }
    if (desired->revision() != job->desired.revision() ||
        desired->options_digest() != job->desired.options_digest()) {
      // Overtaken: looked at again.
      dirty_.insert(job->pair);
      continue;
    }
    const std::string key = absl::StrCat(kRenderedFamily, job->pair);
    const Rendered* old = rendered_.Find(key);
    std::string bytes = SerializeRecord(MakeRecord(*job, old));
    if (old != nullptr && SerializeRecord(*old) == bytes) continue;
    compares.push_back({desired_key, desired_.ModRevision(desired_key)});
    compares.push_back({key, rendered_.ModRevision(key)});
    ops.push_back(Op::Put(key, std::move(bytes)));
    pairs.push_back(job->pair);
  }
  while (!gone_.empty() && ops.size() < kPairsPerCommit) {
    const Pair pair = *gone_.begin();
    gone_.erase(gone_.begin());
    const std::string desired_key = absl::StrCat(kDesiredFamily, pair);
    const std::string key = absl::StrCat(kRenderedFamily, pair);
    if (desired_.Find(desired_key) != nullptr ||
        rendered_.Find(key) == nullptr || busy_.contains(pair)) {
      continue;
    }
    compares.push_back({desired_key, 0});
    compares.push_back({key, rendered_.ModRevision(key)});
    ops.push_back(Op::Delete(key));
    pairs.push_back(pair);
  }
  if (ops.empty()) {
    Wake();
    return;
  }
  committing_ = true;
  writer_.Txn(std::move(compares), std::move(ops),
              [this, alive = alive_, pairs = std::move(pairs)](
                  absl::StatusOr<int64_t> revision) mutable {
                if (*alive) OnCommitted(std::move(revision), std::move(pairs));
              });
}

void RenderController::OnCommitted(absl::StatusOr<int64_t> revision,
                                   std::vector<Pair> pairs) {
  committing_ = false;
  if (!revision.ok()) {
    for (const Pair& pair : pairs) {
      if (desired_.Find(absl::StrCat(kDesiredFamily, pair)) == nullptr) {
        gone_.insert(pair);
      }
    }
    if (!absl::IsFailedPrecondition(revision.status())) {
      FLOTILLA_LOG(ERROR) << "writing what was rendered: "
                          << revision.status().message() << "; trying again";
      failed_.insert(pairs.begin(), pairs.end());
      if (!retry_->armed()) retry_->Arm(kFirstRetry);
      return;
    }
    dirty_.insert(pairs.begin(), pairs.end());
  }
  Wake();
}

std::string RenderController::DebugString() const {
  return absl::StrCat("render: ", dirty_.size(), " to look at, ", busy_.size(),
                      " in work, ", failed_.size(), " to try again, ",
                      cache_.size(), " results, ", render_count_,
                      " renders");
}

}  // namespace flotilla::manager
