// SPDX-License-Identifier: Apache-2.0
//
// What is answered to a ValuesRequest. Nothing here ever puts a value, or an
// API server's own words about an object, into a text.

#ifndef FLOTILLA_AGENT_VALUES_VALUES_ANSWER_H_
#define FLOTILLA_AGENT_VALUES_VALUES_ANSWER_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "flotilla/agent/v1/agent.pb.h"
#include "flotilla/core/v1/core.pb.h"

namespace flotilla::agent {

// Of all contents of one answer.
inline constexpr size_t kMaxValuesBytes = 1024 * 1024;

// INVALID_ARGUMENT, with a sentence for people, when nothing can have that
// name.
absl::Status CheckRef(const core::v1::ValuesRef& ref);

// The object that holds `ref`.
// REQUIRES: CheckRef(ref) is OK.
core::v1::ResourceKey ObjectOf(const core::v1::ValuesRef& ref);

// The bytes that `ref` names in its object's JSON. FAILED_PRECONDITION, with a
// sentence for people, when they are not there.
absl::StatusOr<std::string> ValueIn(const core::v1::ValuesRef& ref,
                                    absl::string_view object_json);

// What a failed read of `ref`'s object, made as `user` ("": the agent), means,
// as a sentence for people. UNAVAILABLE: try again, there is nothing to say.
absl::Status ReadProblem(const core::v1::ValuesRef& ref,
                         const absl::Status& failed, absl::string_view user);

// The report, digest included; an error becomes its problem. Contents over
// kMaxValuesBytes are one.
agent::v1::ValuesReport AnswerTo(
    const agent::v1::ValuesRequest& request,
    absl::StatusOr<std::vector<std::string>> contents);

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_VALUES_VALUES_ANSWER_H_
