// SPDX-License-Identifier: Apache-2.0

#include "common/net/stall_guard.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/time/time.h"
#include "gtest/gtest.h"

namespace flotilla {
namespace {

using Cut = StallGuard::Cut;

constexpr uint64_t kMaxBytes = 1000;

// Two ends of a TCP connection.
class Connection {
 public:
  Connection() {
    const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    auto* raw = reinterpret_cast<sockaddr*>(&address);
    EXPECT_EQ(bind(listener, raw, size), 0);
    EXPECT_EQ(listen(listener, 1), 0);
    EXPECT_EQ(getsockname(listener, raw, &size), 0);
    peer_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    EXPECT_EQ(connect(peer_, raw, size), 0);
    ours_ = accept(listener, nullptr, nullptr);
    EXPECT_GE(ours_, 0);
    close(listener);
  }
  ~Connection() {
    close(ours_);
    close(peer_);
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  int ours() const { return ours_; }

  void PeerSends(size_t bytes) {
    const std::string text(bytes, 'x');
    ASSERT_EQ(send(peer_, text.data(), bytes, MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes));
  }

  // Blocks until the connection ends; the bytes that came.
  size_t ReadToTheEnd() {
    size_t all = 0;
    char buffer[4096];
    while (true) {
      const ssize_t got = recv(ours_, buffer, sizeof(buffer), 0);
      if (got <= 0) return all;
      all += static_cast<size_t>(got);
    }
  }

 private:
  int ours_ = -1;
  int peer_ = -1;
};

// That ReadToTheEnd() returns is half of each test: the peers never close.

TEST(StallGuard, CutsAConnectionOnWhichNothingMoves) {
  StallGuard guard({absl::Milliseconds(1), absl::InfiniteDuration()});
  Connection connection;

  const uint64_t id = guard.Guard(connection.ours(), kMaxBytes);

  EXPECT_EQ(connection.ReadToTheEnd(), 0u);
  EXPECT_EQ(guard.Release(id), Cut::kStalled);
}

TEST(StallGuard, CutsAConnectionThatTakesTooLongAsAWhole) {
  StallGuard guard({absl::InfiniteDuration(), absl::Milliseconds(1)});
  Connection connection;
  connection.PeerSends(10);

  const uint64_t id = guard.Guard(connection.ours(), kMaxBytes);

  EXPECT_EQ(connection.ReadToTheEnd(), 10u);
  EXPECT_EQ(guard.Release(id), Cut::kStalled);
}

TEST(StallGuard, CutsAPeerThatSendsTooMuchAndNoOther) {
  StallGuard guard({absl::InfiniteDuration(), absl::InfiniteDuration()});
  Connection modest;
  Connection loud;
  modest.PeerSends(kMaxBytes);
  loud.PeerSends(kMaxBytes + 1);

  const uint64_t modest_id = guard.Guard(modest.ours(), kMaxBytes);
  const uint64_t loud_id = guard.Guard(loud.ours(), kMaxBytes);

  loud.ReadToTheEnd();
  EXPECT_EQ(guard.Release(loud_id), Cut::kTooMuch);
  // Looked at before, and still open.
  EXPECT_EQ(guard.Release(modest_id), Cut::kNone);
  modest.PeerSends(1);
}

TEST(StallGuard, ALimitMayChange) {
  StallGuard guard({absl::InfiniteDuration(), absl::InfiniteDuration()});
  Connection other;
  Connection loud;
  other.PeerSends(kMaxBytes + 1);
  loud.PeerSends(kMaxBytes + 1);

  const uint64_t other_id = guard.Guard(other.ours(), 2 * kMaxBytes);
  guard.SetMaxBytes(other_id, kMaxBytes + 1);
  const uint64_t loud_id = guard.Guard(loud.ours(), kMaxBytes);

  loud.ReadToTheEnd();
  EXPECT_EQ(guard.Release(other_id), Cut::kNone);
  EXPECT_EQ(guard.Release(loud_id), Cut::kTooMuch);
}

TEST(StallGuard, CutsAllWhenTheProcessLeaves) {
  StallGuard guard({absl::InfiniteDuration(), absl::InfiniteDuration()});
  Connection before;
  Connection after;
  const uint64_t before_id = guard.Guard(before.ours(), kMaxBytes);

  guard.CutAll();
  const uint64_t after_id = guard.Guard(after.ours(), kMaxBytes);

  EXPECT_TRUE(guard.cut_all());
  before.ReadToTheEnd();
  after.ReadToTheEnd();
  EXPECT_EQ(guard.Release(before_id), Cut::kStopping);
  EXPECT_EQ(guard.Release(after_id), Cut::kStopping);
  // Twice is no crash.
  EXPECT_EQ(guard.Release(after_id), Cut::kNone);
}

}  // namespace
}  // namespace flotilla
