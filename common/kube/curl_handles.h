// SPDX-License-Identifier: Apache-2.0
//
// libcurl's handles, freed with their owners.

#ifndef FLOTILLA_COMMON_KUBE_CURL_HANDLES_H_
#define FLOTILLA_COMMON_KUBE_CURL_HANDLES_H_

#include <curl/curl.h>

#include <memory>

namespace flotilla {

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

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_KUBE_CURL_HANDLES_H_
