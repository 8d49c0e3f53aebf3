// SPDX-License-Identifier: Apache-2.0
//
// RpcServer is one gRPC listener: credentials, keepalive, limits, the standard
// health service and reflection. The agents' listener speaks TLS and checks
// client certificates when they are shown (a service decides whether one is
// needed); a plain listener exists for loopback only.
//
// Services are given at Start() and must outlive the server. Their reactors
// must be able to finish while the server shuts down: the loop that they post
// to must still run until Shutdown()'s completion.
//
// Errors of Start(): INVALID_ARGUMENT for an address that may not be used,
// UNAVAILABLE when the port is in use; both name the address.

#ifndef FLOTILLA_COMMON_RPC_SERVER_H_
#define FLOTILLA_COMMON_RPC_SERVER_H_

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/event/loop.h"

namespace grpc {
class ResourceQuota;
class Server;
class Service;
}  // namespace grpc

namespace flotilla {

// TLS of a listener. All PEM.
struct ServerTls {
  std::string key;
  std::string certificate;
  std::string client_ca;  // Signs the client certificates that are accepted.
};

struct ServerOptions {
  // "host:port", "[::1]:port"; port 0 takes a free one.
  std::string address;
  // Empty key: a plain listener, which is refused unless `address` is loopback.
  ServerTls tls;
  int max_receive_bytes = 2 * 1024 * 1024;
  int max_concurrent_streams = 8;  // Per connection.
  // Memory that all connections may use for buffers; more are refused.
  size_t memory_quota_bytes = size_t{2} * 1024 * 1024 * 1024;
};

// Loop-affine.
class RpcServer {
 public:
  static absl::StatusOr<std::unique_ptr<RpcServer>> Start(
      Loop& loop, const ServerOptions& options,
      const std::vector<grpc::Service*>& services);

  // Without Shutdown(): cancels all calls and waits for them, which needs the
  // loop to run elsewhere. Prefer Shutdown().
  ~RpcServer();
  RpcServer(const RpcServer&) = delete;
  RpcServer& operator=(const RpcServer&) = delete;

  // The port that is listened on.
  int port() const { return port_; }

  // Sets the health service's answer for the whole server.
  void SetServing(bool serving);

  // Takes no new calls, lets running ones go on for `deadline`, cancels the
  // rest; `done` runs on the loop when all have ended.
  // REQUIRES: called at most once.
  void Shutdown(absl::Duration deadline, absl::AnyInvocable<void()> done);

 private:
  RpcServer(Loop& loop, std::unique_ptr<grpc::Server> server, int port);

  // Collaborators. Not owned.
  Loop& loop_;

  // Constant after construction.
  const std::unique_ptr<grpc::Server> server_;
  const int port_;

  // Loop state.
  std::thread shutdown_;
};

// Whether "host:port" names this machine's loopback by number or "localhost".
bool IsLoopbackAddress(const std::string& address);

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_RPC_SERVER_H_
