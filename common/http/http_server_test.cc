// SPDX-License-Identifier: Apache-2.0

#include "common/http/http_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "common/event/real_loop.h"
#include "common/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace flotilla {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

// A server on a loop that runs, which answers with what it was asked.
class HttpServerTest : public ::testing::Test {
 protected:
  HttpServerTest() : thread_([this] { loop_.RunUntilStopped(); }) {
    options_.address = "127.0.0.1:0";
    options_.max_body_bytes = 1000;
  }
  ~HttpServerTest() override {
    server_ = nullptr;
    loop_.Stop();
    thread_.join();
  }

  void Start() {
    auto server = HttpServer::Start(
        loop_, options_,
        [this](HttpServerRequest request, HttpServer::Respond respond) {
          if (silent_) {
            asked_.Notify();
            return;
          }
          respond({201, "text/x",
                   absl::StrCat(request.method, " ", request.path, " ",
                                request.Header("x-test"), " ",
                                request.body)});
        });
    ASSERT_THAT(server, IsOk());
    server_ = *std::move(server);
  }

  int Connect() {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<uint16_t>(server_->port()));
    // A kernel without room lets the client try again for minutes.
    const timeval patience = {10, 0};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    EXPECT_EQ(connect(fd, reinterpret_cast<sockaddr*>(&address),
                      sizeof(address)),
              0);
    return fd;
  }

  // Sends, and reads until the server closes.
  std::string Ask(absl::string_view request) {
    const int fd = Connect();
    size_t sent = 0;
    while (sent < request.size()) {
      const ssize_t n = send(fd, request.data() + sent, request.size() - sent,
                             MSG_NOSIGNAL);
      if (n <= 0) break;
      sent += static_cast<size_t>(n);
    }
    return ReadAll(fd);
  }

  static std::string ReadAll(int fd) {
    std::string out;
    char buffer[4096];
    while (true) {
      const ssize_t n = recv(fd, buffer, sizeof(buffer), 0);
      if (n <= 0) break;
      out.append(buffer, static_cast<size_t>(n));
    }
    close(fd);
    return out;
  }

  HttpServerOptions options_;
  bool silent_ = false;
  absl::Notification asked_;
  RealLoop loop_;
  std::thread thread_;
  std::unique_ptr<HttpServer> server_;
};

TEST_F(HttpServerTest, HandsOverMethodPathHeadersAndBody) {
  Start();

  const std::string answer = Ask(
      "POST /hook?x=1 HTTP/1.1\r\nHost: h\r\nX-Test: yes\r\n"
      "Content-Length: 4\r\n\r\nbody");

  EXPECT_THAT(answer, StartsWith("HTTP/1.1 201"));
  EXPECT_THAT(answer, HasSubstr("POST /hook yes body"));
}

TEST_F(HttpServerTest, RefusesALargeBodyByItsLength) {
  Start();

  EXPECT_THAT(Ask("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1001\r\n\r\n"),
              StartsWith("HTTP/1.1 413"));
}

TEST_F(HttpServerTest, RefusesALargeBodyInChunks) {
  Start();

  std::string request =
      "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (int i = 0; i < 11; ++i) {
    absl::StrAppend(&request, "64\r\n", std::string(100, 'x'), "\r\n");
  }
  absl::StrAppend(&request, "0\r\n\r\n");

  EXPECT_THAT(Ask(request), StartsWith("HTTP/1.1 413"));
}

TEST_F(HttpServerTest, TakesABodyInChunks) {
  Start();

  EXPECT_THAT(Ask("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked"
                  "\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
              HasSubstr("POST /  abc"));
}

TEST_F(HttpServerTest, RefusesOtherMethodsAndForms) {
  Start();

  EXPECT_THAT(Ask("DELETE / HTTP/1.1\r\nHost: h\r\n\r\n"),
              StartsWith("HTTP/1.1 405"));
  EXPECT_THAT(Ask("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n"
                  "Content-Type: multipart/form-data; boundary=b\r\n\r\nabc"),
              StartsWith("HTTP/1.1 415"));
}

TEST_F(HttpServerTest, EndsARequestWhoseBytesComeTooSlowly) {
  options_.time_limit = absl::Milliseconds(100);
  Start();

  // The head never ends; that this returns is the test.
  const int fd = Connect();
  ASSERT_GT(send(fd, "POST / HT", 9, MSG_NOSIGNAL), 0);
  EXPECT_EQ(ReadAll(fd), "");
}

TEST_F(HttpServerTest, EndsARequestWhoseHeadNeverEnds) {
  Start();

  std::string request = "POST / HTTP/1.1\r\n";
  for (int i = 0; i < 100'000; ++i) absl::StrAppend(&request, "X-A: b\r\n");

  EXPECT_THAT(Ask(request), ::testing::Not(HasSubstr("201")));
}

TEST_F(HttpServerTest, Answers503WhenNobodyElseAnswers) {
  options_.time_limit = absl::Milliseconds(200);
  silent_ = true;
  Start();

  EXPECT_THAT(Ask("GET / HTTP/1.1\r\nHost: h\r\n\r\n"),
              StartsWith("HTTP/1.1 503"));
}

TEST_F(HttpServerTest, EndsAtOnceWhateverIsOpen) {
  options_.time_limit = absl::InfiniteDuration();
  options_.threads = 1;
  silent_ = true;
  Start();
  // One that waits for an answer that never comes, and more than are served
  // or may wait.
  std::vector<int> clients = {Connect()};
  const absl::string_view request = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
  ASSERT_GT(send(clients[0], request.data(), request.size(), MSG_NOSIGNAL), 0);
  asked_.WaitForNotification();
  for (int i = 0; i < 4; ++i) clients.push_back(Connect());

  // That this returns is the test.
  server_ = nullptr;

  for (const int client : clients) close(client);
}

TEST_F(HttpServerTest, LetsABurstWait) {
  options_.time_limit = absl::InfiniteDuration();
  options_.threads = 1;
  silent_ = true;
  Start();
  std::vector<int> clients = {Connect()};
  const absl::string_view request = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
  ASSERT_GT(send(clients[0], request.data(), request.size(), MSG_NOSIGNAL), 0);
  asked_.WaitForNotification();

  // Connect() expects each to be let in.
  for (int i = 0; i < 50 && !HasFailure(); ++i) clients.push_back(Connect());

  server_ = nullptr;
  for (const int client : clients) close(client);
}

TEST_F(HttpServerTest, SurvivesGarbage) {
  Start();

  Ask(std::string("\0\xff\r\n\r\n\r\n", 8));
  Ask("POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n");
  Ask("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n");
  Ask("POST / HTTP/1.1\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n"
      "abc");

  EXPECT_THAT(Ask("GET /still HTTP/1.1\r\nHost: h\r\n\r\n"),
              HasSubstr("GET /still"));
}

TEST_F(HttpServerTest, RefusesAnAddressThatIsNone) {
  for (const char* address : {"", "x", ":80", "host:", "host:99999"}) {
    HttpServerOptions options;
    options.address = address;
    EXPECT_THAT(HttpServer::Start(loop_, options, nullptr),
                StatusIs(absl::StatusCode::kInvalidArgument))
        << address;
  }
}

TEST_F(HttpServerTest, NamesTheAddressThatIsTaken) {
  Start();
  HttpServerOptions options;
  options.address = absl::StrCat("127.0.0.1:", server_->port());

  EXPECT_THAT(HttpServer::Start(loop_, options, nullptr),
              StatusIs(absl::StatusCode::kUnavailable,
                       HasSubstr(options.address)));
}

}  // namespace
}  // namespace flotilla
