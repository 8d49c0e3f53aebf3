// SPDX-License-Identifier: Apache-2.0

#include "manager/documents/field_reader.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "common/text/cut_text.h"

namespace flotilla::manager {
namespace {

using nlohmann::json;

constexpr size_t kMaxShown = 80;
constexpr size_t kMaxWord = 64;
constexpr size_t kMaxPath = 1000;

struct Character {
  uint32_t code = 0xffffffff;  // Of what is not UTF-8.
  size_t size = 1;
};

// `text` is not empty.
Character CharacterAt(absl::string_view text) {
  const auto first = static_cast<unsigned char>(text[0]);
  if (first < 0x80) return {first, 1};
  const size_t size = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || text.size() < size) return {};
  uint32_t code = first & (0xff >> (size + 1));
  for (size_t i = 1; i < size; ++i) {
    const auto next = static_cast<unsigned char>(text[i]);
    if ((next & 0xc0) != 0x80) return {};
    code = (code << 6) | (next & 0x3f);
  }
  const uint32_t least = size == 2 ? 0x80 : size == 3 ? 0x800 : 0x10000;
  if (code < least || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) {
    return {};
  }
  return {code, size};
}

bool MayBeShown(uint32_t code) {
  return code >= 0x20 && code <= 0x10ffff && !(code >= 0x7f && code < 0xa0) &&
         code != 0xad && code != 0x61c && code != 0x180e && code != 0xfeff &&
         !(code >= 0x200b && code <= 0x200f) &&
         !(code >= 0x2028 && code <= 0x202e) &&
         !(code >= 0x2060 && code <= 0x206f) &&
         !(code >= 0xfff9 && code <= 0xfffb) &&
         !(code >= 0xe0000 && code <= 0xe007f);
}

absl::string_view TypeName(const json& value) {
  switch (value.type()) {
    case json::value_t::object:
      return "a map";
    case json::value_t::array:
      return "a list";
    case json::value_t::string:
      return "a string";
    case json::value_t::boolean:
      return "a boolean";
    case json::value_t::number_integer:
    case json::value_t::number_unsigned:
    case json::value_t::number_float:
      return "a number";
    default:
      return "null";
  }
}

std::string WrongType(absl::string_view wanted, const json& value) {
  std::string text =
      absl::StrCat("must be ", wanted, ", and is ", TypeName(value));
  if (wanted == "a string" && (value.is_boolean() || value.is_number())) {
    absl::StrAppend(&text, "; write it in quotes");
  }
  return text;
}

std::string Escape(absl::string_view key) {
  return absl::StrReplaceAll(key, {{"~", "~0"}, {"/", "~1"}});
}

// False, zero, empty, or an object of such values.
bool IsDefault(const json& value, int depth = 0) {
  switch (value.type()) {
    case json::value_t::null:
      return true;
    case json::value_t::boolean:
      return !value.get<bool>();
    case json::value_t::number_integer:
    case json::value_t::number_unsigned:
    case json::value_t::number_float:
      return value.get<double>() == 0;
    case json::value_t::string:
      return value.get_ref<const std::string&>().empty();
    case json::value_t::array:
      return value.empty();
    case json::value_t::object:
      if (depth > 8) return false;
      for (const auto& item : value.items()) {
        if (!IsDefault(item.value(), depth + 1)) return false;
      }
      return true;
    default:
      return false;
  }
}

bool IsIndex(absl::string_view part) {
  return !part.empty() &&
         std::all_of(part.begin(), part.end(), [](char c) {
           return absl::ascii_isdigit(static_cast<unsigned char>(c));
         });
}

size_t EditDistance(absl::string_view a, absl::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t above = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1,
                         diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

}  // namespace

std::string CleanText(absl::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const Character character = CharacterAt(text.substr(at));
    if (MayBeShown(character.code)) {
      absl::StrAppend(&out, text.substr(at, character.size));
    } else {
      out.push_back('?');
    }
    at += character.size;
  }
  return out;
}

bool IsUtf8(absl::string_view bytes) {
  for (size_t at = 0; at < bytes.size();) {
    const Character character = CharacterAt(bytes.substr(at));
    if (character.code > 0x10ffff) return false;
    at += character.size;
  }
  return true;
}

std::string ShownText(absl::string_view text) {
  if (text.size() <= kMaxShown) return CleanText(text);
  return CleanText(CutText(text, kMaxShown)) + "...";
}

core::v1::Problem YamlProblem(const absl::Status& status,
                              absl::string_view file,
                              absl::string_view subject) {
  core::v1::Problem problem;
  problem.set_code(absl::StatusCodeToString(status.code()));
  problem.set_message(CleanText(YamlErrorText(status)));
  problem.set_subject(std::string(subject));
  problem.set_file(std::string(file));
  problem.set_line(static_cast<uint32_t>(std::max(0, YamlErrorLine(status))));
  return problem;
}

core::v1::Problem YamlWarning(const YamlDoubt& doubt, absl::string_view file,
                              absl::string_view subject) {
  core::v1::Problem problem;
  problem.set_code("WARNING");
  problem.set_message(CleanText(doubt.text));
  problem.set_subject(std::string(subject));
  problem.set_file(std::string(file));
  problem.set_line(static_cast<uint32_t>(std::max(0, doubt.line)));
  return problem;
}

std::string PathOfPointer(absl::string_view pointer) {
  std::string path;
  bool first = true;
  for (absl::string_view part : absl::StrSplit(pointer, '/')) {
    if (first) {
      first = false;
      continue;
    }
    if (IsIndex(part)) {
      absl::StrAppend(&path, "[", part, "]");
      continue;
    }
    if (!path.empty()) path.push_back('.');
    absl::StrAppend(&path, ShownText(absl::StrReplaceAll(
                               part, {{"~1", "/"}, {"~0", "~"}})));
  }
  return path;
}

std::string NearestWord(absl::string_view word,
                        const std::vector<std::string>& known) {
  if (word.empty() || word.size() > kMaxWord) return "";
  const std::string lower = absl::AsciiStrToLower(word);
  // A third of the letters may be wrong, and at least one.
  size_t best_distance = std::max<size_t>(1, word.size() / 3) + 1;
  std::string best;
  for (const std::string& candidate : known) {
    const size_t distance =
        EditDistance(lower, absl::AsciiStrToLower(candidate));
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

ProblemLog::ProblemLog(std::string file, std::string subject,
                       const YamlDocument* document)
    : file_(std::move(file)),
      document_(document),
      subject_(std::move(subject)) {}

int ProblemLog::LineOf(absl::string_view pointer) const {
  return document_ == nullptr ? 0 : document_->LineOf(pointer);
}

void ProblemLog::RecordKey(absl::string_view pointer) {
  if (key_record_ == nullptr) return;
  std::string path;
  for (absl::string_view part : absl::StrSplit(pointer, '/')) {
    if (part.empty()) continue;
    if (IsIndex(part)) {
      path += "[]";
      continue;
    }
    if (!path.empty()) path.push_back('.');
    absl::StrAppend(&path, part);
  }
  key_record_->insert(std::move(path));
}

void ProblemLog::Error(absl::string_view pointer, absl::string_view message,
                       absl::string_view code) {
  Add(errors_, pointer, message, code);
}

void ProblemLog::Warning(absl::string_view pointer,
                         absl::string_view message) {
  Add(warnings_, pointer, message, "WARNING");
}

void ProblemLog::Add(std::vector<core::v1::Problem>& list,
                     absl::string_view pointer, absl::string_view message,
                     absl::string_view code) {
  if (list.size() > kMaxProblems) return;
  core::v1::Problem& problem = list.emplace_back();
  problem.set_subject(subject_);
  problem.set_file(file_);
  if (list.size() > kMaxProblems) {
    problem.set_code(std::string(code));
    problem.set_message("there are more problems; put these right first");
    return;
  }
  problem.set_code(std::string(code));
  std::string path = PathOfPointer(pointer);
  if (path.size() > kMaxPath) {
    path = absl::StrCat("...", path.substr(path.size() - kMaxPath));
  }
  problem.set_message(CleanText(
      path.empty() ? std::string(message) : absl::StrCat(path, ": ", message)));
  problem.set_line(static_cast<uint32_t>(std::max(0, LineOf(pointer))));
}

FieldReader::FieldReader(const json& object, std::string pointer,
                         ProblemLog& log)
    : object_(&object), pointer_(std::move(pointer)), log_(&log) {}

bool FieldReader::Has(absl::string_view key) const {
  if (!object_->is_object()) return false;
  const auto it = object_->find(Spelling(key));
  return it != object_->end() && !it->is_null();
}

const json* FieldReader::Take(absl::string_view key) {
  log_->RecordKey(absl::StrCat(pointer_, "/", key));
  known_.emplace_back(key);
  if (!object_->is_object()) return nullptr;
  const std::string spelling = Spelling(key);
  const auto it = object_->find(spelling);
  if (it == object_->end()) return nullptr;
  if (spelling != key && std::find(respelled_.begin(), respelled_.end(),
                                   spelling) == respelled_.end()) {
    respelled_.push_back(spelling);
    log_->Warning(PointerOf(key),
                  absl::StrCat("is read as \"", key, "\"; write it so"));
  }
  return it->is_null() ? nullptr : &*it;
}

std::string FieldReader::Spelling(absl::string_view key) const {
  std::string exact(key);
  if (!log_->lenient() || !object_->is_object() || object_->contains(exact)) {
    return exact;
  }
  for (const auto& item : object_->items()) {
    if (absl::EqualsIgnoreCase(item.key(), key)) return item.key();
  }
  return exact;
}

std::string FieldReader::PointerOf(absl::string_view key) const {
  return absl::StrCat(pointer_, "/", Escape(Spelling(key)));
}

int FieldReader::LineOf(absl::string_view key) const {
  return log_->LineOf(PointerOf(key));
}

void FieldReader::Error(absl::string_view key, absl::string_view message) {
  log_->Error(key.empty() ? pointer_ : PointerOf(key), message);
}

void FieldReader::Warning(absl::string_view key, absl::string_view message) {
  log_->Warning(key.empty() ? pointer_ : PointerOf(key), message);
}

std::string FieldReader::String(absl::string_view key) {
  const json* value = Take(key);
  std::string text;
  if (value != nullptr) ReadText(*value, PointerOf(key), text);
  return text;
}

bool FieldReader::ReadText(const json& value, const std::string& pointer,
                           std::string& text) {
  if (value.is_null()) return true;
  if (value.is_string()) {
    text = value.get<std::string>();
    return true;
  }
  if (log_->lenient() && (value.is_boolean() || value.is_number())) {
    text = value.dump();
    log_->Warning(pointer,
                  absl::StrCat("is ", TypeName(value), " and is read as \"",
                               ShownText(text), "\"; write it in quotes"));
    return true;
  }
  log_->Error(pointer, WrongType("a string", value));
  return false;
}

bool FieldReader::Bool(absl::string_view key) {
  return OptionalBool(key).value_or(false);
}

std::optional<bool> FieldReader::OptionalBool(absl::string_view key) {
  const json* value = Take(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_boolean()) {
    Error(key, WrongType("true or false", *value));
    return std::nullopt;
  }
  return value->get<bool>();
}

int64_t FieldReader::Int(absl::string_view key) {
  const json* value = Take(key);
  if (value == nullptr) return 0;
  if (value->is_number_unsigned() &&
      value->get<uint64_t>() > static_cast<uint64_t>(INT64_MAX)) {
    Error(key, "is too large for a whole number");
    return 0;
  }
  if (!value->is_number_integer()) {
    Error(key, WrongType("a whole number", *value));
    return 0;
  }
  return value->get<int64_t>();
}

int32_t FieldReader::Int32(absl::string_view key) {
  const int64_t value = Int(key);
  if (value < INT32_MIN || value > INT32_MAX) {
    Error(key, "is too large for a whole number of 32 bits");
    return 0;
  }
  return static_cast<int32_t>(value);
}

std::vector<std::string> FieldReader::Strings(absl::string_view key) {
  std::vector<std::string> strings;
  const json* value = Take(key);
  if (value == nullptr) return strings;
  if (!value->is_array()) {
    Error(key, WrongType("a list of strings", *value));
    return strings;
  }
  for (size_t i = 0; i < value->size(); ++i) {
    // Also when it is wrong: lines are looked up by index.
    ReadText((*value)[i], absl::StrCat(PointerOf(key), "/", i),
             strings.emplace_back());
  }
  return strings;
}

std::map<std::string, std::string> FieldReader::StringMap(
    absl::string_view key) {
  std::map<std::string, std::string> strings;
  const json* value = Take(key);
  if (value == nullptr) return strings;
  if (!value->is_object()) {
    Error(key, WrongType("a map of strings", *value));
    return strings;
  }
  for (const auto& item : value->items()) {
    std::string text;
    if (ReadText(item.value(),
                 absl::StrCat(PointerOf(key), "/", Escape(item.key())), text)) {
      strings[item.key()] = std::move(text);
    }
  }
  return strings;
}

std::optional<FieldReader> FieldReader::Object(absl::string_view key) {
  const json* value = Take(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_object()) {
    Error(key, WrongType("a map", *value));
    return std::nullopt;
  }
  return FieldReader(*value, PointerOf(key), *log_);
}

std::vector<FieldReader> FieldReader::Objects(absl::string_view key) {
  std::vector<FieldReader> readers;
  const json* value = Take(key);
  if (value == nullptr) return readers;
  if (!value->is_array()) {
    Error(key, WrongType("a list of maps", *value));
    return readers;
  }
  for (size_t i = 0; i < value->size(); ++i) {
    std::string pointer = absl::StrCat(PointerOf(key), "/", i);
    if ((*value)[i].is_null()) {
      static const json& empty = *new json(json::object());
      readers.emplace_back(empty, std::move(pointer), *log_);
      continue;
    }
    if (!(*value)[i].is_object()) {
      log_->Error(pointer, WrongType("a map", (*value)[i]));
      continue;
    }
    readers.emplace_back((*value)[i], std::move(pointer), *log_);
  }
  return readers;
}

const json* FieldReader::Value(absl::string_view key) { return Take(key); }

void FieldReader::NoEffect(absl::string_view key, absl::string_view what,
                           std::initializer_list<absl::string_view> defaults) {
  const json* value = Take(key);
  if (value == nullptr || IsDefault(*value)) return;
  if (value->is_string()) {
    const auto& text = value->get_ref<const std::string&>();
    for (const absl::string_view allowed : defaults) {
      if (text == allowed) return;
    }
  }
  Warning(key, absl::StrCat("has no effect: ", what));
}

void FieldReader::Ignored(std::initializer_list<absl::string_view> keys) {
  for (const absl::string_view key : keys) {
    log_->RecordKey(absl::StrCat(pointer_, "/", key));
    known_.emplace_back(key);
  }
}

void FieldReader::Finish() {
  if (!object_->is_object()) return;
  for (const auto& item : object_->items()) {
    // Finding the nearest key takes its time.
    if (log_->warnings_full()) return;
    if (std::find(known_.begin(), known_.end(), item.key()) != known_.end() ||
        std::find(respelled_.begin(), respelled_.end(), item.key()) !=
            respelled_.end()) {
      continue;
    }
    std::string message = "is not a known key and has no effect";
    const std::string nearest = NearestWord(item.key(), known_);
    if (!nearest.empty()) {
      absl::StrAppend(&message, "; did you mean \"", nearest, "\"?");
    }
    log_->Warning(PointerOf(item.key()), message);
  }
}

}  // namespace flotilla::manager
