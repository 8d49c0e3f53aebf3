// SPDX-License-Identifier: Apache-2.0
//
// PagedList asks for all pages of a list, one after another. It keeps itself
// alive through its own callbacks; Stop() ends it.

#ifndef FLOTILLA_COMMON_KUBE_PAGED_LIST_H_
#define FLOTILLA_COMMON_KUBE_PAGED_LIST_H_

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"

#include "common/kube/http_transport.h"
#include "common/kube/kube_calls.h"
#include "common/kube/kube_client.h"

namespace flotilla {

// Loop-affine.
class PagedList : public std::enable_shared_from_this<PagedList> {
 public:
  using OnPage = absl::AnyInvocable<void(std::vector<KubeObject>)>;
  using OnEnd = absl::AnyInvocable<void(absl::StatusOr<std::string>)>;

  // `target` has the selectors in it. `on_end` gets the resource version.
  // `calls` must outlive it.
  PagedList(KubeCalls& calls, std::string target, bool metadata_only,
            OnPage on_page, OnEnd on_end)
      : calls_(calls),
        target_(std::move(target)),
        metadata_only_(metadata_only),
        on_page_(std::move(on_page)),
        on_end_(std::move(on_end)) {}
  PagedList(const PagedList&) = delete;
  PagedList& operator=(const PagedList&) = delete;

  // REQUIRES: it is held by a shared_ptr.
  void Start() { AskPage(""); }
  void Stop() { stopped_ = true; }

 private:
  void AskPage(const std::string& next);
  void TakePage(absl::StatusOr<HttpAnswer> answer);

  // Collaborators. Not owned.
  KubeCalls& calls_;

  // Constant after construction.
  const std::string target_;
  const bool metadata_only_;

  // Loop state.
  OnPage on_page_;
  OnEnd on_end_;
  size_t bytes_ = 0;
  std::string version_;
  bool stopped_ = false;
};

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_KUBE_PAGED_LIST_H_
