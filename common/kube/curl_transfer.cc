// SPDX-License-Identifier: Apache-2.0

#include "common/kube/curl_transfer.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace flotilla {
namespace {

constexpr size_t kMaxErrorBody = 64 << 10;

void NoteByte(CurlTransfer& transfer) {
  if (transfer.last_byte != nullptr) {
    *transfer.last_byte = std::chrono::steady_clock::now();
  }
}

void TakeStatusLine(absl::string_view line, HttpAnswer& answer) {
  // Of an interim answer, or of the final one.
  answer = HttpAnswer();
  const size_t space = line.find(' ');
  int code = 0;
  if (space != absl::string_view::npos &&
      absl::SimpleAtoi(line.substr(space + 1, 3), &code)) {
    answer.code = code;
  }
}

size_t OnHeader(char* data, size_t size, size_t count, void* user) {
  auto& transfer = *static_cast<CurlTransfer*>(user);
  const absl::string_view line =
      absl::StripTrailingAsciiWhitespace(absl::string_view(data, size * count));
  NoteByte(transfer);
  if (line.empty() && transfer.is_stream && transfer.answer.code >= 200) {
    transfer.news->heads.insert(transfer.id);
  }
  if (absl::StartsWith(line, "HTTP/")) {
    TakeStatusLine(line, transfer.answer);
    return size * count;
  }
  const size_t colon = line.find(':');
  if (colon == absl::string_view::npos) return size * count;
  const absl::string_view name = line.substr(0, colon);
  const absl::string_view value =
      absl::StripLeadingAsciiWhitespace(line.substr(colon + 1));
  if (absl::EqualsIgnoreCase(name, "etag")) {
    transfer.answer.etag = std::string(value);
  } else if (absl::EqualsIgnoreCase(name, "retry-after")) {
    transfer.answer.retry_after = std::string(value);
  }
  return size * count;
}

// False when there is more of a good answer than the request allows.
bool TakeBody(absl::string_view bytes, CurlTransfer& transfer) {
  const size_t limit = transfer.request.max_answer_bytes;
  if (transfer.is_stream) {
    if (transfer.untaken->load() + transfer.chunk.size() + bytes.size() >
        limit) {
      transfer.refused = absl::ResourceExhaustedError(absl::StrCat(
          "more than ", limit, " bytes of a stream were waiting to be taken"));
      return false;
    }
    transfer.chunk.append(bytes.data(), bytes.size());
    transfer.news->bytes.insert(transfer.id);
    return true;
  }
  if (transfer.answer.body.size() + bytes.size() > limit) {
    transfer.refused = absl::ResourceExhaustedError(
        absl::StrCat("the answer is larger than ", limit, " bytes"));
    return false;
  }
  transfer.answer.body.append(bytes.data(), bytes.size());
  return true;
}

// An error's text is short; a long one is cut and does no harm.
void TakeErrorBody(absl::string_view bytes, CurlTransfer& transfer) {
  std::string& text =
      transfer.is_stream ? transfer.chunk : transfer.answer.body;
  if (text.size() < kMaxErrorBody) {
    absl::StrAppend(&text, bytes.substr(0, kMaxErrorBody - text.size()));
  }
  if (transfer.is_stream) transfer.news->bytes.insert(transfer.id);
}

size_t OnBody(char* data, size_t size, size_t count, void* user) {
  auto& transfer = *static_cast<CurlTransfer*>(user);
  const absl::string_view bytes(data, size * count);
  NoteByte(transfer);
  if (transfer.answer.code >= 300) {
    TakeErrorBody(bytes, transfer);
    return bytes.size();
  }
  return TakeBody(bytes, transfer) ? bytes.size() : 0;
}

}  // namespace

void ReceiveInto(CurlTransfer& transfer) {
  CURL* const easy = transfer.easy.get();
  curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer.error);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, &OnBody);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, &transfer);
  curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, &OnHeader);
  curl_easy_setopt(easy, CURLOPT_HEADERDATA, &transfer);
  curl_easy_setopt(easy, CURLOPT_PRIVATE, &transfer);
}

absl::Status StatusOf(CURLcode code, const CurlTransfer& transfer,
                      absl::string_view server) {
  if (!transfer.refused.ok()) return transfer.refused;
  if (code == CURLE_OK) return absl::OkStatus();
  const std::string text = absl::StrCat(
      "the API server at ", server, ": ",
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

}  // namespace flotilla
