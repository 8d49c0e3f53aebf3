// SPDX-License-Identifier: Apache-2.0

#include "manager/gitsync/stall_guard.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>

#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace flotilla::manager {
namespace {

absl::Duration Now() {
  return absl::FromChrono(
      std::chrono::steady_clock::now().time_since_epoch());
}

// For how long nothing has moved on the connection.
absl::Duration SilenceOf(int fd) {
  tcp_info info = {};
  socklen_t size = sizeof(info);
  if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) {
    return absl::ZeroDuration();
  }
  return absl::Milliseconds(
      std::min(info.tcpi_last_data_recv, info.tcpi_last_data_sent));
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

uint64_t StallGuard::Guard(int fd) {
  absl::MutexLock lock(&mu_);
  const uint64_t id = next_id_++;
  Socket& socket = sockets_[id];
  socket.fd = fd;
  socket.since = Now();
  if (cut_all_) {
    socket.cut = true;
    shutdown(fd, SHUT_RDWR);
  }
  return id;
}

bool StallGuard::Release(uint64_t id) {
  absl::MutexLock lock(&mu_);
  const auto it = sockets_.find(id);
  if (it == sockets_.end()) return false;
  const bool cut = it->second.cut;
  sockets_.erase(it);
  return cut;
}

void StallGuard::CutAll() {
  absl::MutexLock lock(&mu_);
  cut_all_ = true;
  for (auto& [id, socket] : sockets_) {
    socket.cut = true;
    shutdown(socket.fd, SHUT_RDWR);
  }
}

bool StallGuard::cut_all() const {
  absl::MutexLock lock(&mu_);
  return cut_all_;
}

void StallGuard::Run() {
  const absl::Duration period = std::min(
      absl::Seconds(1), std::max(absl::Milliseconds(20), limits_.silence / 10));
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
    if (socket.cut) continue;
    const absl::Duration age = now - socket.since;
    const absl::Duration silence = std::min(age, SilenceOf(socket.fd));
    if (silence < limits_.silence && age < limits_.total) continue;
    socket.cut = true;
    shutdown(socket.fd, SHUT_RDWR);
  }
}

}  // namespace flotilla::manager
