// SPDX-License-Identifier: Apache-2.0
//
// Any text at all as fleet.yaml: problems are counted and bounded, and free of
// control characters.

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "flotilla/core/v1/core.pb.h"
#include "manager/documents/fleet_yaml.h"

namespace {

void Check(bool condition, const std::string& what) {
  if (condition) return;
  fprintf(stderr, "fuzz: %s\n", what.c_str());
  abort();
}

void CheckProblems(const std::vector<flotilla::core::v1::Problem>& problems) {
  Check(problems.size() <= 102, "many problems");
  for (const flotilla::core::v1::Problem& problem : problems) {
    Check(problem.message().size() <= 4096, "a long message");
    for (const char c : problem.message()) {
      const auto u = static_cast<unsigned char>(c);
      Check(u >= 0x20 && u != 0x7f, problem.message());
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view text(reinterpret_cast<const char*>(data), size);
  const flotilla::manager::FleetYaml yaml =
      flotilla::manager::ParseFleetYaml(text, "fleet.yaml", "GitRepo a/b");
  CheckProblems(yaml.errors);
  CheckProblems(yaml.warnings);
  Check(yaml.customizations.size() ==
        static_cast<int>(yaml.customization_lines.size()),
        "lines of customizations");
  if (yaml.errors.empty()) {
    std::string bytes;
    Check(yaml.options.SerializeToString(&bytes), "not serialised");
    // A record with a text that is no UTF-8 could not be read again.
    Check(decltype(yaml.options)().ParseFromString(bytes), "invalid UTF-8");
  }
  return 0;
}
