// SPDX-License-Identifier: Apache-2.0
//
// StallGuard cuts connections on which nothing moves, which take too long as a
// whole, or on which too much comes, for libraries that block on a silent peer
// for ever or keep all that it says in memory. It looks at what the kernel says
// of a socket, so it needs no help from who reads it.

#ifndef FLOTILLA_COMMON_NET_STALL_GUARD_H_
#define FLOTILLA_COMMON_NET_STALL_GUARD_H_

#include <cstdint>
#include <map>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace flotilla {

// Thread-safe.
class StallGuard {
 public:
  struct Limits {
    absl::Duration silence = absl::Seconds(30);
    absl::Duration total = absl::Minutes(10);
  };

  explicit StallGuard(const Limits& limits);
  ~StallGuard();
  StallGuard(const StallGuard&) = delete;
  StallGuard& operator=(const StallGuard&) = delete;

  enum class Cut { kNone, kStalled, kTooMuch, kStopping };

  // Guards a connected socket until Release(), which must come before it is
  // closed and says whether the guard cut it, and why. A peer that sends more
  // than `max_bytes` is cut, a moment late.
  uint64_t Guard(int fd, uint64_t max_bytes);
  void SetMaxBytes(uint64_t id, uint64_t max_bytes);
  Cut Release(uint64_t id);

  // Cuts all sockets, those of the future too: the process is leaving.
  void CutAll();
  bool cut_all() const;

  const Limits& limits() const { return limits_; }

 private:
  struct Socket {
    int fd = -1;
    absl::Duration since;
    uint64_t max_bytes = 0;
    Cut cut = Cut::kNone;
  };

  void Run();
  void Look() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool HasWork() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return stopping_ || !sockets_.empty();
  }

  const Limits limits_;

  mutable absl::Mutex mu_;
  std::map<uint64_t, Socket> sockets_ ABSL_GUARDED_BY(mu_);
  uint64_t next_id_ ABSL_GUARDED_BY(mu_) = 1;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  bool cut_all_ ABSL_GUARDED_BY(mu_) = false;

  // Last: started when all else is there.
  std::thread thread_;
};

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_NET_STALL_GUARD_H_
