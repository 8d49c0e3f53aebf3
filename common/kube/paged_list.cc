// SPDX-License-Identifier: Apache-2.0

#include "common/kube/paged_list.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

#include "common/kube/json_scan.h"
#include "common/kube/kube_url.h"
#include "common/kube/object.h"

namespace flotilla {

namespace {

// What is read of a page.
struct Page {
  std::vector<KubeObject> items;
  std::string version;
  std::string next;  // Empty: it is the last one.
};

// False when `body` is no list.
bool ReadPage(absl::string_view body, Page* page) {
  bool items_ok = true;
  const auto take_metadata = [&](absl::string_view name,
                                 absl::string_view value) {
    if (name == "resourceVersion") page->version = ScanText(value);
    if (name == "continue") page->next = ScanText(value);
    return true;
  };
  const auto take_item = [&](absl::string_view item) {
    KubeObject object;
    if (ScanHead(item, &object.head)) {
      object.json = std::string(item);
      page->items.push_back(std::move(object));
    }
    return true;
  };
  const bool list_ok =
      ForEachMember(body, [&](absl::string_view name, absl::string_view value) {
        if (name == "metadata") {
          ForEachMember(value, take_metadata);
        } else if (name == "items" && value != "null") {
          items_ok = ForEachItem(value, take_item);
        }
        return true;
      });
  return list_ok && items_ok;
}

}  // namespace

void PagedList::AskPage(const std::string& next) {
  HttpRequest request;
  request.target = target_;
  AddParameter("limit", absl::StrCat(calls_.options().page_size),
               &request.target);
  if (!next.empty()) AddParameter("continue", next, &request.target);
  request.accept =
      std::string(metadata_only_ ? kMetadataListMedia : kJsonMedia);
  request.max_answer_bytes = calls_.options().max_list_bytes - bytes_;
  request.timeout = calls_.options().list_timeout;
  request.compress = true;
  calls_.Send(std::move(request),
              [self = shared_from_this()](absl::StatusOr<HttpAnswer> answer) {
                if (!self->stopped_) self->TakePage(std::move(answer));
              });
}

void PagedList::TakePage(absl::StatusOr<HttpAnswer> answer) {
  if (!answer.ok()) {
    on_end_(answer.status());
    return;
  }
  bytes_ += answer->body.size();
  Page page;
  if (!ReadPage(answer->body, &page)) {
    on_end_(absl::InternalError("the API server's answer is no list"));
    return;
  }
  if (!page.version.empty()) version_ = page.version;
  on_page_(std::move(page.items));
  if (stopped_) return;
  const size_t limit = calls_.options().max_list_bytes;
  if (page.next.empty()) {
    on_end_(version_);
  } else if (bytes_ >= limit) {
    on_end_(absl::ResourceExhaustedError(
        absl::StrCat("the list is larger than ", limit, " bytes")));
  } else {
    AskPage(page.next);
  }
}

}  // namespace flotilla
