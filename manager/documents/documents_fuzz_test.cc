// SPDX-License-Identifier: Apache-2.0
//
// Any text at all as a file of documents: problems are bounded and free of
// control characters, and what is accepted is whole.

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "flotilla/core/v1/core.pb.h"
#include "google/protobuf/util/message_differencer.h"
#include "manager/documents/document_json.h"
#include "manager/documents/documents.h"

namespace {

void Check(bool condition, const std::string& what) {
  if (condition) return;
  fprintf(stderr, "fuzz: %s\n", what.c_str());
  abort();
}

void CheckProblems(const std::vector<flotilla::core::v1::Problem>& problems) {
  for (const flotilla::core::v1::Problem& problem : problems) {
    Check(problem.message().size() <= 4096, "a long message");
    for (const char c : problem.message() + problem.subject()) {
      const auto u = static_cast<unsigned char>(c);
      Check(u >= 0x20 && u != 0x7f, problem.message());
    }
  }
}

// What is written reads back as it was.
void CheckRoundTrip(const flotilla::manager::ParsedDocument& one) {
  const std::string yaml =
      flotilla::manager::DocumentToYaml(one.document, &one.contents);
  const flotilla::manager::ParsedDocuments again =
      flotilla::manager::ParseDocuments({{"again.yaml", yaml}}, "");
  Check(again.errors.empty(), yaml);
  Check(again.documents.size() == 1, yaml);
  Check(google::protobuf::util::MessageDifferencer::Equals(
            again.documents[0].document, one.document) &&
            again.documents[0].contents == one.contents,
        yaml);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const flotilla::manager::ParsedDocuments parsed =
      flotilla::manager::ParseDocuments(
          {{"f.yaml", std::string(reinterpret_cast<const char*>(data), size)}},
          "");
  CheckProblems(parsed.errors);
  CheckProblems(parsed.warnings);
  for (const flotilla::manager::ParsedDocument& one : parsed.documents) {
    Check(!one.document.name().empty() && !one.document.workspace().empty(),
          "no name");
    Check(flotilla::manager::CanonicalKind(one.document.kind()) ==
              one.document.kind(),
          "kind");
    if (one.document.has_bundle()) {
      Check(static_cast<int>(one.contents.size()) ==
                one.document.bundle().resources_size(),
            "contents");
    }
    if (!one.document.has_secret()) CheckRoundTrip(one);
    std::string bytes;
    Check(one.document.SerializeToString(&bytes), "not serialised");
    // A record with a text that is no UTF-8 could not be read again.
    Check(decltype(one.document)().ParseFromString(bytes), "invalid UTF-8");
  }
  return 0;
}
