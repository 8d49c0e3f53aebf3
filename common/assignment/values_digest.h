// SPDX-License-Identifier: Apache-2.0
//
// ValuesDigest says in 32 bytes what an agent found where a deployment's values
// lie, so that neither half sends what the other has. The exact bytes are in
// docs/protocol.md ("Values digest").

#ifndef FLOTILLA_COMMON_ASSIGNMENT_VALUES_DIGEST_H_
#define FLOTILLA_COMMON_ASSIGNMENT_VALUES_DIGEST_H_

#include <string>

#include "flotilla/agent/v1/agent.pb.h"

namespace flotilla {

// SHA-256, 32 raw bytes, over refs, service account, contents and the problem's
// code and message. `bundle_id` and `digest` do not matter.
std::string ValuesDigest(const agent::v1::ValuesReport& report);

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_ASSIGNMENT_VALUES_DIGEST_H_
