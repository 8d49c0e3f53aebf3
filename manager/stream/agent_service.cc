// SPDX-License-Identifier: Apache-2.0

#include "manager/stream/agent_service.h"

#include <grpc/grpc_security_constants.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/crypto/x509.h"
#include "common/status/grpc_status.h"
#include "manager/stream/agent_connection.h"

namespace flotilla::manager {
namespace {

using agent::v1::AgentFrame;
using agent::v1::ManagerFrame;
using SessionStream = grpc::ServerBidiReactor<AgentFrame, ManagerFrame>;

constexpr int kMaxEnrolling = 64;
// How long a write may hold up the end of a stream.
constexpr absl::Duration kCloseLimit = absl::Seconds(2);

absl::StatusOr<PeerIdentity> IdentityOf(grpc::CallbackServerContext& context) {
  const auto auth = context.auth_context();
  const std::vector<grpc::string_ref> pem =
      auth->FindPropertyValues(GRPC_X509_PEM_CERT_PROPERTY_NAME);
  if (!auth->IsPeerAuthenticated() || pem.size() != 1) {
    return absl::UnauthenticatedError(
        "a session needs a client certificate of this manager's CA: enrol "
        "with a token from `flotilla token create`");
  }
  const absl::StatusOr<Certificate> certificate = Certificate::FromPem(
      absl::string_view(pem[0].data(), pem[0].size()));
  if (!certificate.ok()) {
    return absl::UnauthenticatedError(certificate.status().message());
  }
  absl::StatusOr<std::string> cluster_id = certificate->ClusterId();
  if (!cluster_id.ok()) return cluster_id.status();
  const absl::StatusOr<PublicKey> key = certificate->public_key();
  if (!key.ok()) return absl::UnauthenticatedError(key.status().message());
  PeerIdentity peer;
  peer.cluster_id = *std::move(cluster_id);
  peer.public_key_digest = key->Digest();
  peer.address = context.peer();
  return peer;
}

// A stream that ends as it begins.
//
// Thread-compatible.
class Refusal final : public SessionStream {
 public:
  explicit Refusal(const absl::Status& status) {
    Finish(ToGrpcStatus(status));
  }
  void OnDone() override { delete this; }
};

// One stream: gRPC's threads call the On… functions, the loop calls those of
// AgentConnection. All state below belongs to the loop; gRPC's threads only
// Post. It keeps itself alive until OnDone(), and the hub and posted tasks hold
// it too.
//
// Thread-safe.
class SessionReactor final : public SessionStream, public AgentConnection {
 public:
  SessionReactor(Loop& loop, SessionHub& hub,
                 grpc::CallbackServerContext& context)
      : loop_(loop), hub_(hub), context_(context) {}

  void Begin(std::shared_ptr<SessionReactor> self, PeerIdentity peer) {
    self_ = std::move(self);
    loop_.Post([self = self_, peer = std::move(peer)]() mutable {
      SessionReactor& reactor = *self;
      if (reactor.broken_) {
        reactor.Finished(absl::CancelledError("the stream broke"));
        return;
      }
      reactor.id_ = reactor.hub_.OnOpened(self, std::move(peer));
      reactor.opened_ = true;
    });
  }

  // From the loop.
  void Write(ManagerFrame frame) override {
    writing_ = true;
    outgoing_ = std::move(frame);
    StartWrite(&outgoing_);
  }

  void ReadNext() override { StartRead(&incoming_); }

  void Close(absl::Status status) override {
    closed_ = true;
    if (!writing_) {
      Finished(status);
      return;
    }
    end_ = std::move(status);
    close_limit_ = loop_.CreateTimer([this] { context_.TryCancel(); });
    close_limit_->Arm(kCloseLimit);
  }

  // From gRPC's threads.
  void OnReadDone(bool ok) override {
    if (!ok) {
      OnCancel();
      return;
    }
    // The next read starts only when the loop asks for it, so this is all that
    // one session can have pending.
    loop_.Post([self = self_, frame = std::move(incoming_)]() mutable {
      if (!self->closed_) self->hub_.OnFrame(self->id_, std::move(frame));
    });
  }

  void OnWriteDone(bool ok) override {
    loop_.Post([self = self_, ok] {
      self->writing_ = false;
      if (self->closed_) {
        self->Finished(self->end_);
      } else if (ok) {
        self->hub_.OnWritten(self->id_);
      } else {
        self->hub_.OnBroken(self->id_);
      }
    });
  }

  void OnCancel() override {
    loop_.Post([self = self_] {
      self->broken_ = true;
      if (self->opened_ && !self->closed_) self->hub_.OnBroken(self->id_);
    });
  }

  void OnDone() override {
    // The last of gRPC's calls; a posted task may still hold this object.
    const std::shared_ptr<SessionReactor> last = std::move(self_);
  }

 private:
  void Finished(const absl::Status& status) {
    if (finished_) return;
    finished_ = true;
    closed_ = true;
    // From OnDone() on the context is gone, and that may be at once.
    close_limit_.reset();
    Finish(ToGrpcStatus(status));
  }

  // Collaborators. Not owned.
  Loop& loop_;
  SessionHub& hub_;
  grpc::CallbackServerContext& context_;

  std::shared_ptr<SessionReactor> self_;
  AgentFrame incoming_;
  ManagerFrame outgoing_;

  // Loop state.
  SessionHub::ConnectionId id_ = 0;
  bool opened_ = false;
  bool broken_ = false;
  bool writing_ = false;
  bool closed_ = false;
  bool finished_ = false;
  absl::Status end_;
  std::unique_ptr<Timer> close_limit_;
};

}  // namespace

grpc::ServerUnaryReactor* AgentService::Enroll(
    grpc::CallbackServerContext* context,
    const agent::v1::EnrollRequest* request,
    agent::v1::EnrollResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  if (enrolling_.fetch_add(1) >= kMaxEnrolling) {
    enrolling_.fetch_sub(1);
    reactor->Finish(ToGrpcStatus(absl::ResourceExhaustedError(
        "too many agents enrol at once; try again")));
    return reactor;
  }
  loop_.Post([this, reactor, request, response] {
    enrolment_.Enroll(
        *request, [this, reactor, response](
                      absl::StatusOr<agent::v1::EnrollResponse> result) {
          enrolling_.fetch_sub(1);
          if (result.ok()) *response = *std::move(result);
          reactor->Finish(ToGrpcStatus(result.status()));
        });
  });
  return reactor;
}

grpc::ServerBidiReactor<AgentFrame, ManagerFrame>* AgentService::Session(
    grpc::CallbackServerContext* context) {
  absl::StatusOr<PeerIdentity> peer = IdentityOf(*context);
  if (!peer.ok()) return new Refusal(peer.status());
  auto reactor = std::make_shared<SessionReactor>(loop_, hub_, *context);
  SessionReactor* raw = reactor.get();
  raw->Begin(std::move(reactor), *std::move(peer));
  return raw;
}

}  // namespace flotilla::manager
