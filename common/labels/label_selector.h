// SPDX-License-Identifier: Apache-2.0
//
// Kubernetes label selectors: a present and empty one matches everything. A
// selector may come from anywhere; an operator that is not known matches
// nothing.

#ifndef FLOTILLA_COMMON_LABELS_LABEL_SELECTOR_H_
#define FLOTILLA_COMMON_LABELS_LABEL_SELECTOR_H_

#include <map>
#include <string>

#include "flotilla/core/v1/core.pb.h"
#include "google/protobuf/repeated_ptr_field.h"

namespace flotilla {

using LabelMap = std::map<std::string, std::string>;

LabelMap ToLabelMap(
    const google::protobuf::RepeatedPtrField<core::v1::LabelPair>& labels);

bool SelectorMatches(const core::v1::LabelSelector& selector,
                     const LabelMap& labels);

// "a=b,c in (d,e),!f", for people.
std::string SelectorText(const core::v1::LabelSelector& selector);

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_LABELS_LABEL_SELECTOR_H_
