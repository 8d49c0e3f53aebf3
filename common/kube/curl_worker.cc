// SPDX-License-Identifier: Apache-2.0

#include "common/kube/curl_worker.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace flotilla {
namespace {

// What an API server admits on one connection.
constexpr long kMaxServerStreams = 100;

SteadyTime Now() { return std::chrono::steady_clock::now(); }

}  // namespace

absl::StatusOr<std::unique_ptr<CurlWorker>> CurlWorker::Create(
    KubeIdentity identity, const CurlTransportOptions& options, Loop& loop,
    std::shared_ptr<TransportFront> front) {
  const int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  if (epoll_fd < 0) {
    return absl::InternalError(
        absl::StrCat("epoll_create1: ", std::strerror(errno)));
  }
  const int wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake_fd < 0) {
    close(epoll_fd);
    return absl::InternalError(absl::StrCat("eventfd: ", std::strerror(errno)));
  }
  return std::unique_ptr<CurlWorker>(new CurlWorker(
      std::move(identity), options, loop, std::move(front), epoll_fd, wake_fd));
}

CurlWorker::CurlWorker(KubeIdentity identity,
                       const CurlTransportOptions& options, Loop& loop,
                       std::shared_ptr<TransportFront> front, int epoll_fd,
                       int wake_fd)
    : options_(options),
      loop_(loop),
      front_(std::move(front)),
      epoll_fd_(epoll_fd),
      wake_fd_(wake_fd),
      setup_(std::move(identity), options),
      thread_([this] { Run(); }) {}

CurlWorker::~CurlWorker() {
  {
    const std::lock_guard<std::mutex> lock(mu_);
    stop_ = true;
  }
  Wake();
  thread_.join();
  close(wake_fd_);
  close(epoll_fd_);
}

void CurlWorker::Start(CallId id, HttpRequest request, bool is_stream) {
  auto transfer = std::make_unique<Transfer>();
  transfer->news = &news_;
  transfer->id = id;
  transfer->deadline =
      Now() + absl::ToChronoNanoseconds(std::clamp(
                  request.timeout, absl::Milliseconds(1), absl::Hours(24)));
  transfer->request = std::move(request);
  transfer->is_stream = is_stream;
  Command command;
  command.start = std::move(transfer);
  Give(std::move(command));
}

void CurlWorker::Cancel(CallId id) {
  Command command;
  command.cancel = id;
  Give(std::move(command));
}

void CurlWorker::Give(Command command) {
  bool was_empty;
  {
    const std::lock_guard<std::mutex> lock(mu_);
    was_empty = inbox_.empty();
    inbox_.push_back(std::move(command));
  }
  if (was_empty) Wake();
}

void CurlWorker::Wake() {
  const uint64_t one = 1;
  // Full means that a wake-up is under way already.
  [[maybe_unused]] const ssize_t written = write(wake_fd_, &one, sizeof(one));
}

void CurlWorker::Run() {
  epoll_event wake = {};
  wake.events = EPOLLIN;
  wake.data.fd = wake_fd_;
  epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, wake_fd_, &wake);
  std::vector<epoll_event> ready(64);
  while (TakeCommands()) {
    StartQueued();
    FinishTransfers();
    HandOver();
    const int count =
        epoll_wait(epoll_fd_, ready.data(), static_cast<int>(ready.size()),
                   SleepMilliseconds());
    for (int i = 0; i < count; ++i) OnReady(ready[i]);
    RunTimers();
    FinishTransfers();
    ExpireQueued();
    HandOver();
    RemoveRetired();
  }
  Shutdown();
}

bool CurlWorker::TakeCommands() {
  std::vector<Command> commands;
  {
    const std::lock_guard<std::mutex> lock(mu_);
    if (stop_) return false;
    commands.swap(inbox_);
  }
  for (Command& command : commands) {
    if (command.start != nullptr) {
      Accept(std::move(command.start));
    } else {
      Drop(command.cancel);
    }
  }
  return true;
}

void CurlWorker::Accept(std::unique_ptr<Transfer> transfer) {
  const CallId id = transfer->id;
  Transfer* const raw = transfer.get();
  transfers_[id] = std::move(transfer);
  if (raw->is_stream) {
    Launch(raw);
  } else {
    queue_.push_back(id);
    queue_deadlines_.emplace(raw->deadline, id);
  }
}

void CurlWorker::StartQueued() {
  while (!queue_.empty() &&
         in_flight_ < static_cast<size_t>(options_.max_in_flight)) {
    const CallId id = queue_.front();
    queue_.pop_front();
    const auto found = transfers_.find(id);
    if (found == transfers_.end()) continue;  // Cancelled or expired.
    queue_deadlines_.erase({found->second->deadline, id});
    Launch(found->second.get());
  }
}

void CurlWorker::ExpireQueued() {
  const SteadyTime now = Now();
  while (!queue_deadlines_.empty() && queue_deadlines_.begin()->first <= now) {
    const CallId id = queue_deadlines_.begin()->second;
    queue_deadlines_.erase(queue_deadlines_.begin());
    End(id, absl::DeadlineExceededError(
                "the request waited for its turn until its time was up; "
                "nothing was sent"));
  }
}

void CurlWorker::Launch(Transfer* transfer) {
  const absl::Status prepared = setup_.Prepare(*transfer, Now());
  if (!prepared.ok()) {
    End(transfer->id, prepared);
    return;
  }
  Pool* const pool = PoolFor(transfer->is_stream);
  if (pool == nullptr) {
    End(transfer->id, absl::InternalError("libcurl gave no multi handle"));
    return;
  }
  const CURLMcode code =
      curl_multi_add_handle(pool->multi.get(), transfer->easy.get());
  if (code != CURLM_OK) {
    End(transfer->id, absl::InternalError(absl::StrCat(
                          "libcurl: ", curl_multi_strerror(code))));
    return;
  }
  if (pool->active == 0) pool->last_byte = Now();
  transfer->pool = pool;
  transfer->last_byte = &pool->last_byte;
  ++pool->active;
  if (!transfer->is_stream) ++in_flight_;
}

CurlWorker::Pool* CurlWorker::PoolFor(bool for_streams) {
  // A pool of streams has one connection's worth of them: over the limit,
  // libcurl would open a connection for each.
  for (const std::unique_ptr<Pool>& pool : pools_) {
    if (pool->for_streams == for_streams && !pool->retired &&
        (!for_streams ||
         pool->active < static_cast<size_t>(options_.streams_per_connection))) {
      return pool.get();
    }
  }
  auto pool = std::make_unique<Pool>();
  pool->worker = this;
  pool->for_streams = for_streams;
  pool->multi.reset(curl_multi_init());
  CURLM* const multi = pool->multi.get();
  if (multi == nullptr) return nullptr;
  curl_multi_setopt(multi, CURLMOPT_PIPELINING,
                    static_cast<long>(CURLPIPE_MULTIPLEX));
  curl_multi_setopt(multi, CURLMOPT_MAX_CONCURRENT_STREAMS, kMaxServerStreams);
  curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, &CurlWorker::OnSocket);
  curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, pool.get());
  curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, &CurlWorker::OnTimer);
  curl_multi_setopt(multi, CURLMOPT_TIMERDATA, pool.get());
  pool->last_byte = Now();
  pools_.push_back(std::move(pool));
  return pools_.back().get();
}

int CurlWorker::OnSocket(CURL* /*easy*/, curl_socket_t fd, int what, void* user,
                         void* /*socket_user*/) {
  auto* const pool = static_cast<Pool*>(user);
  CurlWorker* const worker = pool->worker;
  if (what == CURL_POLL_REMOVE) {
    worker->sockets_.erase(fd);
    epoll_ctl(worker->epoll_fd_, EPOLL_CTL_DEL, fd, nullptr);
    return 0;
  }
  epoll_event event = {};
  event.data.fd = fd;
  if ((what & CURL_POLL_IN) != 0) event.events |= EPOLLIN;
  if ((what & CURL_POLL_OUT) != 0) event.events |= EPOLLOUT;
  worker->sockets_[fd] = pool;
  if (epoll_ctl(worker->epoll_fd_, EPOLL_CTL_MOD, fd, &event) != 0) {
    epoll_ctl(worker->epoll_fd_, EPOLL_CTL_ADD, fd, &event);
  }
  return 0;
}

int CurlWorker::OnTimer(CURLM* /*multi*/, long timeout_ms, void* user) {
  auto* const pool = static_cast<Pool*>(user);
  if (timeout_ms < 0) {
    pool->timer.reset();
  } else {
    pool->timer = Now() + std::chrono::milliseconds(timeout_ms);
  }
  return 0;
}

int CurlWorker::SleepMilliseconds() const {
  std::optional<SteadyTime> next;
  for (const std::unique_ptr<Pool>& pool : pools_) {
    if (pool->timer.has_value() && (!next || *pool->timer < *next)) {
      next = pool->timer;
    }
  }
  if (!queue_deadlines_.empty()) {
    const SteadyTime deadline = queue_deadlines_.begin()->first;
    if (!next || deadline < *next) next = deadline;
  }
  if (!next) return -1;
  const auto wait = *next - Now();
  if (wait <= std::chrono::steady_clock::duration::zero()) return 0;
  return static_cast<int>(
      CurlMilliseconds(wait + std::chrono::microseconds(999)));
}

void CurlWorker::OnReady(const epoll_event& event) {
  if (event.data.fd == wake_fd_) {
    uint64_t count;
    [[maybe_unused]] const ssize_t bytes =
        read(wake_fd_, &count, sizeof(count));
    return;
  }
  const auto socket = sockets_.find(event.data.fd);
  if (socket == sockets_.end()) return;
  int flags = 0;
  if ((event.events & EPOLLIN) != 0) flags |= CURL_CSELECT_IN;
  if ((event.events & EPOLLOUT) != 0) flags |= CURL_CSELECT_OUT;
  if ((event.events & (EPOLLERR | EPOLLHUP)) != 0) flags |= CURL_CSELECT_ERR;
  int running;
  curl_multi_socket_action(socket->second->multi.get(), event.data.fd, flags,
                           &running);
}

void CurlWorker::RunTimers() {
  const SteadyTime now = Now();
  for (const std::unique_ptr<Pool>& pool : pools_) {
    if (!pool->timer.has_value() || *pool->timer > now) continue;
    pool->timer.reset();
    int running;
    curl_multi_socket_action(pool->multi.get(), CURL_SOCKET_TIMEOUT, 0,
                             &running);
  }
}

void CurlWorker::FinishTransfers() {
  for (const std::unique_ptr<Pool>& pool : pools_) {
    int left;
    while (CURLMsg* const message =
               curl_multi_info_read(pool->multi.get(), &left)) {
      if (message->msg != CURLMSG_DONE) continue;
      char* user = nullptr;
      curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &user);
      auto* const transfer = reinterpret_cast<CurlTransfer*>(user);
      const absl::Status status =
          StatusOf(message->data.result, *transfer, setup_.server());
      if (transfer->answer.code == 401 && status.ok()) {
        setup_.OnUnauthorized(Now());
      }
      if (message->data.result == CURLE_OPERATION_TIMEDOUT &&
          Now() - pool->last_byte >
              absl::ToChronoNanoseconds(options_.silence_limit)) {
        pool->retired = true;
      }
      End(transfer->id, status);
    }
  }
}

void CurlWorker::GiveHead(Transfer* transfer) {
  if (transfer->head_given) return;
  transfer->head_given = true;
  HttpAnswer head = transfer->answer;
  head.body.clear();
  events_.push_back({transfer->id, TransportEvent::Head{std::move(head)}});
}

void CurlWorker::GiveChunk(Transfer* transfer) {
  if (transfer->chunk.empty()) return;
  GiveHead(transfer);
  transfer->untaken->fetch_add(transfer->chunk.size());
  events_.push_back(
      {transfer->id,
       TransportEvent::Bytes{std::move(transfer->chunk), transfer->untaken}});
  transfer->chunk.clear();
}

void CurlWorker::End(CallId id, absl::Status status) {
  const auto found = transfers_.find(id);
  if (found == transfers_.end()) return;
  Transfer* const transfer = found->second.get();
  if (transfer->is_stream) {
    if (status.ok() || transfer->answer.code >= 300) {
      GiveChunk(transfer);
      if (transfer->answer.code != 0) GiveHead(transfer);
    }
    events_.push_back(
        {id, TransportEvent::End{std::move(status), HttpAnswer()}});
  } else {
    events_.push_back({id, TransportEvent::End{std::move(status),
                                               std::move(transfer->answer)}});
  }
  Release(transfer);
  transfers_.erase(found);
  news_.bytes.erase(id);
}

void CurlWorker::Drop(CallId id) {
  const auto found = transfers_.find(id);
  if (found == transfers_.end()) return;
  queue_deadlines_.erase({found->second->deadline, id});
  Release(found->second.get());
  transfers_.erase(found);
  news_.bytes.erase(id);
}

void CurlWorker::Release(Transfer* transfer) {
  if (transfer->pool != nullptr) {
    curl_multi_remove_handle(transfer->pool->multi.get(), transfer->easy.get());
    --transfer->pool->active;
    if (!transfer->is_stream) --in_flight_;
    transfer->pool = nullptr;
    transfer->last_byte = nullptr;
  }
  setup_.TakeBack(std::move(transfer->easy));
}

void CurlWorker::HandOver() {
  for (const CallId id : news_.bytes) {
    const auto found = transfers_.find(id);
    if (found != transfers_.end()) GiveChunk(found->second.get());
  }
  news_.bytes.clear();
  // A watch with nothing to say yet is still answered.
  for (const CallId id : news_.heads) {
    const auto found = transfers_.find(id);
    if (found != transfers_.end()) GiveHead(found->second.get());
  }
  news_.heads.clear();
  if (events_.empty()) return;
  loop_.Post([front = front_, events = std::move(events_)]() mutable {
    front->Dispatch(std::move(events));
  });
  events_.clear();
}

void CurlWorker::RemoveRetired() {
  pools_.remove_if([](const std::unique_ptr<Pool>& pool) {
    return pool->retired && pool->active == 0;
  });
}

void CurlWorker::Shutdown() {
  for (auto& [id, transfer] : transfers_) Release(transfer.get());
  transfers_.clear();
  setup_.FreeHandles();
  // Closes connections, which calls OnSocket().
  pools_.clear();
}

}  // namespace flotilla
