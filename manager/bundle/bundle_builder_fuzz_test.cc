// SPDX-License-Identifier: Apache-2.0
//
// Any tree of files, links and settings as a repository. The input is text: a
// line "@f PATH" begins a file, "@l PATH TARGET" is a symbolic link, "@p PATH"
// one of spec.paths, "@b BASE OPTIONS" one of spec.bundles. Whatever it holds,
// problems are bounded and free of control characters, bundles have names of
// their own and files with plain names, and a second build reads nothing again.

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "flotilla/core/v1/core.pb.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "manager/bundle/bundle_builder.h"
#include "manager/bundle/bundle_revision.h"
#include "manager/gitsync/memory_tree.h"

namespace {

using flotilla::manager::BuildBundles;
using flotilla::manager::BuildResult;
using flotilla::manager::BundleCache;
using flotilla::manager::MemoryTree;

void Check(bool condition, const std::string& what) {
  if (condition) return;
  fprintf(stderr, "fuzz: %s\n", what.c_str());
  abort();
}

void CheckText(const std::string& text) {
  Check(text.size() <= 8192, "a long message");
  for (const char c : text) {
    const auto u = static_cast<unsigned char>(c);
    Check(u >= 0x20 && u != 0x7f, text);
  }
}

void CheckProblems(const std::vector<flotilla::core::v1::Problem>& problems) {
  Check(problems.size() <= 100, "too many problems");
  for (const auto& problem : problems) {
    CheckText(problem.message());
    CheckText(problem.file());
  }
}

struct Input {
  std::map<std::string, std::string> files;
  std::map<std::string, std::string> links;
  flotilla::storage::v1::Document git_repo;
};

Input Read(absl::string_view text) {
  Input input;
  input.git_repo.set_workspace("w");
  input.git_repo.set_name("repo");
  auto& spec = *input.git_repo.mutable_git_repo();
  std::string* file = nullptr;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    if (absl::ConsumePrefix(&line, "@f ")) {
      file = line.empty() ? nullptr : &input.files[std::string(line)];
    } else if (absl::ConsumePrefix(&line, "@l ")) {
      const std::pair<std::string, std::string> parts =
          absl::StrSplit(line, absl::MaxSplits(' ', 1));
      if (!parts.first.empty()) input.links[parts.first] = parts.second;
    } else if (absl::ConsumePrefix(&line, "@p ")) {
      spec.add_paths(std::string(line));
    } else if (absl::ConsumePrefix(&line, "@b ")) {
      const std::pair<std::string, std::string> parts =
          absl::StrSplit(line, absl::MaxSplits(' ', 1));
      auto& bundle = *spec.add_bundles();
      bundle.set_base(parts.first);
      bundle.set_options(parts.second);
    } else if (file != nullptr) {
      file->append(line.data(), line.size());
      file->push_back('\n');
    }
  }
  return input;
}

void CheckBundles(const BuildResult& result, const Input& input) {
  std::set<std::string> names;
  for (const auto& bundle : result.bundles) {
    if (result.errors.empty()) {
      Check(names.insert(bundle.name).second, "two bundles of one name");
    }
    Check(!bundle.name.empty(), "a bundle without a name");
    std::string last;
    for (const auto& file : bundle.content->files) {
      Check(!file.name.empty() && file.name[0] != '/' && file.name > last,
            file.name);
      for (const absl::string_view part : absl::StrSplit(file.name, '/')) {
        Check(!part.empty() && part != "." && part != "..", file.name);
      }
      CheckText(file.name);
      last = file.name;
    }
    MakeRevision(bundle, input.git_repo);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const Input input =
      Read(absl::string_view(reinterpret_cast<const char*>(data), size));
  MemoryTree tree(input.files, input.links);
  const BuildResult result = BuildBundles(tree, input.git_repo);
  CheckProblems(result.errors);
  CheckProblems(result.warnings);
  Check(!result.errors.empty() || !result.bundles.empty(),
        "nothing, and nothing said");
  CheckBundles(result, input);

  BundleCache cache;
  for (const auto& bundle : result.bundles) {
    cache[bundle.content->place()] = bundle.content;
  }
  MemoryTree same(input.files, input.links);
  const BuildResult again = BuildBundles(same, input.git_repo, cache);
  Check(again.bundles.size() == result.bundles.size(), "another result");
  if (result.errors.empty()) {
    Check(again.read_directories <=
              result.read_directories - result.bundles.size(),
          "read again");
  }
  return 0;
}
