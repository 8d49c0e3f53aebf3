// SPDX-License-Identifier: Apache-2.0
//
// Reads YAML and JSON text as Kubernetes does and gives JSON values, with
// limits against hostile input. The only place where yaml-cpp is seen.
//
// Scalars resolve as sigs.k8s.io/yaml resolves them (YAML 1.1 through go-yaml
// v2): yes/no/on/off/y/n are booleans, 0x1F, 0o17, 017, 0b11 and 1_000 are
// integers, quoted scalars are strings, timestamps stay strings. A float with
// no fraction becomes an integer, as Go writes it in JSON. Keys become strings.
// Merge keys and anchors are expanded: of a merge key and another key, what
// stands later wins. A text that begins with a byte order mark of UTF-16 is
// read as that. A duplicate key is an error unless the limits are lenient.
// Tags of no type of JSON are errors, and only LF and CR break lines, not the
// other breaks of YAML 1.1.
//
// No function throws. Every error says where: its text begins with
// "line 3, column 5: ", and YamlErrorLine() gives the line as a number.
// No error text holds a value of the document, only keys: a Secret may be
// among them.

#ifndef FLOTILLA_COMMON_YAML_DOCUMENTS_H_
#define FLOTILLA_COMMON_YAML_DOCUMENTS_H_

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

namespace flotilla {

// What text may cost. A text over a limit is a RESOURCE_EXHAUSTED.
struct YamlLimits {
  size_t max_bytes = 16 << 20;
  size_t max_documents = 10000;
  // Values of all documents together, aliases and merge keys expanded.
  size_t max_nodes = 1000000;
  // Bytes of all strings together, aliases and merge keys expanded.
  size_t max_string_bytes = 64 << 20;
  // Nesting of maps and lists.
  int max_depth = 100;
  // Remember the line of each key and list item for YamlDocument::LineOf.
  bool record_lines = true;
  // Takes what Helm and Kubernetes take without a word: the last one of
  // duplicate keys, and in ParseYaml() the first one of several documents.
  // YamlDocument::doubts has the words. Not for ParseJson().
  bool lenient = false;
};

// What only lenient limits let pass.
struct YamlDoubt {
  int line = 0;
  std::string text;
};

// One document of a text.
struct YamlDocument {
  // Never discarded. Null only for ParseYaml() of a text with no document.
  nlohmann::json value;
  // Line of the document's first value, from 1.
  int line = 1;
  // Lines of keys and items by JSON pointer ("/spec/ports/0/name"); empty
  // when limits.record_lines is false, and for text that is strict JSON.
  std::map<std::string, int, std::less<>> lines;
  // At most 100.
  std::vector<YamlDoubt> doubts;

  // Line of the value at a JSON pointer, or of its nearest known parent.
  int LineOf(absl::string_view json_pointer) const;
};

// All documents of a text but the empty ones (nothing, comments only, or
// null). A text whose first character is a brace is read as JSON first; several
// JSON documents may follow one another.
// Errors: INVALID_ARGUMENT for what is no YAML; RESOURCE_EXHAUSTED.
absl::StatusOr<std::vector<YamlDocument>> ParseYamlDocuments(
    absl::string_view text, const YamlLimits& limits = {});

// As ParseYamlDocuments() for a text that holds one document at most, such as
// fleet.yaml or a values file. More than one is an INVALID_ARGUMENT, unless the
// limits are lenient.
absl::StatusOr<YamlDocument> ParseYaml(absl::string_view text,
                                       const YamlLimits& limits = {});

// Line of an error of the functions above, from 1; 0 where there is none.
int YamlErrorLine(const absl::Status& status);

// The error's text without its position: for messages that name file and line
// themselves.
std::string YamlErrorText(const absl::Status& status);

// Parses strict JSON under the same limits: exceptions off, nesting limited,
// duplicate keys refused, invalid UTF-8 refused. Integers keep 64 bits.
absl::StatusOr<nlohmann::json> ParseJson(absl::string_view text,
                                         const YamlLimits& limits = {});

// Writes one document in block style, ending in a newline, keys sorted. Reading
// it back with ParseYaml() gives an equal value: strings that would be read as
// anything else are quoted, strings of several lines are literal blocks.
std::string ToYaml(const nlohmann::json& value);

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_YAML_DOCUMENTS_H_
