// SPDX-License-Identifier: Apache-2.0

#include "manager/render/json_patch.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/yaml/documents.h"

namespace flotilla::manager {
namespace {

using nlohmann::json;

constexpr size_t kValueBytes = 64;

std::string TextOf(const json& operation, const char* name) {
  const auto it = operation.find(name);
  return it == operation.end() || !it->is_string()
             ? ""
             : it->get_ref<const std::string&>();
}

// Why an operation cannot be tried; empty when it can.
std::string Check(const json& operation) {
  if (!operation.is_object()) return "is no map with op and path";
  const std::string op = TextOf(operation, "op");
  if (op != "add" && op != "remove" && op != "replace" && op != "move" &&
      op != "copy" && op != "test") {
    return "has no op, or one that is none of add, remove, replace, move, "
           "copy and test";
  }
  const auto path = operation.find("path");
  if (path == operation.end() || !path->is_string()) return "has no path";
  if ((op == "add" || op == "replace" || op == "test") &&
      operation.find("value") == operation.end()) {
    return absl::StrCat("has no value, which \"", op, "\" needs");
  }
  if (op == "move" || op == "copy") {
    const auto from = operation.find("from");
    if (from == operation.end() || !from->is_string()) {
      return absl::StrCat("has no from, which \"", op, "\" needs");
    }
  }
  return "";
}

}  // namespace

std::string JsonPatcher::Apply(const json& operation, json* document) {
  std::string why = Check(operation);
  if (!why.empty()) return why;
  const std::string op = TextOf(operation, "op");
  try {
    why = Charge(operation, *document);
    if (why.empty()) document->patch_inplace(json::array({operation}));
  } catch (const json::exception&) {
    why = op == "test" ? "fails: the value is another one, or not there"
                       : "cannot be done: its place is not there";
  }
  if (why.empty()) return why;
  return absl::StrCat("(", op, " ", TextOf(operation, "path"), ") ", why);
}

std::string JsonPatcher::Charge(const json& operation, const json& document) {
  const std::string op = TextOf(operation, "op");
  if (op == "test") return "";
  const std::string path = TextOf(operation, "path");
  const std::string from = TextOf(operation, "from");
  const size_t depth =
      static_cast<size_t>(std::count(path.begin(), path.end(), '/'));
  std::string why;
  if (op == "add" || op == "replace") {
    why = ChargeValue(*operation.find("value"), depth);
  } else if (op == "copy" || op == "move") {
    why = ChargeValue(document.at(json::json_pointer(from)), depth);
  }
  if (!why.empty() || op == "replace") return why;
  const json::json_pointer holder = json::json_pointer(path).parent_pointer();
  if (op == "move") {
    const json& left =
        document.at(json::json_pointer(from).parent_pointer());
    if (left.is_array()) why = ChargeBytes(left.size());
    if (!why.empty()) return why;
  }
  const json& parent = document.at(holder);
  if (parent.is_array()) return ChargeBytes(parent.size());
  // The library takes it for granted that no scalar is one.
  if (!path.empty() && !parent.is_object() && !parent.is_null()) {
    return "cannot be done: its place is not there";
  }
  return "";
}

std::string JsonPatcher::ChargeValue(const json& value, size_t depth) {
  static const size_t kMaxDepth = static_cast<size_t>(YamlLimits().max_depth);
  if (value.is_structured() && depth >= kMaxDepth) {
    return absl::StrCat("makes the document nest deeper than ", kMaxDepth);
  }
  std::string why = ChargeBytes(
      kValueBytes +
      (value.is_string() ? value.get_ref<const std::string&>().size() : 0));
  if (!value.is_structured()) return why;
  for (auto it = value.begin(); why.empty() && it != value.end(); ++it) {
    if (value.is_object()) why = ChargeBytes(it.key().size());
    if (why.empty()) why = ChargeValue(*it, depth + 1);
  }
  return why;
}

std::string JsonPatcher::ChargeBytes(size_t bytes) {
  if (bytes > room_) {
    return absl::StrCat(
        "is too much: the operations of all overlays of a bundle may copy and "
        "move ",
        kMaxBytes, " bytes together");
  }
  room_ -= bytes;
  return "";
}

}  // namespace flotilla::manager
