// SPDX-License-Identifier: Apache-2.0
//
// Kubernetes label selectors, as in spec 4.1: a present and empty one matches
// everything. A selector's shape was checked when its document was read; an
// operator that is not known matches nothing.

#ifndef FLOTILLA_MANAGER_TARGETING_LABEL_SELECTOR_H_
#define FLOTILLA_MANAGER_TARGETING_LABEL_SELECTOR_H_

#include <map>
#include <string>

#include "flotilla/core/v1/core.pb.h"
#include "google/protobuf/repeated_ptr_field.h"

namespace flotilla::manager {

using LabelMap = std::map<std::string, std::string>;

LabelMap ToLabelMap(
    const google::protobuf::RepeatedPtrField<core::v1::LabelPair>& labels);

bool SelectorMatches(const core::v1::LabelSelector& selector,
                     const LabelMap& labels);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_TARGETING_LABEL_SELECTOR_H_
