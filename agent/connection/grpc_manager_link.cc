// SPDX-License-Identifier: Apache-2.0

#include "agent/connection/grpc_manager_link.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "common/crypto/x509.h"
#include "common/rpc/channel.h"
#include "common/status/grpc_status.h"
#include "common/status/status_macros.h"
#include "flotilla/agent/v1/agent.grpc.pb.h"
#include "grpcpp/grpcpp.h"

namespace flotilla::agent {
namespace {

using agent::v1::AgentFrame;
using agent::v1::ManagerFrame;
using EndingKind = ReconnectSchedule::Ending;

constexpr char kServerName[] = "flotilla-manager";
constexpr absl::Duration kTick = absl::Seconds(1);
constexpr absl::Duration kEnrolLimit = absl::Seconds(20);
constexpr absl::Duration kStopLimit = absl::Seconds(2);
constexpr size_t kDigestBytes = 32;

absl::StatusOr<JoinToken> TokenOf(const std::string& text) {
  if (text.empty()) return absl::NotFoundError("no token");
  return ParseJoinToken(text);
}

// Says in words what gRPC's text means for the one who runs the agent.
absl::Status Explain(const absl::Status& status, const std::string& address) {
  std::string hint;
  if (absl::StrContains(status.message(), "certificate verify failed")) {
    hint =
        ". Its certificate is not of the CA that this agent trusts: this is "
        "another manager than the one that the token was made by";
  } else if (absl::IsUnavailable(status) &&
             (absl::StrContains(status.message(), "Socket closed") ||
              absl::StrContains(status.message(), "reset") ||
              absl::StrContains(status.message(), "handshake"))) {
    hint =
        ". If this goes on, the manager refuses this agent's certificate: "
        "enrol again with a token of this manager";
  }
  return absl::Status(status.code(),
                      absl::StrCat("manager at ", address, ": ",
                                   status.message(), hint));
}

LinkSession::Ending FailedEnding(absl::Status why) {
  LinkSession::Ending ending;
  // What a person must put right first.
  if (absl::IsUnauthenticated(why) || absl::IsInvalidArgument(why) ||
      absl::IsDataLoss(why)) {
    ending.kind = EndingKind::kRefused;
  }
  ending.why = std::move(why);
  return ending;
}

}  // namespace

// One stream: gRPC's threads call the On… functions, the loop everything else.
// It keeps itself alive until OnDone(), and is destroyed on the loop. The hold
// stands for what the loop may still start.
//
// Thread-safe.
class GrpcManagerLink::Stream final
    : public grpc::ClientBidiReactor<AgentFrame, ManagerFrame> {
 public:
  Stream(GrpcManagerLink& link, std::shared_ptr<grpc::Channel> channel)
      : link_(link), link_alive_(link.alive_), loop_(link.loop_),
        channel_(std::move(channel)),
        stub_(agent::v1::AgentService::NewStub(channel_)) {}

  // From the loop.
  void Begin(std::shared_ptr<Stream> self) {
    self_ = std::move(self);
    stub_->async()->Session(&context_, this);
    AddHold();
    StartRead(&incoming_);
    StartCall();
  }

  void Write(AgentFrame frame) {
    outgoing_ = std::move(frame);
    StartWrite(&outgoing_);
  }

  void ReadNext() {
    if (!released_) StartRead(&incoming_);
  }

  // Lets gRPC finish. Nothing may be started afterwards.
  void Release() {
    if (released_) return;
    released_ = true;
    RemoveHold();
  }

  void Cancel() {
    context_.TryCancel();
    Release();
  }

  bool released() const { return released_; }
  void AwaitDone() { done_->WaitForNotification(); }

  // From gRPC's threads.
  void OnReadDone(bool ok) override {
    if (!ok) {
      Post([](GrpcManagerLink&, Stream& stream) { stream.Release(); });
      return;
    }
    Post([frame = std::move(incoming_)](GrpcManagerLink& link,
                                        Stream& stream) {
      link.OnStreamFrame(stream, frame);
    });
  }

  void OnWriteDone(bool ok) override {
    if (!ok) return;  // The read fails too.
    Post([](GrpcManagerLink& link, Stream& stream) {
      link.OnStreamWritten(stream);
    });
  }

  void OnDone(const grpc::Status& status) override {
    // The last reference goes on the loop: the last channel to go joins gRPC's
    // callback threads, and this may be one of them. After Post() nothing of
    // `this` may be touched.
    const std::shared_ptr<absl::Notification> done = done_;
    loop_.Post([self = std::move(self_), status = FromGrpcStatus(status)] {
      if (self->link_alive_.expired()) return;
      self->link_.OnStreamEnded(*self, status);
    });
    done->Notify();
  }

 private:
  // Runs `f` on the loop unless the link is gone.
  template <typename F>
  void Post(F f) {
    loop_.Post([self = self_, f = std::move(f)]() mutable {
      if (!self->link_alive_.expired()) f(self->link_, *self);
    });
  }

  // Collaborators. Not owned.
  GrpcManagerLink& link_;
  const std::weak_ptr<bool> link_alive_;
  Loop& loop_;

  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<agent::v1::AgentService::Stub> stub_;
  grpc::ClientContext context_;
  std::shared_ptr<Stream> self_;
  AgentFrame outgoing_;
  ManagerFrame incoming_;
  const std::shared_ptr<absl::Notification> done_ =
      std::make_shared<absl::Notification>();

  // Loop state.
  bool released_ = false;
};

// One call of Enroll.
struct GrpcManagerLink::EnrolCall {
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<agent::v1::AgentService::Stub> stub;
  grpc::ClientContext context;
  agent::v1::EnrollRequest request;
  agent::v1::EnrollResponse response;
  absl::Notification done;
};

GrpcManagerLink::GrpcManagerLink(Loop& loop, const Clock& clock,
                                 Random& random, IdentityStore& identities,
                                 Options options)
    : options_(std::move(options)), token_(TokenOf(options_.token)),
      loop_(loop), clock_(clock), random_(random), identities_(identities),
      session_({options_.agent_version, random.Bytes(16)}),
      schedule_(options_.reconnect),
      retry_(loop.CreateTimer([this] { Connect(); })),
      tick_(loop.CreateTimer([this] { OnTick(); })),
      stop_limit_(loop.CreateTimer([this] {
        DropStream();
        ReportStopped();
      })) {}

GrpcManagerLink::~GrpcManagerLink() {
  alive_.reset();
  DropStream();
  for (const auto& stream : ending_) stream->AwaitDone();
  if (enrol_call_ != nullptr) {
    enrol_call_->context.TryCancel();
    enrol_call_->done.WaitForNotification();
  }
}

// ------------------------------------------------------------------- identity

void GrpcManagerLink::Start(LinkEvents& events) {
  events_ = &events;
  tick_->Arm(kTick);
  identities_.Load([this, alive = std::weak_ptr<bool>(alive_)](
                       absl::StatusOr<AgentIdentity> identity) {
    if (!alive.expired()) OnLoaded(std::move(identity));
  });
}

void GrpcManagerLink::OnLoaded(absl::StatusOr<AgentIdentity> identity) {
  if (!identity.ok()) {
    events_->OnDisconnected(identity.status(), true);
    return;
  }
  identity_ = *std::move(identity);
  loaded_ = true;
  Connect();
}

void GrpcManagerLink::SetClusterUid(std::string uid) {
  const bool first = cluster_uid_.empty();
  cluster_uid_ = std::move(uid);
  if (first) Connect();
}

bool GrpcManagerLink::MustEnrol() const {
  if (identity_.certificate.empty()) return true;
  return token_.ok() && !token_given_up_ && token_->id != identity_.token_id;
}

void GrpcManagerLink::Connect() {
  if (events_ == nullptr || !loaded_ || cluster_uid_.empty() || stopping_ ||
      stream_ != nullptr || enrolling_ || retry_->armed()) {
    return;
  }
  if (MustEnrol()) {
    PrepareEnrolment();
  } else {
    Dial();
  }
}

void GrpcManagerLink::PrepareEnrolment() {
  if (!token_.ok()) {
    LinkSession::Ending ending;
    ending.kind = EndingKind::kRefused;
    ending.why =
        absl::IsNotFound(token_.status())
            ? absl::UnauthenticatedError(
                  "this agent is not enrolled and has no token: start it with "
                  "--token and what `flotilla token create` prints")
            : token_.status();
    EndSession(ending);
    return;
  }
  enrolling_ = true;
  if (identity_.pending_token_id == token_->id &&
      !identity_.pending_key.empty()) {
    Enrol();
    return;
  }
  const absl::StatusOr<PrivateKey> key = PrivateKey::Generate();
  const absl::StatusOr<std::string> pem =
      key.ok() ? key->ToPem() : absl::StatusOr<std::string>(key.status());
  if (!pem.ok()) {
    enrolling_ = false;
    EndSession(FailedEnding(pem.status()));
    return;
  }
  AgentIdentity next = identity_;
  if (next.instance_id.empty()) next.instance_id = random_.Bytes(16);
  next.pending_key = *pem;
  next.pending_token_id = token_->id;
  identities_.Save(next, [this, next, alive = std::weak_ptr<bool>(alive_)](
                             absl::Status saved) mutable {
    if (alive.expired()) return;
    if (!saved.ok()) {
      enrolling_ = false;
      EndSession(FailedEnding(std::move(saved)));
      return;
    }
    identity_ = std::move(next);
    Enrol();
  });
}

void GrpcManagerLink::Enrol() {
  const absl::StatusOr<PrivateKey> key =
      PrivateKey::FromPem(identity_.pending_key);
  const absl::StatusOr<Certificate> ca = Certificate::FromDer(token_->ca_der);
  absl::StatusOr<std::string> csr =
      key.ok() ? MakeSigningRequest(*key)
               : absl::StatusOr<std::string>(key.status());
  if (!ca.ok() || !csr.ok()) {
    enrolling_ = false;
    EndSession(FailedEnding(
        ca.ok() ? csr.status()
                : absl::InvalidArgumentError(
                      "the token's CA certificate is damaged: copy all of "
                      "what `flotilla token create` prints")));
    return;
  }
  enrol_call_ = std::make_unique<EnrolCall>();
  EnrolCall& call = *enrol_call_;
  ChannelTls tls;
  tls.ca = ca->ToPem();
  tls.server_name = kServerName;
  call.channel = MakeTlsChannel(options_.manager_address, tls);
  call.stub = agent::v1::AgentService::NewStub(call.channel);
  call.context.set_deadline(std::chrono::system_clock::now() +
                            absl::ToChronoMilliseconds(kEnrolLimit));
  call.request.set_token(options_.token);
  call.request.set_csr(*std::move(csr));
  call.request.set_cluster_uid(cluster_uid_);
  call.request.set_agent_version(options_.agent_version);
  // gRPC's thread touches the link on the loop only, and only while it lives:
  // the destructor waits for `done`.
  call.stub->async()->Enroll(
      &call.context, &call.request, &call.response,
      [this, &call, alive = std::weak_ptr<bool>(alive_)](grpc::Status status) {
        loop_.Post([this, alive, status = FromGrpcStatus(status)] {
          if (alive.expired()) return;
          enrol_call_->done.WaitForNotification();
          const std::unique_ptr<EnrolCall> finished = std::move(enrol_call_);
          OnEnrolled(status, finished->response);
        });
        call.done.Notify();
      });
}

absl::Status GrpcManagerLink::TakeCertificate(
    const agent::v1::EnrollResponse& response, AgentIdentity& identity) const {
  ASSIGN_OR_RETURN(const Certificate ca, Certificate::FromDer(token_->ca_der));
  ASSIGN_OR_RETURN(const Certificate certificate,
                   Certificate::FromPem(response.certificate()));
  ASSIGN_OR_RETURN(const PrivateKey key,
                   PrivateKey::FromPem(identity.pending_key));
  ASSIGN_OR_RETURN(const PublicKey certified, certificate.public_key());
  ASSIGN_OR_RETURN(const std::string cluster_id, certificate.ClusterId());
  RETURN_IF_ERROR(VerifyCertificate(
      certificate, ca, CertificatePurpose::kClient, clock_.Now()));
  if (certified.Digest() != key.public_key().Digest() ||
      cluster_id != response.cluster_id()) {
    return absl::DataLossError(
        "the manager answered with a certificate that is not this agent's");
  }
  identity.key = std::exchange(identity.pending_key, "");
  identity.pending_token_id.clear();
  identity.certificate = certificate.ToPem();
  identity.ca = ca.ToPem();
  identity.cluster_id = cluster_id;
  identity.token_id = token_->id;
  return absl::OkStatus();
}

void GrpcManagerLink::OnEnrolled(const absl::Status& status,
                                 const agent::v1::EnrollResponse& response) {
  AgentIdentity next = identity_;
  const absl::Status taken =
      status.ok() ? TakeCertificate(response, next)
                  : Explain(status, options_.manager_address);
  if (!taken.ok()) {
    enrolling_ = false;
    // A token that does not work must not cut off an agent that is enrolled.
    if (!identity_.certificate.empty() && absl::IsUnauthenticated(taken)) {
      token_given_up_ = true;
      events_->OnDisconnected(taken, true);
      Connect();
      return;
    }
    EndSession(FailedEnding(taken));
    return;
  }
  identities_.Save(next, [this, next, alive = std::weak_ptr<bool>(alive_)](
                             absl::Status saved) mutable {
    if (alive.expired()) return;
    enrolling_ = false;
    if (!saved.ok()) {
      EndSession(FailedEnding(std::move(saved)));
      return;
    }
    identity_ = std::move(next);
    Connect();
  });
}

// --------------------------------------------------------------------- stream

void GrpcManagerLink::Dial() {
  ChannelTls tls;
  tls.ca = identity_.ca;
  tls.key = identity_.key;
  tls.certificate = identity_.certificate;
  tls.server_name = kServerName;
  stream_ = std::make_shared<Stream>(
      *this, MakeTlsChannel(options_.manager_address, tls));
  session_.OnConnected(events_->Held(), cluster_uid_, identity_.instance_id,
                       loop_.MonotonicNow());
  writing_ = false;
  stream_->Begin(stream_);
  SchedulePump();
}

void GrpcManagerLink::OnStreamFrame(Stream& stream,
                                    const ManagerFrame& frame) {
  if (&stream != stream_.get()) return;
  if (Perform(session_.OnFrame(frame, loop_.MonotonicNow()))) {
    stream.ReadNext();
  }
}

void GrpcManagerLink::OnStreamWritten(Stream& stream) {
  if (&stream != stream_.get()) return;
  writing_ = false;
  Pump();
}

void GrpcManagerLink::OnStreamEnded(Stream& stream,
                                    const absl::Status& status) {
  ending_.erase(std::remove_if(ending_.begin(), ending_.end(),
                               [&stream](const std::shared_ptr<Stream>& one) {
                                 return one.get() == &stream;
                               }),
                ending_.end());
  if (&stream != stream_.get()) return;
  stream_.reset();
  if (stopping_) {
    session_.OnDisconnected();
    ReportStopped();
    return;
  }
  EndSession(FailedEnding(Explain(
      status.ok() ? absl::UnavailableError("the manager ended the session")
                  : status,
      options_.manager_address)));
}

bool GrpcManagerLink::Perform(LinkSession::Step step) {
  for (LinkSession::Event& event : step.events) Deliver(std::move(event));
  if (step.end.has_value()) {
    if (stopping_) {
      DropStream();
      ReportStopped();
    } else {
      EndSession(*step.end);
    }
    return false;
  }
  SchedulePump();
  return stream_ != nullptr;
}

void GrpcManagerLink::Deliver(LinkSession::Event event) {
  if (auto* opened = std::get_if<SessionOpened>(&event)) {
    schedule_.OnLive(loop_.MonotonicNow());
    events_->OnWelcome(*opened);
  } else if (std::holds_alternative<LinkSession::NeedHave>(event)) {
    session_.GiveHave(events_->Have());
  } else if (auto* assigned = std::get_if<LinkSession::Assigned>(&event)) {
    events_->OnAssign(assigned->epoch, assigned->assign);
  } else if (auto* values = std::get_if<agent::v1::ValuesRequest>(&event)) {
    events_->OnValuesRequest(*values);
  } else if (auto* acked = std::get_if<LinkSession::ReportAcked>(&event)) {
    events_->OnReportAck(acked->seq);
  } else if (std::holds_alternative<LinkSession::Reportable>(event)) {
    if (session_.CanReport()) events_->OnReportable();
  } else if (auto* blob = std::get_if<BlobFetches::Result>(&event)) {
    const auto it = fetches_.find(blob->digest);
    if (it == fetches_.end()) return;
    auto waiting = std::move(it->second);
    fetches_.erase(it);
    for (auto& done : waiting) done(blob->bytes);
  }
}

void GrpcManagerLink::EndSession(const LinkSession::Ending& ending) {
  DropStream();
  retry_->Arm(schedule_.OnEnded(
      ending.kind, loop_.MonotonicNow(),
      static_cast<double>(random_.Uniform(1 << 20)) / (1 << 20),
      ending.retry_after));
  events_->OnDisconnected(ending.why,
                          ending.kind == EndingKind::kRefused);
}

void GrpcManagerLink::DropStream() {
  session_.OnDisconnected();
  writing_ = false;
  if (stream_ == nullptr) return;
  stream_->Cancel();
  ending_.push_back(std::move(stream_));
  stream_.reset();
}

void GrpcManagerLink::ReportStopped() {
  stop_limit_->Disarm();
  if (stopped_ == nullptr) return;
  loop_.Post(std::exchange(stopped_, nullptr));
}

void GrpcManagerLink::Stop(absl::AnyInvocable<void()> done) {
  stopping_ = true;
  stopped_ = std::move(done);
  retry_->Disarm();
  if (stream_ == nullptr || !session_.live()) {
    DropStream();
    ReportStopped();
    return;
  }
  session_.SayGoodbye();
  stop_limit_->Arm(kStopLimit);
  SchedulePump();
}

void GrpcManagerLink::SchedulePump() {
  if (pump_posted_ || stream_ == nullptr) return;
  pump_posted_ = true;
  loop_.Post([this, alive = std::weak_ptr<bool>(alive_)] {
    if (alive.expired()) return;
    pump_posted_ = false;
    Pump();
  });
}

void GrpcManagerLink::Pump() {
  if (stream_ == nullptr || writing_ || stream_->released()) return;
  std::optional<AgentFrame> frame = session_.NextFrame();
  if (!frame.has_value()) return;
  writing_ = true;
  stream_->Write(*std::move(frame));
}

void GrpcManagerLink::OnTick() {
  tick_->Arm(kTick);
  if (stream_ != nullptr) Perform(session_.OnTick(loop_.MonotonicNow()));
}

// ------------------------------------------------------------------- commands

void GrpcManagerLink::AckAssign(uint64_t epoch, uint64_t nonce,
                                std::vector<agent::v1::AssignItem> items,
                                uint64_t av, std::string set_digest) {
  session_.AckAssign(epoch, nonce, std::move(items), av,
                     std::move(set_digest));
  SchedulePump();
}

void GrpcManagerLink::FetchBlob(
    std::string digest, uint64_t size,
    absl::AnyInvocable<void(absl::StatusOr<std::string>)> done) {
  if (digest.size() != kDigestBytes || size > BlobFetches::kMaxBlobBytes) {
    loop_.Post([alive = std::weak_ptr<bool>(alive_),
                done = std::move(done)]() mutable {
      if (alive.expired()) return;
      done(absl::InvalidArgumentError(
          "a blob's digest has 32 bytes, and a blob at most 64 MiB"));
    });
    return;
  }
  auto& waiting = fetches_[digest];
  waiting.push_back(std::move(done));
  if (waiting.size() > 1) return;
  session_.FetchBlob(digest, size);
  SchedulePump();
}

bool GrpcManagerLink::CanReport() const { return session_.CanReport(); }

uint64_t GrpcManagerLink::SendState(core::v1::DeploymentState state) {
  SchedulePump();
  return session_.SendState(std::move(state));
}

uint64_t GrpcManagerLink::SendResources(
    std::vector<core::v1::ResourceStatus> items) {
  SchedulePump();
  return session_.SendResources(std::move(items));
}

uint64_t GrpcManagerLink::SendDrift(
    std::vector<core::v1::DriftRecord> records) {
  SchedulePump();
  return session_.SendDrift(std::move(records));
}

bool GrpcManagerLink::SendValues(agent::v1::ValuesReport report) {
  SchedulePump();
  return session_.SendValues(std::move(report));
}

void GrpcManagerLink::SetFacts(core::v1::ClusterFacts facts) {
  session_.SetFacts(facts);
  SchedulePump();
}

}  // namespace flotilla::agent
