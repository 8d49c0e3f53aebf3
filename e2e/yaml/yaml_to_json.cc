// SPDX-License-Identifier: Apache-2.0
//
// Says what common/yaml makes of YAML, with the words of
// manager/render/worker/yamljson: each line of standard input is the base64 of
// a text; for each a line of JSON is written, {"json": ...} or
// {"error": "..."}.

#include <iostream>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "common/yaml/documents.h"
#include "nlohmann/json.hpp"

int main() {
  std::ios::sync_with_stdio(false);
  std::string line;
  while (std::getline(std::cin, line)) {
    std::string text;
    if (!absl::Base64Unescape(line, &text)) {
      std::cerr << "yaml_to_json: a line is not base64\n";
      return 1;
    }
    const absl::StatusOr<flotilla::YamlDocument> document =
        flotilla::ParseYaml(text);
    nlohmann::json answer;
    if (document.ok()) {
      answer["json"] = document->value;
    } else {
      answer["error"] = std::string(document.status().message());
    }
    std::cout << answer.dump(-1, ' ', false,
                             nlohmann::json::error_handler_t::replace)
              << std::endl;
  }
  return 0;
}
