// SPDX-License-Identifier: Apache-2.0
//
// What a plain cluster serves, for FakeKubeClient.

#ifndef FLOTILLA_COMMON_KUBE_PLAIN_KINDS_H_
#define FLOTILLA_COMMON_KUBE_PLAIN_KINDS_H_

#include <vector>

#include "absl/strings/string_view.h"

#include "common/kube/kube_client.h"

namespace flotilla {

// With all verbs.
ServedKind MakeServedKind(absl::string_view group, absl::string_view version,
                          absl::string_view kind, absl::string_view plural,
                          bool namespaced);

std::vector<ServedKind> PlainKinds();

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_KUBE_PLAIN_KINDS_H_
