// SPDX-License-Identifier: Apache-2.0

#include "manager/charts/chart_poller.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/status/status_macros.h"
#include "flotilla/core/v1/core.pb.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "common/text/cut_text.h"
#include "manager/charts/chart_credentials.h"
#include "manager/store/records.h"

namespace flotilla::manager {
namespace {

constexpr size_t kMaxProblem = 4000;
using storage::v1::ChartSource;
using storage::v1::Document;
using storage::v1::HelmOptions;

constexpr char kHelmOpKind[] = "HelmOp";
constexpr char kSecretKind[] = "Secret";
constexpr char kRestrictionKind[] = "GitRepoRestriction";
constexpr char kPolicyKind[] = "Policy";
constexpr int kJitterPercent = 10;

const HelmOptions& HelmOf(const Document& document) {
  return document.helm_op().bundle().options().helm();
}

std::string AskedOf(const HelmOptions& helm) {
  return absl::StrCat(helm.chart(), "\n", helm.repo(), "\n", helm.version());
}

bool IsUrl(absl::string_view text) { return absl::StrContains(text, "://"); }

absl::Duration IntervalOf(const Document& document) {
  const auto& interval = document.helm_op().polling_interval();
  return absl::Seconds(interval.seconds()) +
         absl::Nanoseconds(interval.nanos());
}

}  // namespace

absl::Status CheckHelmOpChart(const HelmOptions& helm) {
  const bool archive = absl::EndsWith(helm.chart(), ".tgz") &&
                       IsUrl(helm.chart()) && helm.repo().empty() &&
                       helm.version().empty();
  const bool oci = absl::StartsWith(helm.repo(), "oci://") &&
                   helm.chart().empty();
  const bool repository = !helm.repo().empty() && !helm.chart().empty() &&
                          !IsUrl(helm.chart());
  if (archive || oci || repository) return absl::OkStatus();
  return absl::InvalidArgumentError(
      "spec.helm must be one of: chart with the URL of a .tgz archive and "
      "neither repo nor version; repo with an oci:// reference and no chart; "
      "repo and chart, with a version if wanted");
}

bool IsExactVersion(absl::string_view version) {
  if (absl::StartsWith(version, "v")) version.remove_prefix(1);
  // MAJOR.MINOR.PATCH; what follows '-' or '+' is free.
  int dots = 0;
  bool digit = false;
  for (const char c : version.substr(0, version.find_first_of("-+"))) {
    if (c == '.') {
      if (!digit) return false;
      ++dots;
      digit = false;
    } else if (absl::ascii_isdigit(static_cast<unsigned char>(c))) {
      digit = true;
    } else {
      return false;
    }
  }
  return dots == 2 && digit &&
         version.find_first_of(" ,|<>=~^*") == absl::string_view::npos;
}

// What is known of one HelmOp.
struct ChartPoller::Poll {
  std::string key;
  std::string workspace;
  std::string name;
  std::unique_ptr<Timer> timer;
  // What the last fetch was begun with.
  std::string inputs;
  bool running = false;
  bool again = false;
  uint64_t flight = 0;
  int failures = 0;
};

ChartPoller::ChartPoller(Loop& loop, Store& store, FamilyWriter writer,
                         ChartFetcher& fetcher, const Clock& clock,
                         Random& random, Unseal unseal, Options options)
    : options_(options), unseal_(std::move(unseal)), loop_(loop),
      fetcher_(fetcher), clock_(clock), random_(random),
      writer_(std::move(writer)),
      sources_(store, kChartFamily, nullptr, [this] { OnBatch(); }),
      documents_(
          store, kDocumentFamily,
          [this](const std::string& key, const Document* document) {
            OnDocument(key, document);
          },
          [this] { OnBatch(); },
          [](const std::string& key) {
            const auto name = ParseDocumentKey(key);
            return name.ok() &&
                   (name->kind == kHelmOpKind || name->kind == kSecretKind ||
                    name->kind == kRestrictionKind ||
                    name->kind == kPolicyKind);
          }) {}

ChartPoller::~ChartPoller() = default;

void ChartPoller::OnDocument(const std::string& key, const Document*) {
  const auto name = ParseDocumentKey(key);
  if (!name.ok()) return;
  if (name->kind == kHelmOpKind) {
    changed_.insert(key);
    return;
  }
  // Reconcile() finds out whether it matters.
  for (const auto& [poll_key, poll] : polls_) {
    if (poll->workspace == name->workspace) changed_.insert(poll_key);
  }
}

void ChartPoller::OnBatch() {
  if (!documents_.loaded() || !sources_.loaded()) return;
  if (!started_) {
    started_ = true;
    // Sources whose document went while nobody looked.
    for (const auto& [key, entry] : sources_.map()) {
      changed_.insert(DocumentKey(entry.first.workspace(), kHelmOpKind,
                                  entry.first.name()));
    }
  }
  std::set<std::string> changed;
  changed.swap(changed_);
  for (const std::string& key : changed) Reconcile(key);
}

PolicyVerdict ChartPoller::Judge(const Document& document) const {
  std::vector<const Document*> rules;
  for (const char* kind : {kPolicyKind, kRestrictionKind}) {
    const std::string prefix = DocumentPrefix(document.workspace(), kind);
    for (auto it = documents_.map().lower_bound(prefix);
         it != documents_.map().end() && absl::StartsWith(it->first, prefix);
         ++it) {
      rules.push_back(&it->second.first);
    }
  }
  return EvaluatePolicies(document, rules);
}

std::string ChartPoller::InputsOf(const Document& document) const {
  const PolicyVerdict verdict = Judge(document);
  const Document& source = verdict.source;
  std::string text = absl::StrCat(
      AskedOf(HelmOf(source)), "\n", source.helm_op().helm_secret_name(), "\n",
      source.helm_op().insecure_skip_tls_verify(), "\n",
      documents_.ModRevision(
          DocumentKey(document.workspace(), kSecretKind,
                      source.helm_op().helm_secret_name())),
      "\n", document.generation());
  for (const core::v1::Problem& violation : verdict.violations) {
    absl::StrAppend(&text, "\n", violation.message());
  }
  return text;
}

absl::StatusOr<ChartRequest> ChartPoller::MakeRequest(
    const Document& document) const {
  const PolicyVerdict verdict = Judge(document);
  if (!verdict.allowed()) {
    std::vector<std::string> texts;
    for (const core::v1::Problem& violation : verdict.violations) {
      texts.push_back(violation.message());
    }
    return absl::PermissionDeniedError(
        absl::StrCat(kPolicyViolation, ": ", absl::StrJoin(texts, "; ")));
  }
  const storage::v1::HelmOpSpec& spec = verdict.source.helm_op();
  const HelmOptions& helm = spec.bundle().options().helm();
  RETURN_IF_ERROR(CheckHelmOpChart(helm));
  storage::v1::SecretData data;
  const Document* secret = nullptr;
  if (!spec.helm_secret_name().empty()) {
    secret = documents_.Find(DocumentKey(document.workspace(), kSecretKind,
                                         spec.helm_secret_name()));
    if (secret != nullptr && secret->has_delete_time()) secret = nullptr;
  }
  if (secret != nullptr) {
    const absl::StatusOr<std::string> opened = unseal_(secret->secret());
    if (!opened.ok() || !data.ParseFromString(*opened)) {
      return absl::FailedPreconditionError(absl::StrCat(
          "Secret ", document.workspace(), "/", secret->name(),
          " cannot be opened: it was sealed with another key file; apply it "
          "again"));
    }
  }
  ASSIGN_OR_RETURN(const ChartCredentialRules rules,
                   ChartCredentialRules::ForHelmOp(
                       document.workspace(), spec,
                       secret == nullptr ? nullptr : &data));
  ChartRequest request;
  request.chart = helm.chart();
  request.repo = helm.repo();
  request.version = helm.version();
  request.credentials = rules.ForChart("", helm.repo(), helm.chart());
  return request;
}

void ChartPoller::Reconcile(const std::string& key) {
  const auto name = ParseDocumentKey(key);
  if (!name.ok()) return;
  const Document* document = documents_.Find(key);
  if (document == nullptr || document->has_delete_time()) {
    polls_.erase(key);
    const std::string source_key = ChartKey(name->workspace, name->name);
    if (document == nullptr && sources_.Find(source_key) != nullptr) {
      writer_.Txn({{key, 0}}, {Op::Delete(source_key)},
                  [weak = std::weak_ptr<bool>(alive_), this,
                   key](const absl::StatusOr<int64_t>& done) {
                    if (weak.expired() || done.ok() ||
                        absl::IsFailedPrecondition(done.status())) {
                      return;
                    }
                    // Tried again with the next change.
                    changed_.insert(key);
                  });
    }
    return;
  }
  std::unique_ptr<Poll>& slot = polls_[key];
  std::string inputs = InputsOf(*document);
  if (slot == nullptr) {
    slot = std::make_unique<Poll>();
    slot->key = key;
    slot->workspace = name->workspace;
    slot->name = name->name;
    slot->timer = loop_.CreateTimer([this, key] {
      const auto it = polls_.find(key);
      if (it != polls_.end()) Start(*it->second);
    });
  } else if (slot->inputs == inputs) {
    return;
  }
  slot->inputs = std::move(inputs);
  slot->failures = 0;
  if (slot->running) {
    slot->again = true;
  } else {
    Start(*slot);
  }
}

void ChartPoller::Start(Poll& poll) {
  const Document* document = documents_.Find(poll.key);
  if (document == nullptr) return;
  poll.timer->Disarm();
  poll.running = true;
  poll.again = false;
  poll.flight = next_flight_++;
  auto done = [weak = std::weak_ptr<bool>(alive_), this, key = poll.key,
               flight = poll.flight](absl::StatusOr<FetchedChart> result) {
    if (!weak.expired()) OnFetched(key, flight, std::move(result));
  };
  absl::StatusOr<ChartRequest> request = MakeRequest(*document);
  if (request.ok()) {
    fetcher_.Fetch(*std::move(request), std::move(done));
  } else {
    loop_.Post([done = std::move(done), status = request.status()]() mutable {
      done(std::move(status));
    });
  }
}

void ChartPoller::OnFetched(const std::string& key, uint64_t flight,
                            absl::StatusOr<FetchedChart> result) {
  const auto it = polls_.find(key);
  // The document went, or came again, meanwhile.
  if (it == polls_.end() || it->second->flight != flight) return;
  Poll& poll = *it->second;
  const Document* document = documents_.Find(key);
  if (document == nullptr) return;
  if (poll.again) {
    Start(poll);
    return;
  }
  const std::string source_key = ChartKey(poll.workspace, poll.name);
  const ChartSource* before = sources_.Find(source_key);
  ChartSource after;
  if (before != nullptr) after = *before;
  after.set_workspace(poll.workspace);
  after.set_name(poll.name);
  if (result.ok()) {
    after.set_asked(AskedOf(HelmOf(*document)));
    after.set_document_generation(document->generation());
    after.clear_problem();
    const bool same_version = after.version() == result->version;
    after.set_version(result->version);
    after.clear_files();
    for (storage::v1::BundleFile& file : result->files) {
      *after.add_files() = std::move(file);
    }
    if (!same_version || !after.has_find_time()) {
      after.mutable_find_time()->set_seconds(
          absl::ToUnixSeconds(clock_.Now()));
    }
  } else {
    core::v1::Problem& problem = *after.mutable_problem();
    problem.set_code(absl::StatusCodeToString(result.status().code()));
    problem.set_message(
        std::string(CutText(result.status().message(), kMaxProblem)));
    problem.set_subject(
        absl::StrCat(kHelmOpKind, " ", poll.workspace, "/", poll.name));
  }
  const bool fetched = result.ok();
  if (before != nullptr &&
      SerializeRecord(*before) == SerializeRecord(after)) {
    OnStored(key, flight, fetched, absl::OkStatus());
    return;
  }
  writer_.Txn({{source_key, sources_.ModRevision(source_key)},
               {key, documents_.ModRevision(key)}},
              {Op::Put(source_key, SerializeRecord(after))},
              [weak = std::weak_ptr<bool>(alive_), this, key, flight,
               fetched](const absl::StatusOr<int64_t>& stored) {
                if (weak.expired()) return;
                OnStored(key, flight, fetched, stored.status());
              });
}

void ChartPoller::OnStored(const std::string& key, uint64_t flight,
                           bool fetched, const absl::Status& stored) {
  const auto it = polls_.find(key);
  if (it == polls_.end() || it->second->flight != flight) return;
  Poll& poll = *it->second;
  poll.running = false;
  if (poll.again || absl::IsFailedPrecondition(stored)) {
    // The document changed on the way.
    Start(poll);
    return;
  }
  Plan(poll, fetched && stored.ok());
}

void ChartPoller::Plan(Poll& poll, bool fetched) {
  const Document* document = documents_.Find(poll.key);
  if (document == nullptr) return;
  absl::Duration delay;
  if (!fetched) {
    delay = options_.first_backoff;
    for (int i = 0; i < poll.failures && delay < options_.max_backoff; ++i) {
      delay *= 2;
    }
    delay = std::min(delay, options_.max_backoff);
    ++poll.failures;
  } else {
    poll.failures = 0;
    delay = IntervalOf(*document);
    const HelmOptions& helm = HelmOf(*document);
    if (delay <= absl::ZeroDuration() || IsExactVersion(helm.version()) ||
        helm.repo().empty()) {
      return;
    }
    delay = std::max(delay, options_.min_interval);
  }
  delay += delay * (static_cast<double>(random_.Uniform(1000)) / 1000.0 *
                    kJitterPercent / 100.0);
  poll.timer->Arm(delay);
}

}  // namespace flotilla::manager
