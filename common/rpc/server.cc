// SPDX-License-Identifier: Apache-2.0

#include "common/rpc/server.h"

#include <grpc/grpc.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/security/server_credentials.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/status/status_macros.h"

namespace flotilla {
namespace {

constexpr int kKeepaliveMs = 20000;
constexpr int kKeepaliveTimeoutMs = 10000;
constexpr int kMinPingMs = 10000;

struct HostPort {
  std::string host;
  int port = 0;
};

absl::StatusOr<HostPort> ParseAddress(const std::string& address) {
  const absl::Status refused = absl::InvalidArgumentError(absl::StrCat(
      "\"", address, "\" is not an address to listen on: write host:port, "
      "such as 127.0.0.1:7443"));
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos || colon == 0) return refused;
  HostPort result;
  result.host = address.substr(0, colon);
  if (!absl::SimpleAtoi(address.substr(colon + 1), &result.port) ||
      result.port < 0 || result.port > 65535) {
    return refused;
  }
  if (result.host.front() == '[') {
    if (result.host.back() != ']') return refused;
    result.host = result.host.substr(1, result.host.size() - 2);
  } else if (absl::StrContains(result.host, ':')) {
    return refused;
  }
  return result;
}

// gRPC says only that it did not work; the reason is found out by trying.
absl::Status WhyNotBound(const HostPort& at, const std::string& address) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  const std::string port = std::to_string(at.port);
  const int lookup =
      getaddrinfo(at.host.c_str(), port.c_str(), &hints, &found);
  if (lookup != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "cannot listen on ", address, ": ", gai_strerror(lookup)));
  }
  int error = 0;
  const int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || bind(fd, found->ai_addr, found->ai_addrlen) != 0 ||
      listen(fd, 1) != 0) {
    error = errno;
  }
  if (fd >= 0) close(fd);
  freeaddrinfo(found);
  if (error == EADDRINUSE || error == 0) {
    return absl::UnavailableError(
        absl::StrCat("cannot listen on ", address,
                     ": the port is in use by another program; stop it or "
                     "choose another address"));
  }
  return absl::UnavailableError(absl::StrCat("cannot listen on ", address,
                                             ": ", std::strerror(error)));
}

}  // namespace

bool IsLoopbackAddress(const std::string& address) {
  const absl::StatusOr<HostPort> at = ParseAddress(address);
  if (!at.ok()) return false;
  if (at->host == "localhost" || at->host == "::1") return true;
  int parts = 0;
  int value = 0;
  for (absl::string_view rest = at->host; parts < 4; ++parts) {
    const size_t dot = rest.find('.');
    const absl::string_view part = rest.substr(0, dot);
    if (part.empty() || part.size() > 3 || !absl::SimpleAtoi(part, &value) ||
        value > 255 || value < 0 || (parts == 0 && part != "127")) {
      return false;
    }
    if ((dot == absl::string_view::npos) != (parts == 3)) return false;
    if (parts < 3) rest.remove_prefix(dot + 1);
  }
  return true;
}

absl::StatusOr<std::unique_ptr<RpcServer>> RpcServer::Start(
    Loop& loop, const ServerOptions& options,
    const std::vector<grpc::Service*>& services) {
  ASSIGN_OR_RETURN(const HostPort at, ParseAddress(options.address));
  std::shared_ptr<grpc::ServerCredentials> credentials;
  if (options.tls.key.empty()) {
    if (!IsLoopbackAddress(options.address)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "cannot listen on ", options.address,
          ": this listener has no encryption and no access control and is for "
          "loopback only; use 127.0.0.1 or [::1]"));
    }
    credentials = grpc::InsecureServerCredentials();
  } else {
    // A certificate is not needed to connect (enrolment has none), but one
    // that is shown must be of our CA.
    grpc::SslServerCredentialsOptions tls(
        GRPC_SSL_REQUEST_CLIENT_CERTIFICATE_AND_VERIFY);
    tls.pem_root_certs = options.tls.client_ca;
    tls.pem_key_cert_pairs.push_back(
        {options.tls.key, options.tls.certificate});
    credentials = grpc::SslServerCredentials(tls);
  }
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort(options.address, credentials, &port);
  for (grpc::Service* service : services) builder.RegisterService(service);
  builder.SetMaxReceiveMessageSize(options.max_receive_bytes);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS,
                             options.max_concurrent_streams);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS,
                             kKeepaliveTimeoutMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(
      GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, kMinPingMs);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, 10000);
  // Two listeners on one port would each get half of the agents.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  grpc::ResourceQuota quota("listener");
  quota.Resize(options.memory_quota_bytes);
  builder.SetResourceQuota(quota);
  std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr || (port == 0 && at.port == 0)) {
    return WhyNotBound(at, options.address);
  }
  return std::unique_ptr<RpcServer>(
      new RpcServer(loop, std::move(server), port));
}

RpcServer::RpcServer(Loop& loop, std::unique_ptr<grpc::Server> server,
                     int port)
    : loop_(loop), server_(std::move(server)), port_(port) {}

RpcServer::~RpcServer() {
  if (shutdown_.joinable()) {
    shutdown_.join();
  } else {
    server_->Shutdown(std::chrono::system_clock::now());
    server_->Wait();
  }
}

void RpcServer::SetServing(bool serving) {
  grpc::HealthCheckServiceInterface* health =
      server_->GetHealthCheckService();
  if (health != nullptr) health->SetServingStatus(serving);
}

void RpcServer::Shutdown(absl::Duration deadline,
                         absl::AnyInvocable<void()> done) {
  shutdown_ = std::thread([this, deadline, done = std::move(done)]() mutable {
    server_->Shutdown(std::chrono::system_clock::now() +
                      absl::ToChronoMilliseconds(deadline));
    server_->Wait();
    loop_.Post(std::move(done));
  });
}

}  // namespace flotilla
