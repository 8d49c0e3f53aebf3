// SPDX-License-Identifier: Apache-2.0
//
// RETURN_IF_ERROR, ASSIGN_OR_RETURN and RET_CHECK, with upstream's names and
// meaning. Delete when Abseil 20260526 or newer is the system's.
//
//   RETURN_IF_ERROR(Open(path)) << "opening the store";
//   ASSIGN_OR_RETURN(auto chart, LoadChart(dir));
//   ASSIGN_OR_RETURN(auto chart, LoadChart(dir), _ << "rendering " << id);
//   RET_CHECK(size > 0) << "empty frame";
//
// Text that is streamed in goes before the error's own message: "opening the
// store: disk full". Code and payloads stay.

#ifndef FLOTILLA_COMMON_STATUS_STATUS_MACROS_H_
#define FLOTILLA_COMMON_STATUS_STATUS_MACROS_H_

#include <sstream>
#include <string>
#include <utility>

#include "absl/base/optimization.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace flotilla::internal {

// An error on its way out, to which context may be added.
//
// Thread-compatible.
class [[nodiscard]] StatusBuilder {
 public:
  explicit StatusBuilder(absl::Status status) : status_(std::move(status)) {}

  template <typename T>
  StatusBuilder&& operator<<(const T& value) && {
    context_ << value;
    return std::move(*this);
  }

  // Implicit, so that `return builder;` works for Status and StatusOr alike.
  operator absl::Status() && {  // NOLINT(google-explicit-constructor)
    const std::string context = context_.str();
    if (context.empty()) return std::move(status_);
    absl::Status result(status_.code(),
                        absl::StrCat(context, ": ", status_.message()));
    status_.ForEachPayload(
        [&result](absl::string_view url, const absl::Cord& payload) {
          result.SetPayload(url, payload);
        });
    return result;
  }

 private:
  absl::Status status_;
  std::ostringstream context_;
};

// What `_` is in ASSIGN_OR_RETURN's third argument: the error, not yet moved.
//
// Thread-compatible.
struct StatusContext {
  absl::Status status;

  template <typename T>
  StatusBuilder operator<<(const T& value) && {
    return StatusBuilder(std::move(status)) << value;
  }
  template <typename T>
  StatusBuilder operator<<(const T& value) & {
    return StatusBuilder(std::move(status)) << value;
  }
};

inline absl::Status ToStatus(absl::Status status) { return status; }
template <typename T>
absl::Status ToStatus(const absl::StatusOr<T>& status_or) {
  return status_or.status();
}

}  // namespace flotilla::internal

#define FLOTILLA_STATUS_CONCAT_INNER_(a, b) a##b
#define FLOTILLA_STATUS_CONCAT_(a, b) FLOTILLA_STATUS_CONCAT_INNER_(a, b)

// Loops that end in their first turn: unlike an `if`, they cannot take an
// `else` of the caller's.
#define RETURN_IF_ERROR(expr)                                             \
  for (absl::Status FLOTILLA_STATUS_CONCAT_(flotilla_status_, __LINE__) = \
           ::flotilla::internal::ToStatus(expr);                          \
       ABSL_PREDICT_FALSE(                                                \
           !FLOTILLA_STATUS_CONCAT_(flotilla_status_, __LINE__).ok());)   \
  return ::flotilla::internal::StatusBuilder(                             \
      std::move(FLOTILLA_STATUS_CONCAT_(flotilla_status_, __LINE__)))

#define ASSIGN_OR_RETURN(...)                             \
  FLOTILLA_ASSIGN_PICK_(__VA_ARGS__, FLOTILLA_ASSIGN_3_,  \
                        FLOTILLA_ASSIGN_2_)               \
  (FLOTILLA_STATUS_CONCAT_(flotilla_status_or_, __LINE__), __VA_ARGS__)

#define FLOTILLA_ASSIGN_PICK_(_1, _2, _3, NAME, ...) NAME

#define FLOTILLA_ASSIGN_2_(var, lhs, rexpr)                    \
  auto var = (rexpr);                                          \
  if (ABSL_PREDICT_FALSE(!var.ok()))                           \
    return ::flotilla::internal::StatusBuilder(var.status());  \
  lhs = *std::move(var)

// `error` is an expression of `_`, a StatusContext.
#define FLOTILLA_ASSIGN_3_(var, lhs, rexpr, error)                   \
  auto var = (rexpr);                                                \
  if (ABSL_PREDICT_FALSE(!var.ok())) {                               \
    auto flotilla_context =                                          \
        [&](::flotilla::internal::StatusContext _) -> absl::Status { \
      return error;                                                  \
    };                                                               \
    return flotilla_context(                                         \
        ::flotilla::internal::StatusContext{var.status()});          \
  }                                                                  \
  lhs = *std::move(var)

#define RET_CHECK(condition)                                      \
  while (ABSL_PREDICT_FALSE(!(condition)))                        \
  return ::flotilla::internal::StatusBuilder(absl::InternalError( \
      "RET_CHECK failed (" __FILE__ "): " #condition))

#endif  // FLOTILLA_COMMON_STATUS_STATUS_MACROS_H_
