// SPDX-License-Identifier: Apache-2.0
//
// Makes one document's JSON value from yaml-cpp's events, under limits. Leaves
// yaml-cpp's parser by throwing Abort, which documents.cc catches.

#ifndef FLOTILLA_COMMON_YAML_DOCUMENT_BUILDER_H_
#define FLOTILLA_COMMON_YAML_DOCUMENT_BUILDER_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "common/yaml/documents.h"
#include "common/yaml/scalar.h"
#include "common/yaml/yaml_text.h"
#include "nlohmann/json.hpp"
#include "yaml-cpp/emitterstyle.h"
#include "yaml-cpp/eventhandler.h"
#include "yaml-cpp/mark.h"

namespace flotilla::yaml {

// Lines are remembered for this many values of a text.
inline constexpr size_t kMaxRecordedLines = 200000;
inline constexpr size_t kMaxDoubts = 100;
inline constexpr char kTagPrefix[] = "tag:yaml.org,2002:";

inline void AppendPointerToken(absl::string_view token, std::string* pointer) {
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
  using json = nlohmann::json;

  // `text` is what is being parsed.
  DocumentBuilder(absl::string_view text, const YamlLimits& limits,
                  Spent& spent)
      : text_(text), limits_(limits), spent_(spent) {}

  bool empty() const { return !has_root_ || document_.value.is_null(); }
  YamlDocument TakeDocument() { return std::move(document_); }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    BeginValue(mark);
    if (!stack_.empty() && stack_.back().has_key) {
      const Frame& top = stack_.back();
      if (!top.plain_key.empty() &&
          LacksColon(text_, static_cast<size_t>(std::max(top.key_mark.pos, 0)),
                     top.plain_key)) {
        Throw(Invalid(Line(top.key_mark), Column(top.key_mark),
                      absl::StrCat("a colon is missing behind the key ",
                                   Shown(top.plain_key))));
      }
    }
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
    const int depth = static_cast<int>(stack_.size()) + named.depth;
    deepest_ = std::max(deepest_, depth);
    Complete(mark, std::move(node), YAML::anchor_t{0});
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag,
                YAML::anchor_t anchor, const std::string& value) override {
    BeginValue(mark);
    Spend(mark, 1, value.size());
    Node node{Resolve(mark, tag, value), tag == "?" && value == "<<"};
    if (tag != "?" && node.scalar.value.is_string()) {
      auto& written = node.scalar.value.get_ref<std::string&>();
      MendEscapes(&written);
      KeepLineBreaks(text_, static_cast<size_t>(std::max(mark.pos, 0)),
                     &written);
    }
    if (ExpectsKey()) {
      Frame& top = stack_.back();
      top.key_mark = mark;
      top.plain_key = tag == "?" && !top.is_flow ? value : "";
    }
    Complete(mark, std::move(node), anchor);
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag,
                       YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    Open(mark, tag, anchor, /*is_map=*/false);
  }
  void OnSequenceEnd() override { Close(); }

  void OnMapStart(const YAML::Mark& mark, const std::string& tag,
                  YAML::anchor_t anchor,
                  YAML::EmitterStyle::value style) override {
    Open(mark, tag, anchor, /*is_map=*/true);
    stack_.back().is_flow = style == YAML::EmitterStyle::Flow;
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
    // Of a map in brackets.
    bool is_flow = false;
    // The key as it is written, where it is plain and not in brackets.
    std::string plain_key;
    YAML::Mark key_mark;
    // Of a map: keys that only merge keys gave; they may be given once more.
    absl::flat_hash_set<std::string> merged;
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
    if (!absl::ConsumePrefix(&name, kTagPrefix)) ThrowTag(mark);
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
      ThrowTag(mark);
    }
    if (!fits) {
      Throw(Invalid(Line(mark), Column(mark),
                    absl::StrCat("the value is no !!", name)));
    }
    return scalar;
  }

  // Plain text with an exclamation mark looks like one: it may be a secret.
  [[noreturn]] void ThrowTag(const YAML::Mark& mark) {
    Throw(Invalid(Line(mark), Column(mark),
                  "its tag, the word that begins with `!`, is not supported; "
                  "quote it if it is plain text"));
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
    if (!known) ThrowTag(mark);
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
      Merge(mark, std::move(node.scalar.value), &top);
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
    if (top.merged.erase(top.key) == 0 && top.value.contains(top.key)) {
      const std::string twice = absl::StrCat(
          "the key ", Shown(top.key), " is there twice in the same map");
      if (!limits_.lenient) Throw(Invalid(Line(mark), Column(mark), twice));
      if (document_.doubts.size() < kMaxDoubts) {
        document_.doubts.push_back(
            {Line(mark), absl::StrCat(twice, "; the last one counts")});
      }
    }
    AppendPointerToken(top.key, &pointer_);
    Record(mark);
  }

  // As go-yaml v2: what stands later wins, be it a merge key or another; within
  // a list of maps the earlier one.
  void Merge(const YAML::Mark& mark, json value, Frame* frame) {
    if (value.is_object()) {
      for (auto it = value.begin(); it != value.end(); ++it) {
        if (!frame->value.contains(it.key())) frame->merged.insert(it.key());
        frame->value[it.key()] = std::move(it.value());
      }
      return;
    }
    bool all_maps = value.is_array();
    if (all_maps) {
      for (const json& item : value) all_maps = all_maps && item.is_object();
    }
    if (!all_maps) {
      Throw(Invalid(Line(mark), Column(mark),
                    "the value of << must be a map or a list of maps"));
    }
    for (auto item = value.rbegin(); item != value.rend(); ++item) {
      Merge(mark, std::move(*item), frame);
    }
  }

  // Constant after construction.
  const absl::string_view text_;
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

}  // namespace flotilla::yaml

#endif  // FLOTILLA_COMMON_YAML_DOCUMENT_BUILDER_H_
