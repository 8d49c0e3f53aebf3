// SPDX-License-Identifier: Apache-2.0

#include "common/kube/curl_transport.h"

#include <curl/curl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <deque>
#include <fstream>
#include <limits>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"

#include "common/event/loop.h"
#include "common/kube/http_transport.h"
#include "common/kube/kube_identity.h"
#include "common/status/status_macros.h"

namespace flotilla {
namespace {

using CallId = HttpTransport::CallId;
using SteadyTime = std::chrono::steady_clock::time_point;

constexpr size_t kMaxErrorBody = 64 << 10;
constexpr size_t kMaxIdleHandles = 64;
constexpr long kReadBuffer = 64 << 10;
// What an API server admits on one connection.
constexpr long kMaxServerStreams = 100;
constexpr std::chrono::seconds kTokenAge(60);

SteadyTime Now() { return std::chrono::steady_clock::now(); }

struct CurlMultiFree {
  void operator()(CURLM* multi) const { curl_multi_cleanup(multi); }
};
struct CurlEasyFree {
  void operator()(CURL* easy) const { curl_easy_cleanup(easy); }
};
struct CurlSlistFree {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};
using CurlMulti = std::unique_ptr<CURLM, CurlMultiFree>;
using CurlEasy = std::unique_ptr<CURL, CurlEasyFree>;
using CurlSlist = std::unique_ptr<curl_slist, CurlSlistFree>;

// Bytes that were handed to the loop and that it has not taken yet.
using Untaken = std::shared_ptr<std::atomic<size_t>>;

// What the worker tells the loop about one call.
//
// Thread-compatible.
struct Event {
  struct Head {
    HttpAnswer answer;
  };
  struct Bytes {
    std::string bytes;
    Untaken untaken;
  };
  struct End {
    absl::Status status;
    HttpAnswer answer;  // Empty for streams.
  };
  CallId id = 0;
  std::variant<Head, Bytes, End> what;
};

absl::StatusOr<std::string> ReadToken(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream content;
  content << file.rdbuf();
  if (!file.good()) {
    return absl::UnauthenticatedError(
        absl::StrCat("the token file ", path, " cannot be read"));
  }
  absl::StatusOr<std::string> token = CheckToken(content.str());
  if (!token.ok()) {
    return absl::UnauthenticatedError(
        absl::StrCat(path, ": ", token.status().message()));
  }
  return token;
}

long Milliseconds(std::chrono::steady_clock::duration duration) {
  const auto ms =
      std::chrono::duration_cast<std::chrono::milliseconds>(duration).count();
  return static_cast<long>(
      std::clamp<int64_t>(ms, 1, std::numeric_limits<int>::max()));
}

// Makes a dead peer known within half a minute.
int TuneSocket(void* opened, curl_socket_t fd, curlsocktype /*purpose*/) {
  const int on = 1;
  const int idle_s = 10;
  const int interval_s = 5;
  const int probes = 3;
  const unsigned user_timeout_ms = 25000;
  setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof(interval_s));
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
  setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout_ms,
             sizeof(user_timeout_ms));
  static_cast<std::atomic<uint64_t>*>(opened)->fetch_add(1);
  return CURL_SOCKOPT_OK;
}

curl_blob BlobOf(const std::string& pem) {
  curl_blob blob;
  blob.data = const_cast<char*>(pem.data());
  blob.len = pem.size();
  blob.flags = CURL_BLOB_NOCOPY;
  return blob;
}

}  // namespace

// The loop's side: who waits for which call.
//
// Loop-affine, but for its reference count.
class CurlTransport::Front {
 public:
  using Done = absl::AnyInvocable<void(absl::StatusOr<HttpAnswer>)>;

  void Dispatch(std::vector<Event> events) {
    for (Event& event : events) {
      if (closed_) return;
      DispatchOne(std::move(event));
    }
  }

  void AddCall(CallId id, Done done) { calls_[id] = std::move(done); }
  void AddStream(CallId id, HttpStreamListener* listener) {
    streams_[id] = listener;
  }
  void Forget(CallId id) {
    calls_.erase(id);
    streams_.erase(id);
  }
  bool closed() const { return closed_; }
  void Close() {
    closed_ = true;
    // Destroying a completion may run any destructor: keep the map out of it.
    absl::flat_hash_map<CallId, Done> calls;
    calls.swap(calls_);
    streams_.clear();
  }

  size_t waiting() const { return calls_.size(); }
  size_t streams() const { return streams_.size(); }

  // Cancels `id` at the worker; empty once the transport is gone.
  absl::AnyInvocable<void(CallId)> cancel;

 private:
  void DispatchOne(Event event) {
    if (auto* bytes = std::get_if<Event::Bytes>(&event.what)) {
      bytes->untaken->fetch_sub(bytes->bytes.size());
      const auto stream = streams_.find(event.id);
      if (stream != streams_.end()) {
        stream->second->OnBytes(std::move(bytes->bytes));
      }
      return;
    }
    if (auto* head = std::get_if<Event::Head>(&event.what)) {
      const auto stream = streams_.find(event.id);
      if (stream != streams_.end()) {
        stream->second->OnHead(std::move(head->answer));
      }
      return;
    }
    auto& end = std::get<Event::End>(event.what);
    if (const auto stream = streams_.find(event.id); stream != streams_.end()) {
      HttpStreamListener* const listener = stream->second;
      streams_.erase(stream);
      listener->OnEnd(std::move(end.status));
      return;
    }
    const auto call = calls_.find(event.id);
    if (call == calls_.end()) return;
    Done done = std::move(call->second);
    calls_.erase(call);
    if (end.status.ok()) {
      done(std::move(end.answer));
    } else {
      done(std::move(end.status));
    }
  }

  absl::flat_hash_map<CallId, Done> calls_;
  absl::flat_hash_map<CallId, HttpStreamListener*> streams_;
  bool closed_ = false;
};

// The thread with everything that is libcurl's.
//
// Thread-compatible: Start(), Cancel() and the destructor on the loop, the
// rest on the thread.
class CurlTransport::Worker {
 public:
  Worker(KubeIdentity identity, CurlTransportOptions options, Loop& loop,
         std::shared_ptr<Front> front, int epoll_fd, int wake_fd)
      : identity_(std::move(identity)),
        options_(std::move(options)),
        loop_(loop),
        front_(std::move(front)),
        epoll_fd_(epoll_fd),
        wake_fd_(wake_fd),
        thread_([this] { Run(); }) {}

  ~Worker() {
    {
      const std::lock_guard<std::mutex> lock(mu_);
      stop_ = true;
    }
    Wake();
    thread_.join();
    close(wake_fd_);
    close(epoll_fd_);
  }

  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  void Start(CallId id, HttpRequest request, bool is_stream) {
    auto transfer = std::make_unique<Transfer>();
    transfer->worker = this;
    transfer->id = id;
    transfer->deadline =
        Now() + absl::ToChronoNanoseconds(std::clamp(
                    request.timeout, absl::Milliseconds(1), absl::Hours(24)));
    transfer->request = std::move(request);
    transfer->is_stream = is_stream;
    transfer->untaken = std::make_shared<std::atomic<size_t>>(0);
    Command command;
    command.start = std::move(transfer);
    Give(std::move(command));
  }

  void Cancel(CallId id) {
    Command command;
    command.cancel = id;
    Give(std::move(command));
  }

  uint64_t connections_opened() const { return opened_.load(); }

 private:
  struct Pool;

  // One request on its way.
  //
  // Thread-compatible.
  struct Transfer {
    Worker* worker = nullptr;
    CallId id = 0;
    HttpRequest request;
    bool is_stream = false;
    SteadyTime deadline;

    Pool* pool = nullptr;  // Null while queued.
    CurlEasy easy;
    CurlSlist headers;
    char error[CURL_ERROR_SIZE] = {};
    HttpAnswer answer;
    bool head_given = false;
    std::string chunk;  // Of a stream, not yet handed over.
    Untaken untaken;
    absl::Status refused;  // Why we ended it ourselves.
  };

  // A libcurl multi handle and the connections in it.
  //
  // Thread-compatible.
  struct Pool {
    Worker* worker = nullptr;
    CurlMulti multi;
    bool for_streams = false;
    bool retired = false;  // Takes no new transfers.
    size_t active = 0;
    std::optional<SteadyTime> timer;
    SteadyTime last_byte;
  };

  struct Command {
    std::unique_ptr<Transfer> start;
    CallId cancel = 0;
  };

  // --- Called on the loop.

  void Give(Command command) {
    bool was_empty;
    {
      const std::lock_guard<std::mutex> lock(mu_);
      was_empty = inbox_.empty();
      inbox_.push_back(std::move(command));
    }
    if (was_empty) Wake();
  }

  void Wake() {
    const uint64_t one = 1;
    // Full means that a wake-up is under way already.
    [[maybe_unused]] const ssize_t written = write(wake_fd_, &one, sizeof(one));
  }

  // --- On the thread.

  void Run() {
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

  // False when it is time to end.
  bool TakeCommands() {
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

  void Accept(std::unique_ptr<Transfer> transfer) {
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

  void StartQueued() {
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

  void ExpireQueued() {
    const SteadyTime now = Now();
    while (!queue_deadlines_.empty() &&
           queue_deadlines_.begin()->first <= now) {
      const CallId id = queue_deadlines_.begin()->second;
      queue_deadlines_.erase(queue_deadlines_.begin());
      End(id, absl::DeadlineExceededError(
                  "the request waited for its turn until its time was up; "
                  "nothing was sent"));
    }
  }

  // Gives `transfer` to libcurl; ends it at once when that fails.
  void Launch(Transfer* transfer) {
    const absl::Status prepared = Prepare(transfer);
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
    ++pool->active;
    if (!transfer->is_stream) ++in_flight_;
  }

  absl::Status Prepare(Transfer* transfer) {
    const HttpRequest& request = transfer->request;
    if (!idle_.empty()) {
      transfer->easy = std::move(idle_.back());
      idle_.pop_back();
      curl_easy_reset(transfer->easy.get());
    } else {
      transfer->easy.reset(curl_easy_init());
    }
    CURL* const easy = transfer->easy.get();
    if (easy == nullptr) return absl::InternalError("libcurl gave no handle");

    RETURN_IF_ERROR(AddHeaders(transfer));
    SetTls(easy);
    const std::string url = absl::StrCat(BaseUrl(), request.target);
    curl_easy_setopt(easy, CURLOPT_URL, url.c_str());
    curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(easy, CURLOPT_PROXY, identity_.proxy_url.c_str());
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION,
                     static_cast<long>(CURL_HTTP_VERSION_2TLS));
    // Wait for a connection that is being made rather than make another.
    curl_easy_setopt(easy, CURLOPT_PIPEWAIT, 1L);
    curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, kReadBuffer);
    curl_easy_setopt(easy, CURLOPT_SOCKOPTFUNCTION, &TuneSocket);
    curl_easy_setopt(easy, CURLOPT_SOCKOPTDATA, &opened_);
    curl_easy_setopt(
        easy, CURLOPT_CONNECTTIMEOUT_MS,
        Milliseconds(absl::ToChronoNanoseconds(options_.connect_timeout)));
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS,
                     Milliseconds(transfer->deadline - Now()));
    curl_easy_setopt(easy, CURLOPT_USERAGENT, options_.user_agent.c_str());
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->error);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, transfer->headers.get());
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, &Worker::OnBody);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, &Worker::OnHeader);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer);
    curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
    if (request.compress) {
      curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "gzip");
    }
    if (request.method != "GET") {
      curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request.method.c_str());
    }
    if (!request.content_type.empty()) {
      curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE,
                       static_cast<curl_off_t>(request.body.size()));
      // Not copied: the transfer keeps it.
      curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request.body.c_str());
    }
    return absl::OkStatus();
  }

  absl::Status AddHeaders(Transfer* transfer) {
    const HttpRequest& request = transfer->request;
    std::vector<std::string> lines;
    if (!request.accept.empty()) {
      lines.push_back(absl::StrCat("Accept: ", request.accept));
    }
    if (!request.content_type.empty()) {
      lines.push_back(absl::StrCat("Content-Type: ", request.content_type));
      lines.push_back("Expect:");
    }
    if (!request.if_none_match.empty()) {
      lines.push_back(absl::StrCat("If-None-Match: ", request.if_none_match));
    }
    if (!request.impersonate.empty()) {
      lines.push_back(absl::StrCat("Impersonate-User: ", request.impersonate));
    }
    ASSIGN_OR_RETURN(const std::string token, Token());
    if (!token.empty()) {
      lines.push_back(absl::StrCat("Authorization: Bearer ", token));
    }
    for (const std::string& line : lines) {
      if (line.find_first_of("\r\n") != std::string::npos) {
        return absl::InvalidArgumentError(
            "a header must not hold a line break");
      }
      curl_slist* const longer =
          curl_slist_append(transfer->headers.get(), line.c_str());
      if (longer == nullptr) return absl::InternalError("out of memory");
      if (transfer->headers == nullptr) transfer->headers.reset(longer);
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::string> Token() {
    if (identity_.token_file.empty()) return identity_.token;
    if (token_.empty() || Now() - token_read_ > kTokenAge) {
      absl::StatusOr<std::string> token = ReadToken(identity_.token_file);
      if (!token.ok()) {
        // The one we have may still be good for a while.
        if (token_.empty()) return token.status();
      } else {
        token_ = *std::move(token);
      }
      token_read_ = Now();
    }
    return token_;
  }

  std::string BaseUrl() const {
    if (identity_.tls_server_name.empty()) return identity_.server;
    // The name is in the URL and the address in CONNECT_TO.
    const absl::string_view server = identity_.server;
    const size_t host = server.find("://") + 3;
    const size_t host_end = std::min(server.find('/', host), server.size());
    const absl::string_view authority = server.substr(host, host_end - host);
    const size_t colon = authority.rfind(':');
    const bool has_port = colon != absl::string_view::npos &&
                          authority.find(']', colon) == absl::string_view::npos;
    return absl::StrCat(server.substr(0, host), identity_.tls_server_name,
                        has_port ? authority.substr(colon) : "",
                        server.substr(host_end));
  }

  void SetTls(CURL* easy) {
    curl_easy_setopt(easy, CURLOPT_SSLVERSION,
                     static_cast<long>(CURL_SSLVERSION_TLSv1_2));
    if (identity_.insecure_skip_tls_verify) {
      curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L);
      curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L);
    } else if (!identity_.ca_pem.empty()) {
      const curl_blob ca = BlobOf(identity_.ca_pem);
      curl_easy_setopt(easy, CURLOPT_CAINFO_BLOB, &ca);
      curl_easy_setopt(easy, CURLOPT_CAPATH, nullptr);
    }
    if (!identity_.client_cert_pem.empty()) {
      const curl_blob cert = BlobOf(identity_.client_cert_pem);
      const curl_blob key = BlobOf(identity_.client_key_pem);
      curl_easy_setopt(easy, CURLOPT_SSLCERT_BLOB, &cert);
      curl_easy_setopt(easy, CURLOPT_SSLKEY_BLOB, &key);
    }
    if (!identity_.tls_server_name.empty()) {
      if (connect_to_ == nullptr) {
        const absl::string_view server = identity_.server;
        const size_t host = server.find("://") + 3;
        const std::string authority(server.substr(
            host, std::min(server.find('/', host), server.size()) - host));
        const bool has_port =
            authority.rfind(':') != std::string::npos &&
            authority.find(']', authority.rfind(':')) == std::string::npos;
        // Empty first two parts: whatever the URL says.
        connect_to_.reset(curl_slist_append(
            nullptr,
            absl::StrCat("::", authority, has_port ? "" : ":").c_str()));
      }
      curl_easy_setopt(easy, CURLOPT_CONNECT_TO, connect_to_.get());
    }
  }

  Pool* PoolFor(bool for_streams) {
    // A pool of streams has one connection's worth of them: over the limit,
    // libcurl would open a connection for each.
    for (const std::unique_ptr<Pool>& pool : pools_) {
      if (pool->for_streams == for_streams && !pool->retired &&
          (!for_streams ||
           pool->active <
               static_cast<size_t>(options_.streams_per_connection))) {
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
    curl_multi_setopt(multi, CURLMOPT_MAX_CONCURRENT_STREAMS,
                      kMaxServerStreams);
    curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, &Worker::OnSocket);
    curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, pool.get());
    curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, &Worker::OnTimer);
    curl_multi_setopt(multi, CURLMOPT_TIMERDATA, pool.get());
    pool->last_byte = Now();
    pools_.push_back(std::move(pool));
    return pools_.back().get();
  }

  // --- libcurl's callbacks.

  static int OnSocket(CURL* /*easy*/, curl_socket_t fd, int what, void* user,
                      void* /*socket_user*/) {
    auto* const pool = static_cast<Pool*>(user);
    Worker* const worker = pool->worker;
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

  static int OnTimer(CURLM* /*multi*/, long timeout_ms, void* user) {
    auto* const pool = static_cast<Pool*>(user);
    if (timeout_ms < 0) {
      pool->timer.reset();
    } else {
      pool->timer = Now() + std::chrono::milliseconds(timeout_ms);
    }
    return 0;
  }

  static size_t OnHeader(char* data, size_t size, size_t count, void* user) {
    auto* const transfer = static_cast<Transfer*>(user);
    const absl::string_view line = absl::StripTrailingAsciiWhitespace(
        absl::string_view(data, size * count));
    if (transfer->pool != nullptr) transfer->pool->last_byte = Now();
    if (line.empty() && transfer->is_stream && transfer->answer.code >= 200) {
      transfer->worker->heads_.insert(transfer->id);
    }
    if (absl::StartsWith(line, "HTTP/")) {
      // Of an interim answer, or of the final one.
      transfer->answer = HttpAnswer();
      const size_t space = line.find(' ');
      if (space != absl::string_view::npos) {
        int code = 0;
        if (absl::SimpleAtoi(line.substr(space + 1, 3), &code)) {
          transfer->answer.code = code;
        }
      }
      return size * count;
    }
    const size_t colon = line.find(':');
    if (colon == absl::string_view::npos) return size * count;
    const absl::string_view name = line.substr(0, colon);
    const absl::string_view value =
        absl::StripLeadingAsciiWhitespace(line.substr(colon + 1));
    if (absl::EqualsIgnoreCase(name, "etag")) {
      transfer->answer.etag = std::string(value);
    } else if (absl::EqualsIgnoreCase(name, "retry-after")) {
      transfer->answer.retry_after = std::string(value);
    }
    return size * count;
  }

  static size_t OnBody(char* data, size_t size, size_t count, void* user) {
    auto* const transfer = static_cast<Transfer*>(user);
    const size_t bytes = size * count;
    if (transfer->pool != nullptr) transfer->pool->last_byte = Now();
    const HttpRequest& request = transfer->request;
    // An error's text is short; a long one is cut and does no harm.
    if (transfer->answer.code >= 300) {
      std::string* const text =
          transfer->is_stream ? &transfer->chunk : &transfer->answer.body;
      if (text->size() < kMaxErrorBody) {
        text->append(data, std::min(bytes, kMaxErrorBody - text->size()));
      }
      if (transfer->is_stream) transfer->worker->MarkFresh(transfer);
      return bytes;
    }
    if (transfer->is_stream) {
      if (transfer->untaken->load() + transfer->chunk.size() + bytes >
          request.max_answer_bytes) {
        transfer->refused = absl::ResourceExhaustedError(
            absl::StrCat("more than ", request.max_answer_bytes,
                         " bytes of a stream were waiting to be taken"));
        return 0;
      }
      transfer->chunk.append(data, bytes);
      transfer->worker->MarkFresh(transfer);
      return bytes;
    }
    if (transfer->answer.body.size() + bytes > request.max_answer_bytes) {
      transfer->refused = absl::ResourceExhaustedError(absl::StrCat(
          "the answer is larger than ", request.max_answer_bytes, " bytes"));
      return 0;
    }
    transfer->answer.body.append(data, bytes);
    return bytes;
  }

  // --- One round.

  int SleepMilliseconds() const {
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
        Milliseconds(wait + std::chrono::microseconds(999)));
  }

  void OnReady(const epoll_event& event) {
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

  void RunTimers() {
    const SteadyTime now = Now();
    for (const std::unique_ptr<Pool>& pool : pools_) {
      if (!pool->timer.has_value() || *pool->timer > now) continue;
      pool->timer.reset();
      int running;
      curl_multi_socket_action(pool->multi.get(), CURL_SOCKET_TIMEOUT, 0,
                               &running);
    }
  }

  void FinishTransfers() {
    for (const std::unique_ptr<Pool>& pool : pools_) {
      int left;
      while (CURLMsg* const message =
                 curl_multi_info_read(pool->multi.get(), &left)) {
        if (message->msg != CURLMSG_DONE) continue;
        char* user = nullptr;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &user);
        auto* const transfer = reinterpret_cast<Transfer*>(user);
        const absl::Status status = StatusOf(message->data.result, *transfer);
        if (transfer->answer.code == 401 && status.ok()) {
          // The file may hold a newer token.
          if (Now() - token_read_ > std::chrono::seconds(1)) token_.clear();
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

  absl::Status StatusOf(CURLcode code, const Transfer& transfer) const {
    if (!transfer.refused.ok()) return transfer.refused;
    if (code == CURLE_OK) return absl::OkStatus();
    const std::string text = absl::StrCat(
        "the API server at ", identity_.server, ": ",
        transfer.error[0] != '\0' ? transfer.error : curl_easy_strerror(code));
    switch (code) {
      case CURLE_COULDNT_RESOLVE_PROXY:
      case CURLE_COULDNT_RESOLVE_HOST:
      case CURLE_COULDNT_CONNECT:
        return absl::UnavailableError(text);
      case CURLE_OPERATION_TIMEDOUT:
        return absl::DeadlineExceededError(text);
      case CURLE_PEER_FAILED_VERIFICATION:
      case CURLE_SSL_CERTPROBLEM:
      case CURLE_SSL_CACERT_BADFILE:
      case CURLE_SSL_ISSUER_ERROR:
        return absl::UnauthenticatedError(text);
      case CURLE_SSL_CONNECT_ERROR:
        return absl::UnavailableError(text);
      case CURLE_HTTP2:
      case CURLE_HTTP2_STREAM:
      case CURLE_GOT_NOTHING:
      case CURLE_SEND_ERROR:
      case CURLE_RECV_ERROR:
      case CURLE_PARTIAL_FILE:
        return absl::UnknownError(
            absl::StrCat(text, "; whether it happened is not known"));
      case CURLE_URL_MALFORMAT:
        return absl::InvalidArgumentError(text);
      default:
        return absl::UnknownError(text);
    }
  }

  void MarkFresh(Transfer* transfer) { fresh_.insert(transfer->id); }

  void GiveHead(Transfer* transfer) {
    if (transfer->head_given) return;
    transfer->head_given = true;
    HttpAnswer head = transfer->answer;
    head.body.clear();
    events_.push_back({transfer->id, Event::Head{std::move(head)}});
  }

  void GiveChunk(Transfer* transfer) {
    if (transfer->chunk.empty()) return;
    GiveHead(transfer);
    transfer->untaken->fetch_add(transfer->chunk.size());
    events_.push_back({transfer->id, Event::Bytes{std::move(transfer->chunk),
                                                  transfer->untaken}});
    transfer->chunk.clear();
  }

  // Tells the loop how it ended and forgets it.
  void End(CallId id, absl::Status status) {
    const auto found = transfers_.find(id);
    if (found == transfers_.end()) return;
    Transfer* const transfer = found->second.get();
    if (transfer->is_stream) {
      if (status.ok() || transfer->answer.code >= 300) {
        GiveChunk(transfer);
        if (transfer->answer.code != 0) GiveHead(transfer);
      }
      events_.push_back({id, Event::End{std::move(status), HttpAnswer()}});
    } else {
      events_.push_back(
          {id, Event::End{std::move(status), std::move(transfer->answer)}});
    }
    Release(transfer);
    transfers_.erase(found);
    fresh_.erase(id);
  }

  void Drop(CallId id) {
    const auto found = transfers_.find(id);
    if (found == transfers_.end()) return;
    queue_deadlines_.erase({found->second->deadline, id});
    Release(found->second.get());
    transfers_.erase(found);
    fresh_.erase(id);
  }

  void Release(Transfer* transfer) {
    if (transfer->pool != nullptr) {
      curl_multi_remove_handle(transfer->pool->multi.get(),
                               transfer->easy.get());
      --transfer->pool->active;
      if (!transfer->is_stream) --in_flight_;
      transfer->pool = nullptr;
    }
    if (transfer->easy != nullptr && idle_.size() < kMaxIdleHandles) {
      idle_.push_back(std::move(transfer->easy));
    }
  }

  // Posts what this round brought, as one task.
  void HandOver() {
    for (const CallId id : fresh_) {
      const auto found = transfers_.find(id);
      if (found != transfers_.end()) GiveChunk(found->second.get());
    }
    fresh_.clear();
    // A watch with nothing to say yet is still answered.
    for (const CallId id : heads_) {
      const auto found = transfers_.find(id);
      if (found != transfers_.end()) GiveHead(found->second.get());
    }
    heads_.clear();
    if (events_.empty()) return;
    loop_.Post([front = front_, events = std::move(events_)]() mutable {
      front->Dispatch(std::move(events));
    });
    events_.clear();
  }

  void RemoveRetired() {
    pools_.remove_if([](const std::unique_ptr<Pool>& pool) {
      return pool->retired && pool->active == 0;
    });
  }

  void Shutdown() {
    for (auto& [id, transfer] : transfers_) Release(transfer.get());
    transfers_.clear();
    idle_.clear();
    // Closes connections, which calls OnSocket().
    pools_.clear();
  }

  // Constant after construction.
  const KubeIdentity identity_;
  const CurlTransportOptions options_;
  Loop& loop_;
  const std::shared_ptr<Front> front_;
  const int epoll_fd_;
  const int wake_fd_;

  std::atomic<uint64_t> opened_{0};

  // std::mutex: thread sanitizer cannot see the system's absl::Mutex.
  std::mutex mu_;
  std::vector<Command> inbox_;  // Guarded by mu_.
  bool stop_ = false;           // Guarded by mu_.

  // Of the thread.
  std::list<std::unique_ptr<Pool>> pools_;
  std::unordered_map<int, Pool*> sockets_;
  std::unordered_map<CallId, std::unique_ptr<Transfer>> transfers_;
  std::deque<CallId> queue_;
  std::set<std::pair<SteadyTime, CallId>> queue_deadlines_;
  std::set<CallId> fresh_;
  std::set<CallId> heads_;
  std::vector<Event> events_;
  std::vector<CurlEasy> idle_;
  CurlSlist connect_to_;
  size_t in_flight_ = 0;
  std::string token_;
  SteadyTime token_read_;

  // Declared last: starts when everything else is there.
  std::thread thread_;
};

// Loop-affine.
class CurlTransport::Stream : public HttpStream {
 public:
  Stream(std::shared_ptr<Front> front, CallId id)
      : front_(std::move(front)), id_(id) {}
  ~Stream() override {
    front_->Forget(id_);
    if (front_->cancel) front_->cancel(id_);
  }

 private:
  const std::shared_ptr<Front> front_;
  const CallId id_;
};

absl::StatusOr<std::unique_ptr<CurlTransport>> CurlTransport::Create(
    KubeIdentity identity, CurlTransportOptions options, Loop& loop) {
  static const CURLcode global = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (global != CURLE_OK) {
    return absl::InternalError(
        absl::StrCat("libcurl: ", curl_easy_strerror(global)));
  }
  if (identity.exec.has_value() && identity.token.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the credential plugin ", identity.exec->command,
                     " was not run; its token is needed"));
  }
  if (!identity.token.empty()) {
    ASSIGN_OR_RETURN(identity.token, CheckToken(identity.token));
  }
  if (!absl::StartsWith(identity.server, "https://")) {
    const bool has_credentials = !identity.token.empty() ||
                                 !identity.token_file.empty() ||
                                 !identity.client_cert_pem.empty();
    if (!absl::StartsWith(identity.server, "http://") || has_credentials) {
      return absl::InvalidArgumentError(
          "the API server's URL must begin with https://, or credentials "
          "would be sent in the clear");
    }
  }
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
  auto front = std::make_shared<Front>();
  auto worker = std::make_unique<Worker>(
      std::move(identity), std::move(options), loop, front, epoll_fd, wake_fd);
  front->cancel = [raw = worker.get()](CallId id) { raw->Cancel(id); };
  return std::unique_ptr<CurlTransport>(
      new CurlTransport(std::move(front), std::move(worker)));
}

CurlTransport::CurlTransport(std::shared_ptr<Front> front,
                             std::unique_ptr<Worker> worker)
    : front_(std::move(front)), worker_(std::move(worker)) {}

CurlTransport::~CurlTransport() {
  front_->cancel = nullptr;
  front_->Close();
}

HttpTransport::CallId CurlTransport::Send(
    HttpRequest request,
    absl::AnyInvocable<void(absl::StatusOr<HttpAnswer>)> done) {
  const CallId id = ++last_id_;
  front_->AddCall(id, std::move(done));
  worker_->Start(id, std::move(request), /*is_stream=*/false);
  return id;
}

void CurlTransport::Cancel(CallId id) {
  front_->Forget(id);
  worker_->Cancel(id);
}

std::unique_ptr<HttpStream> CurlTransport::Open(HttpRequest request,
                                                HttpStreamListener& listener) {
  const CallId id = ++last_id_;
  front_->AddStream(id, &listener);
  worker_->Start(id, std::move(request), /*is_stream=*/true);
  return std::make_unique<Stream>(front_, id);
}

uint64_t CurlTransport::connections_opened() const {
  return worker_->connections_opened();
}

std::string CurlTransport::DebugString() const {
  return absl::StrCat("calls: ", front_->waiting(),
                      ", streams: ", front_->streams(),
                      ", connections opened: ", connections_opened());
}

}  // namespace flotilla
