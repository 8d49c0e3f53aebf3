// SPDX-License-Identifier: Apache-2.0
//
// Channels to our own servers: an agent's to its manager, with TLS and the CA
// that it was told to trust; a plain one for loopback. Each channel has
// connections of its own. When to dial again is the caller's to decide: make a
// new channel.

#ifndef FLOTILLA_COMMON_RPC_CHANNEL_H_
#define FLOTILLA_COMMON_RPC_CHANNEL_H_

#include <memory>
#include <string>

namespace grpc {
class Channel;
}  // namespace grpc

namespace flotilla {

// All PEM. Without key and certificate no client certificate is shown.
struct ChannelTls {
  std::string ca;
  std::string key;
  std::string certificate;
  std::string server_name;  // That the server's certificate must have.
};

// `address` is "host:port".
std::shared_ptr<grpc::Channel> MakeTlsChannel(const std::string& address,
                                              const ChannelTls& tls);
std::shared_ptr<grpc::Channel> MakePlainChannel(const std::string& address,
                                                int max_receive_bytes);

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_RPC_CHANNEL_H_
