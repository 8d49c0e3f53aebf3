// SPDX-License-Identifier: Apache-2.0

#include <climits>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/yaml/documents.h"
#include "common/yaml/scalar.h"
#include "common/yaml/yaml_text.h"
#include "nlohmann/json.hpp"

namespace flotilla {
namespace {

using nlohmann::json;
using yaml::FloatValue;
using yaml::Invalid;
using yaml::Shown;

// Builds a value under limits; refuses duplicate keys.
//
// Thread-compatible.
class JsonBuilder : public nlohmann::json_sax<json> {
 public:
  explicit JsonBuilder(const YamlLimits& limits) : limits_(limits) {}

  json TakeValue() { return std::move(root_); }
  // Why the text was refused; OK for a plain syntax error.
  const absl::Status& status() const { return status_; }
  size_t position() const { return position_; }

  bool null() override { return Add(nullptr); }
  bool boolean(bool value) override { return Add(value); }
  bool number_integer(number_integer_t value) override { return Add(value); }
  bool number_unsigned(number_unsigned_t value) override {
    // The same number is the same type, from YAML and from JSON.
    if (value <= static_cast<uint64_t>(INT64_MAX)) {
      return Add(static_cast<int64_t>(value));
    }
    return Add(value);
  }
  bool number_float(number_float_t value, const string_t&) override {
    return Add(FloatValue(value));
  }
  bool string(string_t& value) override {
    string_bytes_ += value.size();
    return Add(std::move(value));
  }
  bool binary(binary_t&) override { return false; }

  bool start_object(std::size_t) override { return Open(json::object()); }
  bool key(string_t& value) override {
    string_bytes_ += value.size();
    if (stack_.back()->contains(value)) {
      return Fail(absl::InvalidArgumentError(absl::StrCat(
          "the key ", Shown(value), " is there twice in the same object")));
    }
    keys_.back() = std::move(value);
    return true;
  }
  bool end_object() override { return Close(); }
  bool start_array(std::size_t) override { return Open(json::array()); }
  bool end_array() override { return Close(); }

  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    position_ = position;
    return false;
  }

 private:
  bool Fail(absl::Status status) {
    status_ = std::move(status);
    return false;
  }

  bool Spend() {
    if (++nodes_ > limits_.max_nodes) {
      return Fail(absl::ResourceExhaustedError(
          absl::StrCat("more than ", limits_.max_nodes, " values")));
    }
    if (string_bytes_ > limits_.max_string_bytes) {
      return Fail(absl::ResourceExhaustedError(absl::StrCat(
          "more than ", limits_.max_string_bytes, " bytes of strings")));
    }
    return true;
  }

  // Puts a value where it belongs; returns its place.
  json* Place(json value) {
    if (stack_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    json& parent = *stack_.back();
    if (parent.is_array()) {
      parent.push_back(std::move(value));
      return &parent.back();
    }
    json& place = parent[keys_.back()];
    place = std::move(value);
    return &place;
  }

  bool Add(json value) {
    if (!Spend()) return false;
    Place(std::move(value));
    return true;
  }

  bool Open(json value) {
    if (!Spend()) return false;
    if (static_cast<int>(stack_.size()) >= limits_.max_depth) {
      return Fail(absl::ResourceExhaustedError(
          absl::StrCat("nested deeper than ", limits_.max_depth)));
    }
    // A parent never grows while one of its children is open.
    stack_.push_back(Place(std::move(value)));
    keys_.emplace_back();
    return true;
  }

  bool Close() {
    stack_.pop_back();
    keys_.pop_back();
    return true;
  }

  const YamlLimits limits_;
  json root_;
  std::vector<json*> stack_;
  std::vector<std::string> keys_;
  size_t nodes_ = 0;
  size_t string_bytes_ = 0;
  size_t position_ = 0;
  absl::Status status_;
};

}  // namespace

absl::StatusOr<json> ParseJson(absl::string_view text,
                               const YamlLimits& limits) {
  if (text.size() > limits.max_bytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the text has ", text.size(), " bytes, more than the ",
                     limits.max_bytes, " that are read"));
  }
  JsonBuilder builder(limits);
  if (json::sax_parse(text.begin(), text.end(), &builder)) {
    return builder.TakeValue();
  }
  if (!builder.status().ok()) return builder.status();
  int line = 1;
  int column = 1;
  for (char c : text.substr(0, builder.position())) {
    if (c == '\n') {
      ++line;
      column = 1;
    } else {
      ++column;
    }
  }
  return Invalid(line, column, "not valid JSON");
}

}  // namespace flotilla
