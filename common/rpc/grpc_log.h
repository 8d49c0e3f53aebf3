// SPDX-License-Identifier: Apache-2.0
//
// RouteGrpcLog() sends gRPC's own messages to our log: its errors, such as a
// TLS handshake that failed, as rate-limited warnings, the rest nowhere. Call
// it once in main(), before any channel or server exists.

#ifndef FLOTILLA_COMMON_RPC_GRPC_LOG_H_
#define FLOTILLA_COMMON_RPC_GRPC_LOG_H_

namespace flotilla {

void RouteGrpcLog();

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_RPC_GRPC_LOG_H_
