// SPDX-License-Identifier: Apache-2.0

#include "manager/helper/frames.h"

#include <limits>

#include "absl/strings/str_cat.h"
#include "common/status/status_macros.h"

namespace flotilla::manager {
namespace {

constexpr size_t kHeaderBytes = 4;

}  // namespace

absl::StatusOr<std::string> EncodeFrame(
    const google::protobuf::MessageLite& message) {
  const size_t size = message.ByteSizeLong();
  if (size > std::numeric_limits<int>::max()) {
    return absl::InternalError("the request cannot be encoded");
  }
  std::string frame(kHeaderBytes + size, '\0');
  for (size_t i = 0; i < kHeaderBytes; ++i) {
    frame[i] = static_cast<char>((size >> (24 - 8 * i)) & 0xff);
  }
  if (!message.SerializeToArray(&frame[kHeaderBytes],
                                static_cast<int>(size))) {
    return absl::InternalError("the request cannot be encoded");
  }
  return frame;
}

absl::Status ReadFrame(Subprocess& process, uint64_t max_bytes,
                       absl::Duration timeout,
                       google::protobuf::MessageLite& message) {
  ASSIGN_OR_RETURN(const std::string header,
                   process.ReadExactly(kHeaderBytes, timeout));
  uint64_t size = 0;
  for (char c : header) size = size << 8 | static_cast<unsigned char>(c);
  if (size > max_bytes) {
    return absl::DataLossError(absl::StrCat("announced ", size, " bytes"));
  }
  ASSIGN_OR_RETURN(const std::string body,
                   process.ReadExactly(static_cast<size_t>(size), timeout));
  if (!message.ParseFromString(body)) {
    return absl::DataLossError("gave an answer that cannot be decoded");
  }
  return absl::OkStatus();
}

}  // namespace flotilla::manager
