// SPDX-License-Identifier: Apache-2.0
//
// CurlWorker is the thread of a CurlTransport, with everything that is
// libcurl's: it keeps connections, queues what is over the limit, and hands
// what comes to the TransportFront, as one task for each round of epoll.
// Streams and calls use different connections. Owned by a CurlTransport.

#ifndef FLOTILLA_COMMON_KUBE_CURL_WORKER_H_
#define FLOTILLA_COMMON_KUBE_CURL_WORKER_H_

#include <curl/curl.h>
#include <sys/epoll.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "common/event/loop.h"
#include "common/kube/curl_handles.h"
#include "common/kube/curl_setup.h"
#include "common/kube/curl_transfer.h"
#include "common/kube/curl_transport_options.h"
#include "common/kube/http_transport.h"
#include "common/kube/kube_identity.h"
#include "common/kube/transport_front.h"

namespace flotilla {

// Thread-compatible: the public part is called on the loop, the rest runs on
// the thread.
class CurlWorker {
 public:
  using CallId = HttpTransport::CallId;

  // `loop` must outlive it.
  static absl::StatusOr<std::unique_ptr<CurlWorker>> Create(
      KubeIdentity identity, const CurlTransportOptions& options, Loop& loop,
      std::shared_ptr<TransportFront> front);
  ~CurlWorker();
  CurlWorker(const CurlWorker&) = delete;
  CurlWorker& operator=(const CurlWorker&) = delete;

  void Start(CallId id, HttpRequest request, bool is_stream);
  void Cancel(CallId id);

  uint64_t connections_opened() const { return setup_.connections_opened(); }

 private:
  // A libcurl multi handle and the connections in it.
  struct Pool {
    CurlWorker* worker = nullptr;
    CurlMulti multi;
    bool for_streams = false;
    bool retired = false;  // Takes no new transfers.
    size_t active = 0;
    std::optional<SteadyTime> timer;
    SteadyTime last_byte;
  };
  struct Transfer : CurlTransfer {
    Pool* pool = nullptr;  // Null while queued.
  };
  struct Command {
    std::unique_ptr<Transfer> start;
    CallId cancel = 0;
  };

  CurlWorker(KubeIdentity identity, const CurlTransportOptions& options,
             Loop& loop, std::shared_ptr<TransportFront> front, int epoll_fd,
             int wake_fd);

  // On the loop.
  void Give(Command command);
  void Wake();

  // The rest on the thread.
  void Run();
  // False when it is time to end.
  bool TakeCommands();
  void Accept(std::unique_ptr<Transfer> transfer);
  void StartQueued();
  void ExpireQueued();
  // Gives `transfer` to libcurl; ends it at once when that fails.
  void Launch(Transfer* transfer);
  Pool* PoolFor(bool for_streams);

  static int OnSocket(CURL* easy, curl_socket_t fd, int what, void* user,
                      void* socket_user);
  static int OnTimer(CURLM* multi, long timeout_ms, void* user);

  int SleepMilliseconds() const;
  void OnReady(const epoll_event& event);
  void RunTimers();
  void FinishTransfers();
  void GiveHead(Transfer* transfer);
  void GiveChunk(Transfer* transfer);
  // Tells the loop how it ended and forgets it.
  void End(CallId id, absl::Status status);
  void Drop(CallId id);
  void Release(Transfer* transfer);
  // Posts what this round brought, as one task.
  void HandOver();
  void RemoveRetired();
  void Shutdown();

  // Constant after construction.
  const CurlTransportOptions options_;
  Loop& loop_;
  const std::shared_ptr<TransportFront> front_;
  const int epoll_fd_;
  const int wake_fd_;

  // std::mutex: thread sanitizer cannot see the system's absl::Mutex.
  std::mutex mu_;
  std::vector<Command> inbox_;  // Guarded by mu_.
  bool stop_ = false;           // Guarded by mu_.

  // Of the thread.
  CurlSetup setup_;
  StreamNews news_;
  std::list<std::unique_ptr<Pool>> pools_;
  std::unordered_map<int, Pool*> sockets_;
  std::unordered_map<CallId, std::unique_ptr<Transfer>> transfers_;
  std::deque<CallId> queue_;
  std::set<std::pair<SteadyTime, CallId>> queue_deadlines_;
  std::vector<TransportEvent> events_;
  size_t in_flight_ = 0;

  // Declared last: starts when everything else is there.
  std::thread thread_;
};

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_KUBE_CURL_WORKER_H_
