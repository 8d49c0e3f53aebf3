// SPDX-License-Identifier: Apache-2.0
//
// Label and field selectors as an API server reads them, for FakeKubeClient.

#ifndef FLOTILLA_COMMON_KUBE_FAKE_SELECTORS_H_
#define FLOTILLA_COMMON_KUBE_FAKE_SELECTORS_H_

#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

namespace flotilla {

bool MatchesLabels(const nlohmann::json& object, absl::string_view selector);

// Of metadata.name and metadata.namespace.
bool MatchesFieldSelector(const nlohmann::json& object,
                          absl::string_view selector);

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_KUBE_FAKE_SELECTORS_H_
