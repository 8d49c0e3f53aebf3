// SPDX-License-Identifier: Apache-2.0

#include "common/net/stall_guard.h"

// Not netinet/tcp.h, whose tcp_info is of an older kernel.
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>

#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace flotilla {
namespace {

absl::Duration Now() {
  return absl::FromChrono(
      std::chrono::steady_clock::now().time_since_epoch());
}

// How often sockets are looked at; in this time a server sends a few MiB.
constexpr absl::Duration kPeriod = absl::Milliseconds(100);

struct Traffic {
  absl::Duration silence;  // For how long nothing has moved.
  uint64_t received = 0;   // Bytes.
};

Traffic TrafficOf(int fd) {
  tcp_info info = {};
  socklen_t size = sizeof(info);
  if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return {};
  return {absl::Milliseconds(std::min(info.tcpi_last_data_recv,
                                      info.tcpi_last_data_sent)),
          info.tcpi_bytes_received};
}

}  // namespace

StallGuard::StallGuard(const Limits& limits)
    : limits_(limits), thread_([this] { Run(); }) {}

StallGuard::~StallGuard() {
  {
    absl::MutexLock lock(&mu_);
    stopping_ = true;
  }
  thread_.join();
}

uint64_t StallGuard::Guard(int fd, uint64_t max_bytes) {
  absl::MutexLock lock(&mu_);
  const uint64_t id = next_id_++;
  Socket& socket = sockets_[id];
  socket.fd = fd;
  socket.since = Now();
  socket.max_bytes = max_bytes;
  if (cut_all_) {
    socket.cut = Cut::kStopping;
    shutdown(fd, SHUT_RDWR);
  }
  return id;
}

void StallGuard::SetMaxBytes(uint64_t id, uint64_t max_bytes) {
  absl::MutexLock lock(&mu_);
  const auto it = sockets_.find(id);
  if (it != sockets_.end()) it->second.max_bytes = max_bytes;
}

StallGuard::Cut StallGuard::Release(uint64_t id) {
  absl::MutexLock lock(&mu_);
  const auto it = sockets_.find(id);
  if (it == sockets_.end()) return Cut::kNone;
  const Cut cut = it->second.cut;
  sockets_.erase(it);
  return cut;
}

void StallGuard::CutAll() {
  absl::MutexLock lock(&mu_);
  cut_all_ = true;
  for (auto& [id, socket] : sockets_) {
    socket.cut = Cut::kStopping;
    shutdown(socket.fd, SHUT_RDWR);
  }
}

bool StallGuard::cut_all() const {
  absl::MutexLock lock(&mu_);
  return cut_all_;
}

void StallGuard::Run() {
  const absl::Duration period = std::min(
      kPeriod, std::max(absl::Milliseconds(20), limits_.silence / 10));
  absl::MutexLock lock(&mu_);
  while (true) {
    mu_.Await(absl::Condition(this, &StallGuard::HasWork));
    if (stopping_) return;
    mu_.AwaitWithTimeout(absl::Condition(&stopping_), period);
    if (stopping_) return;
    Look();
  }
}

void StallGuard::Look() {
  const absl::Duration now = Now();
  for (auto& [id, socket] : sockets_) {
    if (socket.cut != Cut::kNone) continue;
    const Traffic traffic = TrafficOf(socket.fd);
    const absl::Duration age = now - socket.since;
    const absl::Duration silence = std::min(age, traffic.silence);
    if (traffic.received > socket.max_bytes) {
      socket.cut = Cut::kTooMuch;
    } else if (silence >= limits_.silence || age >= limits_.total) {
      socket.cut = Cut::kStalled;
    } else {
      continue;
    }
    shutdown(socket.fd, SHUT_RDWR);
  }
}

}  // namespace flotilla
