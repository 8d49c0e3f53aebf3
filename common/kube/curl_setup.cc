// SPDX-License-Identifier: Apache-2.0

#include "common/kube/curl_setup.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

#include "common/status/status_macros.h"

namespace flotilla {
namespace {

constexpr size_t kMaxIdleHandles = 64;
constexpr long kReadBuffer = 64 << 10;

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

// "https://", "host:1", ":1" (may be empty) and "/path" of a URL.
struct UrlParts {
  absl::string_view scheme;
  absl::string_view authority;
  absl::string_view port;
  absl::string_view path;
};

UrlParts PartsOf(absl::string_view url) {
  UrlParts parts;
  const size_t host = url.find("://") + 3;
  const size_t host_end = std::min(url.find('/', host), url.size());
  parts.scheme = url.substr(0, host);
  parts.authority = url.substr(host, host_end - host);
  parts.path = url.substr(host_end);
  const size_t colon = parts.authority.rfind(':');
  if (colon != absl::string_view::npos &&
      parts.authority.find(']', colon) == absl::string_view::npos) {
    parts.port = parts.authority.substr(colon);
  }
  return parts;
}

}  // namespace

CurlSetup::CurlSetup(KubeIdentity identity, const CurlTransportOptions& options)
    : identity_(std::move(identity)),
      options_(options),
      base_url_(identity_.server),
      token_(identity_.token, identity_.token_file) {
  if (identity_.tls_server_name.empty()) return;
  const UrlParts parts = PartsOf(identity_.server);
  base_url_ = absl::StrCat(parts.scheme, identity_.tls_server_name, parts.port,
                           parts.path);
  // Empty first two parts: whatever the URL says.
  connect_to_.reset(curl_slist_append(
      nullptr,
      absl::StrCat("::", parts.authority, parts.port.empty() ? ":" : "")
          .c_str()));
}

absl::Status CurlSetup::Prepare(CurlTransfer& transfer, SteadyTime now) {
  const HttpRequest& request = transfer.request;
  if (!idle_.empty()) {
    transfer.easy = std::move(idle_.back());
    idle_.pop_back();
    curl_easy_reset(transfer.easy.get());
  } else {
    transfer.easy.reset(curl_easy_init());
  }
  CURL* const easy = transfer.easy.get();
  if (easy == nullptr) return absl::InternalError("libcurl gave no handle");

  RETURN_IF_ERROR(AddHeaders(transfer, now));
  SetConnection(easy);
  SetTls(easy);
  ReceiveInto(transfer);
  const std::string url = absl::StrCat(base_url_, request.target);
  curl_easy_setopt(easy, CURLOPT_URL, url.c_str());
  curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS,
                   CurlMilliseconds(transfer.deadline - now));
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, transfer.headers.get());
  if (request.compress) curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "gzip");
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

void CurlSetup::SetConnection(CURL* easy) {
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
      CurlMilliseconds(absl::ToChronoNanoseconds(options_.connect_timeout)));
  curl_easy_setopt(easy, CURLOPT_USERAGENT, options_.user_agent.c_str());
  if (connect_to_ != nullptr) {
    curl_easy_setopt(easy, CURLOPT_CONNECT_TO, connect_to_.get());
  }
}

absl::Status CurlSetup::AddHeaders(CurlTransfer& transfer, SteadyTime now) {
  const HttpRequest& request = transfer.request;
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
  ASSIGN_OR_RETURN(const std::string token, token_.Get(now));
  if (!token.empty()) {
    lines.push_back(absl::StrCat("Authorization: Bearer ", token));
  }
  for (const std::string& line : lines) {
    if (line.find_first_of("\r\n") != std::string::npos) {
      return absl::InvalidArgumentError("a header must not hold a line break");
    }
    curl_slist* const longer =
        curl_slist_append(transfer.headers.get(), line.c_str());
    if (longer == nullptr) return absl::InternalError("out of memory");
    if (transfer.headers == nullptr) transfer.headers.reset(longer);
  }
  return absl::OkStatus();
}

void CurlSetup::SetTls(CURL* easy) {
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
}

void CurlSetup::TakeBack(CurlEasy easy) {
  if (easy != nullptr && idle_.size() < kMaxIdleHandles) {
    idle_.push_back(std::move(easy));
  }
}

long CurlMilliseconds(std::chrono::steady_clock::duration duration) {
  const auto ms =
      std::chrono::duration_cast<std::chrono::milliseconds>(duration).count();
  return static_cast<long>(
      std::clamp<int64_t>(ms, 1, std::numeric_limits<int>::max()));
}

}  // namespace flotilla
