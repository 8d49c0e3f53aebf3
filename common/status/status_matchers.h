// SPDX-License-Identifier: Apache-2.0
//
// Matchers for absl::Status and absl::StatusOr, with the names that upstream's
// absl/status/status_matchers.h has.
//
//   EXPECT_THAT(store.Open(), IsOk());
//   EXPECT_THAT(Parse("7"), IsOkAndHolds(7));
//   EXPECT_THAT(Parse(""), StatusIs(absl::StatusCode::kInvalidArgument,
//                                   HasSubstr("empty")));

#ifndef FLOTILLA_COMMON_STATUS_STATUS_MATCHERS_H_
#define FLOTILLA_COMMON_STATUS_STATUS_MATCHERS_H_

#include <ostream>
#include <string>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"

namespace flotilla {
namespace internal_matchers {

inline const absl::Status& StatusOf(const absl::Status& status) {
  return status;
}
template <typename T>
const absl::Status& StatusOf(const absl::StatusOr<T>& status_or) {
  return status_or.status();
}

// Matches anything with a status that is OK.
//
// Immutable.
class IsOkMatcher {
 public:
  using is_gtest_matcher = void;

  template <typename T>
  bool MatchAndExplain(const T& value,
                       ::testing::MatchResultListener* listener) const {
    const absl::Status& status = StatusOf(value);
    if (!status.ok()) *listener << "whose status is " << status;
    return status.ok();
  }
  void DescribeTo(std::ostream* os) const { *os << "is OK"; }
  void DescribeNegationTo(std::ostream* os) const { *os << "is not OK"; }
};

// Matches a status by code and message.
//
// Immutable.
class StatusIsMatcher {
 public:
  using is_gtest_matcher = void;

  StatusIsMatcher(::testing::Matcher<absl::StatusCode> code,
                  ::testing::Matcher<const std::string&> message)
      : code_(std::move(code)), message_(std::move(message)) {}

  template <typename T>
  bool MatchAndExplain(const T& value,
                       ::testing::MatchResultListener* listener) const {
    const absl::Status& status = StatusOf(value);
    const bool matches = code_.Matches(status.code()) &&
                         message_.Matches(std::string(status.message()));
    *listener << "whose status is " << status;
    return matches;
  }
  void DescribeTo(std::ostream* os) const {
    *os << "has a status code that ";
    code_.DescribeTo(os);
    *os << ", and a message that ";
    message_.DescribeTo(os);
  }
  void DescribeNegationTo(std::ostream* os) const {
    *os << "not (";
    DescribeTo(os);
    *os << ")";
  }

 private:
  const ::testing::Matcher<absl::StatusCode> code_;
  const ::testing::Matcher<const std::string&> message_;
};

// The above for one type of StatusOr, as gMock asks for it.
//
// Immutable.
template <typename StatusOrType>
class IsOkAndHoldsMatcherFor
    : public ::testing::MatcherInterface<StatusOrType> {
 public:
  using Value = typename std::decay<StatusOrType>::type::value_type;

  template <typename Inner>
  explicit IsOkAndHoldsMatcherFor(Inner&& inner)
      : inner_(::testing::SafeMatcherCast<const Value&>(
            std::forward<Inner>(inner))) {}

  bool MatchAndExplain(
      StatusOrType value,
      ::testing::MatchResultListener* listener) const override {
    if (!value.ok()) {
      *listener << "whose status is " << value.status();
      return false;
    }
    return inner_.MatchAndExplain(*value, listener);
  }
  void DescribeTo(std::ostream* os) const override {
    *os << "is OK and has a value that ";
    inner_.DescribeTo(os);
  }

 private:
  const ::testing::Matcher<const Value&> inner_;
};

// Matches a StatusOr that is OK by its value.
//
// Immutable.
template <typename Inner>
class IsOkAndHoldsMatcher {
 public:
  explicit IsOkAndHoldsMatcher(Inner inner) : inner_(std::move(inner)) {}

  template <typename StatusOrType>
  operator ::testing::Matcher<StatusOrType>() const {  // NOLINT
    return ::testing::Matcher<StatusOrType>(
        new IsOkAndHoldsMatcherFor<StatusOrType>(inner_));
  }

 private:
  const Inner inner_;
};

}  // namespace internal_matchers

inline internal_matchers::IsOkMatcher IsOk() { return {}; }

template <typename Code>
internal_matchers::StatusIsMatcher StatusIs(Code code) {
  return internal_matchers::StatusIsMatcher(
      ::testing::Matcher<absl::StatusCode>(std::move(code)), ::testing::_);
}

template <typename Code, typename Message>
internal_matchers::StatusIsMatcher StatusIs(Code code, Message message) {
  return internal_matchers::StatusIsMatcher(
      ::testing::Matcher<absl::StatusCode>(std::move(code)),
      ::testing::Matcher<const std::string&>(std::move(message)));
}

template <typename Inner>
internal_matchers::IsOkAndHoldsMatcher<typename std::decay<Inner>::type>
IsOkAndHolds(Inner&& inner) {
  return internal_matchers::IsOkAndHoldsMatcher<
      typename std::decay<Inner>::type>(std::forward<Inner>(inner));
}

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_STATUS_STATUS_MATCHERS_H_
