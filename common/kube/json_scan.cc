// SPDX-License-Identifier: Apache-2.0

#include "common/kube/json_scan.h"

#include <cstdint>
#include <cstring>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/strings/numbers.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

#include "common/kube/kube_client.h"

namespace flotilla {
namespace {

constexpr size_t kBad = absl::string_view::npos;

size_t SkipSpace(absl::string_view text, size_t at) {
  while (at < text.size() && (text[at] == ' ' || text[at] == '\n' ||
                              text[at] == '\t' || text[at] == '\r')) {
    ++at;
  }
  return at;
}

// `at` is at the opening quote; returns the place after the closing one.
size_t SkipString(absl::string_view text, size_t at) {
  ++at;
  while (at < text.size()) {
    const void* quote = std::memchr(text.data() + at, '"', text.size() - at);
    if (quote == nullptr) return kBad;
    const size_t found =
        static_cast<size_t>(static_cast<const char*>(quote) - text.data());
    size_t slashes = 0;
    while (found - slashes > at && text[found - slashes - 1] == '\\') {
      ++slashes;
    }
    if (slashes % 2 == 0) return found + 1;
    at = found + 1;
  }
  return kBad;
}

// Returns the place after the value that begins at `at`.
size_t SkipValue(absl::string_view text, size_t at) {
  if (at >= text.size()) return kBad;
  if (text[at] == '"') return SkipString(text, at);
  if (text[at] == '{' || text[at] == '[') {
    size_t depth = 0;
    while (at < text.size()) {
      switch (text[at]) {
        case '"':
          at = SkipString(text, at);
          if (at == kBad) return kBad;
          continue;
        case '{':
        case '[':
          ++depth;
          break;
        case '}':
        case ']':
          if (--depth == 0) return at + 1;
          break;
        default:
          break;
      }
      ++at;
    }
    return kBad;
  }
  const size_t begin = at;
  while (at < text.size() && text[at] != ',' && text[at] != '}' &&
         text[at] != ']' && text[at] != ' ' && text[at] != '\n' &&
         text[at] != '\t' && text[at] != '\r') {
    ++at;
  }
  return at == begin ? kBad : at;
}

// Walks over the comma-separated parts between `open` and `close`. `part`
// gets the place where a part begins and returns where it ends, kBad for a
// broken one, or sets `stop`.
bool Walk(absl::string_view text, char open, char close,
          absl::FunctionRef<size_t(size_t at, bool* stop)> part) {
  size_t at = SkipSpace(text, 0);
  if (at >= text.size() || text[at] != open) return false;
  at = SkipSpace(text, at + 1);
  if (at < text.size() && text[at] == close) return true;
  while (at < text.size()) {
    bool stop = false;
    at = part(at, &stop);
    if (stop) return true;
    if (at == kBad) return false;
    at = SkipSpace(text, at);
    if (at >= text.size()) return false;
    if (text[at] == close) return true;
    if (text[at] != ',') return false;
    at = SkipSpace(text, at + 1);
  }
  return false;
}

}  // namespace

bool ForEachMember(
    absl::string_view text,
    absl::FunctionRef<bool(absl::string_view name, absl::string_view value)>
        visit) {
  return Walk(text, '{', '}', [text, visit](size_t at, bool* stop) {
    if (text[at] != '"') return kBad;
    const size_t name_end = SkipString(text, at);
    if (name_end == kBad) return kBad;
    const absl::string_view name = text.substr(at + 1, name_end - at - 2);
    size_t value_at = SkipSpace(text, name_end);
    if (value_at >= text.size() || text[value_at] != ':') return kBad;
    value_at = SkipSpace(text, value_at + 1);
    const size_t value_end = SkipValue(text, value_at);
    if (value_end == kBad) return kBad;
    *stop = !visit(name, text.substr(value_at, value_end - value_at));
    return value_end;
  });
}

bool ForEachItem(absl::string_view text,
                 absl::FunctionRef<bool(absl::string_view item)> visit) {
  return Walk(text, '[', ']', [text, visit](size_t at, bool* stop) {
    const size_t end = SkipValue(text, at);
    if (end == kBad) return kBad;
    *stop = !visit(text.substr(at, end - at));
    return end;
  });
}

std::string ScanText(absl::string_view raw) {
  if (raw.size() < 2 || raw.front() != '"' || raw.back() != '"') return "";
  const absl::string_view inner = raw.substr(1, raw.size() - 2);
  if (inner.find('\\') == absl::string_view::npos) return std::string(inner);
  const nlohmann::json value = nlohmann::json::parse(
      raw.begin(), raw.end(), nullptr, /*allow_exceptions=*/false);
  return value.is_string() ? value.get<std::string>() : std::string();
}

bool ScanHead(absl::string_view object, ObjectHead* head) {
  bool metadata_ok = true;
  const bool object_ok = ForEachMember(
      object,
      [head, &metadata_ok](absl::string_view name, absl::string_view value) {
        if (name != "metadata") return true;
        metadata_ok = ForEachMember(
            value, [head](absl::string_view field, absl::string_view raw) {
              if (field == "name") {
                head->name = ScanText(raw);
              } else if (field == "namespace") {
                head->ns = ScanText(raw);
              } else if (field == "uid") {
                head->uid = ScanText(raw);
              } else if (field == "resourceVersion") {
                head->resource_version = ScanText(raw);
              } else if (field == "generation") {
                int64_t generation = 0;
                if (absl::SimpleAtoi(raw, &generation)) {
                  head->generation = generation;
                }
              } else if (field == "deletionTimestamp") {
                head->deleting = raw != "null";
              }
              return true;
            });
        return false;
      });
  return object_ok && metadata_ok;
}

}  // namespace flotilla
