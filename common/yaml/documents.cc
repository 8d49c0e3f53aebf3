// SPDX-License-Identifier: Apache-2.0

#include "common/yaml/documents.h"

#include <cstddef>
#include <exception>
#include <sstream>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/types/optional.h"
#include "common/yaml/document_builder.h"
#include "common/yaml/yaml_text.h"
#include "yaml-cpp/exceptions.h"
#include "yaml-cpp/parser.h"

namespace flotilla {
namespace {

using nlohmann::json;
using yaml::CleanText;
using yaml::Invalid;
using yaml::TooMuch;

// yaml-cpp passes over directives that it does not know, and so over a text
// that happens to begin with a percent sign.
absl::Status CheckDirectives(absl::string_view text) {
  int number = 0;
  bool at_start = true;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    ++number;
    if (absl::StartsWith(line, "...")) {
      at_start = true;
    } else if (at_start && absl::StartsWith(line, "%")) {
      if (!absl::StartsWith(line, "%YAML ") &&
          !absl::StartsWith(line, "%TAG ")) {
        return Invalid(number, 1, "a line that begins with % is a directive, "
                                  "and there is none of this name");
      }
    } else {
      const absl::string_view rest = absl::StripLeadingAsciiWhitespace(line);
      at_start = at_start && (rest.empty() || rest[0] == '#');
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<YamlDocument>> ReadYaml(const std::string& text,
                                                   const YamlLimits& limits) {
  absl::Status directives = CheckDirectives(text);
  if (!directives.ok()) return directives;
  std::vector<YamlDocument> documents;
  yaml::Spent spent;
  // yaml-cpp takes a quote that is never closed for closed when the text ends
  // in a line break; an end of document in it is an error.
  const bool ends_line = !text.empty() && text.back() == '\n';
  std::string whole = ends_line ? text + "...\n" : text;
  // It folds a last line of spaces alone into the text.
  const size_t last = whole.find_last_not_of(' ');
  if (last != std::string::npos && last + 1 < whole.size() &&
      whole[last] == '\n') {
    whole.resize(last + 1);
    whole += "...\n";
  }
  try {
    std::istringstream stream(whole);
    YAML::Parser parser(stream);
    for (size_t read = 0;; ++read) {
      if (read > limits.max_documents) {
        return TooMuch(0, 0,
                       absl::StrCat("more than ", limits.max_documents,
                                    " documents"));
      }
      yaml::DocumentBuilder builder(whole, limits, spent);
      if (!parser.HandleNextDocument(builder)) break;
      if (!builder.empty()) documents.push_back(builder.TakeDocument());
    }
  } catch (const yaml::Abort& abort) {
    return abort.status;
  } catch (const YAML::Exception& error) {
    // The only text of its that quotes the document.
    constexpr absl::string_view kEscape = "unknown escape character";
    std::string message(absl::StartsWith(error.msg, kEscape)
                            ? kEscape
                            : absl::string_view(error.msg));
    if (message == "end of map not found") {
      message =
          "this is no key with a colon behind it: the colon is missing, or the "
          "line is indented by too much or too little";
    }
    if (error.mark.is_null()) return Invalid(0, 0, message);
    return Invalid(error.mark.line + 1, error.mark.column + 1, message);
  } catch (const std::exception& error) {
    // Out of memory and the like: the text of the exception says nothing.
    return absl::ResourceExhaustedError("the text cannot be read as YAML");
  }
  return documents;
}

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
  if (yaml::IsUtf16(text)) {
    absl::StatusOr<std::string> converted = yaml::FromUtf16(text);
    if (!converted.ok()) return converted.status();
    return ParseYamlDocuments(*converted, limits);
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
  YamlDocument& first = (*documents)[0];
  if (documents->size() > 1) {
    const int line = (*documents)[1].line;
    if (!limits.lenient) {
      return Invalid(line, 1,
                     "a second document begins here, and one only is allowed");
    }
    first.doubts.push_back(
        {line, "a second document begins here; the first one alone counts"});
  }
  return std::move(first);
}

int YamlErrorLine(const absl::Status& status) {
  const absl::optional<absl::Cord> payload = status.GetPayload(yaml::kLineUrl);
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

}  // namespace flotilla
