// SPDX-License-Identifier: Apache-2.0

#include "common/kube/curl_transport.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "common/event/real_loop.h"
#include "common/kube/http_transport.h"
#include "common/kube/kube_identity.h"
#include "common/status/status_matchers.h"

namespace flotilla {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

// A small HTTP/1.1 server on loopback, one thread for each connection.
//
// Thread-safe.
class Server {
 public:
  // Gets the head and the body of a request and writes the answer to `fd`.
  // False: the connection is closed.
  using Handler = std::function<bool(const std::string& head,
                                     const std::string& body, int fd)>;

  explicit Server(Handler handler) : handler_(std::move(handler)) {
    listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(
        bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof(address)),
        0);
    EXPECT_EQ(listen(listener_, 64), 0);
    socklen_t length = sizeof(address);
    getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &length);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { AcceptAll(); });
  }

  ~Server() {
    shutdown(listener_, SHUT_RDWR);
    thread_.join();
    close(listener_);
    {
      const std::lock_guard<std::mutex> lock(mu_);
      for (const int fd : connections_) shutdown(fd, SHUT_RDWR);
    }
    for (std::thread& thread : threads_) thread.join();
    for (const int fd : connections_) close(fd);
  }

  int port() const { return port_; }

  static void Write(int fd, const std::string& text) {
    size_t at = 0;
    while (at < text.size()) {
      const ssize_t count =
          send(fd, text.data() + at, text.size() - at, MSG_NOSIGNAL);
      if (count <= 0) return;
      at += static_cast<size_t>(count);
    }
  }
  static bool Reply(int fd, int code, const std::string& body,
                    const std::string& headers = "") {
    Write(fd, absl::StrCat("HTTP/1.1 ", code, " x\r\n", headers,
                           "Content-Length: ", body.size(), "\r\n\r\n", body));
    return true;
  }
  // Blocks until the client closes the connection.
  static bool WaitForClose(int fd) {
    char byte;
    while (recv(fd, &byte, 1, 0) > 0) {
    }
    return false;
  }

 private:
  void AcceptAll() {
    while (true) {
      const int fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) return;
      const std::lock_guard<std::mutex> lock(mu_);
      connections_.push_back(fd);
      threads_.emplace_back([this, fd] { Serve(fd); });
    }
  }

  void Serve(int fd) {
    std::string text;
    char buffer[4096];
    while (true) {
      size_t end;
      while ((end = text.find("\r\n\r\n")) == std::string::npos) {
        const ssize_t count = recv(fd, buffer, sizeof(buffer), 0);
        if (count <= 0) return;
        text.append(buffer, static_cast<size_t>(count));
      }
      const std::string head = text.substr(0, end + 4);
      text.erase(0, end + 4);
      size_t length = 0;
      const std::string lower = absl::AsciiStrToLower(head);
      const size_t at = lower.find("content-length: ");
      if (at != std::string::npos) {
        (void)absl::SimpleAtoi(
            lower.substr(at + 16, lower.find('\r', at) - at - 16), &length);
      }
      while (text.size() < length) {
        const ssize_t count = recv(fd, buffer, sizeof(buffer), 0);
        if (count <= 0) return;
        text.append(buffer, static_cast<size_t>(count));
      }
      const std::string body = text.substr(0, length);
      text.erase(0, length);
      if (!handler_(head, body, fd)) {
        shutdown(fd, SHUT_RDWR);
        return;
      }
    }
  }

  const Handler handler_;
  int listener_ = -1;
  int port_ = 0;
  std::thread thread_;
  std::mutex mu_;
  std::vector<int> connections_;
  std::vector<std::thread> threads_;
};

// Loop-affine.
class Ears : public HttpStreamListener {
 public:
  explicit Ears(std::function<void()> on_news) : on_news_(std::move(on_news)) {}
  void OnHead(HttpAnswer head) override {
    said.push_back(absl::StrCat("head ", head.code));
    on_news_();
  }
  void OnBytes(std::string bytes) override {
    text += bytes;
    if (said.empty() || said.back() != "bytes") said.push_back("bytes");
    on_news_();
  }
  void OnEnd(absl::Status status) override {
    said.push_back("end");
    end = std::move(status);
    on_news_();
  }

  std::vector<std::string> said;
  std::string text;
  absl::Status end;

 private:
  const std::function<void()> on_news_;
};

class CurlTransportTest : public ::testing::Test {
 protected:
  void Start(Server::Handler handler, CurlTransportOptions options = {}) {
    server_ = std::make_unique<Server>(std::move(handler));
    Connect(server_->port(), std::move(options));
  }
  void Connect(int port, CurlTransportOptions options = {}) {
    KubeIdentity identity;
    identity.server = absl::StrCat("http://127.0.0.1:", port);
    auto transport =
        CurlTransport::Create(std::move(identity), std::move(options), loop_);
    ASSERT_THAT(transport, IsOk());
    transport_ = *std::move(transport);
  }

  // Runs the loop until `done` holds; a test that hangs is ended by Bazel.
  void RunUntil(const std::function<bool()>& done) {
    while (!done()) loop_.RunUntilStopped();
  }

  absl::StatusOr<HttpAnswer> Send(HttpRequest request) {
    absl::StatusOr<HttpAnswer> result = absl::InternalError("not called");
    bool called = false;
    transport_->Send(std::move(request),
                     [&](absl::StatusOr<HttpAnswer> answer) {
                       result = std::move(answer);
                       called = true;
                       loop_.Stop();
                     });
    EXPECT_FALSE(called);
    RunUntil([&] { return called; });
    return result;
  }
  HttpRequest Get(const std::string& target) {
    HttpRequest request;
    request.target = target;
    return request;
  }
  std::function<void()> Stopper() {
    return [this] { loop_.Stop(); };
  }

  RealLoop loop_;
  std::unique_ptr<Server> server_;
  // Declared last: its thread ends before the server.
  std::unique_ptr<CurlTransport> transport_;
};

TEST_F(CurlTransportTest, CarriesARequestAndItsAnswer) {
  std::string head;
  std::string body;
  Start([&](const std::string& got_head, const std::string& got_body, int fd) {
    head = got_head;
    body = got_body;
    return Server::Reply(fd, 201, "hello", "ETag: \"e\"\r\nRetry-After: 7\r\n");
  });
  HttpRequest request = Get("/a?b=c");
  request.method = "PATCH";
  request.accept = "application/json";
  request.content_type = "application/apply-patch+yaml";
  request.if_none_match = "\"old\"";
  request.impersonate = "system:serviceaccount:ns:x";
  request.body = "{}";
  const auto answer = Send(request);
  ASSERT_THAT(answer, IsOk());
  EXPECT_EQ(answer->code, 201);
  EXPECT_EQ(answer->body, "hello");
  EXPECT_EQ(answer->etag, "\"e\"");
  EXPECT_EQ(answer->retry_after, "7");
  EXPECT_THAT(head, HasSubstr("PATCH /a?b=c HTTP/1.1\r\n"));
  EXPECT_THAT(head, HasSubstr("Accept: application/json\r\n"));
  EXPECT_THAT(head,
              HasSubstr("Content-Type: application/apply-patch+yaml\r\n"));
  EXPECT_THAT(head, HasSubstr("If-None-Match: \"old\"\r\n"));
  EXPECT_THAT(head,
              HasSubstr("Impersonate-User: system:serviceaccount:ns:x\r\n"));
  EXPECT_THAT(head, Not(HasSubstr("Expect")));
  EXPECT_EQ(body, "{}");
  // The next one has none of that and uses the same connection.
  ASSERT_THAT(Send(Get("/x")), IsOk());
  EXPECT_THAT(head, HasSubstr("GET /x HTTP/1.1\r\n"));
  EXPECT_THAT(head, Not(HasSubstr("If-None-Match")));
  EXPECT_THAT(head, Not(HasSubstr("Impersonate")));
  EXPECT_EQ(transport_->connections_opened(), 1u);
}

TEST_F(CurlTransportTest, RedirectsAndErrorsAreAnswers) {
  Start([](const std::string& head, const std::string&, int fd) {
    if (head.find("/moved") != std::string::npos) {
      return Server::Reply(fd, 302, "", "Location: /elsewhere\r\n");
    }
    return Server::Reply(fd, 500, std::string(1 << 20, 'x'));
  });
  const auto moved = Send(Get("/moved"));
  ASSERT_THAT(moved, IsOk());
  EXPECT_EQ(moved->code, 302);
  HttpRequest request = Get("/broken");
  request.max_answer_bytes = 100;
  const auto broken = Send(request);
  ASSERT_THAT(broken, IsOk());
  EXPECT_EQ(broken->code, 500);
  EXPECT_EQ(broken->body.size(), size_t{64} << 10);
}

TEST_F(CurlTransportTest, AnswersOverTheLimitAreRefused) {
  Start([](const std::string&, const std::string&, int fd) {
    return Server::Reply(fd, 200, std::string(1 << 20, 'x'));
  });
  HttpRequest request = Get("/");
  request.max_answer_bytes = 1000;
  EXPECT_THAT(Send(request), StatusIs(absl::StatusCode::kResourceExhausted,
                                      HasSubstr("larger than 1000 bytes")));
}

TEST_F(CurlTransportTest, TheDeadlineRunsInTheQueueToo) {
  CurlTransportOptions options;
  options.max_in_flight = 1;
  Start([](const std::string&, const std::string&,
           int fd) { return Server::WaitForClose(fd); },
        options);
  bool first_done = false;
  HttpRequest slow = Get("/slow");
  slow.timeout = absl::Hours(1);
  transport_->Send(slow,
                   [&](absl::StatusOr<HttpAnswer>) { first_done = true; });
  HttpRequest request = Get("/queued");
  request.timeout = absl::Milliseconds(20);
  EXPECT_THAT(Send(request), StatusIs(absl::StatusCode::kDeadlineExceeded,
                                      HasSubstr("nothing was sent")));
  EXPECT_FALSE(first_done);
}

TEST_F(CurlTransportTest, NoAnswerInTimeIsAnError) {
  Start([](const std::string&, const std::string&, int fd) {
    return Server::WaitForClose(fd);
  });
  HttpRequest request = Get("/");
  request.timeout = absl::Milliseconds(50);
  EXPECT_THAT(Send(request), StatusIs(absl::StatusCode::kDeadlineExceeded));
}

TEST_F(CurlTransportTest, NoServerIsUnavailable) {
  // A port that nobody listens on any more.
  int port;
  {
    Server server(
        [](const std::string&, const std::string&, int) { return false; });
    port = server.port();
  }
  Connect(port);
  EXPECT_THAT(Send(Get("/")), StatusIs(absl::StatusCode::kUnavailable));
}

TEST_F(CurlTransportTest, AnAnswerCutOffIsUnknown) {
  Start([](const std::string&, const std::string&, int fd) {
    Server::Write(fd, "HTTP/1.1 200 x\r\nContent-Length: 100\r\n\r\nhalf");
    return false;
  });
  EXPECT_THAT(Send(Get("/")),
              StatusIs(absl::StatusCode::kUnknown, HasSubstr("is not known")));
}

TEST_F(CurlTransportTest, CancelledCallsAreNotHeardOf) {
  Start([](const std::string& head, const std::string&, int fd) {
    if (head.find("/wait") != std::string::npos) {
      return Server::WaitForClose(fd);
    }
    return Server::Reply(fd, 200, "");
  });
  bool called = false;
  const auto id = transport_->Send(
      Get("/wait"), [&](absl::StatusOr<HttpAnswer>) { called = true; });
  transport_->Cancel(id);
  EXPECT_THAT(Send(Get("/")), IsOk());
  transport_->Send(Get("/wait"),
                   [&](absl::StatusOr<HttpAnswer>) { called = true; });
  transport_.reset();
  EXPECT_FALSE(called);
}

TEST_F(CurlTransportTest, ManyRequestsAtOnceAllEnd) {
  Start([](const std::string& head, const std::string&, int fd) {
    return Server::Reply(fd, 200, head.substr(0, head.find('\r')));
  });
  int done = 0;
  int right = 0;
  for (int i = 0; i < 300; ++i) {
    transport_->Send(
        Get(absl::StrCat("/", i)), [&, i](absl::StatusOr<HttpAnswer> answer) {
          if (answer.ok() &&
              answer->body == absl::StrCat("GET /", i, " HTTP/1.1")) {
            ++right;
          }
          if (++done == 300) loop_.Stop();
        });
  }
  RunUntil([&] { return done == 300; });
  EXPECT_EQ(right, 300);
}

TEST_F(CurlTransportTest, StreamsComePieceByPiece) {
  Start([](const std::string& head, const std::string&, int fd) {
    Server::Write(fd, "HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n");
    if (head.find("/silent") != std::string::npos) {
      return Server::WaitForClose(fd);
    }
    Server::Write(fd, "3\r\nabc\r\n");
    Server::Write(fd, "3\r\ndef\r\n0\r\n\r\n");
    return true;
  });
  Ears ears(Stopper());
  const auto stream = transport_->Open(Get("/"), ears);
  RunUntil([&] { return !ears.said.empty() && ears.said.back() == "end"; });
  EXPECT_THAT(ears.said, ElementsAre("head 200", "bytes", "end"));
  EXPECT_EQ(ears.text, "abcdef");
  EXPECT_THAT(ears.end, IsOk());

  // The head comes although nothing follows it.
  Ears silent(Stopper());
  auto waiting = transport_->Open(Get("/silent"), silent);
  RunUntil([&] { return !silent.said.empty(); });
  EXPECT_THAT(silent.said, ElementsAre("head 200"));
  waiting.reset();
  EXPECT_THAT(Send(Get("/")), IsOk());
  EXPECT_THAT(silent.said, ElementsAre("head 200"));
}

TEST_F(CurlTransportTest, AStreamThatIsNotTakenIsEnded) {
  std::promise<void> sent;
  Start([&](const std::string&, const std::string&, int fd) {
    Server::Reply(fd, 200, std::string(8 << 20, 'x'));
    sent.set_value();
    return false;
  });
  Ears ears(Stopper());
  HttpRequest request = Get("/flood");
  request.max_answer_bytes = 200000;
  const auto stream = transport_->Open(request, ears);
  // The loop takes nothing meanwhile.
  sent.get_future().wait();
  RunUntil([&] { return !ears.said.empty() && ears.said.back() == "end"; });
  EXPECT_THAT(ears.end, StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_LE(ears.text.size(), 200000u);
}

TEST_F(CurlTransportTest, AStreamMayEndItselfInItsCallback) {
  Start([](const std::string&, const std::string&, int fd) {
    return Server::Reply(fd, 200, std::string(1 << 20, 'x'));
  });
  std::unique_ptr<HttpStream> stream;
  std::vector<std::string> said;
  Ears ears([&] {
    stream.reset();
    loop_.Stop();
  });
  stream = transport_->Open(Get("/"), ears);
  RunUntil([&] { return stream == nullptr; });
  EXPECT_THAT(Send(Get("/")), IsOk());
  EXPECT_THAT(ears.said, ElementsAre("head 200"));
}

TEST_F(CurlTransportTest, UnfitIdentitiesAreRefused) {
  const auto create = [this](const KubeIdentity& identity) {
    return CurlTransport::Create(identity, {}, loop_).status();
  };
  KubeIdentity identity;
  identity.server = "ftp://x";
  EXPECT_THAT(create(identity), StatusIs(absl::StatusCode::kInvalidArgument));
  identity.server = "http://x";
  identity.token = "abc";
  EXPECT_THAT(create(identity), StatusIs(absl::StatusCode::kInvalidArgument,
                                         HasSubstr("in the clear")));
  identity.server = "https://x";
  identity.token = "a\r\nX-Evil: 1";
  EXPECT_THAT(create(identity), StatusIs(absl::StatusCode::kInvalidArgument,
                                         Not(HasSubstr("Evil"))));
  identity.token.clear();
  identity.exec.emplace();
  identity.exec->command = "login";
  EXPECT_THAT(create(identity),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("login")));
}

TEST_F(CurlTransportTest, ATokenFileThatIsNotThereIsNamed) {
  KubeIdentity identity;
  identity.server = "https://127.0.0.1:1";
  identity.token_file = "/nonexistent/token";
  auto transport = CurlTransport::Create(identity, {}, loop_);
  ASSERT_THAT(transport, IsOk());
  transport_ = *std::move(transport);
  EXPECT_THAT(Send(Get("/")), StatusIs(absl::StatusCode::kUnauthenticated,
                                       HasSubstr("/nonexistent/token")));
}

}  // namespace
}  // namespace flotilla
