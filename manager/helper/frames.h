// SPDX-License-Identifier: Apache-2.0
//
// How the manager talks to its helper programs: over stdin and stdout, in
// frames of a big-endian 32-bit length and that many bytes of a protobuf
// message. frames.go is the other end.

#ifndef FLOTILLA_MANAGER_HELPER_FRAMES_H_
#define FLOTILLA_MANAGER_HELPER_FRAMES_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/env/subprocess.h"
#include "google/protobuf/message_lite.h"

namespace flotilla::manager {

// INTERNAL when the message cannot be encoded, as one over 2 GiB.
absl::StatusOr<std::string> EncodeFrame(
    const google::protobuf::MessageLite& message);

// Waits up to `timeout` for each of length and body. DATA_LOSS when the length
// is over `max_bytes` or the body is no such message, with what the program did
// ("announced 5 bytes") for its name to stand before; otherwise as
// Subprocess::ReadExactly.
absl::Status ReadFrame(Subprocess& process, uint64_t max_bytes,
                       absl::Duration timeout,
                       google::protobuf::MessageLite& message);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_HELPER_FRAMES_H_
