// SPDX-License-Identifier: Apache-2.0

#include "agent/values/values_reader.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "agent/values/values_answer.h"
#include "common/log/log.h"
#include "common/retry/backoff.h"

namespace flotilla::agent {
namespace {

using core::v1::ValuesRef;

// Answers that are being read, each with up to 1 MiB in memory.
constexpr size_t kMaxReads = 4;
constexpr absl::Duration kGather = absl::Milliseconds(10);
// Rights change without a watch seeing it.
constexpr absl::Duration kAskRightsAgain = absl::Seconds(15);
constexpr absl::Duration kPoll = absl::Minutes(1);

Backoff::Options RetryOptions() {
  Backoff::Options options;
  options.minimum = absl::Milliseconds(50);
  options.initial = absl::Milliseconds(200);
  options.maximum = absl::Seconds(15);
  return options;
}

}  // namespace

struct ValuesReader::Ask {
  Ask() : backoff(RetryOptions()) {}

  agent::v1::ValuesRequest request;
  std::vector<ObjectId> objects;  // Each once, in order.
  std::string told_digest;        // The manager has it, or will.
  bool dropped = false;

  // Of the last read, or of the one that goes on.
  std::optional<ActingUser> user;
  std::map<ObjectId, std::string> versions;  // "": not there.
  bool reading = false;
  bool again = false;
  size_t next = 0;
  size_t bytes = 0;
  std::vector<std::string> contents;

  Backoff backoff;
  std::unique_ptr<Timer> retry_timer;
};

// One object, by name.
//
// Loop-affine.
class ValuesReader::ObjectWatch : public WatchListener {
 public:
  ObjectWatch(ValuesReader& owner, ObjectId id)
      : owner_(owner),
        id_(std::move(id)),
        backoff_(RetryOptions()),
        timer_(owner.loop_.CreateTimer([this] { Open(); })) {
    timer_->Arm(absl::ZeroDuration());
  }

  std::set<std::string>& users() { return users_; }
  // It is up: what it says holds.
  bool up() const { return up_; }
  // "": the object is not there.
  const std::string& version() const { return version_; }

  void OnSync(Sync sync) override {
    backoff_.Reset();
    if (sync == Sync::kCompleteSet) version_ = std::exchange(listed_, "");
    listing_ = false;
    up_ = true;
    owner_.OnSeen(id_);
  }

  void OnEvent(WatchEvent event) override {
    if (event.object.head.name != std::get<2>(id_)) return;
    std::string version = event.type == WatchEvent::Type::kDeleted
                              ? std::string()
                              : event.object.head.resource_version;
    if (listing_) {
      listed_ = std::move(version);
      return;
    }
    version_ = std::move(version);
    owner_.OnSeen(id_);
  }

  void OnClosed(absl::Status status) override {
    resume_from_ = status.ok() && watch_ != nullptr && !listing_
                       ? watch_->resource_version()
                       : std::string();
    watch_.reset();
    if (status.ok()) {
      timer_->Arm(absl::Milliseconds(100));
      return;
    }
    up_ = false;
    timer_->Arm(absl::IsOutOfRange(status)
                    ? absl::Milliseconds(100)
                    : backoff_.Next(
                          owner_.random_.Uniform(Backoff::kRandomBound)));
    owner_.OnWatchDown(id_);
  }

 private:
  void Open() {
    if (watch_ != nullptr) return;
    WatchRequest request;
    request.kind = KindName{
        "", "v1",
        std::get<0>(id_) == ValuesRef::KIND_SECRET ? "Secret" : "ConfigMap"};
    request.ns = std::get<1>(id_);
    request.field_selector = "metadata.name=" + std::get<2>(id_);
    request.resource_version = resume_from_;
    listing_ = resume_from_.empty();
    listed_.clear();
    watch_ = owner_.client_.Watch(std::move(request), *this);
  }

  // Constant after construction.
  ValuesReader& owner_;
  const ObjectId id_;

  // Loop state.
  std::set<std::string> users_;
  std::string version_;
  std::string listed_;
  std::string resume_from_;
  bool listing_ = false;
  bool up_ = false;
  Backoff backoff_;
  std::unique_ptr<Timer> timer_;
  std::unique_ptr<KubeWatch> watch_;
};

ValuesReader::ValuesReader(KubeClient& client, Loop& loop, Random& random,
                           const ServiceAccounts& accounts, Send send)
    : client_(client),
      loop_(loop),
      random_(random),
      accounts_(accounts),
      send_(std::move(send)),
      read_timer_(loop.CreateTimer([this] { ReadNext(); })) {}

ValuesReader::~ValuesReader() { *alive_ = false; }

// --- What is asked.

void ValuesReader::OnRequest(const agent::v1::ValuesRequest& request) {
  const std::string& bundle_id = request.bundle_id();
  Drop(bundle_id);
  if (request.refs_size() == 0) return;
  if (asks_.size() >= kMaxAsks) {
    FLOTILLA_LOG_EVERY(WARNING, absl::Seconds(60))
        << "the manager asks for the values of more than " << kMaxAsks
        << " bundles; bundle " << bundle_id << " gets no answer";
    return;
  }
  const Ptr ask = std::make_shared<Ask>();
  ask->request = request;
  ask->told_digest = request.known_digest();
  ask->retry_timer = loop_.CreateTimer(
      [this, bundle_id] { MarkDirty(bundle_id); });
  asks_[bundle_id] = ask;
  MarkDirty(bundle_id);
  for (const ValuesRef& ref : request.refs()) {
    if (!CheckRef(ref).ok()) continue;
    const ObjectId id(ref.kind(), ref.namespace_(), ref.name());
    if (std::find(ask->objects.begin(), ask->objects.end(), id) !=
        ask->objects.end()) {
      continue;
    }
    ask->objects.push_back(id);
    if (watches_.count(id) == 0 && watches_.size() >= kMaxWatches) continue;
    std::unique_ptr<ObjectWatch>& watch = watches_[id];
    if (watch == nullptr) watch = std::make_unique<ObjectWatch>(*this, id);
    watch->users().insert(bundle_id);
  }
}

void ValuesReader::Drop(const std::string& bundle_id) {
  const auto found = asks_.find(bundle_id);
  if (found == asks_.end()) return;
  found->second->dropped = true;
  found->second->retry_timer.reset();
  for (const ObjectId& id : found->second->objects) {
    const auto watch = watches_.find(id);
    if (watch == watches_.end()) continue;
    watch->second->users().erase(bundle_id);
    if (watch->second->users().empty()) watches_.erase(watch);
  }
  dirty_.erase(bundle_id);
  asks_.erase(found);
}

void ValuesReader::OnSessionEnded() {
  while (!asks_.empty()) Drop(std::string(asks_.begin()->first));
}

void ValuesReader::OnAccountsChanged() {
  for (const auto& [bundle_id, ask] : asks_) {
    if (!ask->user.has_value() ||
        *ask->user != accounts_.Resolve(ask->request.service_account())) {
      MarkDirty(bundle_id);
    }
  }
}

void ValuesReader::OnSeen(const ObjectId& id) {
  const auto watch = watches_.find(id);
  if (watch == watches_.end()) return;
  for (const std::string& bundle_id : watch->second->users()) {
    const auto ask = asks_.find(bundle_id);
    if (ask != asks_.end() && (ask->second->reading || IsOld(*ask->second))) {
      MarkDirty(bundle_id);
    }
  }
}

void ValuesReader::OnWatchDown(const ObjectId& id) {
  const auto watch = watches_.find(id);
  if (watch == watches_.end()) return;
  for (const std::string& bundle_id : watch->second->users()) {
    const auto ask = asks_.find(bundle_id);
    if (ask != asks_.end() && !ask->second->retry_timer->armed()) {
      ask->second->retry_timer->Arm(kPoll);
    }
  }
}

bool ValuesReader::IsOld(const Ask& ask) const {
  for (const auto& [id, version] : ask.versions) {
    const auto watch = watches_.find(id);
    if (watch != watches_.end() && watch->second->up() &&
        watch->second->version() != version) {
      return true;
    }
  }
  return false;
}

// --- Reading.

void ValuesReader::MarkDirty(const std::string& bundle_id) {
  const auto found = asks_.find(bundle_id);
  if (found == asks_.end()) return;
  if (found->second->reading) {
    found->second->again = true;
    return;
  }
  dirty_.insert(bundle_id);
  if (!read_timer_->armed()) read_timer_->Arm(kGather);
}

void ValuesReader::ReadNext() {
  // OnAccountsChanged() follows.
  if (!accounts_.settled()) return;
  while (reading_ < kMaxReads && !dirty_.empty()) {
    const Ptr ask = asks_.at(*dirty_.begin());
    dirty_.erase(dirty_.begin());
    Read(ask);
  }
}

void ValuesReader::Read(const Ptr& ask) {
  ask->reading = true;
  ask->again = false;
  ask->next = 0;
  ask->bytes = 0;
  ask->versions.clear();
  ask->contents.assign(static_cast<size_t>(ask->request.refs_size()), "");
  ask->user = accounts_.Resolve(ask->request.service_account());
  ++reading_;
  if (!ask->user->ok()) {
    Finish(ask, ask->user->status());
    return;
  }
  for (const ValuesRef& ref : ask->request.refs()) {
    const absl::Status named = CheckRef(ref);
    if (!named.ok()) {
      Finish(ask, named);
      return;
    }
  }
  ReadObject(ask);
}

void ValuesReader::ReadObject(const Ptr& ask) {
  const auto& [kind, name_space, name] = ask->objects[ask->next];
  ValuesRef ref;
  ref.set_kind(static_cast<ValuesRef::Kind>(kind));
  ref.set_namespace_(name_space);
  ref.set_name(name);
  GetOptions options;
  options.impersonate = **ask->user;
  std::string user = options.impersonate;
  client_.Get(ObjectOf(ref), std::move(options),
              [this, alive = alive_, ask, user = std::move(user)](
                  absl::StatusOr<KubeObject> object) {
                if (*alive) OnObject(ask, user, std::move(object));
              });
}

void ValuesReader::OnObject(const Ptr& ask, const std::string& user,
                            absl::StatusOr<KubeObject> object) {
  if (ask->dropped) {
    --reading_;
    if (!dirty_.empty()) read_timer_->Arm(absl::ZeroDuration());
    return;
  }
  const ObjectId& id = ask->objects[ask->next];
  ask->versions[id] = object.ok() ? object->head.resource_version : "";
  for (int i = 0; i < ask->request.refs_size(); ++i) {
    const ValuesRef& ref = ask->request.refs(i);
    if (ObjectId(ref.kind(), ref.namespace_(), ref.name()) != id) continue;
    absl::StatusOr<std::string> value =
        object.ok() ? ValueIn(ref, object->json)
                    : absl::StatusOr<std::string>(
                          ReadProblem(ref, object.status(), user));
    if (!value.ok()) {
      Finish(ask, value.status());
      return;
    }
    ask->bytes += value->size();
    ask->contents[static_cast<size_t>(i)] = *std::move(value);
  }
  ++ask->next;
  // AnswerTo() says that it is too much.
  if (ask->next == ask->objects.size() || ask->bytes > kMaxValuesBytes) {
    Finish(ask, std::exchange(ask->contents, {}));
  } else {
    ReadObject(ask);
  }
}

void ValuesReader::Finish(const Ptr& ask,
                          absl::StatusOr<std::vector<std::string>> contents) {
  ask->reading = false;
  ask->contents.clear();
  --reading_;
  if (!dirty_.empty()) read_timer_->Arm(absl::ZeroDuration());
  if (absl::IsUnavailable(contents.status())) {
    Retry(*ask);
    return;
  }
  const bool forbidden = absl::IsPermissionDenied(contents.status());
  agent::v1::ValuesReport report =
      AnswerTo(ask->request, std::move(contents));
  const std::string digest = report.digest();
  if (digest != ask->told_digest) {
    if (!send_(std::move(report))) {
      Retry(*ask);
      return;
    }
    ask->told_digest = digest;
  }
  ask->backoff.Reset();
  ask->retry_timer->Disarm();
  const bool watched = std::all_of(
      ask->objects.begin(), ask->objects.end(), [this](const ObjectId& id) {
        const auto watch = watches_.find(id);
        return watch != watches_.end() && watch->second->up();
      });
  if (forbidden) {
    ask->retry_timer->Arm(kAskRightsAgain);
  } else if (!watched) {
    ask->retry_timer->Arm(kPoll);
  }
  if (ask->again && (IsOld(*ask) || *ask->user != accounts_.Resolve(
                                        ask->request.service_account()))) {
    MarkDirty(ask->request.bundle_id());
  }
}

void ValuesReader::Retry(Ask& ask) {
  ask.retry_timer->Arm(
      ask.backoff.Next(random_.Uniform(Backoff::kRandomBound)));
}

}  // namespace flotilla::agent
