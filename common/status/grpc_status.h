// SPDX-License-Identifier: Apache-2.0
//
// The one mapping between absl::Status and grpc::Status. Codes have the same
// numbers on both sides; a code that is not one of the seventeen becomes
// UNKNOWN. A message is cut so that it fits into HTTP/2 headers.

#ifndef FLOTILLA_COMMON_STATUS_GRPC_STATUS_H_
#define FLOTILLA_COMMON_STATUS_GRPC_STATUS_H_

#include "absl/status/status.h"
#include "grpcpp/support/status.h"

namespace flotilla {

grpc::Status ToGrpcStatus(const absl::Status& status);
absl::Status FromGrpcStatus(const grpc::Status& status);

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_STATUS_GRPC_STATUS_H_
