// SPDX-License-Identifier: Apache-2.0

#include "common/kube/curl_transport.h"

#include <curl/curl.h>

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "common/status/status_macros.h"

namespace flotilla {

// Loop-affine.
class CurlTransport::Stream : public HttpStream {
 public:
  Stream(std::shared_ptr<TransportFront> front, CallId id)
      : front_(std::move(front)), id_(id) {}
  ~Stream() override {
    front_->Forget(id_);
    if (front_->cancel) front_->cancel(id_);
  }

 private:
  const std::shared_ptr<TransportFront> front_;
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
  auto front = std::make_shared<TransportFront>();
  ASSIGN_OR_RETURN(
      std::unique_ptr<CurlWorker> worker,
      CurlWorker::Create(std::move(identity), options, loop, front));
  front->cancel = [raw = worker.get()](CallId id) { raw->Cancel(id); };
  return std::unique_ptr<CurlTransport>(
      new CurlTransport(std::move(front), std::move(worker)));
}

CurlTransport::CurlTransport(std::shared_ptr<TransportFront> front,
                             std::unique_ptr<CurlWorker> worker)
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
