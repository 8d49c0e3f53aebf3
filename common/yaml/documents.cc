// SPDX-License-Identifier: Apache-2.0

#include "common/yaml/documents.h"

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <sstream>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/cord.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "yaml-cpp/eventhandler.h"
#include "yaml-cpp/exceptions.h"
#include "yaml-cpp/parser.h"

namespace flotilla {
namespace {

using nlohmann::json;

// Payload of an error: its line as a decimal.
constexpr char kLineUrl[] = "flotilla.dev/yaml-line";
// Lines are remembered for this many values of a text.
constexpr size_t kMaxRecordedLines = 200000;
// A longer key needs a question mark before it.
constexpr size_t kLongestSimpleKey = 500;
constexpr char kTagPrefix[] = "tag:yaml.org,2002:";

absl::Status ErrorAt(absl::StatusCode code, int line, int column,
                     absl::string_view text) {
  if (line <= 0) return absl::Status(code, text);
  absl::Status status(
      code, absl::StrCat("line ", line, ", column ", column, ": ", text));
  status.SetPayload(kLineUrl, absl::Cord(absl::StrCat(line)));
  return status;
}

absl::Status TooMuch(int line, int column, absl::string_view text) {
  return ErrorAt(absl::StatusCode::kResourceExhausted, line, column, text);
}

absl::Status Invalid(int line, int column, absl::string_view text) {
  return ErrorAt(absl::StatusCode::kInvalidArgument, line, column, text);
}

// A key in an error's text: short, and harmless on a terminal.
std::string Shown(absl::string_view key) {
  std::string text = absl::CHexEscape(key.substr(0, 80));
  return absl::StrCat("\"", text, key.size() > 80 ? "…\"" : "\"");
}

// ---- Scalars --------------------------------------------------------------

struct Scalar {
  enum class Kind { kString, kNull, kBool, kInt, kFloat };
  Kind kind = Kind::kString;
  json value;
};

bool IsDigits(absl::string_view text) {
  if (text.empty()) return false;
  for (char c : text) {
    if (c < '0' || c > '9') return false;
  }
  return true;
}

// Go's strconv.ParseUint(text, 0, 64) without underscores.
bool ParseUnsigned(absl::string_view text, uint64_t* out) {
  unsigned base = 10;
  if (text.size() > 1 && text[0] == '0') {
    switch (text[1]) {
      case 'x':
      case 'X':
        base = 16;
        text.remove_prefix(2);
        break;
      case 'o':
      case 'O':
        base = 8;
        text.remove_prefix(2);
        break;
      case 'b':
      case 'B':
        base = 2;
        text.remove_prefix(2);
        break;
      default:
        base = 8;
        text.remove_prefix(1);
    }
  }
  if (text.empty()) return false;
  uint64_t value = 0;
  for (char c : text) {
    unsigned digit = 0;
    if (c >= '0' && c <= '9') {
      digit = static_cast<unsigned>(c - '0');
    } else if (c >= 'a' && c <= 'f') {
      digit = static_cast<unsigned>(c - 'a') + 10;
    } else if (c >= 'A' && c <= 'F') {
      digit = static_cast<unsigned>(c - 'A') + 10;
    } else {
      return false;
    }
    if (digit >= base) return false;
    if (value > (UINT64_MAX - digit) / base) return false;
    value = value * base + digit;
  }
  *out = value;
  return true;
}

bool ParseInteger(absl::string_view text, json* out) {
  absl::string_view rest = text;
  const bool negative = absl::ConsumePrefix(&rest, "-");
  const bool has_sign = negative || absl::ConsumePrefix(&rest, "+");
  uint64_t magnitude = 0;
  if (!ParseUnsigned(rest, &magnitude)) return false;
  constexpr uint64_t kMinMagnitude = uint64_t{1} << 63;
  if (negative) {
    if (magnitude > kMinMagnitude) return false;
    *out = static_cast<int64_t>(~magnitude + 1);
    return true;
  }
  if (magnitude >= kMinMagnitude) {
    // As ParseUint, which takes no sign.
    if (has_sign) return false;
    *out = magnitude;
    return true;
  }
  *out = static_cast<int64_t>(magnitude);
  return true;
}

// ^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$
bool LooksLikeFloat(absl::string_view text) {
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) {
    text.remove_prefix(1);
  }
  const size_t exponent = text.find_first_of("eE");
  if (exponent != absl::string_view::npos) {
    absl::string_view digits = text.substr(exponent + 1);
    if (!digits.empty() && (digits[0] == '-' || digits[0] == '+')) {
      digits.remove_prefix(1);
    }
    if (!IsDigits(digits)) return false;
    text = text.substr(0, exponent);
  }
  const size_t dot = text.find('.');
  if (dot == absl::string_view::npos) return IsDigits(text);
  const absl::string_view whole = text.substr(0, dot);
  const absl::string_view fraction = text.substr(dot + 1);
  if (whole.empty()) return IsDigits(fraction);
  return IsDigits(whole) && (fraction.empty() || IsDigits(fraction));
}

// Go writes a float with no fraction without one, so it is an integer in JSON.
json FloatValue(double value) {
  constexpr double kExact = 1e18;
  if (std::trunc(value) == value && std::fabs(value) < kExact) {
    return static_cast<int64_t>(value);
  }
  return value;
}

// What the table of go-yaml v2 says of a word.
bool ResolveWord(absl::string_view text, Scalar* out) {
  for (const char* word : {"y", "Y", "yes", "Yes", "YES", "true", "True",
                           "TRUE", "on", "On", "ON"}) {
    if (text == word) {
      *out = {Scalar::Kind::kBool, true};
      return true;
    }
  }
  for (const char* word : {"n", "N", "no", "No", "NO", "false", "False",
                           "FALSE", "off", "Off", "OFF"}) {
    if (text == word) {
      *out = {Scalar::Kind::kBool, false};
      return true;
    }
  }
  for (const char* word : {"", "~", "null", "Null", "NULL"}) {
    if (text == word) {
      *out = {Scalar::Kind::kNull, nullptr};
      return true;
    }
  }
  for (const char* word : {".nan", ".NaN", ".NAN", ".inf", ".Inf", ".INF",
                           "+.inf", "+.Inf", "+.INF", "-.inf", "-.Inf",
                           "-.INF"}) {
    if (text == word) {
      *out = {Scalar::Kind::kFloat, std::nan("")};
      return true;
    }
  }
  return false;
}

// A plain scalar as go-yaml v2 resolves it.
Scalar ResolvePlain(absl::string_view text) {
  Scalar scalar;
  if (text.size() <= 5 && ResolveWord(text, &scalar)) return scalar;
  const char first = text.empty() ? '\0' : text[0];
  const bool number_like = (first >= '0' && first <= '9') || first == '+' ||
                           first == '-' || first == '.';
  // No number is longer; long strings of digits need not be tried.
  constexpr size_t kLongestNumber = 400;
  if (number_like && text.size() <= kLongestNumber) {
    std::string plain;
    for (char c : text) {
      if (c != '_') plain.push_back(c);
    }
    if (first == '.') plain = std::string(text);
    if (first != '.' && ParseInteger(plain, &scalar.value)) {
      scalar.kind = Scalar::Kind::kInt;
      return scalar;
    }
    double number = 0;
    if (LooksLikeFloat(plain) && absl::SimpleAtod(plain, &number) &&
        std::isfinite(number)) {
      return {Scalar::Kind::kFloat, FloatValue(number)};
    }
  }
  return {Scalar::Kind::kString, std::string(text)};
}

// Go's FormatFloat(value, 'g', -1, 32), as sigs.k8s.io/yaml writes a float that
// is a key.
std::string FloatKey(double value) {
  const float wanted = static_cast<float>(value);
  char buffer[64];
  for (int precision = 0; precision < 10; ++precision) {
    std::snprintf(buffer, sizeof(buffer), "%.*e", precision,
                  static_cast<double>(wanted));
    if (std::strtof(buffer, nullptr) == wanted) break;
  }
  const absl::string_view shortest = buffer;
  const size_t e = shortest.find('e');
  if (e == absl::string_view::npos) return std::string(shortest);
  int exponent = 0;
  if (!absl::SimpleAtoi(shortest.substr(e + 1), &exponent)) return "";
  if (exponent < -4 || exponent >= 6) return std::string(shortest);
  std::string digits;
  for (char c : shortest.substr(0, e)) {
    if (c >= '0' && c <= '9') digits.push_back(c);
  }
  const int decimals =
      std::max(0, static_cast<int>(digits.size()) - 1 - exponent);
  std::snprintf(buffer, sizeof(buffer), "%.*f", decimals,
                static_cast<double>(wanted));
  return buffer;
}

// ---- Text -----------------------------------------------------------------

// Checks UTF-8 and the characters that YAML allows; cuts a byte order mark;
// makes every line end in "\n".
absl::StatusOr<std::string> CleanText(absl::string_view text) {
  absl::ConsumePrefix(&text, "\xEF\xBB\xBF");
  std::string out;
  out.reserve(text.size() + 1);
  int line = 1;
  int column = 1;
  for (size_t i = 0; i < text.size();) {
    const auto byte = static_cast<unsigned char>(text[i]);
    size_t length = 1;
    uint32_t code = byte;
    if (byte >= 0x80) {
      if (byte >= 0xC2 && byte <= 0xDF) {
        length = 2;
        code = byte & 0x1Fu;
      } else if (byte >= 0xE0 && byte <= 0xEF) {
        length = 3;
        code = byte & 0x0Fu;
      } else if (byte >= 0xF0 && byte <= 0xF4) {
        length = 4;
        code = byte & 0x07u;
      } else {
        return Invalid(line, column, "the text is not UTF-8");
      }
      if (i + length > text.size()) {
        return Invalid(line, column, "the text is not UTF-8");
      }
      for (size_t k = 1; k < length; ++k) {
        const auto next = static_cast<unsigned char>(text[i + k]);
        if ((next & 0xC0u) != 0x80u) {
          return Invalid(line, column, "the text is not UTF-8");
        }
        code = (code << 6) | (next & 0x3Fu);
      }
      static constexpr uint32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
      if (code < kSmallest[length] || code > 0x10FFFF ||
          (code >= 0xD800 && code <= 0xDFFF)) {
        return Invalid(line, column, "the text is not UTF-8");
      }
    }
    const bool control = (code < 0x20 && code != '\t' && code != '\n' &&
                          code != '\r') ||
                         code == 0x7F || (code > 0x7F && code < 0xA0 &&
                                          code != 0x85) ||
                         code == 0xFEFF || code == 0xFFFE || code == 0xFFFF;
    if (control) {
      return Invalid(line, column, "control characters are not allowed");
    }
    if (code == '\r') {
      if (i + 1 < text.size() && text[i + 1] == '\n') ++i;
      out.push_back('\n');
      ++line;
      column = 1;
      ++i;
      continue;
    }
    out.append(text.data() + i, length);
    i += length;
    if (code == '\n') {
      ++line;
      column = 1;
    } else {
      ++column;
    }
  }
  return out;
}

void AppendPointerToken(absl::string_view token, std::string* pointer) {
  pointer->push_back('/');
  for (char c : token) {
    if (c == '~') {
      pointer->append("~0");
    } else if (c == '/') {
      pointer->append("~1");
    } else {
      pointer->push_back(c);
    }
  }
}

// ---- YAML -----------------------------------------------------------------

// Leaves yaml-cpp's parser; never leaves this file.
struct Abort {
  absl::Status status;
};

// What all documents of a text have cost so far.
struct Spent {
  size_t nodes = 0;
  size_t string_bytes = 0;
  size_t recorded_lines = 0;
};

// Makes one document's JSON value from yaml-cpp's events.
//
// Thread-compatible.
class DocumentBuilder : public YAML::EventHandler {
 public:
  DocumentBuilder(const YamlLimits& limits, Spent& spent)
      : limits_(limits), spent_(spent) {}

  bool empty() const { return !has_root_ || document_.value.is_null(); }
  YamlDocument TakeDocument() { return std::move(document_); }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    BeginValue(mark);
    Complete(mark, Node{{Scalar::Kind::kNull, nullptr}, false}, anchor);
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    BeginValue(mark);
    const auto it = anchors_.find(anchor);
    if (it == anchors_.end()) {
      Throw(Invalid(Line(mark), Column(mark),
                    "an alias stands inside of what it names"));
    }
    const Anchor& named = *it->second;
    Spend(mark, named.nodes, named.string_bytes);
    if (static_cast<int>(stack_.size()) + named.depth > limits_.max_depth) {
      ThrowTooDeep(mark);
    }
    Node node{{named.kind, named.value}, false};
    deepest_ = std::max(deepest_, static_cast<int>(stack_.size()) + named.depth);
    Complete(mark, std::move(node), YAML::anchor_t{0});
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag,
                YAML::anchor_t anchor, const std::string& value) override {
    BeginValue(mark);
    Spend(mark, 1, value.size());
    Node node{Resolve(mark, tag, value), tag == "?" && value == "<<"};
    Complete(mark, std::move(node), anchor);
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag,
                       YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    Open(mark, tag, anchor, /*is_map=*/false);
  }
  void OnSequenceEnd() override { Close(); }

  void OnMapStart(const YAML::Mark& mark, const std::string& tag,
                  YAML::anchor_t anchor, YAML::EmitterStyle::value) override {
    Open(mark, tag, anchor, /*is_map=*/true);
  }
  void OnMapEnd() override { Close(); }

 private:
  // A finished value.
  struct Node {
    Scalar scalar;  // kString for maps and lists, too.
    bool is_merge_key = false;
  };

  // A map or list that is being read.
  struct Frame {
    bool is_map = false;
    json value;
    YAML::anchor_t anchor{0};
    YAML::Mark mark;
    // Of a map: the key that waits for its value.
    bool has_key = false;
    bool is_merge = false;
    std::string key;
    // Of a map: what merge keys gave; explicit keys win.
    json merged;
    // Where the pointer ends before this frame's children.
    size_t pointer_size = 0;
    // What had been spent, and how deep it was, when it began.
    size_t nodes_before = 0;
    size_t bytes_before = 0;
    int deepest_before = 0;
  };

  struct Anchor {
    Scalar::Kind kind = Scalar::Kind::kString;
    json value;
    size_t nodes = 0;
    size_t string_bytes = 0;
    int depth = 0;
  };

  static int Line(const YAML::Mark& mark) { return mark.line + 1; }
  static int Column(const YAML::Mark& mark) { return mark.column + 1; }
  [[noreturn]] static void Throw(absl::Status status) {
    throw Abort{std::move(status)};
  }
  [[noreturn]] void ThrowTooDeep(const YAML::Mark& mark) {
    Throw(TooMuch(Line(mark), Column(mark),
                  absl::StrCat("nested deeper than ", limits_.max_depth)));
  }

  void Spend(const YAML::Mark& mark, size_t nodes, size_t string_bytes) {
    spent_.nodes += nodes;
    spent_.string_bytes += string_bytes;
    if (spent_.nodes > limits_.max_nodes) {
      Throw(TooMuch(Line(mark), Column(mark),
                    absl::StrCat("more than ", limits_.max_nodes,
                                 " values, aliases counted each time")));
    }
    if (spent_.string_bytes > limits_.max_string_bytes) {
      Throw(TooMuch(Line(mark), Column(mark),
                    absl::StrCat("more than ", limits_.max_string_bytes,
                                 " bytes of strings, aliases counted each "
                                 "time")));
    }
  }

  bool ExpectsKey() const {
    return !stack_.empty() && stack_.back().is_map && !stack_.back().has_key;
  }

  // Notes where a value begins; its pointer ends before `pointer_`.
  void BeginValue(const YAML::Mark& mark) {
    if (stack_.empty()) {
      document_.line = Line(mark);
      return;
    }
    const Frame& top = stack_.back();
    if (top.is_map) return;  // Recorded with the key.
    pointer_.resize(top.pointer_size);
    AppendPointerToken(absl::StrCat(top.value.size()), &pointer_);
    Record(mark);
  }

  void Record(const YAML::Mark& mark) {
    if (!limits_.record_lines || spent_.recorded_lines >= kMaxRecordedLines) {
      return;
    }
    ++spent_.recorded_lines;
    document_.lines.emplace(pointer_, Line(mark));
  }

  Scalar Resolve(const YAML::Mark& mark, const std::string& tag,
                 const std::string& value) {
    if (tag == "?") return ResolvePlain(value);
    if (tag == "!") return {Scalar::Kind::kString, value};
    absl::string_view name = tag;
    if (!absl::ConsumePrefix(&name, kTagPrefix)) ThrowTag(mark, tag);
    if (name == "str") return {Scalar::Kind::kString, value};
    if (name == "binary") {
      std::string decoded;
      std::string packed;
      for (char c : value) {
        if (c != '\n' && c != ' ' && c != '\t') packed.push_back(c);
      }
      if (!absl::Base64Unescape(packed, &decoded)) {
        Throw(Invalid(Line(mark), Column(mark), "!!binary is not base64"));
      }
      if (!CleanText(decoded).ok()) {
        Throw(Invalid(Line(mark), Column(mark),
                      "!!binary holds bytes that are no text; keep them in "
                      "base64 under binaryData or data"));
      }
      return {Scalar::Kind::kString, std::move(decoded)};
    }
    Scalar scalar = ResolvePlain(value);
    const bool fits =
        (name == "null" && scalar.kind == Scalar::Kind::kNull) ||
        (name == "bool" && scalar.kind == Scalar::Kind::kBool) ||
        (name == "int" && scalar.kind == Scalar::Kind::kInt) ||
        (name == "float" && (scalar.kind == Scalar::Kind::kFloat ||
                             scalar.kind == Scalar::Kind::kInt));
    if (name == "timestamp") return {Scalar::Kind::kString, value};
    if (name != "null" && name != "bool" && name != "int" && name != "float") {
      ThrowTag(mark, tag);
    }
    if (!fits) {
      Throw(Invalid(Line(mark), Column(mark),
                    absl::StrCat("the value is no !!", name)));
    }
    return scalar;
  }

  [[noreturn]] void ThrowTag(const YAML::Mark& mark, absl::string_view tag) {
    Throw(Invalid(Line(mark), Column(mark),
                  absl::StrCat("the tag ", Shown(tag), " is not supported")));
  }

  void Open(const YAML::Mark& mark, const std::string& tag,
            YAML::anchor_t anchor, bool is_map) {
    BeginValue(mark);
    if (ExpectsKey()) {
      Throw(Invalid(Line(mark), Column(mark),
                    "a map or a list cannot be a key"));
    }
    absl::string_view name = tag;
    const bool known =
        tag.empty() || tag == "?" || tag == "!" ||
        (absl::ConsumePrefix(&name, kTagPrefix) &&
         name == (is_map ? "map" : "seq"));
    if (!known) ThrowTag(mark, tag);
    if (static_cast<int>(stack_.size()) >= limits_.max_depth) {
      ThrowTooDeep(mark);
    }
    Frame frame;
    frame.nodes_before = spent_.nodes;
    frame.bytes_before = spent_.string_bytes;
    frame.deepest_before = deepest_;
    Spend(mark, 1, 0);
    frame.is_map = is_map;
    frame.value = is_map ? json::object() : json::array();
    frame.merged = json::object();
    frame.anchor = anchor;
    frame.mark = mark;
    frame.pointer_size = pointer_.size();
    stack_.push_back(std::move(frame));
    deepest_ = static_cast<int>(stack_.size());
  }

  void Close() {
    Frame frame = std::move(stack_.back());
    stack_.pop_back();
    pointer_.resize(frame.pointer_size);
    for (auto it = frame.merged.begin(); it != frame.merged.end(); ++it) {
      if (!frame.value.contains(it.key())) {
        frame.value[it.key()] = std::move(it.value());
      }
    }
    Node node;
    node.scalar.value = std::move(frame.value);
    if (frame.anchor != YAML::anchor_t{0}) {
      auto anchor = std::make_shared<Anchor>();
      anchor->value = node.scalar.value;
      anchor->nodes = spent_.nodes - frame.nodes_before;
      anchor->string_bytes = spent_.string_bytes - frame.bytes_before;
      anchor->depth = deepest_ - static_cast<int>(stack_.size());
      anchors_[frame.anchor] = std::move(anchor);
      // The copy that is kept for aliases costs, too.
      Spend(frame.mark, spent_.nodes - frame.nodes_before,
            spent_.string_bytes - frame.bytes_before);
    }
    deepest_ = std::max(deepest_, frame.deepest_before);
    Add(frame.mark, std::move(node));
  }

  void Complete(const YAML::Mark& mark, Node node, YAML::anchor_t anchor) {
    if (anchor != YAML::anchor_t{0}) {
      auto named = std::make_shared<Anchor>();
      named->kind = node.scalar.kind;
      named->value = node.scalar.value;
      named->nodes = 1;
      if (named->value.is_string()) {
        named->string_bytes =
            named->value.get_ref<const std::string&>().size();
      }
      anchors_[anchor] = std::move(named);
    }
    Add(mark, std::move(node));
  }

  void Add(const YAML::Mark& mark, Node node) {
    if (ExpectsKey()) {
      AddKey(mark, node);
      return;
    }
    if (node.scalar.kind == Scalar::Kind::kFloat &&
        node.scalar.value.is_number_float() &&
        !std::isfinite(node.scalar.value.get<double>())) {
      Throw(Invalid(Line(mark), Column(mark),
                    ".inf and .nan cannot be written in JSON: quote them if "
                    "a string is meant"));
    }
    if (stack_.empty()) {
      has_root_ = true;
      document_.value = std::move(node.scalar.value);
      return;
    }
    Frame& top = stack_.back();
    if (!top.is_map) {
      top.value.push_back(std::move(node.scalar.value));
      return;
    }
    top.has_key = false;
    pointer_.resize(top.pointer_size);
    if (top.is_merge) {
      Merge(mark, std::move(node.scalar.value), &top.merged);
      return;
    }
    top.value[top.key] = std::move(node.scalar.value);
  }

  void AddKey(const YAML::Mark& mark, const Node& node) {
    Frame& top = stack_.back();
    top.has_key = true;
    top.is_merge = node.is_merge_key;
    pointer_.resize(top.pointer_size);
    if (top.is_merge) return;
    const json& value = node.scalar.value;
    switch (node.scalar.kind) {
      case Scalar::Kind::kString:
        if (!value.is_string()) {
          Throw(Invalid(Line(mark), Column(mark),
                        "a map or a list cannot be a key"));
        }
        top.key = value.get_ref<const std::string&>();
        break;
      case Scalar::Kind::kNull:
        Throw(Invalid(Line(mark), Column(mark), "null cannot be a key"));
      case Scalar::Kind::kBool:
        top.key = value.get<bool>() ? "true" : "false";
        break;
      case Scalar::Kind::kInt:
        top.key = value.dump();
        break;
      case Scalar::Kind::kFloat:
        top.key = FloatKey(value.get<double>());
        break;
    }
    if (top.value.contains(top.key)) {
      Throw(Invalid(Line(mark), Column(mark),
                    absl::StrCat("the key ", Shown(top.key),
                                 " is there twice in the same map")));
    }
    AppendPointerToken(top.key, &pointer_);
    Record(mark);
  }

  // Earlier maps of a list win, and so does an earlier merge key.
  void Merge(const YAML::Mark& mark, json value, json* merged) {
    if (value.is_object()) {
      for (auto it = value.begin(); it != value.end(); ++it) {
        if (!merged->contains(it.key())) {
          (*merged)[it.key()] = std::move(it.value());
        }
      }
      return;
    }
    if (value.is_array()) {
      for (json& item : value) {
        if (!item.is_object()) break;
        Merge(mark, std::move(item), merged);
        item = json::object();
      }
      bool all_maps = true;
      for (const json& item : value) all_maps = all_maps && item.is_object();
      if (all_maps) return;
    }
    Throw(Invalid(Line(mark), Column(mark),
                  "the value of << must be a map or a list of maps"));
  }

  // Constant after construction.
  const YamlLimits limits_;

  // Collaborators. Not owned.
  Spent& spent_;

  YamlDocument document_;
  bool has_root_ = false;
  std::vector<Frame> stack_;
  std::string pointer_;
  // Depth of the deepest value since the innermost open frame began.
  int deepest_ = 0;
  absl::flat_hash_map<YAML::anchor_t, std::shared_ptr<Anchor>> anchors_;
};

absl::StatusOr<std::vector<YamlDocument>> ReadYaml(const std::string& text,
                                                   const YamlLimits& limits) {
  std::vector<YamlDocument> documents;
  Spent spent;
  // yaml-cpp takes a quote that is never closed for closed when the text ends
  // in a line break; an end of document in it is an error.
  const bool ends_line = !text.empty() && text.back() == '\n';
  try {
    std::istringstream stream(ends_line ? text + "...\n" : text);
    YAML::Parser parser(stream);
    for (size_t read = 0;; ++read) {
      if (read > limits.max_documents) {
        return TooMuch(0, 0,
                       absl::StrCat("more than ", limits.max_documents,
                                    " documents"));
      }
      DocumentBuilder builder(limits, spent);
      if (!parser.HandleNextDocument(builder)) break;
      if (!builder.empty()) documents.push_back(builder.TakeDocument());
    }
  } catch (const Abort& abort) {
    return abort.status;
  } catch (const YAML::Exception& error) {
    if (error.mark.is_null()) return Invalid(0, 0, error.msg);
    return Invalid(error.mark.line + 1, error.mark.column + 1, error.msg);
  } catch (const std::exception& error) {
    // Out of memory and the like: the text of the exception says nothing.
    return absl::ResourceExhaustedError("the text cannot be read as YAML");
  }
  return documents;
}

// ---- JSON -----------------------------------------------------------------

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

// End of the bracketed value that begins at text[0], or npos.
size_t EndOfBrackets(absl::string_view text) {
  size_t depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') {
        ++i;
      } else if (c == '"') {
        in_string = false;
      }
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      ++depth;
    } else if (c == '}' || c == ']') {
      if (--depth == 0) return i + 1;
    }
  }
  return absl::string_view::npos;
}

void SkipSpace(absl::string_view* text, int* line) {
  while (!text->empty()) {
    const char c = text->front();
    if (c == '\n') {
      ++*line;
    } else if (c != ' ' && c != '\t') {
      return;
    }
    text->remove_prefix(1);
  }
}

// Reads text that is JSON values one after another. `is_json` says whether it
// is; what is not is for the YAML reader.
absl::StatusOr<std::vector<YamlDocument>> ReadJsonDocuments(
    absl::string_view text, const YamlLimits& limits, bool* is_json) {
  *is_json = false;
  std::vector<YamlDocument> documents;
  int line = 1;
  for (;;) {
    SkipSpace(&text, &line);
    if (text.empty()) break;
    if (!documents.empty() && absl::ConsumePrefix(&text, "---")) continue;
    if (text.front() != '{' && text.front() != '[') return documents;
    const size_t end = EndOfBrackets(text);
    if (end == absl::string_view::npos) return documents;
    absl::StatusOr<json> value = ParseJson(text.substr(0, end), limits);
    if (!value.ok()) {
      if (absl::IsResourceExhausted(value.status())) return value.status();
      // Perhaps flow style with words that are not quoted.
      return documents;
    }
    if (documents.size() >= limits.max_documents) {
      return TooMuch(line, 1, absl::StrCat("more than ", limits.max_documents,
                                           " documents"));
    }
    YamlDocument document;
    document.value = *std::move(value);
    document.line = line;
    documents.push_back(std::move(document));
    for (char c : text.substr(0, end)) line += c == '\n' ? 1 : 0;
    text.remove_prefix(end);
  }
  *is_json = true;
  return documents;
}

// ---- Writing --------------------------------------------------------------

bool IsPlain(absl::string_view text) {
  if (text.empty() || text.size() > 1000) return false;
  if (ResolvePlain(text).kind != Scalar::Kind::kString) return false;
  const auto is_alnum = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c >= '0' && c <= '9');
  };
  if (!is_alnum(text[0]) && text[0] != '/' && text[0] != '_' &&
      text[0] != '.') {
    return false;
  }
  if (text.back() == ' ' || text.back() == ':' || text == "...") return false;
  // Dates and times of day, for readers that know them.
  if (text[0] >= '0' && text[0] <= '9' &&
      text.find_first_not_of("0123456789-:. TZ") == absl::string_view::npos &&
      text.find_first_of("-:") != absl::string_view::npos) {
    return false;
  }
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (is_alnum(c) || absl::StrContains("_./-@%+=()$*", c)) continue;
    if (c == ':' && text[i + 1] != ' ') continue;
    if (c == ' ' && text[i + 1] != '#') continue;
    return false;
  }
  return true;
}

bool IsBlock(absl::string_view text) {
  if (!absl::StrContains(text, '\n')) return false;
  if (text[0] == '\n' || text[0] == ' ' || text[0] == '\t') return false;
  if (absl::EndsWith(text, "\n\n")) return false;
  absl::StatusOr<std::string> clean = CleanText(text);
  if (!clean.ok() || *clean != text) return false;
  // Lines of white space only, and characters that some take for line ends.
  bool blank = true;
  bool has_space = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\n') {
      if (blank && has_space) return false;
      blank = true;
      has_space = false;
    } else if (c == ' ' || c == '\t') {
      has_space = true;
    } else {
      blank = false;
    }
  }
  if (blank && has_space) return false;
  return !absl::StrContains(text, "\xC2\x85") &&
         !absl::StrContains(text, "\xE2\x80\xA8") &&
         !absl::StrContains(text, "\xE2\x80\xA9");
}

std::string Quoted(absl::string_view text) {
  // JSON's escapes are YAML's; what JSON leaves alone and YAML does not allow
  // is written as \u.
  std::string escaped =
      json(std::string(text))
          .dump(-1, ' ', false, json::error_handler_t::replace);
  std::string out;
  for (size_t i = 0; i < escaped.size(); ++i) {
    const auto c = static_cast<unsigned char>(escaped[i]);
    const auto next =
        static_cast<unsigned char>(i + 1 < escaped.size() ? escaped[i + 1] : 0);
    if (c == 0x7F) {
      out += "\\u007f";
    } else if (c == 0xC2 && next < 0xA0) {
      char buffer[8];
      std::snprintf(buffer, sizeof(buffer), "\\u%04x", next);
      out += buffer;
      ++i;
    } else if (absl::StartsWith(absl::string_view(escaped).substr(i),
                                "\xEF\xBB\xBF")) {
      out += "\\ufeff";
      i += 2;
    } else if (absl::StartsWith(absl::string_view(escaped).substr(i),
                                "\xE2\x80\xA8")) {
      out += "\\u2028";
      i += 2;
    } else if (absl::StartsWith(absl::string_view(escaped).substr(i),
                                "\xE2\x80\xA9")) {
      out += "\\u2029";
      i += 2;
    } else if (absl::StartsWith(absl::string_view(escaped).substr(i),
                                "\xEF\xBF\xBE")) {
      out += "\\ufffe";
      i += 2;
    } else if (absl::StartsWith(absl::string_view(escaped).substr(i),
                                "\xEF\xBF\xBF")) {
      out += "\\uffff";
      i += 2;
    } else {
      out.push_back(escaped[i]);
    }
  }
  return out;
}

std::string KeyText(const std::string& key) {
  return IsPlain(key) ? key : Quoted(key);
}

void WriteValue(const json& value, int indent, std::string* out);

// A value that goes on the line of its key or dash.
void WriteScalar(const json& value, int indent, std::string* out) {
  if (!value.is_string()) {
    absl::StrAppend(
        out, value.dump(-1, ' ', false, json::error_handler_t::replace), "\n");
    return;
  }
  const std::string& text = value.get_ref<const std::string&>();
  if (IsPlain(text)) {
    absl::StrAppend(out, text, "\n");
    return;
  }
  if (!IsBlock(text)) {
    absl::StrAppend(out, Quoted(text), "\n");
    return;
  }
  absl::string_view rest = text;
  const bool newline_at_end = absl::ConsumeSuffix(&rest, "\n");
  absl::StrAppend(out, newline_at_end ? "|\n" : "|-\n");
  for (;;) {
    const size_t end = rest.find('\n');
    const absl::string_view one = rest.substr(0, end);
    if (!one.empty()) {
      absl::StrAppend(out, std::string(static_cast<size_t>(indent), ' '), one);
    }
    out->push_back('\n');
    if (end == absl::string_view::npos) return;
    rest.remove_prefix(end + 1);
  }
}

bool IsNested(const json& value) {
  return value.is_structured() && !value.empty();
}

void WriteMap(const json& value, int indent, bool first_on_line,
              std::string* out) {
  bool first = true;
  for (auto it = value.begin(); it != value.end(); ++it) {
    if (!(first && first_on_line)) out->append(static_cast<size_t>(indent), ' ');
    first = false;
    const std::string key = KeyText(it.key());
    if (key.size() > kLongestSimpleKey) {
      absl::StrAppend(out, "? ", key, "\n",
                      std::string(static_cast<size_t>(indent), ' '), ":");
    } else {
      absl::StrAppend(out, key, ":");
    }
    if (!IsNested(it.value())) {
      out->push_back(' ');
      WriteScalar(it.value(), indent + 2, out);
    } else {
      out->push_back('\n');
      WriteValue(it.value(), it.value().is_array() ? indent : indent + 2, out);
    }
  }
}

void WriteValue(const json& value, int indent, std::string* out) {
  if (value.is_object()) {
    WriteMap(value, indent, /*first_on_line=*/false, out);
    return;
  }
  for (const json& item : value) {
    out->append(static_cast<size_t>(indent), ' ');
    out->append("- ");
    if (!IsNested(item)) {
      WriteScalar(item, indent + 2, out);
    } else if (item.is_object()) {
      WriteMap(item, indent + 2, /*first_on_line=*/true, out);
    } else {
      // A list in a list begins on a line of its own.
      out->pop_back();
      out->push_back('\n');
      WriteValue(item, indent + 2, out);
    }
  }
}

}  // namespace

int YamlDocument::LineOf(absl::string_view json_pointer) const {
  while (!json_pointer.empty()) {
    const auto it = lines.find(json_pointer);
    if (it != lines.end()) return it->second;
    const size_t slash = json_pointer.rfind('/');
    if (slash == absl::string_view::npos) break;
    json_pointer = json_pointer.substr(0, slash);
  }
  return line;
}

absl::StatusOr<std::vector<YamlDocument>> ParseYamlDocuments(
    absl::string_view text, const YamlLimits& limits) {
  if (text.size() > limits.max_bytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the text has ", text.size(), " bytes, more than the ",
                     limits.max_bytes, " that are read"));
  }
  absl::StatusOr<std::string> clean = CleanText(text);
  if (!clean.ok()) return clean.status();
  const size_t first = clean->find_first_not_of(" \t\n");
  if (first != std::string::npos &&
      ((*clean)[first] == '{' || (*clean)[first] == '[')) {
    bool is_json = false;
    absl::StatusOr<std::vector<YamlDocument>> documents =
        ReadJsonDocuments(*clean, limits, &is_json);
    if (!documents.ok() || is_json) return documents;
  }
  return ReadYaml(*clean, limits);
}

absl::StatusOr<YamlDocument> ParseYaml(absl::string_view text,
                                       const YamlLimits& limits) {
  absl::StatusOr<std::vector<YamlDocument>> documents =
      ParseYamlDocuments(text, limits);
  if (!documents.ok()) return documents.status();
  if (documents->empty()) return YamlDocument();
  if (documents->size() > 1) {
    return Invalid((*documents)[1].line, 1,
                   "a second document begins here, and one only is allowed");
  }
  return std::move((*documents)[0]);
}

int YamlErrorLine(const absl::Status& status) {
  const absl::optional<absl::Cord> payload = status.GetPayload(kLineUrl);
  int line = 0;
  if (!payload.has_value() || !absl::SimpleAtoi(std::string(*payload), &line)) {
    return 0;
  }
  return line;
}

std::string YamlErrorText(const absl::Status& status) {
  if (YamlErrorLine(status) == 0) return std::string(status.message());
  const absl::string_view message = status.message();
  const size_t colon = message.find(": ");
  return std::string(colon == absl::string_view::npos
                         ? message
                         : message.substr(colon + 2));
}

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

std::string ToYaml(const json& value) {
  std::string out;
  if (IsNested(value)) {
    WriteValue(value, 0, &out);
  } else {
    WriteScalar(value, 2, &out);
  }
  return out;
}

}  // namespace flotilla
