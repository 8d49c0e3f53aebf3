// SPDX-License-Identifier: Apache-2.0
//
// The version that all programs of this tree say they have.

#ifndef FLOTILLA_COMMON_VERSION_VERSION_H_
#define FLOTILLA_COMMON_VERSION_VERSION_H_

namespace flotilla {

inline constexpr char kVersion[] = "0.1.0";

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_VERSION_VERSION_H_
