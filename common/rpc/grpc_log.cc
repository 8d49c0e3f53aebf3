// SPDX-License-Identifier: Apache-2.0

#include "common/rpc/grpc_log.h"

#include "absl/time/time.h"
#include "common/log/log.h"
#include "grpc/support/log.h"

namespace flotilla {

void RouteGrpcLog() {
  gpr_set_log_verbosity(GPR_LOG_SEVERITY_ERROR);
  gpr_set_log_function([](gpr_log_func_args* record) {
    if (record->severity != GPR_LOG_SEVERITY_ERROR) return;
    FLOTILLA_LOG_EVERY(WARNING, absl::Seconds(10)) << "gRPC: "
                                                   << record->message;
  });
}

}  // namespace flotilla
